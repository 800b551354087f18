"""Who ticks when: causal order, loops, rates, messages."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import Node, Topic, dt, elapsed, now, sleep, tick
from tests.engine.programs import PATIENCE, Log, both_modes, every_runner, run_nodes, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async import Scheduler


def writes(log: Log, name: str, *, pubs: str = "", subs: str = "", declared: bool = True, **options: Any) -> Node:
    """A node that writes its name down, and receives and sends on one-letter topics."""

    def use(n: Node) -> None:
        log(name)
        for topic in subs:
            n.recv_all(topic)
        for topic in pubs:
            n.send(topic, name)

    return Node(name, tick=use, pubs=list(pubs) if declared else (), subs=list(subs) if declared else (), **options)


@both_modes
@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_producers_tick_before_consumers(order: tuple[int, ...], deterministic: bool) -> None:
    """With declared topics a chain is in order from tick 0, whatever the order of add (J.1-36)."""
    log = Log()
    nodes = [writes(log, "first", pubs="x"), writes(log, "second", subs="x", pubs="y"), writes(log, "third", subs="y")]
    run_nodes(*(nodes[i] for i in order), duration=0.03, deterministic=deterministic)
    rows = [log.lines[i : i + 3] for i in range(0, len(log.lines), 3)]
    assert rows
    assert all(row == ["first", "second", "third"] for row in rows)


@both_modes
def test_observed_topics_complete_the_order(deterministic: bool) -> None:
    """Topics that nobody declared count from the tick after their first use."""
    log = Log()
    nodes = [writes(log, "consumer", subs="x", declared=False), writes(log, "producer", pubs="x", declared=False)]
    end = Node("end", order=9, tick=lambda n: n.request_stop() if tick() else None)
    run_nodes(*nodes, end, duration=PATIENCE, deterministic=deterministic)
    assert log.lines[:2] == ["consumer", "producer"]
    assert len(log.lines) == 4
    assert log.lines[2:4] == ["producer", "consumer"]


def test_topics_first_used_in_init_are_known_in_tick_0() -> None:
    """What init sends and receives is part of the order before the first tick."""
    log = Log()
    consumer = Node("consumer", init=lambda n: n.has_msg("x"), tick=log.says("consumer"))
    producer = Node("producer", init=lambda n: n.send("x", 1), tick=log.says("producer"))
    run_nodes(consumer, producer, duration=0.01)
    assert log.lines == ["producer", "consumer"]


def test_a_diamond_is_sorted() -> None:
    """One source, two ways, one sink: source first, sink last, the ways by order and then by add (J.1-35)."""
    log = Log()
    sink = writes(log, "sink", subs="bc")
    right = writes(log, "right", subs="a", pubs="c")
    left = writes(log, "left", subs="a", pubs="b", order=-1)
    source = writes(log, "source", pubs="a", order=5)
    run_nodes(sink, right, left, source, duration=0.01)
    assert log.lines == ["source", "left", "right", "sink"]


def test_without_common_topics_order_then_add_decides() -> None:
    """Lower order first; equal ones as they were added (J.1-35)."""
    log = Log()
    nodes = [writes(log, "c"), writes(log, "a", order=-1), writes(log, "d"), writes(log, "b", order=-1)]
    run_nodes(*nodes, duration=0.01)
    assert log.lines == ["a", "b", "c", "d"]


def loop_nodes(log: Log, plant_order: int = 0, controller_order: int = 0) -> tuple[Node, Node]:
    """A plant and its controller; each writes down the tick that the other's message is from."""

    def plant(n: Node) -> None:
        log("plant", tick(), n.recv("cmd"))
        n.send("state", tick())

    def control(n: Node) -> None:
        log("controller", tick(), n.recv("state"))
        n.send("cmd", tick())

    return (
        Node("plant", tick=plant, pubs="state", subs="cmd", order=plant_order),
        Node("controller", tick=control, pubs="cmd", subs="state", order=controller_order),
    )


@both_modes
def test_a_loop_is_closed_by_add(deterministic: bool) -> None:
    """The edge back to the node added first carries the previous tick's message (J.1-35)."""
    log = Log()
    run_nodes(*loop_nodes(log), duration=0.03, deterministic=deterministic)
    first = [line for line in log.lines if line[1] == 0]
    assert first == [("plant", 0, None), ("controller", 0, 0)]
    ticks = sorted({line[1] for line in log.lines})
    previous = dict(itertools.pairwise(ticks))
    plant = {line[2]: line[1] for line in log.lines if line[0] == "plant" and line[1] > 0}
    assert plant == previous
    assert all(line[1] == line[2] for line in log.lines if line[0] == "controller")


