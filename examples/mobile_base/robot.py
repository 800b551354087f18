"""A robot with wheels, simulated: it maps the rooms that it drives in, and finds its way to goals.

    horus-async run --deterministic --record tour examples/mobile_base/robot.py
    horus-async replay tour --speed max --verify examples/mobile_base/robot.py:build
    horus-async launch examples/mobile_base/robot.toml

By itself all of it is one program. ``robot.py body``, ``robot.py brain`` and ``robot.py mission`` are parts of it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from horus_async import Scheduler

if TYPE_CHECKING:
    from horus_async import Node

PARTS = ("body", "brain", "mission")


def options(args: list[str]) -> argparse.Namespace:
    """The command line options."""
    parser = argparse.ArgumentParser(prog="robot.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--goal", action="append", type=point, metavar="X,Y", help="instead of the tour; repeat it")
    parser.add_argument("--maps", type=Path, default=Path(), metavar="FOLDER", help="where map.save writes to")
    found = parser.parse_args(args)
    if unknown := set(found.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    return found


def point(text: str) -> tuple[float, float]:
    """Two numbers."""
    x, y = map(float, text.split(","))
    return x, y


def nodes_of(part: str, given: argparse.Namespace) -> list[Node]:
    """The nodes of one part; each imports only what it needs."""
    if part == "body":
        from motors import Motors
        from odometry import Estimator
        from simulation import Simulation

        return [Simulation(), Motors(), Estimator()]
    if part == "brain":
        from mapping import Mapper
        from navigator import Navigator

        return [Mapper(given.maps), Navigator()]
    from mission import TOUR, Mission

    return [Mission(tuple(given.goal or TOUR))]


def build(args: list[str]) -> Scheduler:
    """The robot, or parts of it; ``run``, ``launch``, ``check`` and ``replay --verify`` call this."""
    given = options(args)
    scheduler = Scheduler(tick_rate=100, name="mobile_base")
    for part in given.parts or PARTS:
        for node in nodes_of(part, given):
            scheduler.add(node)
    return scheduler


if __name__ == "__main__":
    build(sys.argv[1:]).run_sync()
