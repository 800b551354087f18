"""The recorded callbacks of one node, in order, each with what it sent; and where its recording ends."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from horus_async.clock.system import NANOSECONDS
from horus_async.recorder.records import ExecutionRecord, GapRecord, SendsRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.observe import Sent
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
        return Callback(line, self._unit(line) if self._sends else iter(line.outputs))

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

    def _unit(self, line: ExecutionRecord | None = None) -> Iterator[RecordedOutput]:
        begins = line.tick if line is not None and line.kind == "tick" else 0
        for record in self._units:
            if isinstance(record, GapRecord) or record.tick is None:
                continue
            if record.tick < begins:  # of a callback that began before all that is here
                continue
            yield from record.outputs
            if isinstance(record, ExecutionRecord):
                return


_MACHINE_NS = NANOSECONDS // 10
"""In real time: how much nearer to the recorded end than the machine's speed explains a message counts as after it."""
_ROUNDED_NS = 1_000
"""In virtual time, moments that are no further apart are one."""


@define
class RecordedEnd:
    """Where the recording of a node ends, and so whether one more live message came before that.

    In virtual time that is known exactly. In real time the live code takes no time for its work and so comes earlier
    than the recorded one: by as much as it did so far, twice that to be safe, and 0.1 s more. For threads, which take
    no virtual time, the recorded node must have been silent for four times as long as ever before, and 0.25 s more.
    """

    node: str
    session: Session
    stop: int | None
    from_start: bool
    """Whether the verification begins where the recording does, and so tasks are as far as they were."""
    whole: bool = True
    """Whether nothing that the node sent is missing in its file."""
    threads: set[str] = field(factory=set)
    """Topics on which live threads send."""
    uncompared: int = 0
    """Live messages that were not compared, as they came after the end."""
    _end_ns: int = 0
    _ahead_ns: int = 0
    _longest_ns: int = 0
    _last_ns: int = 0

    def __attrs_post_init__(self) -> None:
        session, file = self.session, self.session.files[self.node]
        footer = file.footer
        self.whole = next(file.gaps(), None) is None and not (footer is not None and footer.excluded)
        last = session.last_tick if self.stop is None else min(self.stop, session.last_tick or 0)
        if footer is None and file.last_tick is not None and last is not None:
            last = min(last, file.last_tick)
        for line in session.scheduler_ticks(last, last):
            self._end_ns = session.clock.elapsed_of(line)

    def differs_in_time(self, recorded: RecordedOutput, live: Sent) -> bool:
        """Whether virtual time makes sure that these two belong to one tick, and they do not.

        What waits for a message of a new tick goes on in a verification as that tick is about to begin.
        """
        if not (self.session.deterministic and self.from_start) or recorded.tick == live.tick:
            return False
        return abs(recorded.stamp_ns - live.stamp_ns) > _ROUNDED_NS

    def matched(self, recorded: RecordedOutput, live: Sent) -> None:
        """A live message has a recorded one."""
        at_ns = self.session.clock.sent_ns(recorded.stamp_ns, recorded.tick)
        self._longest_ns = max(self._longest_ns, at_ns - self._last_ns)
        self._last_ns = max(self._last_ns, at_ns)
        if live.topic not in self.threads:
            self._ahead_ns = max(self._ahead_ns, at_ns - self._live_ns(live))

    def counts(self, live: Sent, *, lasting: bool) -> bool:
        """Whether the recorded node would have sent this too before the recording ended.

        Args:
            live: What has no counterpart.
            lasting: Whether what sent it is known to have gone on to the end.
        """
        if not self.whole:
            return False
        if live.topic in self.threads and not self.session.deterministic:
            return self.fell_silent
        if not (self.from_start and lasting):
            return False
        if self.session.deterministic:
            return self._live_ns(live) < self._end_ns
        return self._live_ns(live) + 2 * self._ahead_ns + _MACHINE_NS < self._end_ns

    @property
    def fell_silent(self) -> bool:
        """Whether the recorded node had sent all that it would long before the end."""
        return self._end_ns - self._last_ns > 4 * self._longest_ns + 5 * _MACHINE_NS // 2

    def _live_ns(self, live: Sent) -> int:
        return self.session.clock.sent_ns(live.stamp_ns, live.tick)
