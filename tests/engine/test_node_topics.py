"""What a node does with topics while it runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from attrs import frozen

from horus_async import Node, Topic, ValueNotSupportedError, now_ns, sleep, tick
from tests.engine.programs import Log, both_modes, listener, run_nodes


@frozen
class Pose:
    """A message class."""

    x: float
    y: float


VALUES = [
    None,
    True,
    0,
    -(2**80),
    1.5,
    math.inf,
    "text",
    b"bytes",
    (1, (2, "x")),
    [1, None, {"a": [()]}],
    {"nested": {"deep": [1, 2.0, "3"]}},
    {1: "int key", (1, 2): "tuple key"},
    {"$bytes": "no tag"},
    Pose(1.0, 2.0),
    "x" * 100_000,
]


def test_values_come_back_equal_and_of_the_same_type() -> None:
    """Dicts, bytes, tuples, large ints, classes and texts of 100 kB pass between nodes unchanged (J.1-51)."""
    got: list[Any] = []
    values = [*VALUES]
    sender = Node("a", tick=lambda n: [n.send("t", value) for value in values], pubs="t")
    receiver = Node("b", tick=lambda n: got.extend(n.recv_all("t")), subs="t")
    run_nodes(sender, receiver, duration=0.01)
    assert got == values
    assert [type(value) for value in got] == [type(value) for value in values]


def test_nan_and_arrays_pass() -> None:
    """NaN stays NaN, an array keeps dtype and shape (J.1-51)."""
    got: list[Any] = []
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    sender = Node("a", tick=lambda n: n.send("t", {"nan": math.nan, "array": array}))
    run_nodes(sender, Node("b", tick=lambda n: got.append(n.recv("t")), subs="t"), duration=0.01)
    assert math.isnan(got[0]["nan"])
    assert got[0]["array"].dtype == np.float32
    assert np.array_equal(got[0]["array"], array)


def test_a_value_no_topic_can_carry_is_an_error_in_send() -> None:
    """The node can catch it; nothing was sent."""
    log = Log()

    def send(n: Node) -> None:
        with pytest.raises(ValueNotSupportedError):
            n.send("t", object())
        log(n.has_msg("t"))

    run_nodes(Node("a", tick=send), duration=0.01)
    assert log.lines == [False]


def test_recv_takes_one_after_the_other() -> None:
    """Each recv gives the next unread message, or the default when there is none."""
    log = Log()

    def tick(n: Node) -> None:
        log(n.recv("t"), n.recv("t", "default"))
        n.send("t", 1)
        n.send("t", 2)
        log(n.recv("t"), n.recv("t"), n.recv("t"))

    run_nodes(Node("a", tick=tick), duration=0.01)
    assert log.lines == [(None, "default"), (1, 2, None)]


def test_none_is_distinguishable_from_empty() -> None:
    """A sent None is a message: has_msg, recv with a default and recv_message tell it from nothing (J.1-52)."""
    log = Log()

    def tick(n: Node) -> None:
        n.send("t", None)
        log(n.has_msg("t"), n.recv("t", "empty"), n.recv("t", "empty"))
        n.send("t", None)
        message = n.recv_message("t")
        log(message is not None and message.value is None, n.recv_message("t"))

    run_nodes(Node("a", tick=tick), duration=0.01)
    assert log.lines == [(True, None, "empty"), (True, None)]


def test_has_msg_consumes_nothing() -> None:
    """Asked any number of times, the message is still there (J.1-52)."""
    log = Log()

    def tick(n: Node) -> None:
        log(n.has_msg("t"))
        n.send("t", 1)
        log(n.has_msg("t"), n.has_msg("t"), n.recv_all("t"), n.has_msg("t"))

    run_nodes(Node("a", tick=tick), duration=0.01)
    assert log.lines == [False, (True, True, [1], False)]


def test_latest_consumes_nothing_and_keeps_returning_the_newest() -> None:
    """It is None before the first message, and afterwards the newest, read or not."""
    log = Log()

    def tick(n: Node) -> None:
        log(n.latest("t"))
        n.send("t", 1)
        n.send("t", 2)
        log(n.latest("t"), n.latest("t"), n.recv_all("t"), n.latest("t"))

    run_nodes(Node("a", tick=tick), duration=0.01)
    assert log.lines == [None, (2, 2, [1, 2], 2)]


def test_recv_message_identifies_a_message() -> None:
    """Topic, publisher, sequence number from 0 and stamp come with the value."""
    log = Log()
    sender = Node("sender", tick=lambda n: (n.send("t", "x"), n.send("t", "y"))[1])

    def receive(n: Node) -> None:
        while (m := n.recv_message("t")) is not None:
            log(m.value, m.topic, m.publisher, m.seq, m.stamp_ns == now_ns())

    run_nodes(sender, Node("b", tick=receive, subs="t"), duration=0.02)
    assert log.lines == [(value, "t", "sender", seq, True) for seq, value in enumerate("xyxy")]


def test_each_node_has_its_own_read_position() -> None:
    """Two readers of one topic both get every message."""
    got: dict[str, list[Any]] = {"b": [], "c": []}
    sender = Node("a", tick=lambda n: n.send("t", tick()))
    readers = [Node(name, tick=lambda n: got[n.name].extend(n.recv_all("t")), subs="t") for name in got]
    run_nodes(sender, *readers, duration=0.05)
    assert got == {"b": [0, 1, 2, 3, 4], "c": [0, 1, 2, 3, 4]}


def test_a_reader_that_opens_late_gets_what_was_sent_since_the_run_began() -> None:
    """An undeclared topic that a node first reads in tick 3 starts with the run's first message."""
    got: list[Any] = []
    sender = Node("a", tick=lambda n: n.send("t", tick()))
    reader = Node("b", tick=lambda n: got.extend(n.recv_all("t")) if tick() == 3 else None)
    run_nodes(sender, reader, duration=0.05)
    assert got == [0, 1, 2, 3]


