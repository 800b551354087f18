"""Replay: a recorded session as a source of messages.

Recorded nodes take part in a run as nodes: each plays what the original sent, at the recorded ticks and moments, with
the recorded sequence numbers and stamps, through the real topics. So the engine needs no replay branches, and live
nodes, other processes and recorders see recorded messages as they see any.

Longer than most modules: timeline, lines, players and live twins read the same session side by side, and make sense
only together.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

import anyio
from attrs import evolve

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.node_run import NodeRun
from horus_async.engine.order import causal_order
from horus_async.engine.runtime import Runtime
from horus_async.engine.schedule import Step, exact
from horus_async.errors import ReplayError
from horus_async.nodes.node import Node
from horus_async.observe import Observer
from horus_async.recorder.records import ExecutionRecord
from horus_async.topics import Message
from horus_async.topics.codec import decode, encode

from .options import ReplayOptions, session_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from horus_async.engine.ports import Ports
    from horus_async.observe import RunInfo
    from horus_async.recorder import Session
    from horus_async.recorder.records import RecordedOutput
    from horus_async.topics.ring.reader import RingReader
    from horus_async.topics.values.payload import Payload

_PLAYED = ("tick", "safe_state")
"""Kinds of lines that belong to the ticks of a run, not to its beginning or end."""
_SOURCES = 1 << 20
"""Messages from outside of which a replay remembers the source where that is not 0; more than any ring holds."""


class RecordedTimeline:
    """The recorded scheduler ticks, at their recorded times."""

    def __init__(self, options: ReplayOptions, *, duration: float | None, on_rewind: Callable[[], None]) -> None:
        self._options = options
        session = options.session
        self._deterministic = session.deterministic
        self._rate = exact(session.tick_rate)
        self._tick_rate = session.tick_rate
        self._period_ns = round(NANOSECONDS / self._rate)
        self._start_ns = session.start_ns
        first = None if session.deterministic else next(iter(session.scheduler_ticks()), None)
        self._origin_ns = 0 if first is None else first.now_ns
        self._on_rewind = on_rewind
        self._ticks = self._read()
        self._first: int | None = None
        self._base_ns = 0
        self._at_ns = 0
        self._orders: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._limit_ns = None if duration is None else round(exact(duration) * NANOSECONDS)
        self.end_ns = 0
        self.end_reason = "replay finished"

    def _read(self) -> Iterator[Any]:
        options = self._options
        return iter(options.session.scheduler_ticks(options.start, options.stop))

    def next_step(self, late_at_ns: int | None = None) -> Step | None:
        """The next tick; see `Timeline`. A replay is never late."""
        del late_at_ns
        line = next(self._ticks, None)
        if line is None and self._options.loop and self._first is not None:
            self._base_ns = self._at_ns + self._period_ns
            self._first = None
            self._ticks = self._read()
            self._on_rewind()
            line = next(self._ticks, None)
        if line is None:
            self._end(self._at_ns + self._period_ns if self._first is not None else 0)
            return None
        moment_ns = self._moment_ns(line)
        if self._first is None:
            self._first = moment_ns
        at_ns = max(self._at_ns, self._base_ns + moment_ns - self._first)
        if self._limit_ns is not None and at_ns >= self._limit_ns:
            self.end_reason = "duration"
            self._end(self._limit_ns)
            return None
        self._at_ns = at_ns
        order = tuple(line.order)
        order = self._orders.setdefault(order, order)
        elapsed = line.tick / self._tick_rate if self._deterministic else (line.now_ns - self._origin_ns) / NANOSECONDS
        now = self._start_ns / NANOSECONDS + elapsed if self._deterministic else line.now_ns / NANOSECONDS
        return Step(line.tick, at_ns, line.now_ns, now, elapsed, self._origin_ns, order)

    def _moment_ns(self, line: Any) -> int:
        if self._deterministic:
            return int(line.tick * NANOSECONDS / self._rate)
        return int(line.now_ns)

    def _end(self, at_ns: int) -> None:
        self.end_ns = at_ns if self._limit_ns is None else min(at_ns, self._limit_ns)


class Lines:
    """One recorded node's callbacks, in order; also a `Schedule` of its ticks."""

    def __init__(
        self, options: ReplayOptions, node: str, scale: float = 1.0, kinds: tuple[str, ...] = ("tick",)
    ) -> None:
        self._options = options
        self._node = node
        self._kinds = kinds
        self._scale = scale
        """Live ticks a recorded tick."""
        self.current: ExecutionRecord | None = None
        self.unmatched: list[ExecutionRecord] = []
        """Ticks that were passed over by `take`."""
        self.next_tick: float = math.inf
        self.rewind()

    def rewind(self, tick: int = 0) -> None:
        """Start over."""
        del tick
        options = self._options
        lines = options.session.executions(self._node, options.start, options.stop)
        self._source = (line for line in lines if isinstance(line, ExecutionRecord))
        self._next: ExecutionRecord | None = None
        self._step()

    def _step(self) -> None:
        self._next = next((line for line in self._source if line.kind in self._kinds), None)
        self.next_tick = math.inf if self._next is None else self.live_tick(self._next.tick)

    def live_tick(self, tick: int) -> int:
        """The tick of this run in which a recorded one is played."""
        return tick if self._scale == 1.0 else math.ceil(tick * self._scale)

    def advance(self, tick: int) -> int:
        """See `Schedule`: one tick at a time, none is ever left out."""
        del tick
        self.current = self._next
        self._step()
        return 1

    def take(self, tick: int) -> ExecutionRecord | None:
        """The line of a tick that a live node begins in ``tick``, if the recorded node ticked there."""
        while self.next_tick < tick and self._next is not None:
            self.unmatched.append(self._next)
            self._step()
        if self.next_tick != tick:
            return None
        self.advance(tick)
        return self.current

    def special(self, kind: str) -> list[ExecutionRecord]:
        """The ``init`` or ``shutdown`` lines."""
        session = self._options.session
        edge = session.first_tick if kind == "init" else session.last_tick
        lines = session.executions(self._node, edge, edge)
        return [line for line in lines if isinstance(line, ExecutionRecord) and line.kind == kind]


