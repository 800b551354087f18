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
    from horus_async.recorder import Session


class TaskMoments:
    """The moments at which the tasks of one recorded node went on, in real time.

    In real time a task goes on a little after what it waits for has come, and in a verification at once: it would see
    its node, and be cancelled, at another point of its way. Here it waits on, up to the next recorded moment.
    """

    def __init__(self, session: Session, node: str, start: int | None) -> None:
        self._of: dict[int, array[int]] = {}
        if session.deterministic:
            return
        for one in session.resumed(node, start):
            self._of.setdefault(one.task, array("q")).append(session.clock.sent_ns(one.now_ns, one.tick))

    def turn(self, task: int, turn: Turn, elapsed_ns: Callable[[], int]) -> Turn:
        """What a task awaits before it goes on.

        Args:
            task: Its number.
            turn: What it awaits anyway.
            elapsed_ns: The session's own time.
        """
        moments = self._of.get(task)
        if moments is None:
            return turn
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
            if used == len(moments):
                return  # it was cut: what it does now is not compared
            wait_ns = moments[used] - now_ns
            used += 1
            if wait_ns > 0 and not holds_token:  # time stands still for a thread, also for one that will begin
                with event_loop().scope(shield=True):  # a cancellation has a moment, too
                    await event_loop().sleep(wait_ns / NANOSECONDS)
                await turn(into_thread)

        return at_its_moment
