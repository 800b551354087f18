"""Gives the messages of a file ticks, and tells the recorder of them as a run would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.rules.schedule import ratio
from horus_async.errors import HorusError, MessageTooLargeError, RecordingError
from horus_async.observe import Execution, Sent, TickEnd
from horus_async.topics.codec import as_bytes, encode

from .source import AS_BYTES, LEFT_OUT, Packed

if TYPE_CHECKING:
    from horus_async.recorder.write.recorder import Recorder

    from .source import Faults, Source, SourceMessage

MAX_EMPTY_TICKS = 100_000_000
"""Ticks above which a session is refused: a stamp is wrong, or the rate."""


@define
class TickClock:
    """Which tick a stamp belongs to, and the time of a tick."""

    start_ns: int
    rate: float
    is_regular: bool
    _ratio: tuple[int, int] = field(init=False)
    """Ticks in so many seconds: a fraction would take longer than the rest of a message's import."""

    def __attrs_post_init__(self) -> None:
        self._ratio = ratio(self.rate)

    @classmethod
    def regular(cls, source: Source, rate: float) -> TickClock:
        """A clock that begins with the first message, or where the file says that its run began.

        Raises:
            RecordingError: It would have more than `MAX_EMPTY_TICKS`.
        """
        first_ns, last_ns = source.first_ns, source.last_ns
        if source.start_ns is not None and source.start_ns <= first_ns:
            first_ns = source.start_ns
        ticks = (last_ns - first_ns) * rate / NANOSECONDS
        if ticks > MAX_EMPTY_TICKS:
            raise RecordingError(
                f"the stamps span {(last_ns - first_ns) / NANOSECONDS:.0f} s, which at {rate:g} Hz is "
                f"{ticks:.0f} ticks: a stamp is wrong, or give a lower rate, or none for one tick a message"
            )
        return cls(first_ns, rate, is_regular=True)

    @classmethod
    def by_message(cls, source: Source) -> TickClock:
        """A clock with a tick per message."""
        span = source.last_ns - source.first_ns
        rate = (source.count - 1) * NANOSECONDS / span if span > 0 and source.count > 1 else 100.0
        return cls(source.first_ns, rate, is_regular=False)

    def tick_of(self, stamp_ns: int) -> int:
        """The first tick at or after a stamp."""
        ticks, seconds = self._ratio
        return max(0, -(-(stamp_ns - self.start_ns) * ticks // (seconds * NANOSECONDS)))

    def now_ns(self, tick: int) -> int:
        """When a tick begins."""
        ticks, seconds = self._ratio
        return self.start_ns - (-tick * NANOSECONDS * seconds // ticks)


@define
class TickWriter:
    """Gathers the messages of a tick."""

    recorder: Recorder
    clock: TickClock
    topics: dict[str, str]
    nodes: dict[str, str]
    faults: Faults
    counts: dict[str, int] = field(factory=dict)
    _tick: int = -1
    _now_ns: int = 0
    _sent: list[Sent] = field(factory=list)
    _seqs: dict[tuple[str, str], int] = field(factory=dict)

    def put(self, message: SourceMessage) -> None:
        """Take the next message.

        Raises:
            RecordingError: It cannot be imported, not even as bytes.
        """
        payload = self._payload(message)
        if payload is None:
            return
        clock = self.clock
        if clock.is_regular:
            self._go_to(max(self._tick, clock.tick_of(message.stamp_ns)))
        else:
            self._end_tick()
            self._tick += 1
            self._now_ns = max(self._now_ns, message.stamp_ns)
        node, topic = self.nodes[message.publisher], self.topics[message.topic]
        seq = self._seqs.get((node, topic), -1) + 1
        seq = self._seqs[node, topic] = seq if message.seq is None else max(seq, message.seq)
        self._sent.append(Sent(node, topic, seq, message.stamp_ns, payload, self._tick, self._tick))
        self.counts[message.topic] = self.counts.get(message.topic, 0) + 1

    def finish(self) -> int:
        """End the last tick; the number of ticks."""
        self._end_tick()
        return self._tick + 1

    def _payload(self, message: SourceMessage) -> bytes | None:
        """A message as a topic carries it; None, which is counted, if none can."""
        value = message.value
        if type(value) is Packed:
            return value.payload
        try:
            return as_bytes(encode(value))
        except HorusError as error:
            if isinstance(error, MessageTooLargeError):
                self.faults.add(message.topic, message.stamp_ns, LEFT_OUT, error)
                return None
            if not message.raw:
                raise RecordingError(f"topic {message.topic}, at {message.stamp_ns} ns: {error}") from error
            self.faults.add(message.topic, message.stamp_ns, AS_BYTES, error)
        return self._payload(message._replace(value=bytes(message.raw)))

    def _go_to(self, tick: int) -> None:
        while self._tick < tick:
            self._end_tick()
            self._tick += 1
            self._now_ns = self.clock.now_ns(self._tick)

    def _end_tick(self) -> None:
        if self._tick < 0:
            return
        tick, now_ns, sent = self._tick, self._now_ns, self._sent
        period_ns = round(NANOSECONDS / self.clock.rate)
        by_node: dict[str, list[Sent]] = {}
        for message in sent:
            by_node.setdefault(message.node, []).append(message)
        for node, outputs in by_node.items():
            for message in outputs:
                self.recorder.sent(message)
            self.recorder.executed(Execution("tick", node, tick, now_ns, period_ns, 0, [], None))
        self.recorder.tick_ended(TickEnd(tick, now_ns, [*by_node]))
        self._sent = []
