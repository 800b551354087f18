"""Ctrl-C, SIGTERM and SIGHUP during a run: the first ends it in order, the second at once."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Interrupted(SystemExit, KeyboardInterrupt):
    """A run was ended by a signal, everything was shut down, and the process exits with 128 + its number.

    It is a `KeyboardInterrupt` too, so that a program that catches Ctrl-C still does.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


@contextmanager
def stopped_by_signals(stop: Callable[[str], None]) -> Iterator[None]:
    """Call ``stop("signal SIGTERM")`` when such a signal comes, and raise `Interrupted` in the end.

    Does nothing outside the main thread, and leaves handlers alone that the program has set itself.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def handle(signum: int, frame: FrameType | None) -> None:
        del frame
        received.append(signum)
        if len(received) > 1 and signum == signal.SIGINT:
            nested = sys.modules.get("horus_async.engine.pace.nested")
            if len(received) > 2 or nested is None or not nested.interrupt():
                raise KeyboardInterrupt
        stop(f"signal {signal.Signals(signum).name}")

    before: dict[int, Any] = {}
    for watched in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the last: the terminal is gone
        handler = signal.getsignal(watched)
        if _is_default(handler):
            before[watched] = handler
            signal.signal(watched, handle)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if received:
        raise Interrupted(received[0])


def _is_default(handler: Any) -> bool:
    """Whether Python or the event loop set it, not the program."""
    if handler in (signal.SIG_DFL, signal.default_int_handler):
        return True
    module = getattr(getattr(handler, "func", handler), "__module__", "") or ""
    return module.startswith(("trio.", "asyncio.", "anyio."))
