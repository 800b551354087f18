"""Sending: a named publisher and its way into the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.native import core

from .core import PublisherCore
from .external.notices import say_removed
from .packed.marks import pack_bytes
from .ring.core import packers
from .ring.memory import FileRemovedError
from .ring.region import LATEST, SLEEPERS
from .ring.turn import takes_turn, with_turn
from .wake.doorbell import ring_bells

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .exchange import Channel
    from .packed.marks import Pack
    from .packed.schema import Schema
    from .ring.turn import Turn
    from .ring.writer import RingWriter
    from .values.payload import Payload


_SETTLED: dict[type, Pack | None] = {
    bytes: pack_bytes,
    **dict.fromkeys((dict, list, tuple, str, int, float, bool, type(None)), None),
}
"""What needs no description in the ring."""


class _Forms(dict[type, "Pack | None"]):
    """How a publisher packs objects, by their class. A class is in here only once the ring describes it."""

    __slots__ = ("_describe",)

    def __init__(self, describe: Callable[[Schema], bool]) -> None:
        super().__init__(_SETTLED)
        self._describe = describe

    def __missing__(self, kind: type) -> Pack | None:
        from .packed.packed import form_of

        form = form_of(kind)
        pack = self[kind] = form.pack if form is not None and self._describe(form.schema) else None
        return pack


class Publisher(PublisherCore):
    """One named publisher of one topic. Made by ``Bus.publisher``; may be used from several threads."""

    __slots__ = (
        "_open_ring",
        "_turn",
        "forms",
        "name",
        "topic",
    )

    channel: Channel
    ring: RingWriter | None

    def __init__(
        self,
        topic: str,
        name: str,
        *,
        open_ring: Callable[[], RingWriter],
        channel: Channel,
        turn: Turn,
    ) -> None:
        super().__init__()
        self.topic = topic
        self.name = name
        self._open_ring = open_ring
        self._turn = turn
        self.meet(channel, turn.free)
        self.forms: Mapping[type, Pack | None] = _Forms(self._describe)
        """For ``codec.encode``: packs objects that this publisher is to send."""

    @takes_turn
    def publish_slowly(
        self, payload: Payload, stamp_ns: int, seq: int | None = None, order_ns: int | None = None
    ) -> int:
        """Write one message into the ring and wake everybody who waits for it.

        Args:
            payload: what ``codec.encode`` returned, or JSON text.
            stamp_ns: time stamp, nanoseconds since 1970.
            seq: its sequence number; default: one more than the last, from 0.
            order_ns: its place among the messages of other rings: nanoseconds on the monotonic clock, which no setting
                of the clock moves; default the time stamp, for runs whose time is their own.

        Returns:
            The sequence number.

        Raises:
            MessageTooLargeError: it can never fit.
            TopicError: the bus is closed, there is no shared memory left, or this thread is in the middle of sending on
                this topic (in a signal handler, or in a ``__del__``).
        """
        held: object = False
        free = self.free
        try:
            held, free[0] = free[0], False
            while not held:  # another thread is writing
                self._turn.wait()
                held, free[0] = free[0], False
            if seq is None:
                seq = self.next_seq
            if order_ns is None:
                order_ns = stamp_ns
            # Most messages are written here, as calls would make up half of their cost; `_write` can do it all.
            ring, length = self.ring, len(payload)
            pack, size = packers[length] if length in packers else (None, 0)  # noqa: SIM401 - `get` takes longer
            if (
                pack
                and ring is not None
                and type(payload) is bytes
                and ring.tail + size <= ring.limit
                and not ring.checked
            ):
                start, index, words = ring.tail, ring.index, ring.words
                at = ring.data_at + (start & ring.mask)
                pack(ring.map, at, length, index, seq, stamp_ns, order_ns, self.number, payload)
                # All in one line without a call: Ctrl-C must not come between these.
                words[LATEST], ring.tail, ring.index, self.next_seq = start, start + size, index + 1, seq + 1
            else:
                ring = self._write(payload, seq, stamp_ns, order_ns)
        finally:
            if held:
                held, free[0] = False, True
        if self.channel.watchers:
            for watcher in self.channel.watchers:
                watcher()
        if ring.words[SLEEPERS]:
            self.wake_sleepers()
        return seq

    if core is None:
        publish = publish_slowly

    def wake_sleepers(self) -> None:
        """Ring for those who sleep in other processes."""
        ring = self.ring
        assert ring is not None  # there was a message
        ring_bells(ring.namespace, ring.sleepers(), ring.bell_byte)

    def open(self) -> None:
        """Make the ring now, instead of with the first message, which then costs no more than a later one.

        Nobody sees it before there is a message.

        Raises:
            TopicError: the bus is closed, or there is no shared memory left.
        """
        with_turn(self._turn, self._make_ready)

    def use_turn(self, turn: Turn) -> None:
        """Write only while holding ``turn``, which all publishers of a ring share."""
        self._turn = turn
        self.meet(self.channel, turn.free)

    def _make_ready(self) -> None:
        self._open().make_ready()

    def _describe(self, schema: Schema) -> bool:
        return with_turn(self._turn, lambda: self._add_schema(schema))

    def _add_schema(self, schema: Schema) -> bool:
        return self._open().add_schema(schema.text)

    def _open(self) -> RingWriter:
        """The ring to write, a new one before the first message and where somebody took its file away."""
        ring = self.ring
        if ring is None or ring.gone:
            ring = self._open_ring()
            number = ring.add_publisher(self.name)
            # In one line without a call: Ctrl-C must not come between these.
            self.ring, self.number = ring, number
        return ring

    def _write(self, payload: Payload, seq: int, stamp_ns: int, order_ns: int) -> RingWriter:
        """Write a message; returns the ring that has it."""
        ring = self._open()
        try:
            ring.write(payload, self.number, seq, stamp_ns, order_ns=order_ns, counting=self)
        except FileRemovedError as error:
            say_removed(self.topic, error.path)
            ring.lose()
            ring = self._open()
            ring.write(payload, self.number, seq, stamp_ns, order_ns=order_ns, counting=self)
        return ring
