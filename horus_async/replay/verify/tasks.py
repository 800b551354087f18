"""When tasks of live nodes go on in a verification: at the moments at which the recorded ones did."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import NANOSECONDS
from horus_async.engine.pace.pace import nowhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.engine.pace.pace import Turn
    from horus_async.engine.work import Work
    from horus_async.recorder import Session


@define
class _Recorded:
    """When one recorded task went on."""

    at_ns: array[int] = field(factory=lambda: array("q"))
    """In the session's own time."""
    cancelled: set[int] = field(factory=set)
    """At which of these it was cancelled."""


class TaskMoments:
    """The moments at which the tasks of one recorded node went on, in real time.

    In real time a task goes on a little after what it waits for has come, and in a verification at once: it would see
    its node, and be cancelled, at another point of its way. Here it waits on, up to the next recorded moment, and where
    the recorded one was cancelled it is, too. Where that waited to the end, it waits for ever after the last one; where
    it had ended by itself before, it goes on, and what it sends is more than was recorded.
    """

    def __init__(self, session: Session, node: str, start: int | None) -> None:
        self._of: dict[int, _Recorded] = {}
        self._from_start = start is None
        self._breaks_off = session.files[node].footer is None
        """Whether the recording does, as after a kill."""
        if session.deterministic:
            return
        for one in session.resumed(node, start):
            recorded = self._of.setdefault(one.task, _Recorded())
            if one.cancelled:
                recorded.cancelled.add(len(recorded.at_ns))
            recorded.at_ns.append(session.clock.sent_ns(one.now_ns, one.tick))

    def turn(self, work: Work, turn: Turn, elapsed_ns: Callable[[], int]) -> Turn:
        """What a task awaits before it goes on.

        Args:
            work: The task.
            turn: What it awaits anyway.
            elapsed_ns: The session's own time.
        """
        recorded = self._of.get(work.number)
        if recorded is None:
            return turn
        used = late_ns = 0

        async def at_its_moment(into_thread: Callable[[], bool] = nowhere) -> None:
            nonlocal used, late_ns
            holds_token = False

            def seen() -> bool:
                nonlocal holds_token
                holds_token = into_thread()
                return holds_token

            await turn(seen)
            moments, loop = recorded.at_ns, event_loop()
            now_ns = elapsed_ns()
            if used:  # it begins when it is started, perhaps a little later than the recorded one
                used = bisect_left(moments, now_ns - late_ns, used)
            if used == len(moments):
                waited = self._breaks_off or len(moments) - 1 in recorded.cancelled
                if waited and not holds_token and not work.is_being_cancelled:
                    with loop.scope(shield=True) as work.held:  # what it waited for may have been a time-out
                        await loop.sleep(math.inf)
                    await loop.checkpoint()
                return
            cancelled = used in recorded.cancelled
            wait_ns = moments[used] - now_ns
            used += 1
            late_ns = max(0, -wait_ns) if self._from_start else 0  # before the first tick nothing takes time here
            if wait_ns > 0 and not holds_token:  # time stands still for a thread, also for one that will begin
                with loop.scope(shield=True):  # a cancellation has a moment, too
                    await loop.sleep(wait_ns / NANOSECONDS)
                await turn(into_thread)
            if cancelled and not work.is_being_cancelled and work.scope is not None:
                work.cancel()
                await loop.checkpoint()

        return at_its_moment
