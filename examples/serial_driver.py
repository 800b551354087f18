"""A driver: a thread that reads a blocking port, a task that keeps the device awake, and a plug that is pulled.

The device is simulated: a thread that writes a line every 2 ms into a pipe. After 100 lines it is unplugged, and cannot
be opened for the next two times; the driver's failure policy tries again until it can. Run it with ``python
serial_driver.py``; it ends after 200 readings and compares what went out with what the recording holds.
"""

import os
import tempfile
import threading
from collections.abc import Iterator

from horus_async import Node, Restart, Scheduler, sleep
from horus_async.recorder import open_session

READINGS = 200
UNPLUGGED_AFTER = 100


class Device:
    """Something on a serial line that sends as long as it is opened, and is unplugged once.

    Raises:
        OSError: It is not plugged in.
    """

    opened = 0
    """How often that was tried."""

    def __init__(self) -> None:
        Device.opened += 1
        if Device.opened in (2, 3):
            raise OSError("could not open the port: there is no device")
        self._lines = UNPLUGGED_AFTER if Device.opened == 1 else None
        self._reading, self._writing = os.pipe()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._talk)
        self._thread.start()

    def _talk(self) -> None:
        number = 0
        while number != self._lines and not self._closed.wait(0.002):
            os.write(self._writing, b"%d %d\n" % (number, number % 7))
            number += 1
        os.close(self._writing)  # whoever reads gets the end of the file

    def lines(self) -> Iterator[bytes]:
        """Block for each line, until the device is closed.

        Raises:
            OSError: It was unplugged.
        """
        with os.fdopen(self._reading, "rb") as port:
            yield from port
        if not self._closed.is_set():
            raise OSError("the device was unplugged")

    def close(self) -> None:
        """Stop sending: whoever reads comes to an end."""
        self._closed.set()
        self._thread.join()


class Driver(Node):
    """Sends what the device says. When the thread fails, so has the node: ``init`` runs again, after a while."""

    name, rate, pubs = "driver", 10, ["imu", "alive"]
    failure_policy = Restart(max_retries=8, backoff=0.02)
    device: Device | None = None

    def init(self) -> None:
        """Open the device, and start what goes on beside the ticks."""
        self.close()  # the one that was unplugged
        self.device = Device()
        self.in_thread(self.read, self.device)
        self.background(self.keep_awake)

    def read(self, device: Device) -> None:
        """In a thread, as it blocks. It ends when the device is closed."""
        for line in device.lines():
            number, value = map(int, line.split())
            self.send("imu", {"n": number, "value": value})

    async def keep_awake(self) -> None:
        """A task; it is cancelled when the run ends, and when ``init`` runs again."""
        while True:
            self.send("alive", True)
            await sleep(0.02)

    def tick(self) -> None:
        """Nothing to do: the readings come by themselves."""

    def close(self) -> None:
        """Close the device, which ends the thread."""
        if self.device is not None:
            self.device.close()

    shutdown = close


class Listener(Node):
    """Ends the run when it has heard enough."""

    name, on = "listener", "imu"

    def init(self) -> None:
        """Nothing heard yet."""
        self.heard: list[int] = []

    def tick(self) -> None:
        """Once for each reading."""
        self.heard.append(self.recv("imu")["n"])
        if len(self.heard) == READINGS:
            self.request_stop()


def main() -> None:
    """Run, and compare."""
    listener = Listener()
    with tempfile.TemporaryDirectory() as folder:
        scheduler = Scheduler(recording="drive", recordings_dir=folder).add(Driver()).add(listener)
        scheduler.run_sync()
        recorded = [message for message in open_session("drive", folder).outputs("driver") if message.topic == "imu"]
        recording = scheduler.stats().recording
        assert recording is not None
    print(f"heard {len(listener.heard)} readings, dropped {recording.dropped}, recorded at least as many: ", end="")
    print(len(recorded) >= len(listener.heard))
    print(f"unplugged after {listener.heard.index(0, 1)} of them, opened {Device.opened} times")


if __name__ == "__main__":
    main()