class Player:
    """A recorded node that plays: it sends what the original sent, when it did."""

    def __init__(self, options: ReplayOptions, node: str, scale: float = 1.0, *, order: int | None = None) -> None:
        self._options = options
        self._deterministic = options.session.deterministic
        info = options.session.nodes[node]
        self.lines = Lines(options, node, scale, _PLAYED)
        self.run: NodeRun
        self._late: deque[RecordedOutput] = deque()
        whole_start = options.start in (None, options.session.first_tick)
        whole_end = options.stop in (None, options.session.last_tick) and not options.loop
        self.node = Node(
            node,
            tick=self._play,
            init=(lambda _: self._play_special("init")) if whole_start else None,
            shutdown=(lambda _: self._play_special("shutdown")) if whole_end else None,
            pubs=session_topics(options.session, node),
            order=info.order if order is None else order,
        )
        self._replacements = {topic: value for (name, topic), value in options.overrides.items() if name == node}

    def _play(self, _: Node) -> Any:
        line = self.lines.current
        assert line is not None
        for index, output in enumerate(line.outputs):
            if self._is_late(line, output):
                return self._play_rest(line, index)
            self._publish(output)
        return None

    async def _play_rest(self, line: ExecutionRecord, index: int) -> None:
        """The original was suspended before it sent the rest: wait as long."""
        began_ns = self.run.began_ns
        late = self._late = deque(line.outputs[index:])
        while late:
            wait_ns = began_ns + late[0].stamp_ns - line.now_ns - self.run.now()
            if wait_ns > 0:
                await anyio.sleep(wait_ns / NANOSECONDS)
            else:
                self._publish(late.popleft())

    def complete(self, tick: int) -> None:
        """Send what the original sent up to the last tick: in real time that may have lasted longer than here."""
        while self._late and self.lines.live_tick(self._late[0].tick) <= tick:
            self._publish(self._late.popleft())

    def _is_late(self, line: ExecutionRecord, output: RecordedOutput) -> bool:
        if self._deterministic:
            return output.stamp_ns > line.now_ns
        return output.tick != line.tick

    def _play_special(self, kind: str) -> None:
        for line in self.lines.special(kind):
            for output in line.outputs:
                self._publish(output)

    def _publish(self, output: RecordedOutput) -> None:
        payload: Payload = output.payload
        if output.topic in self._replacements:
            payload = encode(self._replace(self._replacements[output.topic], output.payload, output))
        ports = self.run.ports
        ports.publisher(output.topic).publish(payload, output.stamp_ns, output.seq)
        ports.note(output.topic, output.seq, output.stamp_ns, payload)

    def _replace(self, replacement: Any, payload: bytes, output: RecordedOutput) -> Any:
        if not callable(replacement):
            return replacement
        return replacement(Message(decode(payload), output.topic, output.seq, output.stamp_ns, self.node.name))


class PlayersEnd(Observer):
    """Stops a run when recorded nodes have played all that they had.

    Raises:
        ReplayError: They have nothing to play.
    """

    hears_messages = False

    def __init__(self, runtime: Runtime, players: Sequence[Player]) -> None:
        self._runtime = runtime
        self._playing = {player.node.name: player.lines for player in players if player.lines.next_tick < math.inf}
        if not self._playing:
            names = ", ".join(player.node.name for player in players)
            raise ReplayError(f"{names} never ticked in that session: there is nothing to inject")

    def ticked(self, node: str, tick: int, took_ns: int, *, success: bool) -> None:
        """See whether a recorded node has played all it had."""
        del tick, took_ns, success
        if node in self._playing and self._playing[node].next_tick == math.inf:
            del self._playing[node]
            if not self._playing:
                self._runtime.stop("recording ended")


