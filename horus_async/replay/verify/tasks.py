"""When tasks of live nodes go on in a verification: at the moments at which the recorded ones did."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import NANOSECONDS
from horus_async.engine.pace.pace import nowhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.engine.pace.pace import Turn
    from horus_async.engine.work import Work
    from horus_async.recorder import Session


class TaskMoments:
    """The moments at which the tasks of one recorded node went on, in real time.

    In real time a task goes on a little after what it waits for has come, and in a verification at once: it would see
    its node, and be cancelled, at another point of its way. Here it waits on, up to the next recorded moment; where the
    recorded one did not go on, or only because the run ended, until it is cut as well.
    """

    def __init__(self, session: Session, node: str, start: int | None) -> None:
        self._of: dict[int, array[int]] = {}
        self._cuts: dict[int, int] = {}
        """By task, the first of its moments at which it was cancelled, as the run ended or its node began anew."""
        if session.deterministic:
            return
        for one in session.resumed(node, start):
            moments = self._of.setdefault(one.task, array("q"))
            if one.cut:
                self._cuts.setdefault(one.task, len(moments))
            moments.append(session.clock.sent_ns(one.now_ns, one.tick))

    def turn(self, work: Work, turn: Turn, elapsed_ns: Callable[[], int]) -> Turn:
        """What a task awaits before it goes on.

        Args:
            work: The task.
            turn: What it awaits anyway.
            elapsed_ns: The session's own time.
        """
        moments = self._of.get(work.number)
        if moments is None:
            return turn
        cut = self._cuts.get(work.number, len(moments))
        used = 0

        async def at_its_moment(into_thread: Callable[[], bool] = nowhere) -> None:
            nonlocal used
            holds_token = False

            def seen() -> bool:
                nonlocal holds_token
                holds_token = into_thread()
                return holds_token

            await turn(seen)
            now_ns = elapsed_ns()
            if used:  # it begins when it is started, perhaps a little later than the recorded one
                used = bisect_left(moments, now_ns, used)
            if used >= cut and not work.cut and not holds_token:
                await work.until_cut()
                await turn(into_thread)
                used += 1
                await event_loop().checkpoint()  # here it is cancelled, if it stands in no shield
                return
            if used >= len(moments):
                return  # what it does now is not compared
            wait_ns = moments[used] - now_ns
            used += 1
            if wait_ns > 0 and not holds_token:  # time stands still for a thread, also for one that will begin
                with event_loop().scope(shield=True):  # a cancellation has a moment, too
                    await event_loop().sleep(wait_ns / NANOSECONDS)
                await turn(into_thread)

        return at_its_moment
