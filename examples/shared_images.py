"""Two processes: a camera, and a node that looks at its images in shared memory, without copying them.

    python examples/shared_images.py

The images are 6 MB each. Copying one often takes longer than looking at it: here, every 16th row is enough to find the
bright spot. The camera never waits, so an image may be overwritten while the node looks at it. Leaving the block raises
an error then, and the node drops what it found.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from horus_async import MessageOverwrittenError, Node, Scheduler, run, tick
from horus_async.messages import Header, Image

HEIGHT, WIDTH = 1080, 1920
SPOT = 32
"""Side of the bright spot, pixels."""
ENOUGH = 20


class Camera(Node):
    """Sends colour images of a bright spot that moves to the right."""

    rate = 30.0
    pubs = "camera.image"

    def init(self) -> None:
        """Switch it on."""
        self.pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    async def tick(self) -> None:
        """Take a picture."""
        column = tick() * 40 % (WIDTH - SPOT)
        self.pixels[:] = 20
        self.pixels[400 : 400 + SPOT, column : column + SPOT] = 250
        header = Header(frame_id="camera")
        self.send("camera.image", Image(header, HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, self.pixels))


class SpotFinder(Node):
    """Sends the column in which the spot begins."""

    on = "camera.image"
    pubs = "spot"
    found = dropped = 0

    async def tick(self) -> None:
        """Look at one image."""
        try:
            with self.borrow("camera.image") as message:
                if message is None:
                    return
                green = message.value.data[::16, :, 1]  # a view: no pixel is copied
                columns = np.flatnonzero(green.max(axis=0) > 200)  # a new array: it may be kept
        except MessageOverwrittenError:
            self.dropped += 1
            return
        self.send("spot", int(columns[0]))
        self.found += 1
        if self.found == ENOUGH:
            self.request_stop()


def main() -> None:
    """Start the camera, look at its images, stop it."""
    if sys.argv[1:] == ["camera"]:
        run(Camera())
        return
    finder = SpotFinder()
    scheduler = Scheduler()
    scheduler.add(finder)
    with subprocess.Popen([sys.executable, __file__, "camera"]) as camera:
        try:
            scheduler.run_sync(duration=30)
        finally:
            camera.terminate()
    print(f"found the spot in {finder.found} images, dropped {finder.dropped}")


if __name__ == "__main__":
    main()