def test_lost_counts_exactly_what_was_overwritten() -> None:
    """The oldest messages go, the reader continues with the oldest left, and lost says how many (J.1-50)."""
    log = Log()

    def tick(n: Node) -> None:
        n.has_msg("t")
        for index in range(30):
            n.send("t", {"index": index, "pad": bytes(100_000)})
        got = [message["index"] for message in n.recv_all("t")]
        log(got, n.lost("t"))

    scheduler = run_nodes(Node("a", tick=tick), duration=0.01)
    got, lost = log.lines[0]
    assert lost > 0
    assert got == list(range(lost, 30))
    assert scheduler.stats().nodes["a"].lost == lost


@both_modes
def test_sending_from_init_reaches_the_first_tick(deterministic: bool) -> None:
    """What init sends is there in a consumer's first tick, whatever the order of adding."""
    got: list[Any] = []
    consumer = Node("b", tick=lambda n: got.append(n.recv("t")), subs="t")
    producer = Node("a", init=lambda n: n.send("t", "hello"), tick=lambda n: None)
    run_nodes(consumer, producer, duration=0.03, deterministic=deterministic)
    assert got[0] == "hello"
    assert set(got[1:]) == {None}


@both_modes
def test_sending_from_shutdown_is_heard(deterministic: bool) -> None:
    """What shutdown sends is heard by handles outside and by nodes that shut down later."""
    got: list[Any] = []
    a = Node("a", tick=lambda n: None, shutdown=lambda n: n.send("t", "bye"), pubs="t")
    b = Node("b", tick=lambda n: None, shutdown=lambda n: got.append(n.recv("t")), subs="t")
    with Topic("t") as outside:
        run_nodes(b, a, duration=0.02, deterministic=deterministic)
        assert outside.recv() == "bye"
    assert got == ["bye"]


@both_modes
def test_request_stop_ends_the_run_after_the_tick(deterministic: bool) -> None:
    """Nodes that come later in the same tick still tick, nobody does afterwards, every shutdown runs."""
    log = Log()

    def tick_a(n: Node) -> None:
        log("a")
        n.request_stop()

    a = Node("a", tick=tick_a, shutdown=log.says("a off"))
    b = Node("b", tick=log.says("b"), shutdown=log.says("b off"), order=1)
    run_nodes(a, b, duration=10, deterministic=deterministic)
    assert log.lines == ["a", "b", "a off", "b off"]


@both_modes
def test_receive_waits_for_the_next_message(deterministic: bool) -> None:
    """It returns the next unread message, one that is there or one to come."""
    log = Log()

    async def consume(n: Node) -> None:
        log(await n.receive("t"))
        log(await n.receive("t"))
        log(await n.receive("t"))
        n.request_stop()

    produce = Node("a", tick=lambda n: n.send("t", tick()), init=lambda n: n.send("t", "init"))
    run_nodes(produce, Node("b", tick=consume, subs="t"), duration=10, deterministic=deterministic)
    assert log.lines[0] == "init"
    assert log.lines[1] == 0
    assert len(log.lines) == 3


@both_modes
def test_subscribe_iterates_over_messages(deterministic: bool) -> None:
    """With async for, node.subscribe(topic) gives each message once."""
    log = Log()

    async def consume(n: Node) -> None:
        async for value in n.subscribe("t"):
            log(value)
            if value["last"]:
                n.request_stop()
                return

    produce = Node("a", tick=lambda n: n.send("t", {"seq": tick(), "last": tick() >= 4}))
    run_nodes(produce, Node("b", tick=consume, subs="t"), duration=10, deterministic=deterministic)
    sequence = [value["seq"] for value in log.lines]
    assert sequence == sorted(set(sequence))
    assert len(sequence) >= 2


def test_a_deterministic_run_takes_no_messages_from_outside() -> None:
    """A message that another handle sends is not seen; what the run sends can be watched from outside."""
    got: list[Any] = []
    with Topic("t") as outside:
        outside.send("left over")

        def tick(n: Node) -> None:
            outside.send("outside")
            got.extend(n.recv_all("t"))
            n.send("t", "inside")

        run_nodes(Node("a", tick=tick), duration=0.03)
        assert got == ["inside", "inside"]
        assert outside.recv_all().count("inside") == 3


def test_a_real_time_run_hears_other_handles_from_its_start_on() -> None:
    """Messages from before the run are not seen, those sent since are."""
    got: list[Any] = []
    with Topic("t") as outside:
        outside.send("before")
        n = Node("a", init=lambda n: outside.send("since"), tick=lambda n: got.extend(n.recv_all("t")))
        run_nodes(n, duration=0.05, deterministic=False)
    assert got == ["since"]


def test_messages_of_a_suspended_tick_keep_their_order() -> None:
    """A tick that sends before and after a sleep sends both, with the stamps of when it sent them."""
    log = Log()

    async def slow(n: Node) -> None:
        n.send("t", "before")
        await sleep(0.025)
        n.send("t", "after")

    run_nodes(Node("slow", tick=slow, pubs="t", rate=10), listener(log, ["t"]), duration=0.1)
    assert [(line[0], line[-1]) for line in log.lines] == [(0, "'before'"), (3, "'after'")]
    assert [line[4] for line in log.lines] == [0, -5_000_000]
