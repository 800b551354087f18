"""Lets a command clean up when it is ended by a signal."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from horus_async.cli.terminal.commands import Group

from .errors import clear_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click


class OrderedGroup(Group):
    """A group of commands that work with running programs: errors are one line, and signals end them in order."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call a command."""
        with clear_errors(), ended_in_order():
            return super().invoke(ctx)


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
