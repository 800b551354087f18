"""Nodes that keep messages for late readers: in runs, recorded, replayed and verified."""

from __future__ import annotations

import math
from typing import Any

import pytest

from horus_async import ConfigurationError, Keep, Node, NodeFailure, Scheduler, Topic, run, tick
from horus_async.recorder import open_session
from horus_async.testing import run_nodes
from tests.replay.sessions import heard, record
from tests.replay.test_verify import verify


class Mapper(Node):
    """Sends a map now and then, and keeps the last two."""

    name = "mapper"
    pubs: Any = {"map": Keep(int, 2)}  # noqa: RUF012 - as users write it

    def tick(self) -> None:
        """Every fifth tick."""
        if tick() % 5 == 0:
            self.send("map", tick())


def reader(found: list[Any], name: str = "reader") -> Node:
    """Notes all maps that it reads."""
    return Node(name, tick=lambda n: found.extend(n.recv_all("map")), subs=["map"])


def busy() -> Node:
    """Fills the same topic."""
    return Node("busy", tick=lambda n: n.send("map", "x" * 100_000), pubs=["map"])


def test_a_handle_that_comes_late_to_a_run() -> None:
    """From a running node and from one that has ended; another node's messages on the topic are not kept."""
    found = []

    def look(_: Node) -> None:
        if tick() == 12:
            with Topic("map") as topic:
                found.extend(topic.recv_all())

    run(Mapper(), busy(), Node("look", tick=look), duration=0.2, tick_rate=100.0)
    assert found == [5, 10]
    with Topic("map") as topic:
        assert topic.recv_all() == [10, 15]


@pytest.mark.parametrize("on", [None, "map"])
def test_a_run_that_begins_later(on: str | None) -> None:
    """Its nodes have what is kept from their first tick on; an event node ticks for it."""
    run(Mapper(), duration=0.2, tick_rate=100.0)
    found: list[Any] = []
    run(Node("late", tick=lambda n: found.append(n.recv("map")), on=on, subs=["map"]), duration=0.05)
    assert found[:2] == [10, 15]
    assert set(found[2:]) <= {None}


def test_a_node_that_starts_again_brings_no_old_map() -> None:
    """What it kept in its last run goes as the next one begins, also for nodes that were added before it."""
    run(Mapper(), duration=0.2, tick_rate=100.0)
    found: list[Any] = []
    run(reader(found), Mapper(), duration=0.03, tick_rate=100.0)
    assert found == [0]


def test_virtual_time_neither_hears_what_was_kept_nor_leaves_anything() -> None:
    """A deterministic run is a world of its own."""
    with Topic("map", keep=1) as topic:
        topic.send("outside")
    found: list[Any] = []
    for _ in range(2):
        Scheduler(deterministic=True, tick_rate=100.0).add(reader(found)).add(Mapper()).run_sync(0.07)
    assert found == [0, 5, 0, 5]
    with Topic("map") as topic:
        assert topic.recv_all() == ["outside"]


def test_within_a_run_what_is_kept_is_not_overwritten() -> None:
    """A node that looks late finds the last ones, whatever else went through the topic."""
    found: list[Any] = []

    def send(n: Node) -> None:
        if tick() == 0:
            n.send("map", "kept")

    def look(n: Node) -> None:
        if tick() == 99:
            found.extend(value for value in n.recv_all("map") if value == "kept")

    keeper = Node("keeper", tick=send, pubs={"map": Keep()})
    Scheduler(deterministic=True).add(keeper).add(busy()).add(Node("look", tick=look, subs=["map"])).run_sync(1.0)
    assert found == ["kept"]


