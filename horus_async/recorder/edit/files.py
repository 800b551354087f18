"""A session that is made of others while it is written: lines come ready, headers and footers are made here."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.clock.system import iso_utc, wall_ns
from horus_async.errors import RecordingError, SessionExistsError
from horus_async.folders import make_private
from horus_async.limits.open_files import why
from horus_async.recorder.locking import FolderLock
from horus_async.recorder.manifest import read_manifest, write_manifest
from horus_async.recorder.naming import (
    EXTERNAL_STEM,
    LOG_STEM,
    SCHEDULER_STEM,
    check_session_name,
    file_name,
    plain_file_name,
    recordings_root,
)
from horus_async.recorder.removal import remove_folder
from horus_async.recorder.write.frame_file import FRAME_TEXT, FrameFile
from horus_async.recorder.write.lines import count_fields, footer_line, gap_line, line_messages

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from horus_async.recorder.read.reader import RecordedFile
    from horus_async.recorder.read.session import Session

Fields = dict[str, Any]
_IDENTITY = re.compile(r"@([0-9a-f]{8})\.")
_OF_ROWS = ("part", "window")
"""What a header says of the file's place among others."""
_OF_MESSAGES = ("node", EXTERNAL_STEM)


def identity_of(session: Session) -> str:
    """The part of a session's file names that is the same for all of them, and for its cuts."""
    found = {match[1] for file in session.all_files() if (match := _IDENTITY.search(file.path.name))}
    return found.pop() if len(found) == 1 else secrets.token_hex(4)


def files_of(session: Session) -> list[RecordedFile]:
    """Each file with all its parts, the scheduler's first."""
    files = (session.scheduler, *session.files.values(), session.external_file, session.log_file)
    return [file for file in files if file is not None]


def header_fields(file: RecordedFile) -> Fields:
    """The fields of a file's header, all of them. By the standard library, as a seed may be larger than 64 bits."""
    for line in file.lines():
        fields = json.loads(line)
        if fields.get("kind") == "header":
            return {key: value for key, value in fields.items() if key not in _OF_ROWS}
    raise RecordingError(f"{file.path} has lost its header, which says whose it is")


def text_of(fields: Fields) -> bytes:
    """A line of these fields, with its newline; the tick stands last, as in every line that is written."""
    if "tick" in fields and fields["kind"] != "log":
        fields = {**{key: value for key, value in fields.items() if key != "tick"}, "tick": fields["tick"]}
    return orjson.dumps(fields) + b"\n"


class EditedFile:
    """One file of it."""

    def __init__(self, folder: Path, identity: str, header: Fields) -> None:
        self.role = str(header.get("role", "node"))
        self.node = str(header["node"])
        name = file_name(self.node, identity) if self.role == "node" else plain_file_name(self.role, identity)
        text = json.dumps({**header, "session": folder.name}, separators=(",", ":")).encode() + b"\n"
        self.name = name
        self._file = FrameFile(folder / name, text, has_messages=self.role in _OF_MESSAGES)
        try:
            self._file.open()
        except OSError:
            self._file.close()
            raise
        self._waiting = 0
        self.last_tick = 0
        """Of its lines so far."""
        self.messages = 0
        """That nodes sent, or external ones."""

    @property
    def counts(self) -> tuple[int, int]:
        """Inputs and outputs."""
        return self._file.feed.inputs, self._file.feed.outputs

    @property
    def ticks(self) -> int:
        """Tick lines."""
        return self._file.feed.ticks

    def put(self, fields: Fields, line: bytes | None = None) -> None:
        """Write a line, as it is or made of its fields."""
        feed = self._file.feed
        counts = count_fields(fields)
        feed.ticks += counts.ticks
        feed.inputs += counts.inputs
        feed.outputs += counts.outputs
        feed.refused += counts.dropped
        feed.lines += counts.lines
        if self.role in _OF_MESSAGES:
            for topic, publisher, tick, size in line_messages(fields):
                self.messages += 1
                if publisher is None:
                    feed.topic(topic).see(tick, size)
                else:
                    feed.external.see(topic, publisher, tick, size)
        at_tick: int | None = fields.get("at_tick", fields.get("tick"))
        if at_tick is None and fields["kind"] == "sends":
            loose = max((sent["tick"] for sent in fields["outputs"]), default=0)
            feed.last_loose_tick = max(loose, feed.last_loose_tick or 0)
        self.last_tick = max(self.last_tick, at_tick or 0)
        text = text_of(fields) if line is None or not _ends_in_tick(line) else line + b"\n"
        feed.put_line(text)
        self._waiting += len(text)
        if self._waiting >= FRAME_TEXT:
            self.flush()

    def put_gap(self, dropped: int, reason: str) -> None:
        """Say that something is missing up to here."""
        self._file.feed.refused += dropped
        self._file.feed.put_line(gap_line(self.last_tick, dropped, reason))

    def flush(self) -> None:
        """Write what waits."""
        self._file.write(self._file.feed.take())
        self._waiting = 0

    def finish(self, totals: tuple[int, int] | None = None) -> None:
        """Write footer and index.

        Args:
            totals: inputs and outputs of all nodes, for the scheduler's file.
        """
        self.flush()
        counts = self._file.part_counts
        if totals is not None:
            counts.inputs, counts.outputs = totals
        self._file.finish(footer_line(wall_ns(), counts, self._file.tallies, sends=self._file.sends))
        self._file.close()

    def close(self) -> None:
        """Let go of it, finished or not."""
        self._file.close()


