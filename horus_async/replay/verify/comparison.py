"""Does live code still do what was recorded? What it sends is compared with the recording, message by message."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field, frozen

from horus_async.notebook.html_table import html_table
from horus_async.observe import Execution, Observer, Sent
from horus_async.topics.codec import decode, to_json
from horus_async.topics.values.classes import canonical
from horus_async.value_diff import first_difference, largest_difference, same, short, short_pair

from .callbacks import RecordedEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.recorder import Session
    from horus_async.recorder.records import RecordedOutput

    from .callbacks import Callback

    Watch = Callable[[str, int, RecordedOutput | None, Sent | None, "Difference | None"], None]
    """Takes node, tick, what was recorded, what the live node sent, and how they differ, if they do."""

_MOST_DOUBTFUL = 1000
"""So many messages of a callback are kept until it is known whether they count."""

NOTHING = "(nothing)"
"""Stands for a message that only one side sent."""


@frozen
class Difference:
    """One place where live code did something else."""

    tick: int
    node: str
    topic: str
    field: str
    """The path inside the message, ``pose.x`` or ``ranges[3]``; empty for the whole value."""
    recorded: Any
    live: Any

    def __str__(self) -> str:
        where = f"tick {self.tick}, node {short(self.node, text=True)}, topic {short(self.topic, text=True)}"
        inside = f", field {short(self.field, text=True)}" if self.field else ""
        recorded, live = short_pair(self.recorded, self.live)
        return f"{where}{inside}: recorded {recorded}, live {live}"


@frozen
class TopicRow:
    """What was compared on one topic."""

    topic: str
    compared: int
    differing: int
    largest: float | None
    """The largest difference of two numbers in the same place; None where no numbers differ."""


@frozen
class VerifyReport:
    """What a comparison found."""

    compared: int
    """Messages compared."""
    differences: int
    """Messages that differ, are missing or are too many."""
    first_difference: Difference | None
    topics: tuple[TopicRow, ...] = ()
    """Row by row, by the topics' names."""
    missing_nodes: tuple[str, ...] = ()
    """Recorded nodes that the live program lacks. Each message of theirs is a difference, and so is a silent one."""
    notes: tuple[str, ...] = ()
    """What could not be compared, and why."""

    @property
    def passed(self) -> bool:
        """At least one message was compared and none differs. Comparing nothing is no pass."""
        return self.compared > 0 and self.differences == 0

    def _repr_html_(self) -> str:
        verdict = "passed" if self.passed else "failed" if self.compared else "failed: nothing was compared"
        caption = f"verification {verdict}: {self.compared} messages compared, {self.differences} differ"
        rows = [(row.topic, row.compared, row.differing, row.largest) for row in self.topics]
        notes = [f"first: {self.first_difference}"] if self.first_difference is not None else []
        notes += [f"the live program has no node {node}" for node in self.missing_nodes]
        head = ("topic", "compared", "differing", "largest difference")
        return html_table(caption, head, rows, [*notes, *self.notes])


@define
class _Row:
    compared: int = 0
    differing: int = 0
    largest: float | None = None


@define
class Recorded:
    """What one recorded callback sent and the live one has not yet."""

    node: str
    tick: int
    _left: Iterator[RecordedOutput]
    open: bool
    """Whether the live one may send more."""
    torn: bool = False
    """Whether the recording breaks off in it, as after a kill."""
    doubtful: list[Sent] = field(factory=list)
    """What the live one sent besides, perhaps after the recorded one was cut: unless something recorded follows."""
    _skipped: dict[str, deque[RecordedOutput]] = field(factory=dict)
    _ahead: RecordedOutput | None = None

    def next_on(self, topic: str) -> RecordedOutput | None:
        """The next message on a topic."""
        waiting = self._skipped.get(topic)
        if waiting:
            return waiting.popleft()
        while (output := self._pull()) is not None:
            if output.topic == topic:
                return output
            self._skipped.setdefault(output.topic, deque()).append(output)
        return None

    def rest(self) -> Iterator[RecordedOutput]:
        """All that are left."""
        for waiting in self._skipped.values():
            yield from waiting
        while (output := self._pull()) is not None:
            yield output

    def any_left(self) -> bool:
        """Whether there are any."""
        if self._ahead is None:
            self._ahead = next(self._left, None)
        return self._ahead is not None or any(self._skipped.values())

    def any_left_on(self, topics: set[str]) -> bool:
        """Whether there are any on these topics."""
        if any(self._skipped.get(topic) for topic in topics):
            return True
        while topics and (output := self._pull()) is not None:
            self._skipped.setdefault(output.topic, deque()).append(output)
            if output.topic in topics:
                return True
        return False

    def last_ns(self) -> int:
        """The stamp of the last one that is left; 0 if none is."""
        while (output := self._pull()) is not None:
            self._skipped.setdefault(output.topic, deque()).append(output)
        return max((waiting[-1].stamp_ns for waiting in self._skipped.values() if waiting), default=0)

    def _pull(self) -> RecordedOutput | None:
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None else next(self._left, None)


