"""A command at a terminal of some width."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

from tests.engine.programs import environment

if TYPE_CHECKING:
    from pathlib import Path


def at_a_terminal(*arguments: str, columns: int = 80, cwd: Path | None = None, **more: str) -> tuple[int, list[str]]:
    """Run ``horus-async`` at a terminal; its exit code, and the lines as they come there, without colours."""
    code, text = at_a_terminal_raw(*arguments, columns=columns, cwd=cwd, **more)
    return code, re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", text).splitlines()


def at_a_terminal_raw(*arguments: str, columns: int = 80, cwd: Path | None = None, **more: str) -> tuple[int, str]:
    """Run ``horus-async`` at a terminal; its exit code, and all that comes there."""
    ours, theirs = os.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = {name: value for name, value in environment(**more).items() if name != "COLUMNS"}
        command = [sys.executable, "-m", "horus_async", *arguments]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ, cwd=cwd)
    finally:
        os.close(theirs)
    with process:
        text = b""
        try:
            while piece := os.read(ours, 65536):
                text += piece
        except OSError as error:  # what Linux says when the last one has closed the other end
            if error.errno != errno.EIO:
                raise
        finally:
            os.close(ours)
    return process.returncode, text.decode()
