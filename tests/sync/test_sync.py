"""``Node.sync`` in a running node: every way of reading, both modes, recorded, verified and replayed."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import (
    ConfigurationError,
    ContextError,
    Node,
    NodeFailure,
    Restart,
    Scheduler,
    Sync,
    SyncBy,
    VerifyReport,
    now_ns,
    sleep,
    tick,
)
from horus_async.messages import Header, Imu, LaserScan, Time
from horus_async.recorder import open_session
from horus_async.testing import Captured, run_nodes
from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MS = 1_000_000


def sensor(topic: str, *, rate: float = 50, late_ms: int = 0, until: int = 10**6) -> Node:
    """Sends what it measured ``late_ms`` ago."""

    def measure(node: Node) -> None:
        if tick() < until:
            node.send(topic, {"header": {"stamp": {"sec": 0, "nanosec": now_ns() - late_ms * MS}}, "tick": tick()})

    return Node(f"{topic} sensor", tick=measure, rate=rate, pubs=topic)


READS: dict[str, Callable[[Sync], Iterable[Any]]] = {
    "for": iter,
    "event": iter,
    "recv": lambda pairs: iter(pairs.recv, None),
    "recv_all": Sync.recv_all,
    "messages": lambda pairs: ([message.value for message in pair] for pair in iter(pairs.recv_messages, None)),
}


class Fusion(Node):
    """Sends on whatever it finds, in one of all ways."""

    name, subs, pubs = "fusion", ("left", "right"), "pair"

    def __init__(self, way: str, **options: Any) -> None:
        super().__init__()
        self.way = way
        self.options = {"slop": 0.01, **options}
        self.pairs: Sync
        if way == "event":
            self.on = self.subs

    async def init(self) -> None:
        """Make it."""
        self.pairs = self.sync("left", "right", **self.options)
        if self.way == "background":
            self.background(self._fuse)

    async def _fuse(self) -> None:
        async for left, right in self.pairs:
            self._tell(left, right)

    async def tick(self) -> None:
        """Read."""
        if self.way == "receive":
            self._tell(*await self.pairs.receive())
        elif self.way == "gives up":
            with trio.move_on_after(0.013):
                self._tell(*await self.pairs.receive())
            await sleep(0.004)
            self._tell_all("for")
        elif self.way in READS:
            self._tell_all(self.way)

    def _tell_all(self, way: str) -> None:
        for left, right in READS[way](self.pairs):
            self._tell(left, right)

    def _tell(self, left: Any, right: Any) -> None:
        self.send("pair", (left["tick"], right["tick"]))


WAYS = (*READS, "receive", "gives up", "background")


def robot(way: str, **options: Any) -> list[Node]:
    """Two sensors, one of which is late and does not quite keep step, and what matches them."""
    return [sensor("left"), sensor("right", rate=49, late_ms=4), Fusion(way, **options)]


def verify(session: str, live: list[Node], **options: Any) -> VerifyReport:
    """Live nodes against a recording."""
    scheduler = Scheduler()
    for node in live:
        scheduler.add(node)

    async def run() -> VerifyReport:
        return await Scheduler.verify(session, scheduler, **options)

    return trio.run(run)


def run(nodes: list[Node], duration: float, **options: Any) -> Scheduler:
    """Run nodes, 500 ticks a second."""
    scheduler = Scheduler(tick_rate=500, **options)
    for node in nodes:
        scheduler.add(node)
    scheduler.run_sync(duration=duration)
    return scheduler


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_reading(way: str) -> None:
    """All find the same pairs, best first and each message once; only when differs."""
    captured = run_nodes(*robot(way), duration=1, tick_rate=500)
    pairs = captured.values("pair")
    assert len(pairs) > 20
    assert all(abs(2 * left - (2 * right - 4)) <= 10 for left, right in pairs)
    plain = run_nodes(*robot("for"), duration=1, tick_rate=500).values("pair")
    shorter = min(len(pairs), len(plain))
    assert shorter >= len(plain) - 3
    assert pairs[:shorter] == plain[:shorter]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
def test_it_is_verified(way: str, deterministic: bool) -> None:
    """With no difference, all nodes and the fusion alone; and a changed slop is found out."""
    run(robot(way), 1, deterministic=deterministic, recording="s")
    session = open_session("s")
    recorded = [output for output in session.outputs("fusion", None) if output.topic == "pair"]
    assert len(recorded) > 5
    for nodes in (None, ["fusion"]):
        live = robot(way)
        report = verify("s", live if nodes is None else live[2:], nodes=nodes)
        assert report.first_difference is None, str(report.first_difference)
        assert (report.differences, report.passed) == (0, True)
        assert report.compared >= len(recorded)
    assert not verify("s", robot(way, slop=0.003)[2:], nodes=["fusion"]).passed


@pytest.mark.parametrize("way", WAYS)
def test_a_live_node_in_a_replay_finds_the_same(way: str) -> None:
    """It reads recorded sensors, as fast as possible."""
    run(robot(way), 1, deterministic=True, recording="s")
    replay = Scheduler.replay_from("s").set_replay_speed(math.inf).add(Fusion(way))
    found: list[Any] = []

    def hear(node: Node) -> None:
        found.extend(node.recv_all("pair"))

    replay.add(Node("listener", tick=hear, subs="pair"))
    replay.run_sync()
    recorded = [decode(output.payload) for output in open_session("s").outputs("fusion", None)]
    assert len(recorded) > 20
    assert found == recorded[: len(found)]
    assert len(found) >= len(recorded) - 1  # the listener's last tick may come before


def test_messages_have_topics_stamps_and_numbers() -> None:
    """In the order of the topics."""

    def match(node: Node) -> None:
        while (pair := node.sync("right", "left", slop=0.01).recv_messages()) is not None:
            node.send("pair", [(message.topic, message.seq, message.stamp_ns, message.publisher) for message in pair])

    nodes = [sensor("left"), sensor("right", late_ms=4), Node("m", tick=match, subs=["left", "right"], pubs="pair")]
    captured = run_nodes(*nodes, duration=0.1, tick_rate=500)
    expected = [("right", 1, 20 * MS, "right sensor"), ("left", 1, 20 * MS, "left sensor")]
    assert captured.values("pair")[1] == expected


def test_header_stamps_of_the_common_messages() -> None:
    """They count, not when they were sent: here two ticks later on one side."""

    def left(node: Node) -> None:
        node.send("left", LaserScan(header=Header(stamp=Time.from_ns(now_ns()))))

    def right(node: Node) -> None:
        node.send("right", Imu(header=Header(stamp=Time.from_ns(now_ns() - 20 * MS))))

    captured = _match(left, right)
    assert [message.value for message in captured["pair"]] == [number * 10 * MS for number in range(8)]


def _match(left: Callable[[Node], None], right: Callable[[Node], None], **options: Any) -> Captured:
    def stamps(node: Node) -> None:
        for first, second in node.sync("left", "right", **options):
            assert _stamp(first) == _stamp(second)
            node.send("pair", _stamp(first))

    matcher = Node("matcher", tick=stamps, subs=["left", "right"], pubs="pair")
    return run_nodes(Node("l", tick=left, pubs="left"), Node("r", tick=right, pubs="right"), matcher, ticks=10)


def _stamp(value: Any) -> Any:
    return value.header.stamp.ns if hasattr(value, "header") else value["stamp_ns"]


def test_messages_without_a_stamp_go_by_when_they_were_sent() -> None:
    """Those of one tick, here, whatever is in them; `SyncBy.SENT` says so for those with a header, too."""
    nodes = [Node(name, tick=lambda n: n.send(n.name, tick()), pubs=name) for name in ("a", "b")]

    def pairs(node: Node) -> None:
        for pair in node.sync("a", "b"):
            node.send("pair", pair)

    captured = run_nodes(*nodes, Node("matcher", tick=pairs, subs=["a", "b"], pubs="pair"), ticks=5)
    assert captured.values("pair") == [(number, number) for number in range(5)]

    def stamped(node: Node) -> None:
        node.send(node.name, {"stamp_ns": 5 if node.name == "left" else 10**9})

    def by_sending(node: Node) -> None:
        for _ in node.sync("left", "right", by=SyncBy.SENT):
            node.send("pair", tick())

    nodes = [Node(name, tick=stamped, pubs=name) for name in ("left", "right")]
    captured = run_nodes(*nodes, Node("m", tick=by_sending, subs=["left", "right"], pubs="pair"), ticks=5)
    assert captured.values("pair") == list(range(5))


def test_a_function_says_the_stamp() -> None:
    """In float seconds here."""

    def pairs(node: Node) -> None:
        for left, right in node.sync("left", "right", by=_seconds, slop=0.001):
            node.send("pair", (left["t"], right["t"]))

    feed = {"left": [(0, {"t": 1.0}), (1, {"t": 2.0})], "right": [(1, {"t": 2.0005}), (5, {"t": 9.0})]}
    captured = run_nodes(Node("m", tick=pairs, subs=["left", "right"], pubs="pair"), ticks=10, feed=feed)
    assert captured.values("pair") == [(2.0, 2.0005)]


def _seconds(value: Any) -> Any:
    return value["t"]


@pytest.mark.parametrize(
    "bad",
    [
        {"t": math.nan},
        {"t": None},
        {"t": "soon"},
        {"t": True},
        {"t": math.inf},
        {"t": {"sec": 1}},
        {"t": {"sec": math.nan, "nanosec": 0}},
        {},
        17,
    ],
    ids=str,
)
def test_a_message_without_a_usable_stamp_is_left_out(bad: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Counted each time, told once, with what to do; the others are matched."""
    pairs: list[Sync] = []

    def match(node: Node) -> None:
        pairs[:] = [node.sync("left", "right", by=_seconds)]
        for left, _ in pairs[0]:
            node.send("pair", left["t"])

    good = {"t": {"sec": 3, "nanosec": 1}}
    feed = {"left": [(0, bad), (1, good), (2, bad)], "right": [(3, good)]}
    captured = run_nodes(Node("m", tick=match, subs=["left", "right"], pubs="pair"), ticks=5, feed=feed)
    assert captured.values("pair") == [good["t"]]
    assert pairs[0].unmatched == {"left": 2, "right": 0}
    told = [record.getMessage() for record in caplog.records if "sync" in record.getMessage()]
    assert len(told) == 1
    assert "'left'" in told[0]
    assert "header.stamp" in told[0]


