"""The lines of a file as they are, with their fields, and what of it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from horus_async.errors import DamagedRecordingError, UnsupportedVersionError
from horus_async.recorder.log_lines import LogLine
from horus_async.recorder.naming import EXTERNAL_STEM, LOG_STEM, SCHEDULER_STEM
from horus_async.recorder.records import (
    EarlierMessage,
    ExecutionRecord,
    ExternalMessage,
    Footer,
    GapRecord,
    Header,
    ResumedRecord,
    SchedulerTick,
    SendsRecord,
    parse_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.recorder.read.reader import RecordedFile

    Fields = dict[str, Any]

_OF_ALL = (Header, GapRecord, Footer)
_OF_ROLE: dict[str, tuple[type, ...]] = {
    SCHEDULER_STEM: (SchedulerTick,),
    "node": (ExecutionRecord, SendsRecord, ResumedRecord),
    EXTERNAL_STEM: (ExternalMessage, EarlierMessage),
    LOG_STEM: (LogLine,),
}


class RawLines:
    """Reads a file line by line, whatever kinds and fields there are; a line that readers refuse is none."""

    def __init__(self, file: RecordedFile) -> None:
        self.file = file
        role = "node" if file.header is None else file.header.role
        self._taken = (*_OF_ALL, *_OF_ROLE.get(role, ()))
        self._bad = 0

    def lines(self, start: int | None = None) -> Iterator[tuple[Fields, bytes]]:
        """Each line's fields and text, from about that tick on."""
        for line in self.file.lines(start):
            try:
                fields: Any = orjson.loads(line)
                if not isinstance(fields["kind"], str):
                    raise TypeError
                self._check(fields, line)
            except (ValueError, TypeError, KeyError, DamagedRecordingError, UnsupportedVersionError):
                self._bad += 1
                continue
            yield fields, line

    def _check(self, fields: Fields, line: bytes) -> None:
        """Refuse wrong types, as readers do, and lines of other files; of unknown kinds only the tick is looked at."""
        record = parse_line(line)
        if record is None:
            wrong = any(type(fields.get(key, 0)) not in {int, type(None)} for key in ("tick", "at_tick"))
        else:
            wrong = not isinstance(record, self._taken) or (isinstance(record, SchedulerTick) and "outputs" in fields)
        if wrong:
            raise TypeError

    @property
    def damage(self) -> list[str]:
        """What could not be read so far, a line each."""
        found = [f"{self.file.path.name}: {piece}" for piece in self.file.damage]
        if self._bad:
            found.append(f"{self.file.path.name}: {self._bad} lines are none of a recording")
        return found
