"""The messages of one topic, some thousands at a time: what its table is made of."""

from __future__ import annotations

import heapq
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

from horus_async.recorder.messages import RecordedMessage, may_hold, session_messages, when

from .flatten import Batch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from horus_async.recorder.messages import Progress, Recorded
    from horus_async.recorder.tables.sent import Sent

_NUMBERS = (int, float, bool)
ROWS, BYTES = 4096, 16 << 20
"""Messages in a batch, and about how many bytes of text; it is over when there are as many of either."""


def topic_batches(
    session: Recorded,
    topic: str,
    start: int | None = None,
    stop: int | None = None,
    progress: Progress | None = None,
) -> Iterator[Batch]:
    """The messages of a topic in the order of `session_messages`; no batch is empty.

    Args:
        session: Where they are.
        topic: Whose messages.
        start: The first tick, as ``stop`` is the last one; None for no limit.
        stop: See there.
        progress: Told how many messages were read.
    """
    sources = _sources(session, topic, start, stop)
    batches = sources[0] if len(sources) == 1 else _merged(sources, topic)
    count = 0
    for batch in batches:
        count += len(batch.ticks)
        yield batch
        if progress is not None:
            progress(count)


def topic_messages(
    session: Recorded, topic: str, start: int | None = None, stop: int | None = None
) -> Iterator[RecordedMessage]:
    """The same, one by one."""
    sources = [_rows(source, topic) for source in _sources(session, topic, start, stop)]
    return sources[0] if len(sources) == 1 else heapq.merge(*sources, key=when)


def in_batches(messages: Iterable[RecordedMessage]) -> Iterator[Batch]:
    """Messages of one topic as batches."""
    return (batch for _, batch in _by_topic(messages))


def session_batches(
    session: Recorded, topics: Collection[str] = (), progress: Progress | None = None
) -> Iterator[tuple[str, Batch]]:
    """The messages of several topics, all if none is named: those of each topic in the order of `session_messages`."""
    if len(topics) == 1:
        (topic,) = topics
        return ((topic, batch) for batch in topic_batches(session, topic, progress=progress))
    return _by_topic(session_messages(session, topics, progress))


def _by_topic(messages: Iterable[RecordedMessage]) -> Iterator[tuple[str, Batch]]:
    waiting: dict[str, list[RecordedMessage]] = {}
    rows = size = 0
    for message in messages:
        mine = waiting.setdefault(message.topic, [])
        mine.append(message)
        rows, size = rows + 1, size + _weight(message.data)
        if rows >= ROWS or size >= BYTES:
            yield from ((topic, Batch.of(some)) for topic, some in waiting.items())
            waiting, rows, size = {}, 0, 0
    yield from ((topic, Batch.of(some)) for topic, some in waiting.items())


def _weight(data: Any) -> int:
    """About how many bytes of text a value is."""
    kind = type(data)
    if kind is str:
        return len(data)
    if kind is dict:
        return sum(map(_weight, data.values()))
    if kind is list and data:
        return 8 * len(data) if type(data[0]) in _NUMBERS else sum(map(_weight, data))
    return 8


def _sources(session: Recorded, topic: str, start: int | None, stop: int | None) -> list[Iterator[Batch]]:
    """A source for each file that may hold messages of the topic, in their order."""
    sources = []
    for node, file in session.files.items():
        if may_hold(file, (topic,)):
            if session.has_loose(node):
                sources.append(_in_order(session, node, topic, start, stop))
            else:
                sources.append(_in_frames(file.messages(topic, start, stop), node))
    if session.external_file is not None and may_hold(session.external_file, (topic,)):
        sources.append(_in_frames(session.external_file.messages(topic, start, stop), None))
    return sources


def _in_frames(found: Iterable[Sent], node: str | None) -> Iterator[Batch]:
    """What a file gives, frame by frame; ``node`` is the publisher of all, or None if each says it."""
    waiting: list[Sent] = []
    rows = size = 0
    for sent in found:
        waiting.append(sent)
        rows, size = rows + len(sent.ticks), size + sent.size
        if rows >= ROWS or size >= BYTES:
            yield _together(waiting, node)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield _together(waiting, node)


def _together(found: list[Sent], node: str | None) -> Batch:
    is_text = all(sent.text for sent in found)
    ticks = _joined([sent.ticks for sent in found])
    return Batch(
        ticks,
        _joined([sent.stamps_ns for sent in found]),
        _joined([sent.seqs for sent in found]),
        _joined([sent.publishers for sent in found]) if node is None else [node] * len(ticks),
        None if is_text else _joined([sent.data for sent in found]),
        b"\n".join([sent.text for sent in found]) if is_text else b"",
    )


def _joined(columns: Sequence[Any]) -> Any:
    if len(columns) == 1:
        return columns[0]
    if all(type(column) is array for column in columns):
        return array("q", b"".join(columns))
    return list(chain.from_iterable(columns))


def _in_order(session: Recorded, node: str, topic: str, start: int | None, stop: int | None) -> Iterator[Batch]:
    """What a node sent in its callbacks and beside them, which stands in lines that are not in order."""
    sent = (one for one in session.outputs(node) if one.topic == topic)
    return in_batches(
        RecordedMessage(one.tick, one.stamp_ns, node, topic, one.seq, one.data)
        for one in sent
        if (start is None or one.tick >= start) and (stop is None or one.tick <= stop)
    )


def _rows(batches: Iterable[Batch], topic: str) -> Iterator[RecordedMessage]:
    for batch in batches:
        columns = batch.ticks, batch.stamps_ns, batch.seqs, batch.publishers, batch.data
        for tick, stamp_ns, seq, publisher, value in zip(*columns, strict=True):
            yield RecordedMessage(tick, stamp_ns, publisher, topic, seq, value)


def _merged(sources: list[Iterator[Batch]], topic: str) -> Iterator[Batch]:
    return in_batches(heapq.merge(*(_rows(source, topic) for source in sources), key=when))