def _same_classes(text: bytes | None) -> Any:
    """A message's text with its classes as they are called here, parsed; the text itself if it names none."""
    if text is None or b'"$type"' not in text:
        return text

    def rename(data: Any) -> Any:
        if isinstance(data, list):
            return [rename(item) for item in data]
        if not isinstance(data, dict):
            return data
        return {key: canonical(item) if key == "$type" else rename(item) for key, item in data.items()}

    return orjson.dumps(rename(orjson.loads(text)))


class Comparison(Observer):
    """Listens to live nodes and compares what they send with what the recorded ones sent, topic by topic.

    Args:
        session: The recording.
        tolerance: Numbers this far apart, absolute, count as equal; 0 for bit by bit.
        watch: Told of every message that was compared.
    """

    def __init__(self, session: Session, tolerance: float, watch: Watch | None = None) -> None:
        self._session = session
        self._tolerance = tolerance
        self._watch = watch
        self.compared = 0
        self.differences = 0
        self.first: Difference | None = None
        self._rows: dict[str, _Row] = {}
        self._running: dict[str, Recorded] = {}
        self._background: dict[str, Recorded] = {}
        self.ends: dict[str, RecordedEnd] = {}
        self.counterparts: dict[tuple[str, str], RecordedOutput | None] = {}
        """By node and topic, the recorded message with which the last live one was compared."""

    def listen(self, node: str, start: int | None, stop: int | None) -> None:
        """Compare this node too."""
        sends = self._session.sends(node, start, stop, background=True)
        self._background[node] = Recorded(node, 0, sends, open=True)
        from_start = start is None or start == self._session.first_tick
        self.ends[node] = RecordedEnd(node, self._session, stop, from_start)

    @property
    def has_background(self) -> bool:
        """Whether recorded nodes sent something outside of their callbacks that is still to be compared."""
        return any(expected.any_left() for expected in self._background.values())

    @property
    def last_background_ns(self) -> int:
        """The stamp of the last of these; 0 if there is none."""
        return max((expected.last_ns() for expected in self._background.values()), default=0)

    def has_background_of(self, node: str) -> bool:
        """The same of one node."""
        return self._background[node].any_left()

    def begin(self, node: str, tick: int, callback: Callback | None) -> None:
        """A callback of a live node begins; None where nothing is known of the recorded one."""
        if callback is None:
            self._running[node] = Recorded(node, tick, iter(()), open=True, torn=True)
        else:
            torn = callback.line is None
            self._running[node] = Recorded(node, tick, callback.outputs, callback.open, torn=torn)

    def is_behind_in_threads(self, node: str) -> bool:
        """Whether threads of a live node have not sent yet what the recorded ones did."""
        return self._background[node].any_left_on(self.ends[node].threads)

    def is_behind(self, node: str) -> bool:
        """Whether the running callback of a live node has not sent yet all that the recorded one did."""
        running = self._running.get(node)
        return running is not None and running.any_left()

    def sent(self, message: Sent) -> None:
        """Compare a message of a live node."""
        in_callback = message.began is not None
        expected = (self._running if in_callback else self._background).get(message.node)
        if expected is None:
            return
        recorded, end = expected.next_on(message.topic), self.ends[message.node]
        self.counterparts[message.node, message.topic] = recorded
        tick = expected.tick if in_callback else message.tick
        if recorded is not None:
            end.matched(recorded, message)
            self._compare(message.node, tick, recorded, message)
            if in_callback and expected.doubtful:
                self._settle(expected, end)
        elif not expected.open or end.counts(message, lasting=not expected.torn):
            self._compare(message.node, tick, None, message)
        else:
            end.uncompared += 1
            if in_callback and len(expected.doubtful) < _MOST_DOUBTFUL:
                expected.doubtful.append(message)

    def _settle(self, expected: Recorded, end: RecordedEnd) -> None:
        """The recorded callback went on after that: it did not send what the live one did before."""
        end.uncompared -= len(expected.doubtful)
        for message in expected.doubtful:
            self._compare(message.node, expected.tick, None, message)
        expected.doubtful.clear()

    def executed(self, execution: Execution) -> None:
        """What the recorded callback sent besides is missing."""
        running = self._running.pop(execution.node, None)
        if running is not None:
            self._rest_is_missing(running)

    def left_out(self, node: str, callback: Callback) -> None:
        """A recorded callback that the live node did not get to: what it sent is missing."""
        assert callback.line is not None
        self._rest_is_missing(Recorded(node, callback.line.tick, callback.outputs, callback.open))

    def lacks(self, node: str, start: int | None, stop: int | None) -> None:
        """A recorded node that is not live: what it sent is missing, and none of it was compared."""
        silent = True
        for output in self._session.outputs(node, start, stop):
            silent = False
            self._row(output.topic).differing += 1
            if self.first is None or output.tick < self.first.tick:
                self.first = Difference(output.tick, node, output.topic, "", decode(output.payload), NOTHING)
            self.differences += 1
        if silent:
            self.differences += 1
            if self.first is None:
                self.first = Difference(start or 0, node, NOTHING, "", "a node", NOTHING)

    def close(self) -> None:
        """Let go of the files."""
        self._running.clear()
        self._background.clear()

    def report(self, missing_nodes: tuple[str, ...] = (), notes: tuple[str, ...] = ()) -> VerifyReport:
        """What was found."""
        for expected in self._background.values():
            self._rest_is_missing(expected)
        rows = (TopicRow(t, row.compared, row.differing, row.largest) for t, row in sorted(self._rows.items()))
        return VerifyReport(self.compared, self.differences, self.first, tuple(rows), missing_nodes, notes)

    def _rest_is_missing(self, expected: Recorded) -> None:
        for output in expected.rest():
            self._compare(expected.node, expected.tick or output.tick, output, None)

    def _compare(self, node: str, tick: int, recorded: RecordedOutput | None, live: Sent | None) -> None:
        topic = recorded.topic if recorded is not None else live.topic  # type: ignore[union-attr]
        row = self._row(topic)
        self.compared += 1
        row.compared += 1
        found = self._difference(node, tick, topic, recorded, live)
        if found is not None:
            self._note(row, found)
        if self._watch is not None:
            self._watch(node, tick, recorded, live, found)

    def _difference(
        self, node: str, tick: int, topic: str, recorded: RecordedOutput | None, live: Sent | None
    ) -> Difference | None:
        left = None if recorded is None else recorded.payload
        right = None if live is None else to_json(live.payload)
        if left == right or _same_classes(left) == _same_classes(right):
            if recorded is not None and live is not None and self.ends[node].differs_in_time(recorded, live):
                was, came = f"(in tick {recorded.tick})", f"(in tick {live.tick})"
                return Difference(recorded.tick, node, topic, "", was, came)
            return None
        if left is None or right is None:
            a, b = (NOTHING if side is None else decode(side) for side in (left, right))
            return Difference(tick, node, topic, "", a, b)
        a, b = decode(left), decode(right)
        row = self._row(topic)
        apart = largest_difference(a, b)
        if apart is not None and (row.largest is None or apart > row.largest):
            row.largest = apart
        if self._tolerance and same(a, b, tolerance=self._tolerance):
            return None
        return Difference(tick, node, topic, *first_difference(a, b, tolerance=self._tolerance or None))

    def _row(self, topic: str) -> _Row:
        row = self._rows.get(topic)
        if row is None:
            row = self._rows[topic] = _Row()
        return row

    def _note(self, row: _Row, difference: Difference) -> None:
        row.differing += 1
        self.differences += 1
        if self.first is None or difference.tick < self.first.tick:
            self.first = difference
