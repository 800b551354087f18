"""A run of recorded nodes, with live ones in the place of some."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import evolve

from horus_async.engine.node_run import NodeRun
from horus_async.engine.rules.order import causal_order
from horus_async.engine.rules.schedule import exact
from horus_async.engine.runtime import Runtime
from horus_async.topics.ring.memory import check_room

from .lines import Lines
from .live_twin import LiveTwin
from .options import ReplayOptions, check_missing
from .players import ExternalPlayer, Player, PlayersEnd
from .program import learn_classes
from .timeline import RecordedTimeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from horus_async.engine.ports import Guarding, Ports
    from horus_async.nodes.node import Node
    from horus_async.observe import Observer, RunInfo
    from horus_async.recorder import Session
    from horus_async.topics import Bus
    from horus_async.topics.ring.reader import RingReader

    from .options import PlayedFile

_SOURCES = 1 << 20
"""External messages of which a replay remembers the source where that is not 0; more than any ring holds."""


class ReplayRuntime(Runtime):
    """A run that follows the order in which recorded nodes ticked."""

    def __init__(self, replay: ReplayOptions, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._replay = replay
        self.stands_for: dict[str, str] = {}
        """Live node to the recorded one in whose place it runs."""
        self.players: set[str] = set()
        """The nodes that are recorded ones."""
        self.chain: tuple[str, ...] = ()
        """The order of recorded nodes in the last tick, and of players that had no tick in it."""
        self._known_orders: dict[Any, tuple[list[str], tuple[str, ...]]] = {}
        self._played: Counter[str] = Counter()
        self._sources: dict[tuple[str, int], int] = {}

    def order_nodes(self, names: list[str], edges: dict[str, set[str]], recorded: Sequence[str] | None) -> list[str]:
        """As recorded; nodes that were not there are put where their topics want them."""
        if recorded is None:
            return causal_order(names, edges)
        key = (
            tuple(recorded),
            tuple(names),
            tuple(sorted((name, *sorted(after)) for name, after in edges.items())),
            self.chain,
        )
        if key not in self._known_orders:
            self._known_orders[key] = self._order_like(list(recorded), names, edges)
        order, self.chain = self._known_orders[key]
        return order

    def played(self, topic: str, source: int) -> None:
        """An external message was published, from that recorded source."""
        if source:
            self._sources[topic, self._played[topic]] = source
            if len(self._sources) > _SOURCES:
                del self._sources[next(iter(self._sources))]
        self._played[topic] += 1

    def first_seq(self, node: str, topic: str) -> int:
        """The number of a node's first request on a topic: it goes on where the recorded node was."""
        start, session = self._replay.start, self._replay.session
        if start is None or start == session.first_tick or node not in session.nodes:
            return 0
        return sum(sent.topic == topic for sent in session.outputs(node, None, start - 1))

    def external_source(self, topic: str, publisher: str, reader: RingReader) -> int:
        """As recorded: all external publishers share a ring in a replay, which keeps their messages in order."""
        del publisher
        return self._sources.get((topic, reader.index - 1), 0)

    def _order_like(
        self, recorded: list[str], names: list[str], edges: dict[str, set[str]]
    ) -> tuple[list[str], tuple[str, ...]]:
        places: dict[str, list[str]] = {}
        for name in names:
            places.setdefault(self.stands_for.get(name, name), []).append(name)
        chain = [name for original in dict.fromkeys(recorded) for name in places.get(original, ())]
        self._keep_places(chain)
        fixed = set(chain)
        constraints = {name: {n for n in edges.get(name, ()) if not (name in fixed and n in fixed)} for name in names}
        for first, second in itertools.pairwise(chain):
            constraints[first].add(second)
        order = causal_order([*chain, *(name for name in names if name not in fixed)], constraints)
        return order, tuple(chain)

    def _keep_places(self, chain: list[str]) -> None:
        """Put players that have no tick now before those that they stood before: an ``init`` may send, or a task."""
        for index, name in reversed([*enumerate(self.chain)]):
            if name in self.players and name not in chain:
                followers = (chain.index(other) for other in self.chain[index + 1 :] if other in chain)
                chain.insert(next(followers, len(chain)), name)


def replay_info(info: RunInfo, session: Session) -> RunInfo:
    """A run with the session's clock and seed."""
    return evolve(
        info,
        tick_rate=session.tick_rate,
        deterministic=session.deterministic,
        seed=session.seed,
        start_ns=session.start_ns,
    )