def test_a_replay_from_the_middle_begins_with_what_was_kept() -> None:
    """The last n before the start, with their numbers, though more of them were sent before and after."""
    found: list[Any] = []
    record("s", [Mapper(), reader([])], duration=0.3)
    assert open_session("s").nodes["mapper"].keep == {"map": 2}
    assert open_session("s").nodes["reader"].keep == {}
    again = Scheduler.replay_from("s").set_replay_speed(math.inf).start_at_tick(17)
    assert [row[1:3] for row in heard(again, "map")] == [(10, 2), (15, 3), (20, 4), (25, 5)]
    Scheduler.replay_from("s").set_replay_speed(math.inf).start_at_tick(17).add(reader(found)).run_sync()
    assert found == [10, 15, 20, 25]
    assert again.sent_before_start == {"map": 2}


def test_a_replay_renames_what_is_kept() -> None:
    """As any topic."""
    record("s", [Mapper(), reader([])], duration=0.3)
    again = Scheduler.replay_from("s").set_replay_speed(math.inf).start_at_tick(17).rename_topic("map", "chart")
    assert [row[0] for row in heard(again, "map", "chart")] == ["chart"] * 4


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_recording_of_who_keeps_and_who_reads_verifies(deterministic: bool) -> None:
    """What was kept outside and read here is recorded as external; nothing differs."""
    with Topic("map", keep=2) as topic:
        for value in (1, 2, 3):
            topic.send(value)
    found: list[Any] = []

    def echo(n: Node) -> None:
        for value in n.recv_all("map"):
            found.append(value)
            n.send("echo", value)

    def nodes() -> list[Node]:
        return [Node("late", tick=echo, subs=["map"], pubs={"echo": Keep(n=3)})]

    scheduler = Scheduler(recording="s", deterministic=deterministic, tick_rate=100.0)
    for node in nodes():
        scheduler.add(node)
    scheduler.run_sync(0.1)
    assert found == ([] if deterministic else [2, 3])
    assert [message.payload for message in open_session("s").external()] == ([] if deterministic else [b"2", b"3"])
    assert verify("s", nodes()).differences == 0


def test_the_kit_publishes_kept_messages() -> None:
    """``run_nodes(kept=...)``: they are there from ``init`` on."""
    found: list[Any] = []
    node = Node("n", tick=lambda _: None, init=lambda n: found.append(n.latest("map")), subs=["map"])
    captured = run_nodes(node, ticks=3, kept={"map": ["old", "new"]}, feed={"map": [(1, "fed")]})
    assert found == ["new"]
    assert captured.values("map") == ["old", "new", "fed"]
    with pytest.raises(ConfigurationError, match="give a list of messages for each topic"):
        run_nodes(node, ticks=1, kept={"map": "text"})
    with pytest.raises(ConfigurationError, match=r"no node has read 'mop'.*map"):
        run_nodes(node, ticks=1, kept={"mop": [1]})


def test_mistakes_are_named() -> None:
    """In one line, at the declaration."""
    for wrong in ({"subs": {"map": Keep()}}, {"pubs": {"map": Keep}}):
        with pytest.raises(ConfigurationError, match="Keep"):
            Node("n", tick=lambda _: None, **wrong)


def test_what_is_kept_is_checked_as_any_typed_topic() -> None:
    """``Keep(int)`` refuses a text, and the node fails by it."""
    node = Node("n", tick=lambda n: n.send("map", "text"), pubs={"map": Keep(int)})
    with pytest.raises(NodeFailure) as failed:
        run_nodes(node, ticks=1)
    assert "map" in str(failed.value.exceptions[0])


def test_options_that_are_set_later() -> None:
    """Setting another option leaves what is kept, and setting ``pubs`` replaces it."""
    node = Mapper()
    node.order = 3
    assert node.pubs == ("map",)
    with Topic("alive"):
        run(node, duration=0.03, tick_rate=100.0)
        with Topic("map") as topic:
            assert topic.recv_all() == [0]
        node.pubs = ["map"]
        run(node, duration=0.03, tick_rate=100.0)
        with Topic("map") as topic:
            assert topic.recv_all() == [0]  # who keeps no more replaces nothing
