"""Runs in real time that end while goals are under way: they end likewise in a verification."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import trio

from horus_async import Node, Scheduler, action, tick
from horus_async.recorder import Session, open_session
from tests.interface.programs import scheduler_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from horus_async import VerifyReport


class Reader(Node):
    """Carries out a goal that waits for a thread, which ends only when somebody lets it."""

    name, rate = "reader", 100
    gate: threading.Event

    @action("read")
    async def read(self, goal: Any, handle: Any) -> Any:
        """Wait, within a shield if so asked."""
        handle.feedback("begun")
        try:
            with anyio.CancelScope(shield=goal == "shielded"):
                await anyio.to_thread.run_sync(self.gate.wait, abandon_on_cancel=True)
                self.send("passed", goal)
        finally:
            self.send("ended", goal)

    async def tick(self) -> None:
        """End the run while the goal goes on."""
        if self.has_msg("read/status"):
            self.state = (self.state or 0) + 1
            if self.state == 10:
                self.request_stop()


def make(gate: threading.Event, goal: str) -> list[Node]:
    """The reader, and who gives the goal."""
    reader = Reader()
    reader.gate = gate

    async def ask(node: Node) -> None:
        if tick() == 3:
            async with node.goal("read", goal, timeout=None) as reading:
                await reading.result()

    return [reader, Node("giver", tick=ask)]


def record(folder: Path, goal: str) -> None:
    """Run it; the thread goes on until the run is over."""
    gate = threading.Event()
    scheduler = scheduler_of(make(gate, goal), recording="run", recordings_dir=folder)
    try:
        scheduler.run_sync(60)
    finally:
        gate.set()


def verify(folder: Path, goal: str) -> VerifyReport:
    """Here the thread ends at once."""
    gate = threading.Event()
    gate.set()

    async def verified() -> VerifyReport:
        return await Scheduler.verify(folder / "run", scheduler_of(make(gate, goal), deterministic=True))

    return trio.run(verified)


def test_what_the_end_of_the_run_cancelled_is_cancelled_in_a_verification(tmp_path: Path) -> None:
    """Though what it waits for comes sooner here; once it went on, and sent what had never been sent."""
    record(tmp_path, "plain")

    lines = [*open_session(tmp_path / "run").resumed("reader")]
    assert [line.cut for line in lines][-1]
    assert not any(line.cut for line in lines[:-1])
    report = verify(tmp_path, "plain")
    assert (report.differences, report.compared > 5) == (0, True), report


def test_a_task_does_not_go_on_where_the_recorded_one_never_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a process that was killed: what lies beyond the last recorded moment has not happened."""
    record(tmp_path, "plain")
    recorded = Session.resumed

    def without_the_last(self: Session, node: str, start: int | None = None) -> Iterator[Any]:
        yield from [*recorded(self, node, start)][:-1]

    monkeypatch.setattr(Session, "resumed", without_the_last)
    report = verify(tmp_path, "plain")
    assert (report.differences, report.compared > 5) == (0, True), report
