"""Drives the robot by hand, from a program of its own, while the robot runs in another.

    horus-async run examples/mobile_base/teleop.py
    horus-async run examples/mobile_base/teleop.py -- --demo

w and s drive, a and d turn, the space bar stops, + and - change the robot's top speed, q ends. What the hand commands
comes before what the navigator does; a key counts for half a second, so letting go is stopping.
"""

from __future__ import annotations

import argparse
import select
import sys
import termios
import threading
import tty

from horus_async import Node, Scheduler, ServiceError, elapsed
from horus_async.messages import CmdVel

HOLD = 0.5
"""Seconds for which a key counts; at a terminal, one that is held down comes again before that."""
MOVES = {"w": CmdVel(0.4, 0.0), "s": CmdVel(-0.2, 0.0), "a": CmdVel(0.0, 0.8), "d": CmdVel(0.0, -0.8), " ": CmdVel()}
FASTER = {"+": 0.1, "-": -0.1}
DEMO = ((0.5, "w"), (1.0, "w"), (1.5, "a"), (2.0, "a"), (2.5, "-"), (2.6, "w"), (3.0, " "), (3.5, "+"), (4.0, "q"))
"""When which key is pressed, seconds."""


class Teleop(Node):
    """Makes commands of keys. They come by a topic, so a recording has them, and replays without a hand."""

    name, rate = "teleop", 20
    subs = {"teleop.key": str}  # noqa: RUF012 - options of a node
    pubs = {"teleop.cmd_vel": CmdVel}  # noqa: RUF012

    async def init(self) -> None:
        """With no key pressed."""
        self.command, self.until = CmdVel(), 0.0

    async def tick(self) -> None:
        """Look at the keys, and command what the newest one means."""
        for key in self.recv_all("teleop.key"):
            if key == "q":
                self.request_stop()
            elif key in FASTER:
                await self.change_speed(FASTER[key])
            else:
                self.command, self.until = MOVES.get(key, CmdVel()), elapsed() + HOLD
        if elapsed() < self.until:
            self.send("teleop.cmd_vel", self.command)

    async def change_speed(self, by: float) -> None:
        """Set a parameter of the motors, in the robot's program."""
        try:
            present = await self.call("params", {"node": "motors"})
            await self.call("params", {"node": "motors", "set": {"max_speed": round(present["max_speed"] + by, 2)}})
        except ServiceError as error:
            self.log.warning("%s", error)


class Keyboard(Node):
    """Sends the keys that are pressed."""

    name, rate = "keyboard", 1
    pubs = {"teleop.key": str}  # noqa: RUF012 - options of a node

    async def init(self) -> None:
        """Have the terminal give each key at once."""
        self.over = threading.Event()
        self.before = termios.tcgetattr(sys.stdin)
        tty.setcbreak(sys.stdin)
        self.in_thread(self.read)

    def read(self) -> None:
        """In a thread, as reading waits."""
        while not self.over.is_set():
            if select.select([sys.stdin], [], [], 0.1)[0]:
                self.send("teleop.key", sys.stdin.read(1))

    async def tick(self) -> None:
        """The thread does it."""

    async def shutdown(self) -> None:
        """Leave the terminal as it was."""
        self.over.set()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self.before)


class Demo(Node):
    """Presses keys by a script."""

    name, rate = "keyboard", 20
    pubs = {"teleop.key": str}  # noqa: RUF012 - options of a node

    async def init(self) -> None:
        """From its beginning."""
        self.keys = list(DEMO)

    async def tick(self) -> None:
        """The keys whose time has come."""
        while self.keys and self.keys[0][0] <= elapsed():
            self.send("teleop.key", self.keys.pop(0)[1])


def build(args: list[str]) -> Scheduler:
    """The program."""
    parser = argparse.ArgumentParser(prog="teleop.py", description="Drive the robot by hand.")
    parser.add_argument("--demo", action="store_true", help="press some keys by a script, and end")
    given = parser.parse_args(args)
    if not given.demo and not sys.stdin.isatty():
        parser.error("standard input is no terminal; use --demo")
    return Scheduler(tick_rate=20, name="teleop").add(Demo() if given.demo else Keyboard()).add(Teleop())


if __name__ == "__main__":
    build(sys.argv[1:]).run_sync()
