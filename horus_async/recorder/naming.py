"""Where recordings are kept, and which names they may have."""

from __future__ import annotations

import itertools
import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from horus_async.clock.system import wall_ns
from horus_async.errors import RecordingError, SessionNameError
from horus_async.folders import NoHomeError, expanded, user_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX = ".jsonl.lz4"
"""What every file of lines in a session ends with."""

MANIFEST = "session.json"
"""The file that describes a session."""

CATALOGUE = ".catalogue.sqlite3"
"""What is known of all sessions, in the folder that holds them, once somebody has looked for some. It can be deleted at
any time."""

SCHEDULER_STEM, EXTERNAL_STEM, LOG_STEM = "scheduler", "external", "log"
"""How the names of files that belong to no node begin."""

KEPT_STEM = "kept"
"""The same of the file of earlier messages in a recording of which only the last seconds are kept."""

WAY_OUT = "set HORUS_RECORDINGS_DIR or recordings_dir= to a folder of yours"
"""What can be done where the usual folder does not do."""

_SESSION = re.compile(r"[A-Za-z0-9_.\-]{1,255}")
_STEM_LIMIT = 180

UNNAMED = "scheduler"
"""What a scheduler is called that was given no name."""


def recordings_root(override: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the sessions.

    That is ``override``, else ``HORUS_RECORDINGS_DIR``, else ``horus/recordings`` in the platform's user data
    directory. ``~`` is expanded. Nothing is created.

    Raises:
        RecordingError: there is no home folder.
    """
    chosen = override if override is not None else os.environ.get("HORUS_RECORDINGS_DIR") or None
    try:
        return user_folder("data") / "recordings" if chosen is None else expanded(chosen)
    except NoHomeError as error:
        raise RecordingError(f"there is no place for recordings: {error}; {WAY_OUT}") from None


def check_session_name(name: Any) -> str:
    """Return ``name`` if a session may have it; it becomes the name of a folder.

    Raises:
        SessionNameError: not 1 to 255 of ``A-Z a-z 0-9 _ . -``, or ``..`` in it, or only a dot.
    """
    if not isinstance(name, str) or not is_session_name(name):
        raise SessionNameError(
            f"session name {ascii(name)[:80]} cannot be used: it takes 1 to 255 of A-Z a-z 0-9 _ . - and no '..'"
        )
    return name


def default_session_names(started_at_ns: int | None = None, scheduler: str = UNNAMED) -> Iterator[str]:
    """Names from the time (UTC) and this process: ``recording_20261121T031701.502_p1234``, then the same with ``_2``...

    A scheduler that has a name gives it to its recordings, in the place of ``recording``.

    The first that is free is to be taken: several runs may start at the same time.
    """
    from datetime import UTC, datetime

    ns = wall_ns() if started_at_ns is None else started_at_ns
    moment = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    first = scheduler if scheduler != UNNAMED and len(scheduler) <= _STEM_LIMIT and is_session_name(scheduler) else ""
    name = f"{first or 'recording'}_{moment:%Y%m%dT%H%M%S}.{ns // 1_000_000 % 1000:03d}_p{os.getpid()}"
    yield name
    yield from (f"{name}_{number}" for number in itertools.count(2))


def file_name(node: str, identity: str) -> str:
    """The file name of a node, unique among nodes and different from those of files that belong to no node.

    ``/`` becomes ``,``; other characters outside ``A-Z a-z 0-9 _ . - ~`` are written ``%XX`` as in a URL, and so are
    a leading dot and the first letter of the four reserved names. A name that is too long is cut and ends in ``+`` and
    a hash of the whole.
    """
    stem = quote(node, safe="/").replace("/", ",")
    if stem in {SCHEDULER_STEM, EXTERNAL_STEM, LOG_STEM, KEPT_STEM} or stem.startswith("."):
        stem = f"%{ord(stem[0]):02X}{stem[1:]}"
    if len(stem) > _STEM_LIMIT:
        from hashlib import blake2b

        stem = f"{stem[:_STEM_LIMIT]}+{blake2b(node.encode(errors='surrogatepass'), digest_size=8).hexdigest()}"
    return f"{stem}@{identity}{SUFFIX}"


def part_path(first: Path, part: int) -> Path:
    """The path of a rotated file, counted from 1, given that of the first: ``…@<id>.<part>.jsonl.lz4``."""
    return first.with_name(f"{first.name.removesuffix(SUFFIX)}.{part}{SUFFIX}")


def missing_part_name(known: Path, part: int) -> str:
    """The name of a missing part, given the path of one that is there."""
    stem, _, rest = known.name.removesuffix(SUFFIX).rpartition("@")
    number = f".{part}" if part else ""
    return f"{stem}@{rest.partition('.')[0]}{number}{SUFFIX}"


def plain_file_name(stem: str, identity: str) -> str:
    """The file name of the scheduler, of the external messages, or of the log."""
    return f"{stem}@{identity}{SUFFIX}"


def has_catalogue(folder: Path) -> bool:
    """Whether there is one beside a session, or beside the set that it belongs to."""
    return any(os.path.lexists(above / CATALOGUE) for above in (folder.parent, folder.parent.parent))


def is_session_name(name: str) -> bool:
    """Whether a session may have this name."""
    return _SESSION.fullmatch(name) is not None and ".." not in name and name != "."
