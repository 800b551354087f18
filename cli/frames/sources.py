"""Edges from running programs and from sessions, for ``horus-async frames``."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async.cli.support.shared_memory import other_users
from horus_async.cli.support.windows import LOOK_NS
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from horus_async.errors import RecordingError, TopicError
from horus_async.hints.installed import command
from horus_async.recorder import open_session
from horus_async.spelling import did_you_mean
from horus_async.topics import Bus, Message
from horus_async.topics.codec import decode
from horus_async.topics.inspection import rings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.frames import Frames
    from horus_async.topics.ring.region import Taken


MOST_REASONS = 100
"""So many different ones are shown."""


@define
class LeftOut:
    """Edges that make no sense."""

    count: int = 0
    reasons: dict[str, None] = field(factory=dict)
    """Each once, in their order."""

    def add(self, reason: str) -> None:
        """One more."""
        self.count += 1
        if len(self.reasons) < MOST_REASONS:
            self.reasons[reason] = None


def hear(tree: Frames, topics: tuple[str, str], namespace: str, window_ns: int, left_out: LeftOut) -> int | None:
    """Listen for that long, and take the newest that is there. Returns the stamp of the newest; None without any.

    Args:
        tree: It gets the edges.
        topics: Where those come that move, and those that never change.
        namespace: Of the topics.
        window_ns: How long.
        left_out: Told of what makes no sense.
    """
    newest: int | None = None

    def take(found: Taken, *, static: bool) -> None:
        nonlocal newest
        payload, publisher, seq, stamp_ns = found
        newest = stamp_ns if newest is None else max(newest, stamp_ns)
        try:
            value = decode(payload)
        except TopicError as error:
            left_out.add(f"message {seq} of {publisher!a}: {error}")
            return
        for reason in tree.add_all(Message(value, topics[static], seq, stamp_ns, publisher), static=static):
            left_out.add(reason)

    with Bus(namespace, from_start=False) as bus:
        subscribers = [(bus.subscriber(topic), static) for static, topic in enumerate(topics)]
        for subscriber, static in subscribers:
            before = subscriber.latest()
            if before is not None:
                take(before, static=bool(static))
        end = monotonic_ns() + window_ns
        while (now := monotonic_ns()) < end:
            some = False
            for subscriber, static in subscribers:
                found = subscriber.take()
                if found is not None:
                    some = True
                    take(found, static=bool(static))
            if not some:
                sleep_until_monotonic(min(end, now + LOOK_NS))
    return newest


def read(tree: Frames, topics: tuple[str, str], session: str, left_out: LeftOut) -> int:
    """Take all edges of a session, static ones first. Returns when the last message was sent.

    Raises:
        RecordingError: There is no such session, or it has none.
    """
    opened = open_session(session)
    newest = None
    for topic, static in ((topics[1], True), (topics[0], False)):
        rows = [_named(opened.outputs(node), node) for node in opened.nodes if topic in opened.output_topics(node)]
        outside = ((one.stamp_ns, one.publisher, one) for one in opened.external())
        for stamp_ns, publisher, one in heapq.merge(*rows, outside, key=lambda row: row[0]):
            if one.topic != topic:
                continue
            newest = stamp_ns if newest is None else max(newest, stamp_ns)
            message = Message(one.value, topic, one.seq, stamp_ns, publisher)
            for reason in tree.add_all(message, static=static):
                left_out.add(reason)
    if newest is None:
        known = {topic for node in opened.nodes for topic in opened.output_topics(node)}
        raise RecordingError(
            f"session {opened.name!r} has no message on {topics[0]!r} or {topics[1]!r}{did_you_mean(topics[0], known)}"
        )
    return newest


def _named(outputs: Iterator[Any], node: str) -> Iterator[tuple[int, str, Any]]:
    return ((one.stamp_ns, node, one) for one in outputs)


def silence(namespace: str, topics: tuple[str, str]) -> str:
    """That nobody publishes these, and what may be meant."""
    known = {ring.topic for ring in rings(namespace)}
    hint = did_you_mean(topics[0], known - set(topics)) or f"; {other_users() or 'see ' + command('topic list')}"
    return f"nobody publishes {topics[0]!r} or {topics[1]!r} in namespace {namespace!r}{hint}"
