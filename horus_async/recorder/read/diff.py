"""Where two sessions differ, message by message; comparing nothing is never a pass."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field, frozen

from horus_async.errors import RecordingError
from horus_async.recorder.messages import session_messages
from horus_async.topics.codec import decode
from horus_async.validators import is_not_negative
from horus_async.value_diff import difference, short, short_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.recorder.messages import Progress, RecordedMessage

    from .session import Session

    TickMessages = tuple[int, list[RecordedMessage]]
    _Place = tuple[str, Any, Any]

NOTHING = "(no message)"
"""Stands for a message that only one session has."""


@frozen
class MessageDifference:
    """One message that is not the same in both sessions, or that only one has."""

    tick: int
    node: str
    topic: str
    field: str
    """The path of the first difference inside the message, ``pose.x`` or ``ranges[3]``; empty for the whole."""
    a: Any
    b: Any

    def __str__(self) -> str:
        where = f", field {short(self.field, text=True)}" if self.field else ""
        a, b = short_pair(self.a, self.b)
        names = f"node {short(self.node, text=True)}, topic {short(self.topic, text=True)}"
        return f"tick {self.tick}, {names}{where}: {a} != {b}"


@define
class SessionDiff:
    """What a comparison of two sessions found."""

    compared: dict[str, int] = field(factory=dict)
    """Pairs of messages that were compared, by topic; 0 for a topic of which none could be."""
    differences: int = 0
    """Messages that differ, are missing or are too many."""
    shown: list[MessageDifference] = field(factory=list)
    """The first of them, by tick."""
    only_a: set[str] = field(factory=set)
    """Topics of which only the first session has messages."""
    only_b: set[str] = field(factory=set)

    @property
    def pairs(self) -> int:
        """Pairs of messages compared, over all topics."""
        return sum(self.compared.values())

    @property
    def same(self) -> bool:
        """At least one pair of each common topic was compared, and there is no difference anywhere."""
        return bool(self.compared) and all(self.compared.values()) and not self.differences


def diff_sessions(
    a: Session, b: Session, *, tolerance: float = 0.0, limit: int = 20, progress: Progress | None = None
) -> SessionDiff:
    """Compare every message of two sessions.

    Messages are matched by tick, node, topic and their order in the tick, so a missing one does not shift the others.
    Values are compared, stamps are not; 1 equals 1.0.

    Args:
        a: One session.
        b: The other.
        tolerance: Numbers this far apart, absolute, count as equal.
        limit: The number of differences kept; all are counted.
        progress: Told how many messages of ``a`` were read.

    Raises:
        RecordingError: ``tolerance`` is no number, or below 0.
    """
    if not is_not_negative(tolerance):
        raise RecordingError(f"tolerance={tolerance!r}: give a number, 0 or more")
    found = SessionDiff()
    topics_a: set[str] = set()
    topics_b: set[str] = set()
    comparison = _Comparison(found, tolerance, limit)
    sides = _by_tick(session_messages(a, (), progress)), _by_tick(session_messages(b))
    for tick, left, right in _side_by_side(*sides):
        topics_a.update(message.topic for message in left)
        topics_b.update(message.topic for message in right)
        comparison.tick(tick, left, right)
    found.only_a, found.only_b = topics_a - topics_b, topics_b - topics_a
    for topic in topics_a & topics_b:
        found.compared.setdefault(topic, 0)
    return found


def _by_tick(messages: Iterable[RecordedMessage]) -> Iterator[TickMessages]:
    for tick, group in itertools.groupby(messages, key=lambda message: message.tick):
        yield tick, list(group)


def _side_by_side(
    a: Iterator[TickMessages], b: Iterator[TickMessages]
) -> Iterator[tuple[int, list[RecordedMessage], list[RecordedMessage]]]:
    """The messages of each tick from both sides; an empty list where a side has none."""
    left, right = next(a, None), next(b, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[0] < right[0]):
            assert left is not None
            yield left[0], left[1], []
            left = next(a, None)
        elif left is None or right[0] < left[0]:
            yield right[0], [], right[1]
            right = next(b, None)
        else:
            yield left[0], left[1], right[1]
            left, right = next(a, None), next(b, None)


@define
class _Comparison:
    found: SessionDiff
    tolerance: float
    limit: int

    def tick(self, tick: int, left: list[RecordedMessage], right: list[RecordedMessage]) -> None:
        """Compare the messages of one tick."""
        others: dict[tuple[str, str], list[RecordedMessage]] = {}
        for message in reversed(right):
            others.setdefault((message.publisher, message.topic), []).append(message)
        compared = self.found.compared
        for message in left:
            waiting = others.get((message.publisher, message.topic))
            if not waiting:
                self._note(tick, message, partial(_missing_right, message))
                continue
            compared[message.topic] = compared.get(message.topic, 0) + 1
            found = _difference(message.data, waiting.pop().data, self.tolerance)
            if found is not None:
                self._note(tick, message, found)
        for waiting in others.values():
            for message in reversed(waiting):
                self._note(tick, message, partial(_missing_left, message))

    def _note(self, tick: int, message: RecordedMessage, where: _Place | Callable[[], _Place]) -> None:
        """Count a difference; what is not shown is not decoded."""
        self.found.differences += 1
        if len(self.found.shown) < self.limit:
            place = where() if callable(where) else where
            self.found.shown.append(MessageDifference(tick, message.publisher, message.topic, *place))


def _missing_right(message: RecordedMessage) -> _Place:
    return "", decode(orjson.dumps(message.data)), NOTHING


def _missing_left(message: RecordedMessage) -> _Place:
    return "", NOTHING, decode(orjson.dumps(message.data))


def _difference(a: Any, b: Any, tolerance: float) -> _Place | None:
    """The first difference of two messages, given as parsed from JSON."""
    left, right = orjson.dumps(a), orjson.dumps(b)
    # The order of keys makes no difference; and sorting them costs less than making values of the text.
    if left == right or (len(left) == len(right) and _sorted(a) == _sorted(b)):
        return None
    if _type_of(a) == _type_of(b) is not None and a.get("unset") == b.get("unset"):
        # Both are of the same class, whose name is not part of the path.
        left, right = orjson.dumps(a["value"]), orjson.dumps(b["value"])
    values = decode(left), decode(right)
    try:
        return difference(*values, tolerance=tolerance)
    except OverflowError:  # an integer beyond every float, beside a float
        return "", *values


def _sorted(data: Any) -> bytes:
    return orjson.dumps(data, option=orjson.OPT_SORT_KEYS)


def _type_of(data: Any) -> Any:
    return data.get("$type") if isinstance(data, dict) and "value" in data else None
