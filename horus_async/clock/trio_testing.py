"""Waiting until no task of a trio run can go on, without importing ``trio.testing``.

The function is public as ``trio.testing.wait_all_tasks_blocked``, but that package imports pytest where it is
installed, which takes longer than all the rest of starting a run. It lives in trio's core; where a version of trio
has it elsewhere, ``trio.testing`` is asked after all.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import trio

from .virtual import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock


def find() -> Callable[..., Awaitable[None]]:
    """Trio's function; takes the seconds for which nothing may go on."""
    found: Any = getattr(trio._core, "wait_all_tasks_blocked", None)  # noqa: SLF001 - see above
    if found is None:
        from trio.testing import wait_all_tasks_blocked

        found = wait_all_tasks_blocked
    return found  # type: ignore[no-any-return] # trio's types are not those of its private module


wait_all_tasks_blocked = find()


def movable_clock() -> VirtualClock | MockClock | None:
    """The clock of the trio run that we are in, if it can be moved by hand."""
    try:
        clock: Any = trio.lowlevel.current_clock()
    except RuntimeError:
        return None
    testing = sys.modules.get("trio.testing")  # a clock of it means that somebody has imported it
    is_mock = testing is not None and isinstance(clock, testing.MockClock)
    return clock if is_mock or isinstance(clock, VirtualClock) else None
