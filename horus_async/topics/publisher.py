"""Sending: a named publisher and its way into the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .packed.packed import form_of, pack_bytes
from .ring.region import LATEST, SLEEPERS
from .wake.doorbell import ring_bells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .exchange import Channel
    from .packed.layout import Pack
    from .packed.schema import Schema
    from .ring.turn import Turn
    from .ring.writer import Packers, RingWriter
    from .values.payload import Payload


_UNOPENED: Packers = {}
"""Stands for a ring's packers before the first message."""


class _Forms(dict[type, "Pack | None"]):
    """How a publisher packs objects, by their class. A class is in here only once the ring describes it."""

    __slots__ = ("_describe",)

    def __init__(self, describe: Callable[[Schema], bool]) -> None:
        super().__init__({bytes: pack_bytes})
        self._describe = describe

    def __missing__(self, kind: type) -> Pack | None:
        form = form_of(kind)
        pack = self[kind] = form.pack if form is not None and self._describe(form.schema) else None
        return pack


class Publisher:
    """One named publisher of one topic. Made by ``Bus.publisher``; may be used from several threads."""

    __slots__ = (
        "_channel",
        "_give_turn",
        "_next",
        "_number",
        "_open_ring",
        "_packers",
        "_ring",
        "_take_turn",
        "_turn",
        "forms",
        "name",
        "topic",
    )

    def __init__(
        self,
        topic: str,
        name: str,
        *,
        open_ring: Callable[[], RingWriter],
        channel: Channel,
        turn: Turn,
    ) -> None:
        self.topic = topic
        self.name = name
        self._open_ring = open_ring
        self._channel = channel
        self.use_turn(turn)
        self._next = 0
        self._number = 0
        self._packers = _UNOPENED
        self._ring: RingWriter
        self.forms: Mapping[type, Pack | None] = _Forms(self._describe)
        """For ``codec.encode``: packs objects that this publisher is to send."""

    def publish(self, payload: Payload, stamp_ns: int, seq: int | None = None) -> int:
        """Write one message into the ring and wake everybody who waits for it.

        Args:
            payload: what ``codec.encode`` returned, or JSON text.
            stamp_ns: time stamp, nanoseconds since 1970.
            seq: its sequence number; default: one more than the last, from 0.

        Returns:
            The sequence number.

        Raises:
            MessageTooLargeError: it can never fit.
            TopicError: the bus is closed, or there is no shared memory left.
        """
        try:
            try:
                self._take_turn()
            except IndexError:  # another thread is writing
                self._turn.wait()
            if seq is None:
                seq = self._next
            # The common case is written out here instead of called: every message pays for it.
            length = len(payload)
            if type(payload) is bytes and length in self._packers:
                pack, size = self._packers[length]
                ring = self._ring
                start = ring.tail
                end = start + size
                if end <= ring.limit:
                    index = ring.index
                    at = ring.data_at + (start & ring.mask)
                    pack(ring.map, at, length, index, seq, stamp_ns, self._number, payload)
                    words = ring.words
                    # No call from here on: Ctrl-C must not come between these.
                    words[LATEST] = start
                    ring.tail = end
                    ring.index = index + 1
                    ring.near = index, end, (payload, self.name, seq, stamp_ns)
                else:
                    words = self._write(payload, seq, stamp_ns)
            else:
                words = self._write(payload, seq, stamp_ns)
            self._next = seq + 1
        finally:
            self._give_turn(None)
        if self._channel.watchers:
            for watcher in self._channel.watchers:
                watcher()
        if words[SLEEPERS]:  # somebody in another process
            ring = self._ring
            ring_bells(ring.namespace, ring.sleepers(), ring.bell_byte)
        return seq

    def use_turn(self, turn: Turn) -> None:
        """Write only while holding ``turn``, which all publishers of a ring share."""
        self._turn = turn
        self._take_turn = turn.take
        self._give_turn = turn.give

    def _describe(self, schema: Schema) -> bool:
        try:
            try:
                self._take_turn()
            except IndexError:  # another thread is writing
                self._turn.wait()
            self._open()
            return self._ring.add_schema(schema.text)
        finally:
            self._give_turn(None)

    def _open(self) -> None:
        if self._packers is _UNOPENED:
            self._ring = self._open_ring()
            self._number = self._ring.add_publisher(self.name)
            self._packers = self._ring.packers

    def _write(self, payload: Payload, seq: int, stamp_ns: int) -> memoryview:
        """Write a message the slower way; returns the words of the ring's header."""
        self._open()
        self._ring.write(payload, self._number, seq, stamp_ns)
        return self._ring.words
