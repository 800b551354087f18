"""Which requests of a trace may be replayed apart from the others, in another process.

A policy without ``reset`` is taken to answer each request by itself. One with ``reset`` holds state, so what goes on
between two resets stays together: a unit begins where an episode begins and none that came before goes on.
"""

from __future__ import annotations

from itertools import islice, pairwise
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.policy.trace.reader import TraceReader

_PIECE = 32
"""Requests that a process gets at once, at most, of a policy that answers each by itself."""
_PIECES_EACH = 4


@frozen
class Unit:
    """Requests ``first`` to ``last`` of a trace, counted from 0, without ``last``."""

    first: int
    last: int


@frozen
class Plan:
    """How many requests there are, and before which of them a replay may begin anew."""

    count: int
    cuts: list[int]

    def units(self, *, stateful: bool, jobs: int) -> Iterator[Unit]:
        """All requests, in order, in units for ``jobs`` processes."""
        size = max(1, min(_PIECE, self.count // (_PIECES_EACH * jobs)))
        places = self.cuts if stateful else range(0, self.count, size)
        return (Unit(*pair) for pair in pairwise([0, *(place for place in places if place), self.count]) if self.count)


def plan_of(trace: TraceReader, first: int) -> Plan:
    """Read the trace, or its ``first`` requests (0: all), to find out where it may be cut.

    Raises:
        TraceError: the trace is damaged.
    """
    begins: dict[str, int] = {}
    ends: dict[str, int] = {}
    count = 0
    for number, request in enumerate(islice(trace.requests(), first or None)):
        count = number + 1
        if request.episode is not None:
            begins.setdefault(request.episode, number)
            ends[request.episode] = number
    cuts, busy_until = [], -1
    for episode, begin in begins.items():
        if busy_until < begin:
            cuts.append(begin)
        busy_until = max(busy_until, ends[episode])
    return Plan(count, cuts)
