"""A motor on a CAN bus: a thread receives, ticks send; frames carry a counter, so what the bus lost is known.

    horus-async run --record drive examples/hardware/can_motor.py -- socketcan can0
    horus-async replay drive --speed max --verify examples/hardware/can_motor.py --nodes cruise

Needs more: ``pip install '.[hardware]'``. The motor sends its speed (frame 0x181: counter u16, rad/s f32), and takes
one (frame 0x201: rad/s f32).
"""

import struct
import threading

import can

from horus_async import Node, Restart, Scheduler, elapsed, now_ns

STATE, COMMAND = 0x181, 0x201


class Motor(Node):
    """Both directions of the bus. A command holds for 0.2 s."""

    name, rate, subs, pubs = "motor", 100, ["motor.command"], ["motor.state", "motor.health"]
    failure_policy = Restart(max_retries=12, backoff=0.1)

    def __init__(self, interface: str, channel: str) -> None:
        super().__init__()
        self.interface, self.channel = interface, channel
        self.bus: can.BusABC | None = None
        self.over = threading.Event()
        self.count = {"opened": 0, "received": 0, "missing": 0, "others": 0, "not_sent": 0}

    def init(self) -> None:
        """Open the bus."""
        self.over.set()  # a thread of before
        self.over = threading.Event()
        self.speed, self.commanded = 0.0, float("-inf")
        self.bus = can.Bus(interface=self.interface, channel=self.channel)
        self.count["opened"] += 1
        self.in_thread(self.read, self.bus, self.over)

    def read(self, bus: can.BusABC, over: threading.Event) -> None:
        """In a thread. The bus goes down: it raises, and so the node has failed."""
        last = None
        with bus:
            while not over.is_set():
                frame = bus.recv(timeout=0.1)
                if frame is None:
                    continue
                stamp_ns = now_ns()
                if frame.is_error_frame or frame.arbitration_id != STATE or frame.dlc != 6:
                    self.count["others"] += 1
                    continue
                number, speed = struct.unpack("<Hf", frame.data)
                self.count["received"] += 1
                self.count["missing"] += 0 if last is None else (number - last - 1) % 65536
                last = number
                self.send("motor.state", {"n": number, "speed": speed, "stamp_ns": stamp_ns})

    def tick(self) -> None:
        """Pass the newest command on; once a second, say how it goes."""
        while (command := self.recv("motor.command")) is not None:
            self.speed, self.commanded = command, elapsed()
        self.write(self.speed if elapsed() - self.commanded < 0.2 else 0.0)
        if int(elapsed() * self.rate) % 100 == 0:
            self.send("motor.health", dict(self.count))

    def write(self, speed: float) -> None:
        """Never wait: where the buffer is full, the next tick has a newer command."""
        frame = can.Message(arbitration_id=COMMAND, data=struct.pack("<f", speed), is_extended_id=False)
        try:
            if self.bus is not None:
                self.bus.send(frame, timeout=0)
        except can.CanError:
            self.count["not_sent"] += 1

    def enter_safe_state(self) -> None:
        """Stop."""
        self.write(0.0)

    def shutdown(self) -> None:
        """Stop; the thread closes the bus."""
        self.write(0.0)
        self.over.set()


class Cruise(Node):
    """Keeps a speed; one command for each state of the motor."""

    name, on, pubs = "cruise", "motor.state", ["motor.command"]

    def tick(self) -> None:
        """Proportional control."""
        state = self.recv("motor.state")
        self.send("motor.command", state["speed"] + 0.1 * (10.0 - state["speed"]))


def build(args: list[str]) -> Scheduler:
    """With the interface and the channel. A verification opens none."""
    interface, channel = args or ["socketcan", "can0"]
    return Scheduler(tick_rate=200).add(Motor(interface, channel)).add(Cruise())
