"""What the system says of processes; see proc(5). Nothing where it has no such folder, as on macOS."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

PROC = Path("/proc")
_INTERPRETER = "python"
_MOST = 200


@frozen
class Process:
    """One process at one moment."""

    pid: int
    program: str
    """Its command line without the interpreter and that one's options; empty where it is not known."""
    memory: int | None
    """Bytes that it has in memory."""
    cpu_seconds: float | None
    """Seconds of processor time that it has taken so far."""
    began: int
    """Tells two processes of one number apart."""


def look_at(pid: int, folder: Path = PROC) -> Process | None:
    """What is known of a process; None if there is none of that number."""
    if not (folder / "self").exists():
        return Process(pid, "", None, None, 0) if _lives(pid) else None
    place = folder / str(pid)
    try:
        fields = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
        pages = int((place / "statm").read_text().split()[1])
        words = (place / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        if fields[0] == "Z":
            return None  # it has ended, and nobody has asked how
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return Process(pid, program_of(words), pages * os.sysconf("SC_PAGE_SIZE"), seconds, int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def program_of(words: list[str]) -> str:
    """A command line as people call it: ``robot.py --fast`` for ``/usr/bin/python3 -u /home/me/robot.py --fast``."""
    words = words or [""]
    if Path(words[0]).name.startswith(_INTERPRETER):
        rest = words[1:]
        while rest and rest[0].startswith("-"):
            if rest[0] in ("-m", "-c"):
                break
            rest = rest[2:] if rest[0] in ("-W", "-X") else rest[1:]
        words = rest or words
        if words[0] == "-c":
            words = ["python -c", *words[2:]]
        elif words[0] == "-m":
            words = words[1:]
    if len(words[0]) > 1 and words[0].startswith("/"):
        words = [Path(words[0]).name, *words[1:]]
    return " ".join(words)[:_MOST]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
