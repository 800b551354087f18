"""Python's garbage collector, run between ticks while nodes run, or not at all.

By itself it runs wherever objects are made: in the middle of a tick, for as long as there are objects to look at. Here
what was made before the first tick is frozen, so that it is never looked at again, and the rest is looked at where the
loop waits for its next tick and is expected to be done before it. How long that takes is learnt from the times before.

Memory stays bounded. Python's own collector is left on with a high threshold, so it comes even inside a tick that makes
`NET` objects; and where there never is time, this one comes without it, at `PRESSING` new objects, or at
`PRESSING_OLD` that have outlived a look (or half of those that live, if that is more).

Nothing here asks for time where time is virtual, so there the same run collects at the same ticks.
"""

from __future__ import annotations

import gc
import logging
from typing import Any

from attrs import frozen

from horus_async.clock.system import perf_ns

from .pythons_collector import NET, hold_back, let_go

_log = logging.getLogger("horus_async")

OFTEN = 700
"""New objects, less those that are gone, after which it is worth a look: as Python's own threshold was for long."""
PRESSING = 10_000
PRESSING_OLD = 100_000
_YOUNG_A_MIDDLE = 10
"""Looks at new objects before those that outlived them are looked at, too."""
_THOROUGH = 3_500
"""Objects that outlived a look, after which all are looked at: few enough for the pause of a node at 1 kHz."""
_FIRST_RATE_NS = 50.0
"""For an object, until it has been measured."""
_FIXED = 500
"""A collection takes as long as so many objects even if there are none."""
_SPARE_NS = 20_000
_CAUTION = 1.5


@frozen
class GcStats:
    """What the garbage collector did in a run that decides when it runs."""

    collects: bool
    """False under ``Gc.OFF``."""
    collections: tuple[int, int, int]
    """Of new objects, of those that outlived one, and of all but the frozen ones."""
    longest_us: float
    """The longest of them, microseconds."""
    without_time: int
    """How many of them came although there was no time before the next tick, or inside a tick, as memory would have
    grown without them."""
    frozen: int
    """Objects made before the first tick, which are not looked at."""


class Collector:
    """Collects garbage for one run, from `begin` to `end`.

    Args:
        collects: Between ticks; or not at all.
    """

    def __init__(self, *, collects: bool) -> None:
        self.collects = collects
        self._collections = [0, 0, 0]
        self._longest_ns = 0
        self._without_time = 0
        self._frozen = 0
        self._rates = [_FIRST_RATE_NS] * 3
        self._survivors = 0
        """Of looks at new objects, since the middle ones were looked at."""
        self._old = 0
        """The same, since all were; those included that have gone without the collector."""
        self._live = 0
        """What all were, then."""
        self._young_looks = 0
        self._own = False
        self._automatic_ns = 0
        self._began = False

    def begin(self) -> None:
        """Take over, once what the run needs from the start is there."""
        if self._began:
            return
        self._began = True
        hold_back(collects=self.collects)
        if self.collects:
            self._frozen, self._live = gc.get_freeze_count(), len(gc.get_objects())
            gc.callbacks.append(self._notice)

    def end(self) -> None:
        """Give it back to Python as it was. Also where it never began."""
        if not self._began:
            return
        self._began = False
        if self.collects:
            gc.callbacks.remove(self._notice)
        let_go(collects=self.collects)

    def stats(self) -> GcStats:
        """Figures so far."""
        young, middle, old = self._collections
        return GcStats(
            self.collects, (young, middle, old), self._longest_ns / 1000, self._without_time, frozen=self._frozen
        )

    def is_due(self) -> bool:
        """Whether there is enough garbage to be worth a look, perhaps."""
        return self._began and self.collects and gc.get_count()[0] >= OFTEN

    def between(self, left_ns: int | None) -> None:
        """Collect what there is time for.

        Args:
            left_ns: Until the loop is needed again; None where it does not matter how long it takes.
        """
        new = gc.get_count()[0]
        for generation in self._wanted():
            if left_ns is None or self._expected_ns(generation, new) <= left_ns:
                self._collect(generation, new)
                return
        if self._old + new >= max(PRESSING_OLD, self._live // 2):
            self._collect_without_time(2, new)
        elif new >= PRESSING:
            self._collect_without_time(0, new)

    def _wanted(self) -> tuple[int, ...]:
        """Generations to look at, the most thorough look first."""
        lesser = (1, 0) if self._young_looks >= _YOUNG_A_MIDDLE else (0,)
        return (2, *lesser) if self._old >= max(_THOROUGH, self._live // 4) else lesser

    def _objects(self, generation: int, new: int) -> int:
        return _FIXED + new + (0, self._survivors, self._live + self._old)[generation]

    def _expected_ns(self, generation: int, new: int) -> float:
        return self._rates[generation] * self._objects(generation, new) * _CAUTION + _SPARE_NS

    def _collect_without_time(self, generation: int, new: int) -> None:
        self._note_without_time()
        self._collect(generation, new)

    def _note_without_time(self) -> None:
        self._without_time += 1
        if self._without_time == 1:
            _log.warning(
                "garbage had to be collected although there was no time for it before the next tick, as memory would "
                "grow without end: let nodes make fewer objects that refer to each other, or give them more time"
            )

    def _collect(self, generation: int, new: int) -> None:
        objects = self._objects(generation, new)
        began_ns = perf_ns()
        self._own = True
        try:
            found = gc.collect(generation)
        finally:
            self._own = False
        took_ns = perf_ns() - began_ns
        self._count(generation, took_ns)
        self._remember(generation, new, found)
        self._learn(generation, took_ns / objects)

    def _learn(self, generation: int, rate: float) -> None:
        """The longest of late counts, but one alone, which the machine was at something else in, not for much."""
        known = self._rates[generation]
        self._rates[generation] = min(max(rate, 0.9 * known + 0.1 * rate), 2 * known)

    def _remember(self, generation: int, new: int, found: int) -> None:
        """How many objects there are to look at from now on."""
        if generation == 0:
            survivors = max(0, new - found)
            self._survivors += survivors
            self._old += survivors
            self._young_looks += 1
            return
        self._survivors = self._young_looks = 0
        self._old = max(0, self._old + new - found)
        if generation == 2:
            self._old, self._live = 0, len(gc.get_objects())

    def _count(self, generation: int, took_ns: int) -> None:
        self._collections[generation] += 1
        self._longest_ns = max(self._longest_ns, took_ns)

    def _notice(self, phase: str, info: dict[str, Any]) -> None:
        """Python tells of each collection: of its own, too, in whichever thread made the last object."""
        if self._own:
            return
        if phase == "start":
            self._automatic_ns = perf_ns() if gc.get_count()[0] > NET else 0  # else somebody has called gc.collect()
        elif self._automatic_ns:
            self._count(info["generation"], perf_ns() - self._automatic_ns)
            self._automatic_ns = 0
            self._survivors = self._old = self._young_looks = 0
            self._note_without_time()
