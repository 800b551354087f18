"""What was sent to last, before the tick at which a replay starts: maps, descriptions, static transforms.

That is what its node kept for late readers then (``Keep``), and what a publisher sent on a topic where it sent nothing
else in the whole session. It is played as the replay starts, so that who listens has what the original had. Of what
was sent more often without being kept nothing is: it must not be taken for news.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeVar

from horus_async.recorder.records import RecordedOutput
from horus_async.recorder.tallies import Tallies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.recorder import Session
    from horus_async.recorder.read.reader import RecordedFile
    from horus_async.recorder.records import ExternalMessage
    from horus_async.recorder.tallies import TopicTally

_Message = TypeVar("_Message", RecordedOutput, "ExternalMessage")


def kept_outputs(session: Session, node: str, start: int | None) -> list[RecordedOutput]:
    """What a node kept at ``start``, or sent before on topics where it sent nothing else, in the order of sending."""
    if _begins_there(session, start):
        return []
    assert start is not None
    tallies = _tallies(session.files[node], lambda: ((sent.topic, None, sent.tick) for sent in session.outputs(node)))
    keep = session.nodes[node].keep
    found = []
    for tally in _once(tallies, start):
        if tally.topic not in keep:
            at = tally.last_tick
            found += _last(session.outputs(node, at, at), tally) or _last(session.outputs(node, None, at), tally)
    if keep:
        kept = {topic: deque[RecordedOutput](maxlen=count) for topic, count in keep.items() if count > 0}
        for sent in session.outputs(node, None, start - 1):
            if sent.topic in kept and sent.tick < start:
                kept[sent.topic].append(sent)
        found += [sent for of_topic in kept.values() for sent in of_topic]
    return sorted(found, key=lambda sent: (sent.tick, sent.stamp_ns))


def kept_external(session: Session, start: int | None) -> list[ExternalMessage]:
    """The same of external messages, by topic and publisher."""
    if _begins_there(session, start) or session.external_file is None:
        return []
    assert start is not None
    tallies = _tallies(session.external_file, lambda: ((m.topic, m.publisher, m.tick) for m in session.external()))
    found = []
    for tally in _once(tallies, start):
        of_publisher = (m for m in session.external(tally.last_tick, tally.last_tick) if m.publisher == tally.publisher)
        found += _last(of_publisher, tally)
    return sorted(found, key=lambda message: (message.tick, message.stamp_ns))


def _begins_there(session: Session, start: int | None) -> bool:
    return start is None or session.first_tick is None or start <= session.first_tick


def _tallies(file: RecordedFile, read: Callable[[], Iterable[tuple[str, str | None, int]]]) -> Iterable[TopicTally]:
    """What a file holds of each topic: a closed one says so, any other is read to its end."""
    footer = file.footer
    if footer is not None and footer.topics is not None:
        return footer.topics
    counted = Tallies()
    for topic, publisher, tick in read():
        counted.see(topic, publisher, tick, 0)
    return counted.values()


def _once(tallies: Iterable[TopicTally], start: int) -> Iterator[TopicTally]:
    return (tally for tally in tallies if tally.count == 1 and tally.last_tick < start)


def _last(messages: Iterable[_Message], tally: TopicTally) -> list[_Message]:
    found: list[_Message] = []
    for message in messages:
        if message.topic == tally.topic:
            found = [message]
    return found
