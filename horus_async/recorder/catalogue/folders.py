"""Which sessions there are, and a mark of each that changes whenever one of its files does. Opens none of them."""

from __future__ import annotations

import os
from contextlib import suppress
from hashlib import blake2b
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import wall_ns
from horus_async.errors import RecordingError
from horus_async.limits.open_files import why
from horus_async.recorder.naming import MANIFEST, SUFFIX
from horus_async.recorder.read.set_file import SET, part_of
from horus_async.recorder.removal import CONDEMNED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_JUST_NOW_NS = 100_000_000
"""What changed so lately may change again and have the same times: file systems count them in steps."""


@frozen
class Found:
    """A session's folder."""

    key: bytes
    """Its path below the recordings, as the system has it."""
    name: str
    """``NAME``, or ``SET/PROGRAM``."""
    path: str
    mark: bytes
    """Of its files; empty if they cannot be looked at."""
    settled: bool
    """Whether a later change would surely change the mark."""
    problem: str = ""
    """Why it cannot be looked into."""


def find_folders(root: Path) -> Iterator[Found]:
    """Every session below a folder for recordings, those of sets each on its own, in no order.

    Raises:
        RecordingError: the folder cannot be looked into.
    """
    now_ns = wall_ns()
    try:
        with os.scandir(root) as entries:
            folders = [(entry.name, entry.path) for entry in entries if _is_folder(entry)]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise RecordingError(f"cannot look into {root}: {why(error)}") from error
    for name, path in folders:
        if name.startswith(CONDEMNED):
            continue
        found, inner = _look(name, path, now_ns)
        if found is not None:
            yield found
        for part in inner:
            one, _ = _look(f"{name}/{part}", f"{path}{os.sep}{part}", now_ns)
            if one is not None:
                yield one


def look_at(root: Path, folder: Path) -> Found | None:
    """The same of one folder below ``root``; None if it is no session's."""
    return _look(str(folder.relative_to(root)), str(folder), wall_ns())[0]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _look(name: str, path: str, now_ns: int) -> tuple[Found | None, list[str]]:
    """A session, if it is one; and the parts of a set, if it is one."""
    key = os.fsencode(name)
    rows: list[str] = []
    folders: list[str] = []
    newest = 0
    is_session = is_a_set = False
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                file = entry.name
                if file == SET:
                    is_a_set = True
                elif file == MANIFEST or file.endswith(SUFFIX):
                    is_session = True
                    status = entry.stat()
                    times = status.st_mtime_ns, status.st_ctime_ns
                    newest = max(newest, status.st_ctime_ns)
                    rows.append(f"{file} {status.st_size} {times[0]} {times[1]} {status.st_ino}")
                else:
                    folders.append(file)
    except FileNotFoundError:  # deleted meanwhile; or a link that leads nowhere
        with suppress(OSError):
            if os.path.lexists(path) and is_session:
                return Found(key, name, path, b"", settled=False, problem="a file of it cannot be found"), []
        return None, []
    except OSError as error:
        return Found(key, name, path, b"", settled=False, problem=f"cannot be read: {why(error)}"), []
    if is_a_set and "/" not in name:
        return None, [file for file in folders if part_of(file) is not None]
    if not is_session:
        return None, []
    mark = blake2b("\n".join(sorted(rows)).encode(errors="surrogateescape"), digest_size=16).digest()
    return Found(key, name, path, mark, settled=abs(now_ns - newest) > _JUST_NOW_NS), []
