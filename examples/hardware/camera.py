"""A camera, or a film: a thread takes the pictures, each with the time when it was taken.

    horus-async run --record drive examples/hardware/camera.py -- 0
    horus-async run --record drive examples/hardware/camera.py -- film.avi
    horus-async replay drive --speed max --verify examples/hardware/camera.py --nodes brightness

Needs more: ``pip install '.[hardware]'``.
"""

import threading

import anyio.to_thread
import cv2

from horus_async import Node, Restart, Scheduler, now_ns
from horus_async.messages import Header, Image, Time


class Camera(Node):
    """A camera that gives no picture has failed and is opened anew; a film that is over ends the run."""

    name, rate, pubs = "camera", 1, {"image": Image, "camera.health": dict}
    failure_policy = Restart(max_retries=12, backoff=0.1)

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.over = threading.Event()
        self.ended = False
        self.count = {"opened": 0, "pictures": 0}

    async def init(self) -> None:
        """Open the camera: that may take a second, in which the other nodes go on."""
        self.over.set()  # a thread of before
        self.over = threading.Event()
        source = int(self.source) if self.source.isdigit() else self.source
        capture = await anyio.to_thread.run_sync(lambda: cv2.VideoCapture(source))
        if not capture.isOpened():
            raise OSError(f"could not open camera {self.source}")
        self.count["opened"] += 1
        self.in_thread(self.read, capture, self.over)

    def read(self, capture: cv2.VideoCapture, over: threading.Event) -> None:
        """In a thread: it blocks until there is a picture."""
        is_film = not self.source.isdigit()
        period = 1 / (capture.get(cv2.CAP_PROP_FPS) or 30) if is_film else 0
        try:
            while not over.wait(period):  # a camera sets the pace by itself
                if not capture.grab():
                    break
                stamp = Time.from_ns(now_ns())
                got, pixels = capture.retrieve()  # takes a while: it decodes
                if not got:
                    break
                height, width, _ = pixels.shape
                self.send("image", Image(Header(stamp, "camera"), height, width, "bgr8", 0, 3 * width, pixels))
                self.count["pictures"] += 1
        finally:
            capture.release()
        if is_film:
            self.ended = True
        elif not over.is_set():
            raise OSError(f"camera {self.source} gave no picture")

    def tick(self) -> None:
        """Say how it goes."""
        self.send("camera.health", dict(self.count))
        if self.ended:
            self.request_stop()

    def shutdown(self) -> None:
        """End the thread."""
        self.over.set()


class Brightness(Node):
    """Looks at each picture. Whatever comes while it is busy waits in the ring, the oldest goes first."""

    name, on, pubs = "brightness", {"image": Image}, ["brightness"]

    def tick(self) -> None:
        """The mean of all pixels, and how many pictures were lost on the way."""
        image = self.recv("image")
        self.send("brightness", {"mean": float(image.data.mean()), "lost": self.lost("image")})


def build(args: list[str]) -> Scheduler:
    """With the number of the camera, or a film. A verification opens none."""
    return Scheduler(tick_rate=100).add(Camera(*args or ["0"])).add(Brightness())
