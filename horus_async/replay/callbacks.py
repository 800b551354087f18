"""The recorded callbacks of one node, in order, each with what it sent."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.recorder.records import ExecutionRecord, GapRecord, SendsRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.recorder import Session
    from horus_async.recorder.records import RecordedOutput


@frozen
class Callback:
    """One recorded callback."""

    line: ExecutionRecord | None
    """None for one that had not ended when the recording did, or that could not be kept."""
    outputs: Iterator[RecordedOutput]
    has_lines: bool = True
    """Whether the recording says anything of it."""

    @property
    def open(self) -> bool:
        """Whether it would have sent more, had the run not ended."""
        return self.line is None or self.line.was_cut


class Callbacks:
    """Gives one node's recorded callbacks. What one sent is read when it is asked for, as that may be much."""

    def __init__(self, session: Session, node: str, start: int | None, stop: int | None) -> None:
        self._session = session
        self._node = node
        self._start = start
        self._stop = stop
        self.gap = False
        """Whether something is missing right before ``next``."""
        self.next: ExecutionRecord | None = None
        self._lines = self._read()
        self._sends = self._session.has_sends(self._node)
        self._units = self._read()
        self._step()

    def _read(self) -> Iterator[ExecutionRecord | SendsRecord | GapRecord]:
        return self._session.executions(self._node, self._start, self._stop)

    def _step(self) -> None:
        self.gap = False
        for record in self._lines:
            if isinstance(record, ExecutionRecord):
                self.next = record
                return
            self.gap = self.gap or isinstance(record, GapRecord)
        self.next = None

    def take(self) -> Callback:
        """The next one. What it sent has to be read before the one after it is taken, or is left out."""
        line = self.next
        assert line is not None
        self._step()
        return Callback(line, self._unit() if self._sends else iter(line.outputs))

    def take_open(self) -> Callback:
        """One of which there is no line; it may have sent something all the same."""
        if not self._sends or self.next is not None:
            return Callback(None, iter(()), has_lines=False)
        outputs = self._unit()
        first = next(outputs, None)
        return Callback(None, iter(()) if first is None else chain((first,), outputs), has_lines=first is not None)

    def close(self) -> None:
        """Let go of the file."""
        self._lines, self._units = iter(()), iter(())

    def _unit(self) -> Iterator[RecordedOutput]:
        for record in self._units:
            if isinstance(record, GapRecord) or record.tick is None:
                continue
            yield from record.outputs
            if isinstance(record, ExecutionRecord):
                return