def test_order_wins_over_add_in_a_loop() -> None:
    """With a lower order the controller goes first, although it was added last."""
    log = Log()
    run_nodes(*loop_nodes(log, plant_order=1), duration=0.02)
    assert log.lines == [("controller", 0, None), ("plant", 0, 0), ("controller", 1, 0), ("plant", 1, 1)]


def test_a_loop_with_a_way_in_and_a_way_out() -> None:
    """A source before the loop and a sink behind it keep their places; the clock goes on (J.1-35)."""
    log = Log()
    nodes = [
        writes(log, "sink", subs="c"),
        writes(log, "b", subs="y", pubs="xc"),
        writes(log, "a", subs="sx", pubs="y", order=-1),
        writes(log, "source", pubs="s"),
    ]
    run_nodes(*nodes, duration=0.02)
    assert log.lines == ["source", "a", "b", "sink"] * 2


def test_a_node_that_hears_itself_is_no_loop() -> None:
    """A node that reads what it writes ticks as any other."""
    log = Log()
    run_nodes(writes(log, "b", subs="y"), writes(log, "a", subs="y", pubs="y"), duration=0.02)
    assert log.lines == ["a", "b"] * 2


@pytest.mark.parametrize(
    ("rate", "tick_rate", "seconds", "ticks"),
    [(10, 100, 2, 20), (30, 100, 2, 60), (33.3, 100, 10, 333), (1, 3, 5, 5), (0.5, 100, 10, 5), (99.9, 100, 10, 999)],
)
def test_multi_rate(rate: float, tick_rate: float, seconds: float, ticks: int) -> None:
    """A node of r Hz ticks r times a simulated second, and dt() is exactly 1/r (J.1-37, J.1-39)."""
    log = Log()
    run_nodes(Node("n", tick=lambda n: log(dt()), rate=rate), duration=seconds, tick_rate=tick_rate)
    assert len(log.lines) == ticks
    assert set(log.lines) == {1 / rate}


