"""Who sends and who reads each topic of a run, and a word about those that are read and never sent."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.frames.names import EITHER
from horus_async.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    Declared = Mapping[str, tuple[Iterable[str], Iterable[str]]]
    """By node: the topics that it sends on and those that it reads, declared or used so far."""

_log = logging.getLogger("horus_async")


@frozen
class TopicUse:
    """The nodes that send on a topic and those that read it, as declared and as done so far."""

    writers: tuple[str, ...]
    readers: tuple[str, ...]


def uses(topics: Declared) -> dict[str, TopicUse]:
    """Who uses each topic."""
    writers: dict[str, list[str]] = {}
    readers: dict[str, list[str]] = {}
    for node, (sent, read) in topics.items():
        for topic in sent:
            writers.setdefault(topic, []).append(node)
        for topic in read:
            readers.setdefault(topic, []).append(node)
    return {
        topic: TopicUse(tuple(writers.get(topic, ())), tuple(readers.get(topic, ())))
        for topic in sorted({*writers, *readers})
    }


def warn_of_unsent(topics: Declared, but: Collection[str] = ()) -> None:
    """Log each topic that is read and that nobody sends: in a run that hears no other process it has no message.

    Args:
        topics: Of the run.
        but: Those where that is as it should be: of requests that nobody had.
    """
    known = uses(topics)
    sent = [topic for topic, use in known.items() if use.writers]
    frames = EITHER.intersection(sent)
    for topic, use in known.items():
        if not use.writers and topic not in but and not (frames and topic in EITHER):
            who = ", ".join(map(repr, use.readers))
            _log.warning("topic %r is read by %s, and nobody sends on it%s", topic, who, did_you_mean(topic, sent))