def replaced_by(live: Sequence[Node], replay: ReplayOptions) -> dict[str, str]:
    """Recorded node to the live one that takes its place: by name, or by a topic that both publish."""
    session = replay.session
    replaced: dict[str, str] = {}
    for node in live:
        if node.name in session.nodes:
            replaced[node.name] = node.name
    for node in live:
        topics = set(node.pubs)
        for name in session.nodes:
            if name not in replaced and topics & replay.played_topics(name):
                replaced[name] = node.name
    return replaced


def add_played(runtime: Runtime, played: Sequence[PlayedFile], nodes: Sequence[Node], *, ends_run: bool) -> None:
    """Let recorded nodes play among live ones, and with ``ends_run`` the last of those that win end the run.

    Raises:
        ReplayError: Those that win never ticked, so there is no last tick.
    """
    learn_classes(nodes)
    winners = []
    for file in played:
        if not file.wins and file.node in replaced_by(nodes, ReplayOptions(session=file.session)):
            continue  # a live node has its name, or sends what it sent
        scale = float(exact(runtime.info.tick_rate) / exact(file.session.tick_rate))
        player = Player(
            ReplayOptions(session=file.session, overrides=file.overrides), file.node, scale, order=file.priority
        )
        player.join(runtime, recorded_clock=False)
        if file.wins:
            winners.append(player)
    if winners and ends_run:
        runtime.observe(PlayersEnd(runtime.stop, winners))


def replay_runtime(
    info: RunInfo,
    bus: Bus,
    nodes: Sequence[Node],
    *,
    duration: float | None,
    replay: ReplayOptions,
    observers: list[Observer],
    guard: Guarding | None = None,
) -> ReplayRuntime:
    """A run of recorded nodes, with live ones in the place of some."""
    rewinds: list[Callable[[], None]] = []
    timeline = RecordedTimeline(replay, duration=duration, on_rewind=lambda: _call_all(rewinds))
    timeline.skip = lambda ns: runtime.pace.skip(ns)  # noqa: PLW0108 - there is no pace yet
    runtime = ReplayRuntime(replay, replay_info(info, replay.session), bus, timeline, observers, guard)
    with runtime.closed_on_failure():
        _add_all(runtime, replay, nodes, rewinds)
        check_room()
    return runtime


def _add_all(
    runtime: ReplayRuntime, replay: ReplayOptions, nodes: Sequence[Node], rewinds: list[Callable[[], None]]
) -> None:
    """Recorded nodes and live ones; each puts into ``rewinds`` how it starts over."""
    session = replay.session
    learn_classes(nodes)
    replaced = replaced_by(nodes, replay)
    live = {node.name for node in nodes}
    check_missing(session, lambda name: name in live or (replay.nodes is not None and name not in replay.nodes))
    for name in session.nodes:
        if name not in replaced and (replay.nodes is None or name in replay.nodes):
            player = Player(replay, name)
            player.join(runtime, recorded_clock=True)
            runtime.players.add(name)
            rewinds.append(player.rewind)
    for first in session.scheduler_ticks(session.first_tick, session.first_tick):
        runtime.chain = tuple(first.order)
    runtime.stands_for = {live: recorded for recorded, live in replaced.items()}
    for node in nodes:
        run = runtime.add(node, _twin_maker(runtime, replay) if node.name in session.nodes else None)
        rewinds.append(_rewind_of(run, replay))
    external = ExternalPlayer(replay, runtime.bus, runtime.played)
    runtime.at_step.append(external)
    rewinds.append(external.rewind)


def _call_all(functions: Iterable[Callable[[], None]]) -> None:
    for function in functions:
        function()


def _twin_maker(runtime: Runtime, replay: ReplayOptions) -> Callable[[Node, Ports], NodeRun]:
    def make(node: Node, ports: Ports) -> NodeRun:
        recorded = replay.session.nodes[node.name]
        same_schedule = node.rate == recorded.rate and tuple(node.on or ()) == recorded.on
        if replay.session.deterministic or not same_schedule:
            run = NodeRun(node, ports, tick_rate=runtime.info.tick_rate, seed=runtime.info.seed)
        else:
            run = LiveTwin(
                node,
                ports,
                Lines(replay, node.name),
                real_time=True,
                by_lines=not node.on,
                tick_rate=runtime.info.tick_rate,
                seed=runtime.info.seed,
            )
        return run

    return make


def _rewind_of(run: NodeRun, replay: ReplayOptions) -> Callable[[], None]:
    def rewind() -> None:
        if isinstance(run, LiveTwin):
            run.lines.rewind()
        elif run.schedule is not None:
            run.schedule.rewind(replay.start or 0)

    rewind()
    return rewind