class EditedSession:
    """All its files and its manifest."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self._identity = identity
        self.files: list[EditedFile] = []
        self.missing: dict[str, str] = {}
        """Nodes of whose files nothing could be read, and what they were called."""

    def add(self, header: Fields) -> EditedFile:
        """One more file."""
        file = EditedFile(self.folder, self._identity, header)
        self.files.append(file)
        return file

    def miss(self, node: str) -> None:
        """Say that a node is missing, of whose file nothing could be read: it is not left out in silence."""
        self.missing[node] = file_name(node, self._identity)

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Close all files, the scheduler's last, whose footer counts what is in the others; then the manifest."""
        nodes = [file for file in self.files if file.role == "node"]
        for file in self.files:
            if file.role != SCHEDULER_STEM:
                file.finish()
        totals = sum(file.counts[0] for file in nodes), sum(file.counts[1] for file in nodes)
        for file in self.files:
            if file.role == SCHEDULER_STEM:
                file.finish(totals)
        named = {file.role: file.name for file in self.files if file.role != "node"}
        fields = {key: value for key, value in manifest.items() if key not in {"files", "happenings"}}
        write_manifest(
            self.folder,
            {
                **fields,
                "session": self.folder.name,
                "ended_at": fields.get("ended_at") or iso_utc(wall_ns()),
                "scheduler": named.get(SCHEDULER_STEM),
                "nodes": {**{file.node: file.name for file in nodes}, **self.missing},
                "external": named.get(EXTERNAL_STEM),
                "log": named.get(LOG_STEM),
            },
        )

    @property
    def messages(self) -> int:
        """What its files hold."""
        return sum(file.messages for file in self.files)


@contextmanager
def new_session(name: str, root: str | os.PathLike[str] | None, identity: str) -> Iterator[EditedSession]:
    """A session to write. If that fails, nothing of it is left.

    Raises:
        SessionNameError: the name cannot be a session's.
        SessionExistsError: there is one of that name.
        RecordingError: it cannot be written.
    """
    folder = recordings_root(root) / check_session_name(name)
    try:
        make_private(folder, anew=True)
    except FileExistsError:
        raise SessionExistsError(
            f"there is a session {name!r} in {folder.parent} already: choose another name, or delete it first"
        ) from None
    except OSError as error:
        raise RecordingError(f"cannot make {folder}: {why(error)}") from error
    edited, lock = EditedSession(folder, identity), FolderLock(folder)
    try:
        lock.take()
        yield edited
    except BaseException as error:
        for file in edited.files:
            file.close()
        remove_folder(folder)
        lock.release()
        if isinstance(error, OSError):
            raise RecordingError(f"cannot write {folder}: {why(error)}") from error
        raise
    lock.release()


def manifest_of(session: Session) -> dict[str, Any]:
    """The manifest of a session, or what its headers say where it is lost."""
    try:
        found = read_manifest(session.path)
    except RecordingError:
        found = None
    if found is not None:
        return found
    file = session.scheduler or next(iter(session.files.values()))
    left_out = {"kind", "role", "node", "rate", "on", "pubs", "subs", "order", "compute", "params", "keep", "origin_ns"}
    fields = {key: value for key, value in header_fields(file).items() if key not in left_out}
    return {**fields, "name": session.scheduler_name, "reason": None}


def _ends_in_tick(line: bytes) -> bool:
    """Whether a line ends as those do that are written here, by which its tick is found quickly."""
    at = line.rfind(b'tick":')
    number = line[at + 6 : -1]
    return at >= 0 and (number.isdigit() or number == b"null") and line.endswith(b"}")
