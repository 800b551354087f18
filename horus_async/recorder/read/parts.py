"""The files of a rotated recording, read as the one they would be without rotation."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from horus_async.recorder.records import Footer
from horus_async.recorder.tallies import Tallies

from .reader import RecordedFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from horus_async.recorder.frames import Damage
    from horus_async.recorder.records import SendsRecord, SessionLine
    from horus_async.recorder.tables.sent import Sent


class RecordedParts(RecordedFile):
    """The files of one node, of the scheduler, or of the external messages, in order. At least one.

    ``path`` and ``header`` are the first file's.
    """

    def __init__(self, parts: Sequence[RecordedFile]) -> None:
        self.parts = list(parts)
        self.path = self.parts[0].path
        self.header = self.parts[0].header

    @property
    def paths(self) -> list[Path]:
        """The files, in order."""
        return [part.path for part in self.parts]

    @property
    def indexed(self) -> bool:  # type: ignore[override]
        """Whether all files were found to have a valid index."""
        return all(part.indexed for part in self.parts)

    @property
    def cut(self) -> Damage | None:
        """Where the first file that is cut off is cut off."""
        return next((part.cut for part in self.parts if part.cut is not None), None)

    @property
    def damage(self) -> list[Damage]:
        """What was found damaged so far, file by file; offsets are those in the files."""
        return [damage for part in self.parts for damage in part.damage]

    @property
    def footer(self) -> Footer | None:
        """The footers as one; None if a file was not closed."""
        footers = [part.footer for part in self.parts]
        closed = [footer for footer in footers if footer is not None]
        if len(closed) < len(footers):
            return None
        last = closed[-1]
        topics = Tallies()
        for footer in closed:
            for tally in footer.topics or ():
                topics.add(tally)
        return Footer(
            last.ended_at,
            sum(footer.ticks for footer in closed),
            sum(footer.inputs for footer in closed),
            sum(footer.outputs for footer in closed),
            sum(footer.dropped for footer in closed),
            None if any(footer.topics is None for footer in closed) else tuple(topics.rows()),
            last.next,
            sum(footer.excluded for footer in closed),
            None if any(footer.sends is None for footer in closed) else sum(footer.sends or 0 for footer in closed),
            sum(footer.lines for footer in closed),
            None if any(footer.loose is None for footer in closed) else sum(footer.loose or 0 for footer in closed),
        )

    @property
    def first_tick(self) -> int | None:
        """The tick of the first line; None if there are no lines with one."""
        return next((part.first_tick for part in self.parts if part.first_tick is not None), None)

    @property
    def last_tick(self) -> int | None:
        """The highest tick; None if there are no lines with one."""
        return max((part.last_tick for part in self.parts if part.last_tick is not None), default=None)

    @property
    def rewound(self) -> bool:
        """Whether ticks go back somewhere."""
        ranges = [(part.first_tick, part.last_tick) for part in self.parts]
        known = [(first, last) for first, last in ranges if first is not None and last is not None]
        return any(part.rewound for part in self.parts) or any(
            later[0] < earlier[1] for earlier, later in pairwise(known)
        )

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(part.size for part in self.parts)

    def sends(self, start: int | None = None) -> Iterator[SendsRecord]:
        """What was sent while a callback was still going on, or outside of any."""
        return (record for part in self.parts for record in part.sends(start))

    def messages(self, topic: str, start: int | None = None, stop: int | None = None) -> Iterator[Sent]:
        """What was sent on a topic, frame by frame."""
        return (found for part in self.parts for found in part.messages(topic, start, stop))

    def lines(self, start: int | None = None) -> Iterator[bytes]:
        """Every whole line of all files as it is, headers and footers too."""
        return (line for part in self.parts for line in part.lines(start))

    def holds(self, text: bytes) -> bool:
        """Whether any line has this in it. Nothing is parsed."""
        return any(part.holds(text) for part in self.parts)

    def survey(self) -> list[Damage]:
        """Read everything; all damage, and the cuts."""
        return [damage for part in self.parts for damage in part.survey()]

    def _lines_from(self, start: int | None) -> Iterator[SessionLine]:
        for part in self.parts:
            if start is not None and (part.last_tick is None or part.last_tick < start):
                continue
            for record in part._lines_from(start):  # noqa: SLF001 - the same class
                if not isinstance(record, Footer):
                    yield record
            start = None
        footer = self.footer
        if footer is not None and start is None:
            yield footer
