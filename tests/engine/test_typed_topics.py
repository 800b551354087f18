"""Topics of nodes that are declared with what they carry."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from horus_async import ConfigurationError, Node, Scheduler, Topic, TopicTypeError
from horus_async.messages import CmdVel
from tests.engine.programs import run_nodes, scheduler_of
from tests.replay.test_verify import verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@frozen
class Other:
    """Another class."""

    x: int


def _recv(node: Node) -> list[Any]:
    values = []
    while (value := node.recv("cmd")) is not None:
        values.append(value)
    return values


def _messages(node: Node) -> list[Any]:
    values = []
    while (message := node.recv_message("cmd")) is not None:
        values.append(message.value)
    return values


def _borrowed(node: Node) -> list[Any]:
    values = []
    for _ in range(2):
        with node.borrow("cmd") as message:
            values += [] if message is None else [message.value]
    return values


_WAYS: dict[str, Callable[[Node], list[Any]]] = {
    "recv": _recv,
    "recv_all": lambda node: node.recv_all("cmd"),
    "latest": lambda node: [node.latest("cmd")],
    "recv_message": _messages,
    "borrow": _borrowed,
}


async def _awaited(node: Node, how: str) -> Any:
    if how == "receive":
        return await node.receive("cmd")
    async with node.borrow("cmd") as message:
        return message.value


def _drains(got: list[Any], how: str) -> Node:
    async def tick(node: Node) -> None:
        got.extend(_WAYS[how](node) if how in _WAYS else [await _awaited(node, how)])

    return Node("reader", tick=tick, subs={"cmd": CmdVel})


@pytest.mark.parametrize("how", [*_WAYS, "receive", "await_borrow"])
def test_a_message_of_another_class_is_left_out_counted_and_told_once(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever way it is read, from a node of the same run too."""
    got: list[Any] = []
    values = [{"linear": 1.0}, CmdVel(linear=2.0, angular=0.0), Other(3)] if how != "latest" else [Other(3)]

    def send(node: Node) -> None:
        for value in values:
            node.send("cmd", value)

    with caplog.at_level(logging.WARNING):
        scheduler = run_nodes(Node("sender", tick=send, pubs="cmd"), _drains(got, how), duration=0.03)
    if how == "latest":
        assert got == [None] * 3
        assert scheduler.stats().nodes["reader"].refused == 3
    else:
        assert got[:2] == [CmdVel(linear=2.0, angular=0.0)] * 2
        assert scheduler.stats().nodes["reader"].refused >= 4
    told = [record for record in caplog.records if "left out" in record.getMessage()]
    assert len(told) == 1
    assert "opened for horus_async.messages.CmdVel" in told[0].getMessage()


def test_a_message_that_is_seen_and_taken_counts_once() -> None:
    """`latest` and then `recv`, or the other way round."""

    def look(node: Node) -> None:
        assert node.latest("cmd") is None
        assert node.recv("cmd") is None
        assert node.latest("cmd") is None

    sender = Node("sender", tick=lambda node: node.send("cmd", 1), pubs="cmd")
    scheduler = run_nodes(sender, Node("reader", tick=look, subs={"cmd": CmdVel}), duration=0.05)
    assert scheduler.stats().nodes["reader"].refused == 5


def test_sending_something_else_is_refused() -> None:
    """Another class, and fields that are not what the class says."""

    def send(node: Node) -> None:
        node.send("free", 1)
        with pytest.raises(TopicTypeError, match=r"'cmd' carries horus_async\.messages\.CmdVel, not dict"):
            node.send("cmd", {"linear": 1.0})
        with pytest.raises(TopicTypeError, match="whose linear has to be float, not str"):
            node.send("cmd", CmdVel(linear="fast", angular=0.0))  # type: ignore[arg-type]
        node.send("cmd", CmdVel(linear=1.0, angular=0.0))

    got: list[Any] = []
    run_nodes(Node("sender", tick=send, pubs={"cmd": CmdVel, "free": None}), _drains(got, "recv"), duration=0.02)
    assert got == [CmdVel(linear=1.0, angular=0.0)] * 2


def test_types_survive_the_change_of_another_option() -> None:
    """Options are checked again whenever one is set."""
    node = Node("reader", tick=lambda node: node.recv("cmd"), subs={"cmd": CmdVel}, on={"on": Other})
    node.order = 3
    assert (node.subs, node.on) == (("cmd",), ("on",))
    sender = Node("sender", tick=lambda node: [node.send("on", Other(1)), node.send("cmd", 1)])
    assert run_nodes(sender, node, duration=0.02).stats().nodes["reader"].refused == 2


def test_what_is_no_class_is_refused_where_it_is_declared() -> None:
    """Not when the first message comes."""
    with pytest.raises(TopicTypeError, match="'cmd': its type has to be a class, not 'CmdVel'"):
        Node("n", tick=lambda _: None, subs={"cmd": "CmdVel"})
    with pytest.raises(ConfigurationError, match="give one or more topic names, or a dict"):
        Node("n", tick=lambda _: None, subs=3)  # type: ignore[arg-type]


def test_a_wrong_message_of_another_process_ends_nothing() -> None:
    """As by ``topic pub`` with a typing error."""
    got: list[Any] = []
    scheduler = scheduler_of(_drains(got, "recv"), deterministic=False)
    with Topic("cmd", namespace=scheduler._options.namespace) as other:
        sent = 0

        def send(_: Node) -> None:
            nonlocal sent
            other.send(CmdVel(linear=float(sent), angular=0.0) if sent % 2 else {"linear": sent})
            sent += 1
            if sent == 10:
                scheduler.stop()

        scheduler.add(Node("z", tick=send, order=9))
        scheduler.run_sync(60)
    assert [value.linear for value in got] == [1.0, 3.0, 5.0, 7.0, 9.0][: len(got)]
    assert len(got) >= 4
    assert scheduler.stats().nodes["reader"].refused >= 4


@pytest.mark.parametrize("deterministic", [True, False])
def test_recorded_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deterministic: bool) -> None:
    """A node that leaves messages out does in a verification what it did."""
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))

    def build() -> Scheduler:
        def send(node: Node) -> None:
            node.send("cmd", CmdVel(linear=1.0, angular=0.0))
            node.send("cmd", 3)

        def echo(node: Node) -> None:
            for value in node.recv_all("cmd"):
                node.send("echo", value)
            node.send("refused", node.has_msg("cmd"))

        return scheduler_of(
            Node("sender", tick=send, pubs="cmd"),
            Node("reader", tick=echo, subs={"cmd": CmdVel}, pubs={"echo": CmdVel, "refused": bool}),
            deterministic=deterministic,
            recording="typed",
        )

    build().run_sync(0.1)
    report = verify("typed", build().nodes)
    assert (report.differences, report.compared > 30) == (0, True), report
