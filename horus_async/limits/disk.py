"""Waiting for the disk: for a stated time, or where nothing may be lost for as long as it takes.

After a second signal nobody waits for it any more. Time is counted in pauses, so that a process that was stopped
meanwhile has not waited.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from .threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

_Made = TypeVar("_Made")

START_PATIENCE = 1.0
"""Seconds that the beginning of a run waits for the disk."""
END_PATIENCE = 2.0
"""Seconds that the end of a run waits for it."""
_KNOWN_SLOW = 0.1
"""Seconds for what else has to wait for a disk of which that has been too little."""
_HURRIED = 0.5
"""Seconds that a disk has after a second signal: enough for one that does answer."""
_PAUSE = 0.05
_hurried = threading.Event()
_slow_at_start, _slow_at_end = threading.Event(), threading.Event()

_log = logging.getLogger("horus_async")


def hurry() -> None:
    """Nobody waits for the disk any more: a second signal has come. From any thread and signal handler."""
    _hurried.set()


def calm() -> None:
    """A run begins, of which no signal has come yet, and of whose disk nothing is known."""
    _hurried.clear()
    _slow_at_start.clear()
    _slow_at_end.clear()


def is_hurried() -> bool:
    """Whether nobody is to wait for the disk."""
    return _hurried.is_set()


def wait(is_done_within: Callable[[float], bool], seconds: float) -> bool:
    """Wait for so many seconds; returns whether it is done. Less long once somebody is in a hurry.

    Args:
        is_done_within: Waits as many seconds at most, and tells whether it is done.
        seconds: How long.
    """
    for pause in range(1, 1 + max(1, round(seconds / _PAUSE))):
        if is_done_within(_PAUSE):
            return True
        if _hurried.is_set() and pause * _PAUSE >= _HURRIED:
            break
    return False


def wait_at_start(is_done_within: Callable[[float], bool]) -> bool:
    """Wait as the beginning of a run does; returns whether it is done."""
    return _wait_briefly(is_done_within, START_PATIENCE, _slow_at_start)


def wait_at_end(is_done_within: Callable[[float], bool]) -> bool:
    """Wait as the end of a run does; returns whether it is done."""
    return _wait_briefly(is_done_within, END_PATIENCE, _slow_at_end)


def _wait_briefly(is_done_within: Callable[[float], bool], seconds: float, slow: threading.Event) -> bool:
    """The same for whatever waits for one disk at one time: together it is not much more than ``seconds``."""
    done = wait(is_done_within, min(seconds, _KNOWN_SLOW) if slow.is_set() else seconds)
    if done:
        slow.clear()
    else:
        slow.set()
    return done


def wait_to_the_end(is_done_within: Callable[[float], bool], what: str) -> bool:
    """Wait however long it takes, and say what for; returns whether it is done, which a second signal prevents."""
    if wait(is_done_within, END_PATIENCE):
        return True
    while not _hurried.is_set():
        _log.warning("waiting for the disk: %s; a second Ctrl-C or SIGTERM gives it up", what)
        if wait(is_done_within, 1000 * END_PATIENCE):
            return True
    return False


class Beside(Generic[_Made]):
    """Work that waits for the disk, in a thread of its own, so that nobody else has to.

    Raises:
        LimitError: the system allows no thread for it.
    """

    def __init__(self, work: Callable[[], _Made], name: str) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._made: _Made
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        start_thread(self._thread)

    def is_done_within(self, seconds: float | None) -> bool:
        """Wait as long at most; whether it is done."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> _Made:
        """What it made, or raises what it raised, once it is done."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made

    def _run(self) -> None:
        try:
            self._made = self._work()
        except BaseException as error:  # noqa: BLE001 - raised where it is asked for
            self._error = error
