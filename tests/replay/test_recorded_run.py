"""What a run leaves in its recording, seen from the engine's side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from horus_async import Node, Scheduler, sleep, tick
from horus_async.recorder import ExecutionRecord, open_session
from horus_async.recorder.records import SendsRecord
from horus_async.topics.codec import decode
from tests.engine.programs import Log, both_modes
from tests.replay.sessions import pair, record


def executions(node: str) -> list[ExecutionRecord]:
    """A node's lines in session s."""
    lines = open_session("s").executions(node, None, None)
    return [line for line in lines if isinstance(line, ExecutionRecord)]


@both_modes
def test_every_kind_of_node_is_recorded_under_its_true_tick(deterministic: bool) -> None:
    """Plain, async, suspended, compute and event nodes: one line a tick, each message once, in order (J.1-4, J.1-5)."""
    log = Log()

    def three(n: Node) -> None:
        log(n.name, tick())
        for index in range(3):
            n.send(n.name, (tick(), index))

    async def three_async(n: Node) -> None:
        three(n)

    async def three_slowly(n: Node) -> None:
        began = tick()
        log(n.name, began)
        for index in range(3):
            n.send(n.name, (began, index))
            await sleep(0.012)

    nodes = [
        Node("plain", tick=three, rate=50),
        Node("async", tick=three_async),
        Node("slow", tick=three_slowly, rate=20),
        Node("compute", tick=three, compute=True, rate=25),
        Node("event", tick=three, on="trigger"),
        Node("trigger", tick=lambda n: n.send("trigger", 1), rate=25, pubs="trigger"),
        Node("silent", tick=lambda n: log("silent", tick())),
    ]
    record("s", nodes, duration=0.3, deterministic=deterministic)
    for name in ("plain", "async", "slow", "compute", "event", "silent"):
        ticks = [number for kind, number in log.lines if kind == name]
        lines = [line for line in executions(name) if line.kind == "tick"]
        assert [line.tick for line in lines] == ticks, name
        assert len(ticks) >= 3, name
        outputs: dict[int | None, list[Any]] = {line.tick: [] for line in lines}
        for line in open_session("s").executions(name):  # what a suspended tick sends is in lines of its own
            if isinstance(line, SendsRecord) or (isinstance(line, ExecutionRecord) and line.kind == "tick"):
                outputs[line.tick] += [decode(output.payload) for output in line.outputs]
        for line in lines[:-1]:  # the end of the run may have cut the last one
            sent = outputs[line.tick]
            assert sent == ([] if name == "silent" else [(line.tick, index) for index in range(3)]), name
    slow = [line for line in open_session("s").executions("slow") if isinstance(line, ExecutionRecord | SendsRecord)]
    late = [output.tick for line in slow for output in line.outputs]
    assert late == sorted(late)
    assert any(line.tick is not None and output.tick > line.tick for line in slow for output in line.outputs)


def test_the_files_of_a_session(recordings_dir: Path) -> None:
    """One of the scheduler and one a node; the same paths during and after the run, again and again (J.1-1, J.1-3)."""
    seen: list[list[str]] = []
    scheduler = Scheduler(deterministic=True, recording="s")
    for node in pair():
        scheduler.add(node)
    assert scheduler.stop_recording() == []
    scheduler.add(Node("stopper", tick=lambda n: seen.append(scheduler.stop_recording()) if tick() == 5 else None))
    scheduler.run_sync(0.1)
    files = scheduler.stop_recording()
    assert seen == [files]
    assert scheduler.stop_recording() == files
    names = sorted(Path(file).name.split("@")[0] for file in files)
    assert names == ["controller", "scheduler", "sensor", "stopper"]
    assert all(Path(file).parent == recordings_dir / "s" for file in files)


def test_sessions_are_listed_and_deleted() -> None:
    """list_recordings has it; delete_recording is True, then False (J.1-2)."""
    record("s", pair(), duration=0.05)
    assert Scheduler.list_recordings() == ["s"]
    assert Scheduler.delete_recording("s") is True
    assert Scheduler.delete_recording("s") is False
    assert Scheduler.list_recordings() == []


@pytest.mark.parametrize("kind", ["init", "shutdown"])
def test_what_init_and_shutdown_send_is_recorded(kind: str) -> None:
    """In lines of their own."""
    callbacks: dict[str, Any] = {"tick": lambda n: None, kind: lambda n: n.send("t", kind)}
    record("s", [Node("n", **callbacks)], duration=0.05)
    lines = [line for line in executions("n") if line.kind == kind]
    assert [[decode(output.payload) for output in line.outputs] for line in lines] == [[kind]]
