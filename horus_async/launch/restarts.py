"""When a program that has ended is started again, and when it is given up. Pure: told the time, it asks nobody."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from attrs import define, field

from .files.schema import Restart

if TYPE_CHECKING:
    from .files.schema import Program


@define
class Restarts:
    """The restarts of one program so far."""

    program: Program
    count: int = 0
    given_up: bool = False
    """Whether it has been restarted too often in too short a time."""
    _recent: deque[float] = field(factory=deque)
    """When it was restarted, within the window."""
    _doublings: int = 0

    def after(self, *, failed: bool, now: float, ran: float) -> float | None:
        """Seconds until it is started again; None if it is not.

        Args:
            failed: Whether it ended badly.
            now: Seconds, on any clock that never steps.
            ran: Seconds for which it ran; as long as the window, and the waiting begins anew.
        """
        program = self.program
        if program.restart is Restart.NEVER or (program.restart is Restart.ON_FAILURE and not failed):
            return None
        while self._recent and now - self._recent[0] > program.restart_window:
            self._recent.popleft()
        if len(self._recent) >= program.max_restarts:
            self.given_up = True
            return None
        if ran >= program.restart_window:
            self._doublings = 0
        wait = min(program.backoff * 2.0 ** min(self._doublings, 60), program.backoff_limit)
        self._doublings += 1
        self._recent.append(now + wait)
        self.count += 1
        return wait
