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
    is_own: bool = False
    """Whether the file is of a session with this clock: then a message was sent in the tick that had begun last."""
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
        is_own = rate == source.tick_rate and first_ns == source.start_ns
        return cls(first_ns, rate, is_regular=True, is_own=is_own)

    @classmethod
    def by_message(cls, source: Source) -> TickClock:
        """A clock with a tick per message."""
        span = source.last_ns - source.first_ns
        rate = (source.count - 1) * NANOSECONDS / span if span > 0 and source.count > 1 else 100.0
        return cls(source.first_ns, rate, is_regular=False)

    def tick_of(self, stamp_ns: int) -> int:
        """The first tick at or after a stamp; of an own clock, the last one that begins by then."""
        ticks, seconds = self._ratio
        if self.is_own:
            return max(0, -(-(stamp_ns + 1 - self.start_ns) * ticks // (seconds * NANOSECONDS)) - 1)
        return max(0, -(-(stamp_ns - self.start_ns) * ticks // (seconds * NANOSECONDS)))

    def now_ns(self, tick: int) -> int:
        """When a tick begins."""
        ticks, seconds = self._ratio
        if self.is_own:  # as `RateTimeline` has it
            return self.start_ns + tick * NANOSECONDS * seconds // ticks
        return self.start_ns - (-tick * NANOSECONDS * seconds // ticks)


@define
class _Route:
    """Where the messages of one topic and publisher go."""

    node: str
    topic: str
    seq: int = -1
    """The last message's number."""
    count: int = 0


@define
class TickWriter:
    """Gathers the messages of a tick."""

    recorder: Recorder
    clock: TickClock
    topics: dict[str, str]
    nodes: dict[str, str]
    faults: Faults
    _tick: int = -1
    _now_ns: int = 0
    _period_ns: int = field(init=False)
    _sent: list[Sent] = field(factory=list)
    _routes: dict[tuple[str, str], _Route] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self._period_ns = round(NANOSECONDS / self.clock.rate)

    @property
    def counts(self) -> dict[str, int]:
        """The messages that were taken, by the names of their topics in the file."""
        counts: dict[str, int] = {}
        for (topic, _), route in self._routes.items():
            counts[topic] = counts.get(topic, 0) + route.count
        return counts

    def put(self, message: SourceMessage) -> None:
        """Take the next message.

        Raises:
            RecordingError: It cannot be imported, not even as bytes.
        """
        stamp_ns, topic, publisher, value, _, number = message
        payload = value.payload if type(value) is Packed else self._payload(message)
        if payload is None:
            return
        route = self._routes.get((topic, publisher)) or self._route(topic, publisher)
        seq = route.seq + 1
        if number is not None and number > seq:
            seq = number
        route.seq = seq
        route.count += 1
        if self.clock.is_regular:
            self._go_to(self.clock.tick_of(stamp_ns))
            self._sent.append(Sent(route.node, route.topic, seq, stamp_ns, payload, self._tick, self._tick))
            return
        tick = self._tick = self._tick + 1
        now_ns = self._now_ns = max(self._now_ns, stamp_ns)
        node, topic = route.node, route.topic
        if not self.recorder.lone(node, topic, seq, stamp_ns, payload, tick, now_ns, self._period_ns):
            self._sent.append(Sent(node, topic, seq, stamp_ns, payload, tick, tick))
            self._end_tick()

    def finish(self) -> int:
        """End the last tick; the number of ticks."""
        if self._sent:
            self._end_tick()
        return self._tick + 1

    def _route(self, topic: str, publisher: str) -> _Route:
        route = self._routes[topic, publisher] = _Route(self.nodes[publisher], self.topics[topic])
        return route

    def _payload(self, message: SourceMessage) -> bytes | None:
        """A message as a topic carries it; None, which is counted, if none can."""
        try:
            return as_bytes(encode(message.value))
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
            if self._tick >= 0:
                self._end_tick()
            self._tick += 1
            self._now_ns = self.clock.now_ns(self._tick)

    def _end_tick(self) -> None:
        """Tell of a tick: what each node sent in it, then its end."""
        tick, now_ns, recorder = self._tick, self._now_ns, self.recorder
        by_node: dict[str, list[Sent]] = {}
        for message in self._sent:
            by_node.setdefault(message.node, []).append(message)
        for node, outputs in by_node.items():
            for message in outputs:
                recorder.sent(message)
            recorder.executed(Execution("tick", node, tick, now_ns, self._period_ns, 0, [], None))
        recorder.tick_ended(TickEnd(tick, now_ns, [*by_node]))
        self._sent.clear()
