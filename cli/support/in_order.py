"""Lets a command clean up when it is ended by a signal."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Let SIGTERM, which ``timeout`` sends, and SIGHUP, of a closed terminal, undo what is half done, close the rest.

    By default they would leave parts of files and sessions, processes, and topics in shared memory.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    unhandled = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for one in unhandled:
        signal.signal(one, lambda signum, _: sys.exit(128 + signum))
    try:
        yield
    finally:
        for one in unhandled:
            signal.signal(one, signal.SIG_DFL)