def test_what_falls_out_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """One topic never sends: the other's messages wait up to the limit. ``stats()`` has it, too."""
    scheduler = run([sensor("left", rate=500), Fusion("for", queue=20)], 0.2, deterministic=True)
    stats = scheduler.stats().nodes["fusion"]
    assert stats.unmatched == 80
    told = [record.getMessage() for record in caplog.records if "sync" in record.getMessage()]
    assert len(told) == 1
    assert "right sent nothing" in told[0]
    assert "queue=20" in told[0]


def test_one_stalls() -> None:
    """The last pair comes all the same, soon after; nothing more does."""
    captured = run_nodes(sensor("left", until=100), sensor("right", late_ms=2), Fusion("for"), ticks=500, tick_rate=500)
    assert captured.values("pair") == [(at, at) for at in range(0, 100, 10)]
    assert captured["pair"][-1].tick <= 90 + 10 + 1  # 20 ms


def test_one_starts_anew_with_its_stamps(caplog: pytest.LogCaptureFixture) -> None:
    """A sensor whose clock begins again at 0 has no partners until the other's does as well."""

    def jumping(topic: str, at: int) -> Node:
        def measure(node: Node) -> None:
            number = tick() if tick() < at else tick() - at
            node.send(topic, {"stamp_ns": number * 10 * MS, "tick": tick()})

        return Node(topic, tick=measure, pubs=topic)

    captured = run_nodes(jumping("left", 50), jumping("right", 53), Fusion("for"), ticks=100)
    pairs = captured.values("pair")
    assert (49, 49) in pairs
    assert pairs[-1] == (96, 99)
    assert all(right - left == (0 if left < 50 else 3) for left, right in pairs)
    assert sum("its stamps went back" in record.getMessage() for record in caplog.records) == 2


