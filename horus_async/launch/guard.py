"""Ends what launch leaves behind when it is killed: a small process that waits for the end of a pipe.

Only launch has the other end, so the pipe ends with it, whatever ends it, on every system. Through it the guard is told
which process groups there are. It is in a session of its own, so that what kills the group of launch does not reach it.

Linux could do this without a process (``PR_SET_PDEATHSIG``), but by the thread that started the program and not by the
process, and not for what the program itself has started.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

_PROCESS = Path(__file__).with_name("guard_process.py")


class Guard:
    """The end of the pipe that launch has, as a context."""

    def __init__(self) -> None:
        reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)  # 64 kB of lines without a reader: it is gone
        try:
            self._process = subprocess.Popen(  # noqa: S603 - a file of ours
                [sys.executable, "-I", "-S", str(_PROCESS)],
                stdin=reader,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)

    def watch(self, group: int, grace: float) -> None:
        """End this process group, too; ``grace`` seconds between SIGTERM and SIGKILL."""
        self._say(f"+{group} {grace}\n")

    def forget(self, group: int) -> None:
        """There is no such group any more."""
        self._say(f"-{group}\n")

    def _say(self, line: str) -> None:
        with suppress(BrokenPipeError, BlockingIOError):  # somebody has killed it
            os.write(self._writer, line.encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._writer)
        self._process.wait()
