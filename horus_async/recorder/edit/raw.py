"""The lines of a file as they are, with their fields, and what of it cannot be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from horus_async.errors import DamagedRecordingError, UnsupportedVersionError
from horus_async.recorder.records import parse_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.recorder.read.reader import RecordedFile

    Fields = dict[str, Any]


class RawLines:
    """Reads a file line by line, whatever kinds and fields there are; a line that readers refuse is none."""

    def __init__(self, file: RecordedFile) -> None:
        self.file = file
        self._bad = 0

    def lines(self, start: int | None = None) -> Iterator[tuple[Fields, bytes]]:
        """Each line's fields and text, from about that tick on."""
        for line in self.file.lines(start):
            try:
                fields: Any = orjson.loads(line)
                if not isinstance(fields["kind"], str):
                    raise TypeError
                parse_line(line)  # wrong types are refused as everywhere; what it makes of the line is not needed
            except (ValueError, TypeError, KeyError, DamagedRecordingError, UnsupportedVersionError):
                self._bad += 1
                continue
            yield fields, line

    @property
    def damage(self) -> list[str]:
        """What could not be read so far, a line each."""
        found = [f"{self.file.path.name}: {piece}" for piece in self.file.damage]
        if self._bad:
            found.append(f"{self.file.path.name}: {self._bad} lines are none of a recording")
        return found