def test_the_same_arguments_give_the_same_one() -> None:
    """So it may be asked for in each tick; other arguments for one of the topics are refused."""
    seen: set[int] = set()

    def match(node: Node) -> None:
        pairs = node.sync("a", "b", slop=0.5)
        assert pairs is node.sync("a", "b", slop=0.5)
        seen.add(id(pairs))
        with pytest.raises(ConfigurationError, match="'b' is matched by another sync"):
            node.sync("c", "b")

    run_nodes(Node("m", tick=match), ticks=5)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("topics", "options", "words"),
    [
        ((), {}, "two or more topics"),
        (("a",), {}, "two or more topics"),
        (("a", "a"), {}, "each once"),
        (("a", ["b"]), {}, "two or more"),
        (("a", "b"), {"slop": -1}, "slop=-1"),
        (("a", "b"), {"slop": math.nan}, "slop=nan"),
        (("a", "b"), {"slop": "1"}, "slop='1'"),
        (("a", "b"), {"by": "stamp"}, "by='stamp'"),
        (("a", "b"), {"wait": -0.1}, "wait=-0.1"),
        (("a", "b"), {"queue": 0}, "queue=0"),
        (("a", "b"), {"queue": 1.5}, "queue=1.5"),
    ],
)
def test_arguments_are_checked(topics: tuple[Any, ...], options: dict[str, Any], words: str) -> None:
    """With the value and the way out."""
    node = Node("m", tick=print)
    with pytest.raises(ConfigurationError, match=words):
        node.sync(*topics, **options)


