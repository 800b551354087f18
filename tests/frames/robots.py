"""Two nodes: one says where the robot is, the other asks where its laser was."""

from __future__ import annotations

import math
from typing import Any

from horus_async import Frames, FramesError, Node, now, tick
from horus_async.frames import stamped


class Base(Node):
    """Sends where the robot is, at every tick, and at first how the laser is mounted."""

    name, rate = "base", 100
    pubs: Any = ("frames", "frames.static")

    async def init(self) -> None:
        """Place the laser."""
        self.frames = Frames(self)
        self.frames.send(stamped("base_link", "laser", (0.2, 0, 0.1), yaw=0.5), static=True)

    async def tick(self) -> None:
        """Move on."""
        at = now() * 3
        self.frames.send(stamped("odom", "base_link", (math.cos(at), math.sin(at), 0.0), yaw=at))


class Asker(Node):
    """Sends where the laser is, and was a moment ago."""

    name, rate = "asker", 50
    subs = ("frames", "frames.static")
    pubs = ("laser",)
    static_again = False

    async def init(self) -> None:
        """Listen."""
        self.frames = Frames(self)

    async def tick(self) -> None:
        """Ask."""
        found: list[Any] = []
        for at in (None, now() - 0.025):
            try:
                found.append(self.frames.lookup("odom", "laser", at).stamped())
            except FramesError as error:
                found.append(str(error))
        self.send("laser", [*found, self.frames.refused])


class Both(Base):
    """Sends frames and asks for them in one node."""

    name = "both"
    subs = ("frames", "frames.static")
    pubs = ("frames", "frames.static", "laser")

    async def tick(self) -> None:
        """What it sent in this tick is there."""
        await super().tick()
        found = self.frames.lookup("odom", "laser")
        self.send("laser", (found.stamp_ns, found.yaw, tick()))
