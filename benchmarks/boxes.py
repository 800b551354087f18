"""The black box."""

from __future__ import annotations

import logging
from pathlib import Path

from horus_async.blackbox import BlackBox
from horus_async.blackbox.watch import BlackBoxObserver
from horus_async.observe import DeadlineMissed

from .ours import time_a_node
from .sampling import microseconds_each


def deterministic_boxed(scale: float) -> list[float]:
    """Microseconds per node tick of a run with a black box of the size that ``horus-async run`` opens."""
    return time_a_node(2, scale, blackbox_mb=16, blackbox_dir=Path("boxes"))


def event(scale: float) -> list[float]:
    """A user's own event: the time it takes of the event loop."""
    with BlackBox.create(Path("boxes"), name="bench", size_mb=16) as box:
        return microseconds_each(lambda: box.custom("arm", "limit reached", joint=3, angle=1.57), scale=scale)


def tick_event(scale: float) -> list[float]:
    """A `NodeTick`, as reported by the engine."""
    with BlackBox.create(Path("boxes"), name="bench", size_mb=16) as box:
        listener = BlackBoxObserver(box).tick_listener("controller")
        return microseconds_each(lambda: listener(61_728, 12_345, True), scale=scale)


def miss_event(scale: float) -> list[float]:
    """A `DeadlineMiss`, from the engine's incident to the box."""
    with BlackBox.create(Path("boxes"), name="bench", size_mb=16) as box:
        observer = BlackBoxObserver(box)

        def miss() -> None:
            observer.incident(61_728, DeadlineMissed("controller", 1_900_000, 4_200_123))

        return microseconds_each(miss, scale=scale)


def log_line(scale: float) -> list[float]:
    """A user's own event as a line of text."""
    log = logging.getLogger("bench")
    log.propagate = False
    log.setLevel(logging.INFO)
    handler = logging.FileHandler("bench.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    log.addHandler(handler)
    took = microseconds_each(lambda: log.info("limit reached: joint %d at %f", 3, 1.57), scale=scale)
    handler.close()
    return took