class LiveTwin(NodeRun):
    """A live node in the place of a recorded one: it ticks when that did, at the time that it was."""

    def __init__(
        self,
        node: Node,
        ports: Ports,
        lines: Lines,
        *,
        real_time: bool,
        by_lines: bool,
        tick_rate: float,
        seed: int,
    ) -> None:
        super().__init__(node, ports, tick_rate=tick_rate, seed=seed)
        self.lines = lines
        self.line: ExecutionRecord | None = None
        self._real_time = real_time
        if by_lines:
            self.schedule = lines
            self.on = []

    def begin(self, step: Step, now_ns: int | None) -> None:
        """See `NodeRun.begin`; with the recorded time where that was real."""
        super().begin(step, now_ns)
        if self.kind != "tick":
            return
        self.line = self.lines.current if self.schedule is self.lines else self.lines.take(step.tick)
        self.ports.expect(self.line)
        if self._real_time and self.line is not None:
            context = self.context
            context.now_ns, context.now = self.line.now_ns, self.line.now_ns / NANOSECONDS
            context.elapsed = (self.line.now_ns - step.origin_ns) / NANOSECONDS
            self.dt_ns, context.dt = self.line.dt_ns, self.line.dt_ns / NANOSECONDS


class ReplayRuntime(Runtime):
    """A run that follows the order in which recorded nodes ticked."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.stands_for: dict[str, str] = {}
        """Live node to the recorded one in whose place it runs."""
        self._known_orders: dict[Any, list[str]] = {}
        self._played: Counter[str] = Counter()
        self._sources: dict[tuple[str, int], int] = {}

    def order_nodes(self, names: list[str], edges: dict[str, set[str]], recorded: Sequence[str] | None) -> list[str]:
        """As recorded; nodes that were not there are put where their topics want them."""
        if recorded is None:
            return causal_order(names, edges)
        key = (tuple(recorded), tuple(names), tuple(sorted((name, *sorted(after)) for name, after in edges.items())))
        if key not in self._known_orders:
            self._known_orders[key] = self._order_like(list(recorded), names, edges)
        return self._known_orders[key]

    def played(self, topic: str, source: int) -> None:
        """A message from outside was published, from that recorded source."""
        if source:
            self._sources[topic, self._played[topic]] = source
            if len(self._sources) > _SOURCES:
                del self._sources[next(iter(self._sources))]
        self._played[topic] += 1

    def outside_source(self, topic: str, publisher: str, reader: RingReader) -> int:
        """As recorded: all who were outside share a ring in a replay, as it keeps their messages' order."""
        del publisher
        return self._sources.get((topic, reader.index - 1), 0)

    def _order_like(self, recorded: list[str], names: list[str], edges: dict[str, set[str]]) -> list[str]:
        places: dict[str, list[str]] = {}
        for name in names:
            places.setdefault(self.stands_for.get(name, name), []).append(name)
        chain = [name for original in dict.fromkeys(recorded) for name in places.get(original, ())]
        fixed = set(chain)
        constraints = {name: {n for n in edges.get(name, ()) if not (name in fixed and n in fixed)} for name in names}
        for first, second in itertools.pairwise(chain):
            constraints[first].add(second)
        return causal_order([*chain, *(name for name in names if name not in fixed)], constraints)


def replay_info(info: RunInfo, session: Session) -> RunInfo:
    """A run with the session's clock and seed."""
    return evolve(
        info,
        tick_rate=session.tick_rate,
        deterministic=session.deterministic,
        seed=session.seed,
        start_ns=session.start_ns,
    )


class ExternalPlayer:
    """Plays the messages that came from outside the recorded run, each in the tick in which it was first read."""

    def __init__(self, options: ReplayOptions, runtime: ReplayRuntime) -> None:
        self._options = options
        self._runtime = runtime
        self.rewind()

    def rewind(self) -> None:
        """Start over."""
        options = self._options
        messages = options.session.external(options.start, options.stop)
        self._source = iter(messages)
        self._next = next(self._source, None)

    def __call__(self, step: Step) -> None:
        """Publish what belongs to the tick that begins."""
        while self._next is not None and self._next.tick <= step.tick:
            message = self._next
            publisher = self._runtime.bus.publisher(message.topic, message.publisher, external=True)
            publisher.publish(message.payload, message.stamp_ns, message.seq)
            self._runtime.played(message.topic, message.source)
            self._next = next(self._source, None)


def replaced_by(live: Sequence[Node], session: Session) -> dict[str, str]:
    """Recorded node to the live one that takes its place: by name, or by a topic that both publish."""
    replaced: dict[str, str] = {}
    for node in live:
        if node.name in session.nodes:
            replaced[node.name] = node.name
    for node in live:
        topics = set(node.pubs)
        for name in session.nodes:
            if name not in replaced and topics & session_topics(session, name):
                replaced[name] = node.name
    return replaced
