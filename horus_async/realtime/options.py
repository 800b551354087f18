"""What a scheduler may be told of real time."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from horus_async.errors import ConfigurationError
from horus_async.validators import argument, is_whole, is_whole_from

LOWEST_PRIORITY, HIGHEST_PRIORITY = 1, 98
"""Linux has one more, 99: the watchdog of a loop at 98 takes it."""


_is_priority = argument(
    lambda value: is_whole(value) and LOWEST_PRIORITY <= value <= HIGHEST_PRIORITY,
    f"give {LOWEST_PRIORITY} to {HIGHEST_PRIORITY}; the watchdog takes the priority above the loop's",
)
_is_cpu = argument(
    lambda value: value is None or is_whole_from(0)(value), "give the number of a CPU, from 0, or None for any"
)


@frozen
class Realtime:
    """A run whose loop comes before everything else on the machine: ``SCHED_FIFO``, and memory that is never paged out.

    It is so from the first tick, when every ``init`` has ended, to the end of the last ``shutdown``. Linux only, and
    only where it is permitted: otherwise the run is refused before a node starts.
    """

    cpu: int | None = field(default=None, validator=_is_cpu)
    """The only CPU that the loop runs on; None for whichever is free. Other threads and processes keep theirs."""
    priority: int = field(default=50, validator=_is_priority)
    """1 to 98. The interrupts of a PREEMPT_RT kernel are handled at 50; a robot that must wait for its devices stays
    at or below that."""


def realtime(value: Any) -> Realtime:
    """What a scheduler's option of that name means: True for the defaults.

    Raises:
        ConfigurationError: It means nothing.
    """
    if value is True:
        return Realtime()
    if not isinstance(value, Realtime):
        raise ConfigurationError(f"realtime={value!r}: give True, Realtime(cpu=..., priority=...), or None")
    return value
