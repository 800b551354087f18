"""Reads v1 policy traces of this and other servers, one line at a time, even if their end is torn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import define

from horus_async.errors import TraceError
from horus_async.limits.open_files import why
from horus_async.policy.model.jsontext import decode

from .checksum import ends_in_checksum, has_checksum
from .format import SCHEMA_VERSION
from .lines import MOST_IDLE, LineSource, LineTooLargeError, check_line
from .request import TraceRequest, request_of

if TYPE_CHECKING:
    from collections.abc import Iterator


class TraceReader:
    """One trace file, read from start to end; the files of one session may follow each other in it.

    Use as a context manager.

    ``header`` is available at once; ``requests()`` yields the request lines in order, and ``count``, ``errors`` and
    ``dropped`` (requests that the server could not record) count along. After the last one ``footer`` is the footer
    line or None, and ``notes`` lists what is worth knowing: a torn end, a missing footer, what was dropped.
    ``follows``, if it is set, is the number that the first request of a later part of a session must have.

    Raises (constructor):
        TraceError: no such file, not a trace, or an unknown schema version.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser()
        self.footer: dict[str, Any] | None = None
        self.count = 0
        self.errors = 0
        self.dropped = 0
        self.follows: int | None = None
        self._totals: list[Any] = []
        self._files = 1
        self._torn: str | None = None
        self._ended = False
        self._summed: bool | None = None
        self._idle = 0
        self._wrong: list[int] = []
        """The numbers of lines that do not fit their checksums."""
        self._order = _Order()
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise TraceError(f"cannot open the trace {str(self.path)!r}: {why(error)}") from error
        self._source = LineSource(self._file, str(self.path))
        self._lines = self._decoded()
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def position(self) -> int:
        """How many bytes of the file have been read, for a progress bar."""
        return 0 if self._file.closed else self._file.tell()

    def requests(self) -> Iterator[TraceRequest]:
        """The request lines, in order.

        Raises:
            TraceError: a line in the middle does not belong to a trace, or compressed data is damaged.
        """
        for number, line in self._lines:
            kind = line.get("kind")
            if kind == "request":
                request = request_of(line, f"{self.path}, line {number}")
                self._order.add(request.seq)
                self.count += 1
                self.errors += not request.ok
                self.dropped += _count(line.get("dropped_before"))
                yield request
            elif kind == "header":
                self._goes_on(line, number)
            elif kind == "footer":
                self.footer = line
                self._totals.append(line.get("total_requests"))
                # The footer counts for the whole session, of which this file may be a later part.
                if "dropped" in self.header or not self.header.get("part"):
                    before = _count(self.header.get("dropped"))
                    self.dropped = max(self.dropped, _count(line.get("dropped")) - before)
            else:
                self._see_idle()
        self._ended = True

    @property
    def is_cut(self) -> bool:
        """Whether it turned out to end in the middle, or without a footer."""
        return self._torn is not None or (self._ended and self.footer is None)

    @property
    def losses(self) -> list[str]:
        """What is missing from the middle, or was never recorded: why the rest must not be taken for everything."""
        losses = []
        if self._wrong:
            more = f", and {len(self._wrong) - 1} more" if len(self._wrong) > 1 else ""
            losses.append(f"line {self._wrong[0]}{more} is left out: it is damaged, as its checksum says")
        if self.dropped:
            losses.append(f"{_requests(self.dropped)} dropped: the server could not record them")
        if not self._is_ours():
            return losses
        if self._order.oddities or ((self._order.first or 0) > 0 and not self.header.get("part")):
            losses.append(f"lines are missing: {self._order}")
        total = sum(_count(total) for total in self._totals)
        if self._ended and len(self._totals) == self._files and total != self.count:
            losses.append(f"the footer says {total} requests, the file holds {self.count}")
        if self.missing_before:
            last = (self._order.first or 0) - 1
            losses.append(f"seq {self.follows} to {last} are missing: the part before this one is not there")
        return losses

    @property
    def missing_before(self) -> int:
        """How many requests the parts of the session lack that lie between this one and the one read before it."""
        return 0 if self.follows is None else max(0, (self._order.first or 0) - self.follows)

    @property
    def next_seq(self) -> int | None:
        """The number after that of the last request read so far; None if there was none."""
        return None if self._order.last is None else self._order.last + 1

    @property
    def notes(self) -> list[str]:
        """What is worth knowing of what was read so far: ``losses``, how the file ends, a jump in foreign numbers."""
        notes = self.losses
        if self._order.oddities and not self._is_ours():
            notes.append(str(self._order))
        if self._torn is not None:
            notes.append(self._torn)
        if self._ended and self.footer is None:
            notes.append("no footer: the server did not end cleanly, or is still running")
        return notes

    def _see_idle(self) -> None:
        self._idle += 1
        if self._idle > MOST_IDLE:
            raise TraceError(f"{self.path}: more than {MOST_IDLE} lines that say nothing; this is not a trace")

    def _fits(self, text: bytes, line: dict[str, Any]) -> bool:
        """Whether a line has the checksum that it should have: each one has it where the first has."""
        is_summed = ends_in_checksum(text)
        if self._summed is None:  # the header's
            self._summed = is_summed
        elif is_summed and not self._summed:
            self._summed = True
            self._wrong.append(1)
        if self._summed:
            line.pop("crc", None)
        return not self._summed or has_checksum(text)

    def _is_ours(self) -> bool:
        """Whether the numbers of a trace are without gaps by its server's word; other servers also record samples."""
        return bool(self.header.get("horus_version"))

    def _goes_on(self, header: dict[str, Any], number: int) -> None:
        """A header after the first one: somebody put the parts of a session into one file."""
        session = header.get("session_id")
        if session is None or session != self.header.get("session_id"):
            raise TraceError(f"{self.path}, line {number} begins another session; a trace holds one")
        self._files += 1

    def _read_header(self) -> dict[str, Any]:
        _, header = next(self._lines, (0, None))
        if self._wrong:
            raise TraceError(f"{self.path}: the header line is damaged, as its checksum says")
        if header is None:
            raise TraceError(f"{self.path} holds no whole header line; this is not a trace")
        version = header.get("schema_version")
        if version != SCHEMA_VERSION or isinstance(version, bool):
            raise TraceError(f"{self.path}: unknown schema version {version!r}; this release reads {SCHEMA_VERSION}")
        if header.get("kind") != "header":
            raise TraceError(f"{self.path}: the first line is a {header.get('kind')!r}, not the header of a trace")
        if "session" in header and "session_id" not in header:
            raise TraceError(f"{self.path} is a recording of a scheduler's session, not a policy trace")
        return header

    def _decoded(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Line numbers and objects. An unreadable line is a torn end if it is the last one, else damage."""
        odd: str | None = None
        for number, text in enumerate(self._source.lines(), 1):
            if not text.strip(b"\0 \r\t"):
                self._see_idle()
                continue
            if odd is not None:
                raise TraceError(odd)
            try:
                check_line(text)
                line = decode(text)
            except LineTooLargeError as error:
                raise TraceError(f"{self.path}, line {number}: {error}") from None
            except ValueError as error:
                odd = f"{self.path}, line {number} is not JSON: {str(error)[:100]}"
                continue
            if not isinstance(line, dict):
                raise TraceError(f"{self.path}, line {number} is not a JSON object; this is not a trace")
            if not self._fits(text, line):
                self._wrong.append(number)
                continue
            yield number, line
        if odd is not None:
            self._torn = "the last line is torn and was left out"
        elif self._source.torn:
            self._torn = f"{self._source.torn}; everything up to there was read"


@define
class _Order:
    """Watches that each ``seq`` is the one before it plus one."""

    first: int | None = None
    last: int | None = None
    oddities: int = 0
    example: str = ""

    def add(self, seq: int) -> None:
        if self.last is None:
            self.first = seq
        elif seq != self.last + 1:
            self.oddities += 1
            self.example = self.example or f"after seq {self.last} comes {seq}"
        self.last = seq

    def __str__(self) -> str:
        if not self.oddities:
            return f"the first seq is {self.first}"
        more = f", and {self.oddities - 1} more such jumps" if self.oddities > 1 else ""
        return f"{self.example}{more}"


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _requests(count: int) -> str:
    return f"{count} request{' was' if count == 1 else 's were'}"


def is_trace(path: Path | str) -> bool:
    """Whether a file is a trace that can be read, by what its first line says."""
    try:
        with TraceReader(path):
            return True
    except TraceError:
        return False
