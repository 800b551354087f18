"""A set: the sessions of several programs that ran together, under one name. ``set.json`` in its folder says so.

``<recordings>/<NAME>/`` holds ``set.json``, a session for each process of each program (``arm``, and after restarts
``arm.2``, ``arm.3``), and what the programs printed (``arm.log``).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.errors import DamagedRecordingError
from horus_async.recorder.limits import read_json_file
from horus_async.recorder.naming import MANIFEST, SUFFIX
from horus_async.recorder.records import check_version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SET = "set.json"
"""The file that describes a set."""

LOG_SUFFIX = ".log"
_PART = re.compile(r"([A-Za-z0-9_-]{1,64})(?:\.([0-9]{1,9}))?")


@frozen(kw_only=True)
class Part:
    """One process of a program."""

    program: str
    number: int
    """From 1."""
    path: Path
    """Of its session, which is not there if the process never came to record."""
    started_at: str = ""
    """When it was started; ISO 8601, UTC. Empty where this is lost."""
    ended_at: str | None = None
    exit_code: int | None = None
    """Or minus the signal that ended it; None if it is not known."""
    why: str = ""
    """How it ended."""

    @property
    def session(self) -> str:
        """The name of its session within the set."""
        return self.path.name

    @property
    def is_there(self) -> bool:
        """Whether it has a session."""
        return _is_session(self.path)


@frozen(kw_only=True)
class RecordedSet:
    """A set, as far as it can be read."""

    name: str
    path: Path
    started_at: str
    """ISO 8601, UTC; empty if it is lost."""
    ended_at: str | None
    """None if launch was killed, or still runs."""
    file: str
    """The launch file."""
    apps: dict[str, str]
    """The APP of each program."""
    parts: tuple[Part, ...]
    """By program, and of each in order."""
    problem: str = ""
    """Why ``set.json`` cannot be read; the sessions can."""


def is_set(folder: Path) -> bool:
    """Whether a folder is a set's."""
    try:
        return (folder / SET).is_file()
    except (OSError, ValueError):
        return False


def part_of(name: str) -> tuple[str, int] | None:
    """Program and number of a session's name in a set; None if it cannot be one."""
    match = _PART.fullmatch(name)
    return None if match is None else (match[1], int(match[2] or 1))


def read_set(folder: Path) -> RecordedSet:
    """What a set holds: the sessions that are there, and what ``set.json`` says of them.

    Raises:
        UnsupportedVersionError: another format version wrote it.
    """
    problem, fields = "", {}
    try:
        fields = _fields(folder / SET)
    except DamagedRecordingError as error:
        problem = str(error)
    programs = fields.get("programs")
    programs = programs if isinstance(programs, dict) else {}
    told = {part.session: part for part in _told(folder, programs)}
    for path in sorted(folder.iterdir()):
        found = part_of(path.name)
        if found is not None and path.name not in told and _is_session(path):
            told[path.name] = Part(program=found[0], number=found[1], path=path)
    order = list(programs)
    places = {name: place for place, name in enumerate(order)}
    parts = sorted(told.values(), key=lambda part: (places.get(part.program, len(order)), part.program, part.number))
    ended = fields.get("ended_at")
    return RecordedSet(
        name=folder.name,
        path=folder,
        started_at=str(fields.get("started_at") or ""),
        ended_at=ended if isinstance(ended, str) else None,
        file=str(fields.get("file") or ""),
        apps={name: str(table.get("app", "")) for name, table in programs.items() if isinstance(table, dict)},
        parts=tuple(parts),
        problem=problem,
    )


def _fields(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(read_json_file(path))
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedRecordingError(f"{path} cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise DamagedRecordingError(f"{path} does not describe a set: it is not a JSON object")
    check_version(fields, "set")
    return fields


def _told(folder: Path, programs: dict[str, Any]) -> Iterator[Part]:
    """The parts that ``set.json`` tells of; a name that leads elsewhere is none."""
    for table in programs.values():
        rows = table.get("parts") if isinstance(table, dict) else None
        for row in rows if isinstance(rows, list) else ():
            name = row.get("session") if isinstance(row, dict) else None
            found = part_of(name) if isinstance(name, str) else None
            if found is None or not isinstance(name, str):
                continue
            code, ended = row.get("exit_code"), row.get("ended_at")
            yield Part(
                program=found[0],
                number=found[1],
                path=folder / name,
                started_at=str(row.get("started_at") or ""),
                ended_at=ended if isinstance(ended, str) else None,
                exit_code=code if isinstance(code, int) else None,
                why=str(row.get("why") or ""),
            )


def _is_session(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file() or next(folder.glob(f"*{SUFFIX}"), None) is not None
    except OSError:
        return False
