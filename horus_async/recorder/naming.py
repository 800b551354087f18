"""Where recordings are kept, and which names they may have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import platformdirs

from horus_async.clock.system import wall_ns
from horus_async.errors import SessionNameError

SUFFIX = ".jsonl.lz4"
"""What every file of lines in a session ends with."""

MANIFEST = "session.json"
"""The file that describes a session."""

SCHEDULER_STEM, EXTERNAL_STEM = "scheduler", "external"
"""How the names of files that belong to no node begin."""

_SESSION = re.compile(r"[A-Za-z0-9_.\-]{1,255}")
_STEM_LIMIT = 180


def recordings_root(override: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the sessions.

    That is ``override``, else ``HORUS_RECORDINGS_DIR``, else ``horus/recordings`` in the platform's user data
    directory. ``~`` is expanded. Nothing is created.
    """
    chosen = override if override is not None else os.environ.get("HORUS_RECORDINGS_DIR") or None
    if chosen is not None:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_data_dir("horus", appauthor=False)) / "recordings"


def check_session_name(name: Any) -> str:
    """Return ``name`` if a session may have it; it becomes the name of a folder.

    Raises:
        SessionNameError: not 1 to 255 of ``A-Z a-z 0-9 _ . -``, or ``..`` in it, or only a dot.
    """
    if not isinstance(name, str) or not _SESSION.fullmatch(name) or ".." in name or name == ".":
        raise SessionNameError(
            f"session name {ascii(name)[:80]} cannot be used: it takes 1 to 255 of A-Z a-z 0-9 _ . - and no '..'"
        )
    return name


def default_session_name(started_at_ns: int | None = None) -> str:
    """A name from the time (UTC) and this process: ``recording_20261121T031701.502_p1234``."""
    from datetime import UTC, datetime

    ns = wall_ns() if started_at_ns is None else started_at_ns
    moment = datetime.fromtimestamp(ns // 1_000_000_000, UTC)
    return f"recording_{moment:%Y%m%dT%H%M%S}.{ns // 1_000_000 % 1000:03d}_p{os.getpid()}"


def file_name(node: str, identity: str) -> str:
    """The file name of a node, unique among nodes and different from the scheduler's and the external file's.

    ``/`` becomes ``,``; other characters outside ``A-Z a-z 0-9 _ . - ~`` are written ``%XX`` as in a URL, and so are
    a leading dot and the first letter of the two reserved names. A name that is too long is cut and ends in ``+`` and a
    hash of the whole.
    """
    stem = quote(node, safe="/").replace("/", ",")
    if stem in {SCHEDULER_STEM, EXTERNAL_STEM} or stem.startswith("."):
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
    """The file name of the scheduler or of the external messages."""
    return f"{stem}@{identity}{SUFFIX}"
