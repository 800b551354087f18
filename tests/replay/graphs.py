"""Random robots for the model of verification: nodes of every kind that send and read in every way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen
from hypothesis import strategies as st

from horus_async import Miss, Node, Sync, dt, elapsed, now_ns, rng, sleep, tick
from horus_async.nodes.failure_policies import Ignore

if TYPE_CHECKING:
    from collections.abc import Callable

TOPICS = ("a", "b", "c", "d")
OUTSIDE = "outside"
READS = ("recv", "recv_twice", "recv_all", "recv_message", "latest", "has_msg", "borrow", "lost", "sync")
WAITS = ("sleep", "receive", "poll", "thread", "receive_sync", "await_borrow")


@frozen
class Part:
    """One thing that a tick does."""

    what: str
    topic: str
    number: int


@frozen
class Plan:
    """A node."""

    index: int
    on: tuple[str, ...]
    rate: float | None
    declared: bool
    compute: bool
    parts: tuple[Part, ...]
    init_sends: int
    shutdown_sends: int
    fails_at: int | None
    order: int
    knows_steps: bool = False
    """Whether its ``shutdown`` says how far its ticks came; in real time the last tick is cut where the machine was."""
    bad: int | None = None
    """The tick from which on it sends something else: the planted change."""

    @property
    def name(self) -> str:
        """Its name."""
        return f"n{self.index}"

    @property
    def sends(self) -> tuple[str, ...]:
        """The topics it sends on."""
        return tuple(part.topic for part in self.parts if part.what == "send")

    @property
    def is_async(self) -> bool:
        """Whether its tick waits for anything."""
        return any(part.what in WAITS for part in self.parts)

    def build(self) -> Node:
        """The node, anew."""
        return _Robot(self).node()


class _Robot:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._count = self._steps = 0
        self._heard: list[Any] = []

    def node(self) -> Node:
        plan = self._plan
        reads = tuple(part.topic for part in plan.parts if part.what in (*READS, "receive", "poll"))
        return Node(
            plan.name,
            tick=self._tick_async if plan.is_async and not plan.compute else self._tick,
            init=self._special(plan.init_sends, "init"),
            shutdown=self._special(plan.shutdown_sends, "shutdown"),
            on=plan.on or None,
            rate=plan.rate,
            pubs=plan.sends if plan.declared else (),
            subs=reads if plan.declared else (),
            compute=plan.compute,
            order=plan.order,
            failure_policy=Ignore(),
            on_miss=Miss.WARN,
        )

    def _special(self, sends: int, kind: str) -> Callable[[Node], None] | None:
        def call(node: Node) -> None:
            self._count = 0 if kind == "init" else self._count
            self._heard = []
            for number in range(sends):
                steps = self._steps if self._plan.knows_steps else 0
                node.send((self._plan.sends or ("a",))[0], (kind, number, self._count, steps, rng().random()))

        return call if sends or kind == "init" else None

    def _tick(self, node: Node) -> None:
        self._begin(node)
        for part in self._plan.parts:
            if part.what not in WAITS:
                self._do(node, part)

    async def _tick_async(self, node: Node) -> None:
        self._begin(node)
        for part in self._plan.parts:
            self._steps += 1
            if part.what == "sleep":
                await sleep(part.number * 0.0013)
            elif part.what == "receive":
                with trio.move_on_after(part.number * 0.0047):
                    self._heard.append(await node.receive(part.topic))
            elif part.what == "await_borrow":
                with trio.move_on_after(part.number * 0.0047):
                    async with node.borrow(part.topic) as message:
                        self._heard.append(("lent", message.value))
            elif part.what == "receive_sync":
                with trio.move_on_after(part.number * 0.0047):
                    self._heard.append(await _pairs(node).receive())
            elif part.what == "poll":
                for _ in range(part.number * 2):
                    heard = node.recv(part.topic)
                    self._heard.append(heard)
                    if heard is not None:
                        break
                    await sleep(0.0011)
            elif part.what == "thread":
                self._heard.append(await trio.to_thread.run_sync(rng().random))
            else:
                self._do(node, part)

    def _begin(self, node: Node) -> None:
        self._count += 1
        if self._plan.fails_at is not None and self._count == self._plan.fails_at:
            node.send((self._plan.sends or ("a",))[0], "about to fail")
            raise CancelledByDriverError

    def _do(self, node: Node, part: Part) -> None:
        topic, heard = part.topic, self._heard
        if part.what == "send":
            self._send(node, part)
        elif part.what == "recv":
            heard.append(node.recv(topic))
        elif part.what == "recv_twice":
            heard.extend((node.recv(topic), node.recv(topic, "none")))
        elif part.what in {"recv_all", "sync"}:
            heard.append(node.recv_all(topic) if part.what == "recv_all" else _pairs(node).recv_all())
        elif part.what == "recv_message":
            message = node.recv_message(topic)
            heard.append(None if message is None else (message.seq, message.publisher, message.stamp_ns))
        elif part.what == "latest":
            heard.append(("latest", node.latest(topic)))
        elif part.what == "has_msg":
            heard.append(("has", node.has_msg(topic)))
        elif part.what == "lost":
            heard.append(("lost", node.lost(topic)))
        elif part.what == "borrow":
            with node.borrow(topic) as message:
                heard.append(None if message is None else ("lent", message.value))

    def _send(self, node: Node, part: Part) -> None:
        heard, self._heard = self._heard, []
        times = (now_ns(), dt(), elapsed(), tick())
        for number in range(part.number):
            value: Any = {"n": self._count, "i": number, "heard": _small(heard), "times": times, "r": rng().random()}
            if self._plan.bad is not None and self._count >= self._plan.bad:
                value["n"] = -1
            node.send(part.topic, value)


def _pairs(node: Node) -> Sync:
    return node.sync("a", "b", slop=0.003)


def _small(value: Any) -> Any:
    """What was heard, without what that one had heard: messages must not grow for ever."""
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key != "heard"}
    if isinstance(value, list | tuple):
        return [_small(item) for item in value]
    return value


class CancelledByDriverError(Exception):
    """An ordinary failure whose name begins like that of a cancellation."""


_topics = st.sampled_from(TOPICS)
_sends = st.builds(Part, st.just("send"), _topics, st.integers(0, 3))
_reads = st.builds(Part, st.sampled_from(READS), _topics, st.integers(1, 3))
_outside = st.builds(Part, st.sampled_from(("recv", "recv_all", "latest", "has_msg")), st.just(OUTSIDE), st.just(1))
_waits = st.builds(Part, st.sampled_from(WAITS), _topics, st.integers(1, 9))


@st.composite
def plans(draw: st.DrawFn, *, index: int, outside: bool) -> Plan:
    """One node."""
    kinds = [_sends, _sends, _reads, _reads, _waits, *([_outside] if outside else [])]
    parts = draw(st.lists(st.one_of(kinds), min_size=1, max_size=7))
    compute = draw(st.sampled_from([False, False, False, False, True]))
    on: tuple[str, ...] = ()
    rate = None
    if draw(st.booleans()) and index:
        on = tuple(draw(st.lists(_topics, min_size=1, max_size=2, unique=True)))
        parts = [part for part in parts if part.what != "send" or part.topic not in on]  # no storm that feeds itself
    else:
        rate = draw(st.sampled_from([None, 100.0, 50.0, 33.3, 10.0]))
    return Plan(
        index,
        on,
        rate,
        draw(st.booleans()),
        compute,
        tuple(parts),
        draw(st.integers(0, 2)),
        draw(st.integers(0, 1)),
        draw(st.sampled_from([None, None, None, 2, 3])),
        draw(st.integers(-1, 1)),
    )


@st.composite
def robots(draw: st.DrawFn, *, outside: bool = False) -> list[Plan]:
    """Some nodes, at least one of which sends something by itself."""
    first = Plan(
        0,
        (),
        None,
        draw(st.booleans()),
        False,
        tuple(draw(st.lists(st.one_of(_sends, _reads), max_size=4))),
        0,
        0,
        None,
        0,
    )
    first = _with(first, parts=(*first.parts, Part("send", draw(_topics), draw(st.integers(1, 3)))))
    number = draw(st.integers(1, 5))
    made = [first, *(draw(plans(index=index, outside=outside)) for index in range(1, number + 1))]
    return _without_storms(made)


def _with(plan: Plan, **changes: Any) -> Plan:
    from attrs import evolve

    return evolve(plan, **changes)


def _without_storms(made: list[Plan]) -> list[Plan]:
    """Event nodes may feed later ones only: a circle of them would go on for ever within one instant."""
    result = []
    for plan in made:
        earlier = {topic for other in made if other.on and other.index <= plan.index for topic in other.on}
        parts = tuple(p for p in plan.parts if not (plan.on and p.what == "send" and p.topic in earlier))
        result.append(_with(plan, parts=parts))
    return result
