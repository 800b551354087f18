"""What is kept of a file that was imported, beside its messages: names, metadata, attachments.

``origin.json`` in the session's folder is the index; the attachments are files in ``attachments/``, under names that
are safe anywhere.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any

import orjson
from attrs import asdict, define, field, frozen

from horus_async.errors import DamagedRecordingError
from horus_async.folders import make_private

from .limits import JSON_FILE, JSON_FILE_LIMIT, read_json_file

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

ORIGIN = "origin.json"
ATTACHMENTS = "attachments"

_UNUSABLE = re.compile(r"[^A-Za-z0-9_.\-]")
_LONGEST = 120


@frozen
class Attachment:
    """A file that was in the imported one."""

    name: str
    """As it was there."""
    media_type: str
    log_time_ns: int
    create_time_ns: int
    bytes: int
    file: str
    """Its name in ``attachments/``."""


@frozen
class Metadata:
    """A named record of texts or other values that JSON has."""

    name: str
    values: dict[str, Any]


@define
class Origin:
    """What an imported session keeps of its file."""

    file: str = ""
    """The name of the file."""
    topics: dict[str, str] = field(factory=dict)
    """Topics with another name in the session: from that to the one in the file."""
    nodes: dict[str, str] = field(factory=dict)
    """The same of publishers."""
    metadata: list[Metadata] = field(factory=list)
    attachments: list[Attachment] = field(factory=list)

    def topic(self, name: str) -> str:
        """What a topic of the session was called in the file."""
        return self.topics.get(name, name)

    def node(self, name: str) -> str:
        """What a node of the session was called in the file."""
        return self.nodes.get(name, name)


def write_origin(folder: Path, origin: Origin) -> None:
    """Write the index into a session's folder.

    Raises:
        OSError: it cannot be written.
    """
    fields = {"schema_version": 1, **asdict(origin)}
    text = orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"
    if len(text) > JSON_FILE_LIMIT:
        raise OSError(errno.EFBIG, f"its metadata is more than {JSON_FILE_LIMIT} bytes, the most that is kept")
    if (what := JSON_FILE.exceeded_by(text)) is not None:
        raise OSError(errno.EFBIG, f"its metadata has {what}, the most that is kept")
    _write(folder / ORIGIN, text)


def write_attachment(folder: Path, taken: Collection[str], name: str, data: bytes) -> str:
    """Write an attachment into a session's folder; the name of its file, which is none of those ``taken``.

    Raises:
        OSError: it cannot be written.
    """
    within = folder / ATTACHMENTS
    make_private(within)
    wanted = file = _UNUSABLE.sub("_", name)[-_LONGEST:].lstrip(".-") or "attachment"
    lower = {other.lower() for other in taken}  # some file systems do not tell cases apart
    number = 2
    while file.lower() in lower:
        file = f"{number}_{wanted}"
        number += 1
    _write(within / file, data)
    return file


def read_origin(folder: Path) -> Origin | None:
    """What a session keeps of the file it was imported from; None if it was recorded here.

    Raises:
        DamagedRecordingError: the index cannot be read.
    """
    path = folder / ORIGIN
    try:
        fields = orjson.loads(read_json_file(path))
        return Origin(
            str(fields.get("file", "")),
            {str(name): str(original) for name, original in fields.get("topics", {}).items()},
            {str(name): str(original) for name, original in fields.get("nodes", {}).items()},
            [Metadata(str(record["name"]), dict(record["values"])) for record in fields.get("metadata", ())],
            [_attachment(record) for record in fields.get("attachments", ())],
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise DamagedRecordingError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def attachment_path(folder: Path, attachment: Attachment) -> Path:
    """Where an attachment of a session lies."""
    return folder / ATTACHMENTS / attachment.file


def _attachment(fields: dict[str, Any]) -> Attachment:
    file = str(fields["file"])
    if _UNUSABLE.search(file) or file.startswith(".") or not file:  # it may come from elsewhere: no paths
        raise ValueError(f"{file!r:.80} is not the name of an attachment")
    times = int(fields["log_time_ns"]), int(fields["create_time_ns"])
    return Attachment(str(fields["name"]), str(fields["media_type"]), *times, int(fields["bytes"]), file)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # whatever the umask
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