def test_outside_of_a_run() -> None:
    """It can be made, for instance where the node is, and be used in a run."""
    node = Fusion("for")
    pairs = node.sync("left", "right", slop=0.01)
    with pytest.raises(ContextError, match="not running"):
        pairs.recv()

    class Made(Fusion):
        async def init(self) -> None:
            """It has one."""

    made = Made("for")
    made.pairs = made.sync("left", "right", slop=0.01)
    for _ in range(2):
        captured = run_nodes(sensor("left"), sensor("right"), made, ticks=100, tick_rate=500)
        assert captured.values("pair") == [(at, at) for at in range(0, 100, 10)]


def test_each_run_begins_anew() -> None:
    """What waited at the end of the last one is forgotten."""
    fusion = Fusion("for", slop=1.0)
    run_nodes(sensor("left"), fusion, ticks=50)
    captured = run_nodes(sensor("right"), fusion, ticks=50)
    assert not captured["pair"]


def test_a_restart_begins_anew() -> None:
    """``init`` makes a new one, of other arguments if it likes; the count goes on."""

    class Failing(Fusion):
        failure_policy = Restart(backoff=0.01)

        async def init(self) -> None:
            self.pairs = self.sync("left", "right", by=lambda value: value["header"]["stamp"], slop=0.01)

        async def tick(self) -> None:
            if tick() == 100:
                raise ValueError
            await super().tick()

    scheduler = run([sensor("left"), sensor("right"), Failing("for")], 1, deterministic=True)
    stats = scheduler.stats().nodes["fusion"]
    assert stats.restarts == 1
    captured = run_nodes(sensor("left"), sensor("right"), Failing("for"), duration=1, tick_rate=500)
    assert len(captured["pair"]) >= 48


def test_waiting_in_init_for_what_cannot_come() -> None:
    """It fails, naming both topics."""

    class Waits(Fusion):
        async def init(self) -> None:
            self.pairs = self.sync("left", "right")
            await self.pairs.receive()

    with pytest.raises(NodeFailure) as failure:
        run([Waits("for")], 0.1, deterministic=True)
    assert "'left' or 'right'" in repr(failure.value.exceptions)


def test_three_topics() -> None:
    """Of 100, 50 and 10 Hz."""

    def match(node: Node) -> None:
        for trio_of_them in node.sync("left", "right", "top", slop=0.012):
            node.send("pair", tuple(value["tick"] for value in trio_of_them))

    nodes = [sensor("left", rate=100), sensor("right", rate=50, late_ms=3), sensor("top", rate=10, late_ms=1)]
    matcher = Node("m", tick=match, subs=["left", "right", "top"], pubs="pair")
    captured = run_nodes(*nodes, matcher, duration=2, tick_rate=500)
    assert captured.values("pair") == [(at, at, at) for at in range(0, 1000, 50)]


def test_nothing_is_logged_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    """Messages of the faster sensor that find no partner are no event; they are counted."""
    scheduler = run([sensor("left", rate=500), sensor("right", rate=50), Fusion("for")], 1, deterministic=True)
    assert scheduler.stats().nodes["fusion"].unmatched > 400
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
