"""Messages and calls that a page has one by one, with which of them read which: what causal trees are made of. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
from attrs import define, field

from .values import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from horus_async.recorder.records import ExecutionRecord

KINDS = ("tick", "init", "shutdown", "safe_state", "request")
"""Callbacks by number."""
_CALL_BYTES = 24


class Message(NamedTuple):
    """A message, as a page has it; a named tuple, as there are many."""

    seq: int
    t: int
    """µs since the run began."""
    tick: int
    data: Any
    """As parsed from JSON."""


@define
class Channel:
    """What one publisher sent on one topic, and of it the messages that are in the page."""

    topic: str
    publisher: str
    source: int = 0
    count: int = 0
    """All of its messages."""
    bytes: int = 0
    """Of these, as recorded text."""
    first_us: int | None = None
    last_us: int | None = None
    type: str = ""
    image: bool = False
    external: bool = False
    rows: dict[int, tuple[int, int, int | None, Any]] = field(factory=dict, repr=False)
    """By number: time, tick, the number of the call that sent it, value."""

    def see(self, at_us: int) -> None:
        """Count a message."""
        self.count += 1
        if self.first_us is None:
            self.first_us = at_us
        self.last_us = at_us

    def fields(self) -> dict[str, Any]:
        """What goes in the page."""
        kept = sorted(self.rows.items(), key=lambda row: (row[1][0], row[0]))
        return {
            "topic": self.topic,
            "publisher": self.publisher,
            "source": self.source,
            "external": self.external,
            "count": self.count,
            "bytes": self.bytes,
            "first": self.first_us,
            "last": self.last_us,
            "type": self.type,
            "seq": [seq for seq, _ in kept],
            "t": [row[0] for _, row in kept],
            "tick": [row[1] for _, row in kept],
            "call": [row[2] for _, row in kept],
            "value": [row[3] for _, row in kept],
        }


@define
class Calls:
    """The calls of a node that are in the page."""

    rows: list[dict[str, Any]] = field(factory=list)

    def fields(self) -> dict[str, list[Any]]:
        """Columns."""
        return {name: [row[name] for row in self.rows] for name in ("tick", "t", "dur", "kind", "in", "saw", "error")}


class Channels:
    """All channels of a source, by number."""

    def __init__(self) -> None:
        self.all: list[Channel] = []
        self._numbers: dict[tuple[str, str, int], int] = {}

    def number(self, topic: str, publisher: str, source: int = 0) -> int:
        """The number of a channel, which is made if there is none."""
        key = topic, publisher, source
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.all)
            self.all.append(Channel(topic, publisher, source))
        return number


class Details:
    """Keeps messages and calls as long as there is room.

    Args:
        channels: Of the source.
        room: Bytes that they may take in the page.
        value_bytes: Of one message.
    """

    def __init__(self, channels: Channels, room: int, value_bytes: int) -> None:
        self.channels = channels
        self.room = room
        self._value_bytes = value_bytes
        self.calls: dict[str, Calls] = {}
        self._sent_during: dict[tuple[str, int], list[tuple[int, int]]] = {}

    def message(self, channel: int, message: Message, call: int | None = None, *, forced: bool = False) -> bool:
        """Keep a message. False where there was no room.

        Args:
            channel: Its number.
            message: The message.
            call: The number of its node's call that sent it; None where that is not known.
            forced: Whether it is kept in any case.
        """
        rows = self.channels.all[channel].rows
        known = rows.get(message.seq)
        if known is not None:
            if call is not None:
                rows[message.seq] = (*known[:2], call, known[3])
            return True
        if self.room <= 0 and not forced:
            return False
        value = shortened(message.data, self._value_bytes)
        self.room -= len(orjson.dumps(value)) + _CALL_BYTES
        rows[message.seq] = message.t, message.tick, call, value
        return True

    def call(self, node: str, line: ExecutionRecord, at_us: int) -> int:
        """Keep a call of a node; returns its number."""
        calls = self.calls.setdefault(node, Calls())
        number = len(calls.rows)
        inputs = self._named((taken.topic, taken.publisher, taken.seq, taken.source) for taken in line.inputs)
        looks = [look for look in line.looks if look.asked == "latest" and look.publisher]
        saw = self._named((look.topic, look.publisher, look.seq, look.source) for look in looks)
        calls.rows.append(
            {
                "tick": line.tick,
                "t": at_us,
                "dur": line.duration_ns // 1000,
                "kind": KINDS.index(line.kind) if line.kind in KINDS else 0,
                "in": inputs,
                "saw": saw,
                "error": line.error,
            }
        )
        self.room -= _CALL_BYTES + 6 * (len(inputs) + len(saw))
        for channel, seq in self._sent_during.pop((node, line.tick), ()):
            row = self.channels.all[channel].rows.get(seq)
            if row is not None:
                self.channels.all[channel].rows[seq] = (*row[:2], number, row[3])
        return number

    def sent_during(self, node: str, tick: int, channel: int, seq: int) -> None:
        """Note that a message was sent while a call went on whose line comes later."""
        self._sent_during.setdefault((node, tick), []).append((channel, seq))

    def _named(self, messages: Iterable[tuple[str, str, int, int]]) -> list[int]:
        """Channel and number of each, one after the other."""
        return [part for t, p, seq, source in messages for part in (self.channels.number(t, p, source), seq)]
