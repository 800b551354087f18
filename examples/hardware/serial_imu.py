"""A sensor at a serial port: a thread reads its lines, and when it is unplugged ``init`` opens it anew.

    horus-async run --record drive examples/hardware/serial_imu.py -- /dev/ttyUSB0
    horus-async replay drive --speed max --verify examples/hardware/serial_imu.py --nodes level

Needs more: ``pip install '.[hardware]'``. A line is ``roll,pitch`` in degrees.
"""

import threading

import serial

from horus_async import Node, Restart, Scheduler, elapsed, now_ns

LONGEST_LINE = 100


class SerialImu(Node):
    """Sends what the device says, and once a second what it was and what was left out."""

    name, rate, pubs = "imu_driver", 1, ["imu", "imu.health"]
    failure_policy = Restart(max_retries=12, backoff=0.1)  # in all it tries for 400 s

    def __init__(self, port: str) -> None:
        super().__init__()
        self.port_name = port
        self.port: serial.Serial | None = None
        self.over = threading.Event()
        self.count = {"opened": 0, "good": 0, "cut": 0, "garbage": 0}

    def init(self) -> None:
        """Open the port; nobody else can, meanwhile."""
        self.cancel()  # a thread of before
        self.over = threading.Event()
        self.port = serial.Serial(self.port_name, 115200, exclusive=True)
        self.count["opened"] += 1
        self.in_thread(self.read, self.port, self.over)

    def read(self, port: serial.Serial, over: threading.Event) -> None:
        """In a thread: it blocks until something comes. An unplugged device raises, and so the node has failed."""
        rest, whole = b"", False
        with port:
            while not over.is_set():
                data = port.read(port.in_waiting or 1)
                stamp_ns = now_ns()
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self.take(line, stamp_ns, whole=whole)
                    whole = True
                if len(rest) > LONGEST_LINE:  # the wrong baud rate, say
                    rest, whole = b"", False
                    self.count["garbage"] += 1

    def take(self, line: bytes, stamp_ns: int, *, whole: bool) -> None:
        """Send a line. The end of one that was cut would look like a good one, and be wrong."""
        try:
            roll, pitch = map(float, line.split(b","))
        except ValueError:
            self.count["garbage"] += 1
            return
        self.count["good" if whole else "cut"] += 1
        if whole:
            self.send("imu", {"roll": roll, "pitch": pitch, "stamp_ns": stamp_ns})

    def tick(self) -> None:
        """Say how it goes."""
        self.send("imu.health", dict(self.count))

    def cancel(self) -> None:
        """Let the thread come out of its read, and close the port."""
        self.over.set()
        if self.port is not None and self.port.is_open:
            self.port.cancel_read()

    shutdown = cancel


class Level(Node):
    """Holds the platform level, and lets it go when it has heard nothing for a while: its safe state."""

    name, rate, subs, pubs = "level", 50, ["imu"], ["servo"]

    def init(self) -> None:
        """Nothing heard yet."""
        self.heard = float("-inf")

    def tick(self) -> None:
        """The newest counts."""
        imu = None
        while (newer := self.recv("imu")) is not None:
            imu, self.heard = newer, elapsed()
        if imu is not None:
            self.send("servo", -0.5 * imu["roll"])
        elif elapsed() - self.heard > 0.5:
            self.send("servo", 0.0)


def build(args: list[str]) -> Scheduler:
    """With the name of the port. A verification opens none."""
    return Scheduler(tick_rate=100).add(SerialImu(*args or ["/dev/ttyUSB0"])).add(Level())
