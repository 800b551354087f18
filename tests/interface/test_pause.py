"""A paused node does not tick, has entered its safe state, and its events say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import ConfigurationError, ContextError, Miss, Node, Scheduler, service, tick
from horus_async.remote.client import Client
from tests.interface.programs import both_modes, count, scheduler_of

if TYPE_CHECKING:
    from pathlib import Path


class Arm(Node):
    """Counts what it does."""

    name, rate = "arm", 50

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ticked: list[int] = []
        self.safe: list[int] = []

    def init(self) -> None:
        """Begin anew."""
        self.ticked, self.safe = [], []

    def tick(self) -> None:
        """Sends, too."""
        self.ticked.append(tick())
        self.send("at", tick())

    def enter_safe_state(self) -> None:
        """Stands still."""
        self.safe.append(len(self.ticked))
        self.send("at", "safe")

    @service("arm.ask")
    def ask(self, request: Any) -> Any:
        """Answers, also while it is paused."""
        return request


def boss(scheduler: Scheduler, got: list[Any], pause: int = 10, resume: int = 20) -> Node:
    """Pauses the arm, twice, and resumes it, twice."""

    async def command(node: Node) -> None:
        number = count(node)
        if number == pause:
            got.extend([scheduler.pause("arm"), scheduler.pause("arm")])
        if number == pause + 3:
            got.append(await node.call("arm.ask", "still there?", timeout=5.0))
            got.append(scheduler.stats().nodes["arm"].paused)
        if number == resume:
            got.extend([scheduler.resume("arm"), scheduler.resume("arm")])

    return Node("boss", tick=command, order=-1)


@both_modes
def test_a_paused_node_stands_still_in_its_safe_state(*, deterministic: bool, tmp_path: Path) -> None:
    """It misses nothing meanwhile, answers, and ticks on afterwards."""
    arm, got = Arm(deadline=60.0, on_miss=Miss.STOP), list[Any]()
    scheduler = scheduler_of(
        [arm], deterministic=deterministic, blackbox_mb=1, blackbox_dir=tmp_path, recording="run",
        recordings_dir=tmp_path,
    )  # fmt: skip
    scheduler.add(boss(scheduler, got, pause=10, resume=90)).run_sync(1.2 if deterministic else 5.0)
    assert got == [True, False, "still there?", True, True, False]
    assert len(arm.safe) == 1
    before, after = arm.ticked[: arm.safe[0]], arm.ticked[arm.safe[0] :]
    assert before
    assert after
    assert after[0] - before[-1] >= 70
    stats = scheduler.stats().nodes["arm"]
    assert (stats.deadline_misses, stats.paused) == (0, False)
    assert scheduler.blackbox is not None
    events = [str(found.event) for found in scheduler.blackbox.events("Custom")]
    assert ["paused" in event or "resumed" in event for event in events] == [True, True], events

    async def verify() -> None:
        report = await Scheduler.verify(tmp_path / "run", scheduler_of([Arm()]), ["arm"])
        assert (report.differences, report.compared > 10) == (0, True), report

    trio.run(verify)


def test_an_event_node_that_was_paused_takes_up_what_came() -> None:
    """Its messages wait in the ring."""
    ticks: list[int] = []
    scheduler = scheduler_of([], deterministic=True)
    reader = Node("arm", tick=lambda node: ticks.append(node.recv("at")), on="at")

    def send(node: Node) -> None:
        node.send("at", tick())
        if tick() in (2, 6):
            (scheduler.pause if tick() == 2 else scheduler.resume)("arm")

    scheduler.add(Node("sender", tick=send, pubs="at")).add(reader).run_sync(0.1)
    assert ticks == [*range(10)]


def test_what_cannot_be_paused_is_named() -> None:
    """No such node, or no run."""
    scheduler = scheduler_of([Arm()], deterministic=True)
    with pytest.raises(ContextError, match=r"pause\('arm'\) is for a scheduler that runs"):
        scheduler.pause("arm")

    def ask(_: Node) -> None:
        with pytest.raises(ConfigurationError, match=r"pause\('amr'\): no such node; did you mean 'arm'\?"):
            scheduler.pause("amr")

    scheduler.add(Node("boss", tick=ask)).run_sync(0.02)


def test_another_program_pauses_a_node() -> None:
    """By a request that the run itself answers."""
    arm, got = Arm(), list[Any]()
    scheduler = scheduler_of([arm], deterministic=False)
    client = Client(scheduler._options.namespace)

    def command() -> None:
        got.append(client.pause("arm", timeout=30.0))
        got.append([row["state"] for row in client.nodes(timeout=30.0)])
        got.append(client.pause("arm", timeout=30.0))
        got.append(client.resume("arm", timeout=30.0))
        scheduler.stop()

    scheduler.add(Node("boss", tick=lambda _: None, init=lambda node: node.in_thread(command))).run_sync(120)
    assert got[0] == {"node": "arm", "paused": True, "changed": True}
    assert got[1] == ["paused", "running"]
    assert got[2:] == [
        {"node": "arm", "paused": True, "changed": False},
        {"node": "arm", "paused": False, "changed": True},
    ]
    assert len(arm.safe) == 1