@both_modes
def test_a_10_hz_node_under_100_hz_in_both_modes(deterministic: bool) -> None:
    """It ticks at the scheduler's ticks 0, 10, 20 …; in real time too, or late, but once for each (J.1-37)."""
    log = Log()

    def work(n: Node) -> None:
        log(tick())
        if len(log.lines) == 4:
            n.request_stop()

    run_nodes(Node("n", tick=work, rate=10), duration=PATIENCE, deterministic=deterministic)
    assert len(log.lines) == 4
    assert all(earlier // 10 < later // 10 for earlier, later in itertools.pairwise(log.lines))
    assert not deterministic or log.lines == [0, 10, 20, 30]


async def test_a_10_hz_node_under_100_hz_by_a_tests_clock(autojump_clock: trio.testing.MockClock) -> None:
    """Where the machine is never late, real time has the same ticks."""
    log = Log()
    await scheduler_of(Node("n", tick=lambda n: log(tick()), rate=10), deterministic=False).run(0.35)
    assert log.lines == [0, 10, 20, 30]


def test_run_lasts_as_many_ticks_as_begin_before_the_duration() -> None:
    """run(duration) has the ticks with tick / tick_rate < duration."""
    for duration, ticks in [(0, 0), (0.001, 1), (0.01, 1), (0.0101, 2), (0.29, 29), (1, 100), (1.1, 110)]:
        log = Log()
        run_nodes(Node("n", tick=log.says("tick")), duration=duration)
        assert len(log.lines) == ticks, duration


@both_modes
def test_an_event_node_ticks_once_for_each_message(deterministic: bool) -> None:
    """Three messages are three ticks, and without messages there is none (J.1-38)."""
    log = Log()

    def send(n: Node) -> None:
        if tick() % 2 == 0:
            for index in range(3):
                n.send("t", (tick(), index))

    event = Node("event", on="t", tick=lambda n: log(tick(), n.recv("t")))
    run_nodes(event, Node("sender", tick=send), duration=0.1, deterministic=deterministic)
    values = [line[1] for line in log.lines]
    assert values
    assert values == [(t, i) for t in sorted({v[0] for v in values}) for i in range(3)]
    assert all(line[0] == line[1][0] for line in log.lines)


@both_modes
def test_an_event_node_that_does_not_read_still_ticks_once_a_message(deterministic: bool) -> None:
    """Messages that are left unread bring one tick each, no more."""
    log = Log()
    sender = Node("sender", tick=lambda n: n.send("t", 1) if elapsed() < 0.035 else None)
    run_nodes(
        Node("event", on="t", tick=log.says("event")),
        sender,
        listener_of(log),
        duration=0.1,
        deterministic=deterministic,
    )
    assert log.lines.count("event") == log.lines.count("sent") > 0


def listener_of(log: Log) -> Node:
    """Writes ``sent`` for each message on t."""
    return Node("listener", subs="t", tick=lambda n: log.lines.extend("sent" for _ in n.recv_all("t")))


@both_modes
def test_an_event_node_on_several_topics(deterministic: bool) -> None:
    """It ticks once for each message on any of them."""
    log = Log()

    def send(n: Node) -> None:
        if tick() == 0:
            n.send("a", 1)
            n.send("b", 2)
            n.send("a", 3)

    def event(n: Node) -> None:
        first = n.recv("a")
        log(n.recv("b") if first is None else first)

    nodes = Node("event", on=["a", "b"], tick=event), Node("sender", tick=send)
    run_nodes(*nodes, duration=0.05, deterministic=deterministic)
    assert log.lines == [1, 3, 2]


def test_drained_messages_bring_no_tick_of_their_own() -> None:
    """A tick that takes all three messages leaves no ticks for the other two (J.1-38)."""
    log = Log()

    def send(n: Node) -> None:
        if tick() in (1, 3):
            for index in range(3):
                n.send("t", index)

    run_nodes(
        Node("event", on="t", tick=lambda n: log(tick(), n.recv_all("t"))), Node("sender", tick=send), duration=0.06
    )
    assert log.lines == [(1, [0, 1, 2]), (3, [0, 1, 2])]


def test_a_message_that_arrives_during_a_tick_queues() -> None:
    """While an event node's tick is suspended, further messages wait, and each gets its tick afterwards."""
    log = Log()

    async def event(n: Node) -> None:
        log("begin", n.recv("t"))
        await sleep(0.025)
        log("end")

    sender = Node("sender", tick=lambda n: n.send("t", tick()) if tick() < 3 else None)
    run_nodes(Node("event", on="t", tick=event), sender, duration=0.2)
    assert log.lines == [("begin", 0), "end", ("begin", 1), "end", ("begin", 2), "end"]


def test_event_nodes_chain_in_one_tick() -> None:
    """What an event node sends reaches the next event node in the same tick."""
    log = Log()
    nodes = [
        Node("last", on="b", tick=lambda n: log(tick(), n.recv("b")), pubs="c"),
        Node("middle", on="a", tick=lambda n: n.send("b", n.recv("a") + 1), pubs="b"),
        Node("first", tick=lambda n: n.send("a", 10 * tick()), pubs="a"),
    ]
    run_nodes(*nodes, duration=0.03)
    assert log.lines == [(0, 1), (1, 11), (2, 21)]


def test_two_event_nodes_may_play_ping_pong() -> None:
    """A loop of event nodes carries its message one tick later; it does not hang the clock."""
    log = Log()

    def ping(n: Node) -> None:
        log("ping", tick())
        n.send("pong", n.recv("ping"))

    def pong(n: Node) -> None:
        log("pong", tick())
        n.send("ping", n.recv("pong"))

    nodes = [Node("a", on="ping", tick=ping, init=lambda n: n.send("ping", 0)), Node("b", on="pong", tick=pong)]
    run_nodes(*nodes, duration=0.03)
    assert log.lines == [("ping", 0), ("pong", 0), ("ping", 1), ("pong", 1), ("ping", 2), ("pong", 2)]


def test_a_message_between_two_ticks_wakes_an_event_node_at_once() -> None:
    """What a suspended tick sends in between is handled at that moment, not at the next tick."""
    log = Log()

    async def slow(n: Node) -> None:
        await trio.sleep(0.0125)
        n.send("t", "x")

    async def event(n: Node) -> None:
        message = n.recv_message("t")
        assert message is not None
        log(message.stamp_ns, trio.current_time())

    run_nodes(Node("slow", tick=slow, rate=10), Node("event", on="t", tick=event), duration=0.1)
    assert log.lines == [(12_500_000, pytest.approx(0.0125))]


@both_modes
def test_a_suspended_tick_holds_nobody_up(deterministic: bool) -> None:
    """The others tick on, the suspended node does not overlap itself, and skipped ticks count as misses."""
    log = Log()
    inside = 0

    async def slow(n: Node) -> None:
        nonlocal inside
        inside += 1
        log("slow", inside, tick())
        await sleep(0.035)
        if not deterministic:
            ticked = log.lines.count("quick") + 1
            while log.lines.count("quick") < ticked:  # would never end if it held that one up
                await sleep(0.001)
            if len(begun()) == 5:
                n.request_stop()
        inside -= 1

    def begun() -> list[Any]:
        return [line for line in log.lines if line != "quick"]

    scheduler = scheduler_of(
        Node("slow", tick=slow), Node("quick", tick=log.says("quick")), deterministic=deterministic
    )
    scheduler.run_sync(0.2 if deterministic else PATIENCE)
    stats = scheduler.stats().nodes
    assert {line[1] for line in begun()} == {1}
    ticks = [line[2] for line in begun()]
    if deterministic:
        assert ticks == [0, 4, 8, 12, 16]
        assert stats["slow"].deadline_misses == 15
        assert log.lines.count("quick") == 20
        assert stats["quick"].deadline_misses == 0
    else:
        assert len(ticks) == 5
        assert all(later - earlier >= 3 for earlier, later in itertools.pairwise(ticks))  # 3 where a step came late
    assert stats["slow"].deadline_misses >= 8
    assert log.lines.count("quick") > len(ticks)


@pytest.mark.parametrize("checkpoints", [1, 2, 5, 20])
@every_runner
@both_modes
def test_a_bare_checkpoint_does_not_let_a_consumer_go_first(
    runner: Callable[[Scheduler, float], None], deterministic: bool, checkpoints: int
) -> None:
    """A producer that yields to the event loop, however often, still ends its tick before its consumer begins."""
    import anyio.lowlevel

    log = Log()

    async def produce(n: Node) -> None:
        for _ in range(checkpoints):
            await anyio.lowlevel.checkpoint()
        n.send("t", tick())

    nodes = Node("consumer", subs="t", tick=lambda n: log(tick(), n.recv("t"))), Node("p", pubs="t", tick=produce)
    runner(scheduler_of(*nodes, deterministic=deterministic, tick_rate=1000), 0.1)
    assert log.lines
    assert all(number == got for number, got in log.lines)


@pytest.mark.parametrize("how", ["sleep", "message", "thread"])
def test_waiting_lets_the_consumer_go_first(how: str) -> None:
    """A producer that waits for time or a message does not hold up its consumer; a thread takes no virtual time."""
    log = Log()

    async def produce(n: Node) -> None:
        if how == "sleep":
            await sleep(0.001)
        elif how == "message":
            await n.receive("later")
        else:
            await trio.to_thread.run_sync(lambda: None)
        log("produced")

    nodes = [
        Node("producer", pubs="t", tick=produce, rate=10),
        Node("consumer", subs="t", tick=lambda n: log("consumed") if tick() == 0 else None),
        Node("later", tick=lambda n: n.send("later", 1), order=1),
    ]
    run_nodes(*nodes, duration=0.1)
    assert log.lines[:2] == (["produced", "consumed"] if how == "thread" else ["consumed", "produced"])


def test_in_real_time_a_thread_lets_the_consumer_go_first() -> None:
    """In real time a producer that waits for a thread holds up nobody."""
    import threading

    log = Log()
    consumed = threading.Event()

    async def produce(n: Node) -> None:
        log(await trio.to_thread.run_sync(consumed.wait, 20))
        n.request_stop()

    nodes = [
        Node("producer", pubs="t", tick=produce, rate=10),
        Node("consumer", subs="t", tick=lambda n: consumed.set()),
    ]
    run_nodes(*nodes, duration=30, deterministic=False)
    assert log.lines == [True]


def test_an_event_node_hears_another_process_in_real_time() -> None:
    """In real time a message from another handle ticks an event node, once."""
    log = Log()
    with Topic("t") as outside:

        def event(n: Node) -> None:
            log(n.recv("t"))
            if len(log.lines) == 3:
                n.request_stop()

        sender = Node("sender", tick=lambda n: outside.send(tick()), rate=50)
        run_nodes(Node("event", on="t", tick=event), sender, duration=20, deterministic=False)
    assert len(log.lines) == 3
    assert sorted(set(log.lines)) == log.lines


def test_independent_nodes_run_concurrently_in_real_time() -> None:
    """Two nodes that wait for each other in one tick both get on."""
    log = Log()
    a, b = trio.Event(), trio.Event()

    async def first(n: Node) -> None:
        a.set()
        await b.wait()
        log("first")
        n.request_stop()

    async def second(n: Node) -> None:
        b.set()
        await a.wait()
        log("second")

    run_nodes(Node("1", tick=first), Node("2", tick=second), duration=20, deterministic=False)
    assert "first" in log.lines


def test_now_is_the_tick_over_the_rate() -> None:
    """In deterministic mode now() is tick / tick_rate in every node, whatever its rate (J.1-39)."""
    log = Log()
    nodes = [
        Node(str(rate), rate=rate, tick=lambda n: log(now() == tick() / 97, elapsed() == now())) for rate in (5, 97)
    ]
    run_nodes(*nodes, duration=3, tick_rate=97)
    assert set(log.lines) == {(True, True)}
