"""What of files that are taken away may still be read: the last messages of topics that have been silent since.

A map, a robot's description, static transforms: sent once, and read for as long as the run goes on. They are kept in a
file of their own, for each topic and publisher as many as the node keeps for late readers, at least one.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from horus_async.clock.system import wall_ns
from horus_async.errors import RecordingError
from horus_async.recorder.edit.earlier import earlier_line
from horus_async.recorder.edit.files import header_fields, text_of
from horus_async.recorder.naming import KEPT_STEM, plain_file_name
from horus_async.recorder.read.reader import RecordedFile
from horus_async.recorder.records import EarlierMessage, ExecutionRecord, ExternalMessage, SendsRecord, parse_line
from horus_async.recorder.write.frame_file import FRAME_TEXT, FrameFile
from horus_async.recorder.write.lines import Counts, footer_line, text_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from horus_async.recorder.edit.files import Fields
    from horus_async.recorder.write.frame_file import EndedPart

_log = logging.getLogger("horus_async.recorder")

_OF_RUN = ("schema_version", "session", "tick_rate", "seed", "started_at", "deterministic", "start_ns", "namespace")
_MADE_BY = ("window", "horus_version", "python", "platform")
_NEW = ".new"
_Stream = tuple[str, str, int]
"""Topic, publisher and source."""


class Carried:
    """The file of such messages. For the writer's thread."""

    def __init__(self) -> None:
        self._most: dict[_Stream, int] = {}
        """How many are kept, where it is more than one."""
        self._new: list[Fields] = []
        self._header: Fields = {}
        self._near: EndedPart | None = None

    def take(self, part: EndedPart, later: Sequence[EndedPart], file: FrameFile) -> None:
        """A file is about to be taken away: keep what none of these, which come after it in its row, makes up for."""
        wanted: dict[tuple[str, str | None], int] = {}
        for topic, publisher in part.tallies:
            most = max(1, file.keep.get(topic, 1))
            newer = sum(tally.count for one in later if (tally := one.tallies.get((topic, publisher))) is not None)
            if newer < most:
                wanted[topic, publisher] = most - newer
        if not wanted:
            return
        try:
            self._read(part, wanted, file)
        except RecordingError as error:  # somebody has changed or removed it
            _log.warning("recording %s: what was sent before is lost: %s", part.path.parent.name, error)

    def _read(self, part: EndedPart, wanted: dict[tuple[str, str | None], int], file: FrameFile) -> None:
        recorded = RecordedFile(part.path)
        node = "" if recorded.header is None else recorded.header.node
        found: dict[tuple[str, str | None], list[Fields]] = {}
        for key, line in _messages(recorded, {topic for topic, _ in wanted}, node):
            if key in wanted:
                row = found.setdefault(key, [])
                row.append(line)
                del row[: -wanted[key]]
        for (topic, publisher), row in found.items():
            for line in row:
                stream = topic, node if publisher is None else publisher, line.get("source", 0)
                self._most[stream] = max(1, file.keep.get(topic, 1))
                self._new.append(line)
        if not self._header:
            fields = header_fields(recorded)
            self._header = {key: fields[key] for key in (*_OF_RUN, *_MADE_BY) if key in fields}
        self._near = part

    def write(self) -> None:
        """Write the file anew, if something has come for it: a reader sees the old one or the new one, whole.

        Raises:
            OSError: It cannot be written; it can be tried again.
        """
        if not self._new or self._near is None:
            return
        identity = self._near.path.name.rpartition("@")[2].partition(".")[0]
        path = self._near.path.with_name(plain_file_name(KEPT_STEM, identity))
        streams: dict[_Stream, dict[int, Fields]] = {}
        there = list(_earlier(path))
        for line in (*there, *self._new):
            streams.setdefault((line["topic"], line["publisher"], line.get("source", 0)), {})[line["seq"]] = line
        lines = [rows[seq] for stream, rows in streams.items() for seq in sorted(rows)[-self._most.get(stream, 1) :]]
        lines.sort(key=lambda line: (line["tick"], line["stamp_ns"], line["seq"]))
        header = {"kind": "header", **self._header, "role": KEPT_STEM, "node": ""}
        made = FrameFile(path.with_name(path.name + _NEW), json.dumps(header).encode() + b"\n", has_messages=False)
        try:
            made.open()
            waiting = bytearray()
            for line in lines:
                waiting += text_of(line)
                if len(waiting) >= FRAME_TEXT:
                    made.write(bytes(waiting))
                    waiting.clear()
            made.write(bytes(waiting))
            made.finish(footer_line(wall_ns(), Counts()))
        finally:
            made.close()
        made.path.replace(path)
        self._new = []


def _messages(recorded: RecordedFile, topics: set[str], node: str) -> Iterator[tuple[tuple[str, str | None], Fields]]:
    """The messages of some topics in a file, with topic and publisher as its footer names them."""
    marks = [b'"topic":' + text_json(topic) for topic in topics]
    for line in recorded.lines():
        if not any(mark in line for mark in marks):
            continue
        record = parse_line(line)
        if isinstance(record, ExecutionRecord | SendsRecord):
            for sent in record.outputs:
                yield (sent.topic, None), earlier_line(sent, node)
        elif isinstance(record, ExternalMessage):
            yield (record.topic, record.publisher), earlier_line(record, record.publisher, record.source)


def _earlier(path: Path) -> Iterator[Fields]:
    if not path.exists():
        return
    for record in RecordedFile(path).records():
        if isinstance(record, EarlierMessage):
            yield earlier_line(record, record.publisher, record.source)
