"""Keys as they are pressed, and the terminal left as it was, whatever happens."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_ESCAPES = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down", "\x1b": "escape"}


@define
class Keyboard:
    """Gives keys one by one without their being shown. Without a terminal on standard input there are none."""

    stop_asked: bool = False
    """Ctrl-Z was pressed, and `stop` has to be called."""
    _descriptor: int | None = None
    _before: Any = None
    _handler: Any = field(default=None)

    @contextmanager
    def attended(self) -> Iterator[None]:
        """Take keys meanwhile."""
        self._begin()
        try:
            yield
        finally:
            self._end()

    def keys(self, seconds: float) -> list[str]:
        """The keys that have been pressed, as soon as there are any; none after so many seconds."""
        if self._descriptor is None:
            select.select([], [], [], seconds)
            return []
        if not select.select([self._descriptor], [], [], seconds)[0]:
            return []
        data = os.read(self._descriptor, 1024)
        if not data:  # nobody is there any more
            self._end()
            return ["q"]
        return list(_split(data.decode(errors="ignore")))

    def stop(self, leave: Callable[[], None], come_back: Callable[[], None]) -> None:
        """Stop, as Ctrl-Z asks, with the terminal as it was before; go on when somebody says so."""
        self.stop_asked = False
        leave()
        self._end()
        os.kill(os.getpid(), signal.SIGTSTP)  # here we stand, until SIGCONT
        self._begin()
        come_back()

    def _begin(self) -> None:
        self._handler = signal.signal(signal.SIGTSTP, self._ask_to_stop)
        with suppress(termios.error, ValueError, OSError):
            if sys.stdin.isatty():
                descriptor = sys.stdin.fileno()
                self._before = termios.tcgetattr(descriptor)
                self._descriptor = descriptor
                tty.setcbreak(descriptor, termios.TCSADRAIN)

    def _end(self) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGTSTP, self._handler)
            self._handler = None
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(termios.error):  # it may be gone
                termios.tcsetattr(descriptor, termios.TCSADRAIN, self._before)

    def _ask_to_stop(self, signum: int, at: FrameType | None) -> None:
        del signum, at
        self.stop_asked = True


def _split(text: str) -> Iterator[str]:
    while text:
        escape = next((one for one in _ESCAPES if len(one) > 1 and text.startswith(one)), None)
        if escape is None and text.startswith("\x1b"):
            if len(text) > 1 and text[1] in "[O":  # a key that means nothing here
                end = next((i for i, letter in enumerate(text[2:], 2) if letter.isalpha() or letter == "~"), len(text))
                text = text[end + 1 :]
                continue
            escape = "\x1b"
        if escape is not None:
            yield _ESCAPES[escape]
            text = text[len(escape) :]
        else:
            yield text[0]
            text = text[1:]
