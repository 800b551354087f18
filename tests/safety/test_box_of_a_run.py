"""What a run leaves in its box: every event at its moment with true values, and what ended it."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import (
    ConfigurationError,
    Node,
    NodeFailure,
    RecordingError,
    Scheduler,
    SessionExistsError,
    sleep,
    tick,
)
from horus_async.blackbox import BlackBox, NodeAdded, NodeTick, SchedulerStart, SchedulerStop, open_blackbox
from horus_async.clock.system import monotonic_ns, spin_until_monotonic, wall_ns
from horus_async.determinism.guard import RunGuard
from horus_async.engine.watchdog import Watchdog
from horus_async.errors import BlackBoxError
from horus_async.recorder import Recorder, open_session
from horus_async.topics import Bus
from tests.engine.programs import environment, run_script, signalled_script

from .kit import error_of, events, failing, kinds, reason, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.engine.rules.schedule import Step


def test_a_whole_run() -> None:
    """Start, nodes, each tick with its scheduler tick, stop with the number of ticks: in this order (J.1-31)."""
    before_ns = wall_ns()
    arm = Node("arm", tick=lambda _: None, rate=50)
    scheduler = run(arm, Node("leg", tick=lambda _: None), duration=0.03)
    records = events(scheduler)
    assert [record.event for record in records if record.kind != "NodeTick"] == [
        SchedulerStart(2, ("arm", "leg"), 100.0),
        NodeAdded("arm"),
        NodeAdded("leg"),
        SchedulerStop("duration", 3),
    ]
    ticks = [(record.tick, record.name, record.success) for record in records if record.kind == "NodeTick"]
    assert ticks == [(0, "arm", True), (0, "leg", True), (1, "leg", True), (2, "arm", True), (2, "leg", True)]
    assert [record.seq for record in records] == [*range(len(records))]
    assert {record.run for record in records} == {records[0].run}
    assert records[-1].tick == 2
    assert before_ns <= records[0].time_ns <= records[-1].time_ns <= wall_ns()


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
def test_a_ticks_duration_is_the_real_one(deterministic: bool) -> None:
    """duration_us is elapsed wall-clock time in every mode, and success says whether the tick raised."""
    took: list[int] = []

    def work(node: Node) -> None:
        began_ns = monotonic_ns()
        spin_until_monotonic(began_ns + 2_000_000)
        took.append((monotonic_ns() - began_ns) // 1000)
        node.request_stop()
        raise ValueError("no")

    scheduler = run(Node("arm", tick=work), deterministic=deterministic)
    (record,) = events(scheduler, "NodeTick")
    assert isinstance(record.event, NodeTick)
    assert not record.success
    assert record.duration_us >= took[0]
    assert scheduler.stats().nodes["arm"].max_us == pytest.approx(record.duration_us, abs=1)


def test_the_box_before_during_and_after_a_run() -> None:
    """scheduler.blackbox takes and shows events before, during and after the run; each run has a box (J.1-32)."""
    scheduler = Scheduler(deterministic=True, blackbox_mb=1)
    box = scheduler.blackbox
    assert box is not None
    box.custom("test", "before")

    def work(node: Node) -> None:
        assert scheduler.blackbox is not None
        scheduler.blackbox.custom("test", "during", tick=tick(), nothing=float("nan"))
        assert scheduler.blackbox.events(kind="Custom", last=1)[0].data["tick"] == tick()

    scheduler.add(Node("arm", tick=work))
    scheduler.run_sync(0.02)
    assert scheduler.blackbox is box
    assert [record.message for record in box.events("Custom")] == ["before", "during", "during"]
    assert box.anomalies() == []
    assert box.lost == 0
    with pytest.raises(BlackBoxError, match="closed"):
        box.custom("test", "after")
    scheduler.run_sync(0.01)
    assert scheduler.blackbox is not box
    assert len(events(scheduler, "Custom")) == 1
    assert len(box.events("Custom")) == 3


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
def test_an_event_of_the_users_carries_the_tick_in_which_it_happens(deterministic: bool) -> None:
    """In a tick, in a part of it that was suspended, from a thread, in ``init`` and ``shutdown``."""
    scheduler = Scheduler(deterministic=deterministic, blackbox_mb=1, tick_rate=100)

    def say(where: str) -> None:
        assert scheduler.blackbox is not None
        scheduler.blackbox.custom("test", where)

    class Arm(Node):
        name = "arm"
        rate = 100

        def init(self) -> None:
            say("init")

        async def tick(self) -> None:
            if tick() == 5:
                say("tick 5")
                await trio.to_thread.run_sync(say, "thread 5")
            if tick() == 7:
                await sleep(0.025)
                say("later")
            if tick() == 12:
                self.request_stop()

        def shutdown(self) -> None:
            say("shutdown")

    scheduler.add(Arm()).add(Node("clock", tick=lambda _: say(f"clock {tick()}"), rate=100)).run_sync(0.2)
    found = {record.message: record.tick for record in events(scheduler, "Custom")}

    assert found["init"] == 0
    assert found["shutdown"] == events(scheduler, "SchedulerStop")[0].tick
    if deterministic:  # in real time whole ticks may be left out
        assert (found["tick 5"], found["thread 5"], found["later"]) == (5, 5, 9)
    assert all(number == int(words.split()[1]) for words, number in found.items() if words.startswith("clock"))


def test_to_look_at_the_box_neither_makes_nor_keeps_it(blackbox_dir: Path) -> None:
    """Before a run: no file, no thread, the evidence of the last run where it was, and others may run."""
    names = {thread.name for thread in threading.enumerate()}
    last = events(run(Node("arm", tick=lambda _: None), duration=0.01))[0].run
    looking = [Scheduler(deterministic=True, blackbox_mb=1) for _ in range(3)]
    for scheduler in looking:
        assert scheduler.blackbox is not None
        assert scheduler.blackbox.events() == scheduler.blackbox.anomalies() == []
        assert scheduler.blackbox.lost == 0
    assert {thread.name for thread in threading.enumerate()} == names
    assert [path.name for path in blackbox_dir.iterdir()] == ["scheduler.hbb"]
    assert open_blackbox(blackbox_dir / "scheduler.hbb").run == last
    run(Node("arm", tick=lambda _: None), duration=0.01)


def test_a_scheduler_that_is_dropped_without_a_run_lets_go_of_its_box() -> None:
    """Also where it recorded an event, and so has opened it."""
    scheduler = Scheduler(deterministic=True, blackbox_mb=1)
    assert scheduler.blackbox is not None
    scheduler.blackbox.custom("test", "before")
    del scheduler
    gc.collect()
    run(Node("arm", tick=lambda _: None), duration=0.01)


@pytest.mark.parametrize("broken", [(0,), (1,), (2,), (3,), (4,), (0, 2, 4), (0, 1, 2, 3, 4)])
def test_every_step_of_taking_a_run_apart_is_tried(
    broken: tuple[int, ...], monkeypatch: pytest.MonkeyPatch, recordings_dir: Path
) -> None:
    """Whatever fails, all else is done, the errors come out in the end, and the next run works."""
    steps = [(Watchdog, "stop"), (RunGuard, "end"), (Bus, "close"), (Recorder, "stop"), (BlackBox, "close")]

    def one_run() -> None:
        scheduler = Scheduler(deterministic=True, blackbox_mb=1, recording=True, watchdog=10)
        scheduler.add(Node("arm", tick=lambda node: node.send("t", 1))).run_sync(0.05)

    with monkeypatch.context() as patched:
        for number in broken:
            owner, name = steps[number]
            patched.setattr(owner, name, failing_after(getattr(owner, name)))
        with pytest.raises((PermissionError, BaseExceptionGroup)) as caught:
            one_run()
    errors = caught.value.exceptions if isinstance(caught.value, BaseExceptionGroup) else [caught.value]
    assert len(errors) == len(broken)
    one_run()
    assert len(open_session(Scheduler.list_recordings()[-1]).nodes) == 1


def failing_after(step: Callable[..., Any]) -> Callable[..., Any]:
    """The same, which fails when it is done."""

    def fails(*arguments: Any) -> None:
        step(*arguments)
        raise PermissionError(13, "Permission denied")

    return fails


def test_what_ended_the_run_comes_out_of_it_whatever_fails_afterwards(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure in taking it apart is logged then."""
    monkeypatch.setattr(Bus, "close", failing_after(Bus.close))
    with pytest.raises(NodeFailure):
        Scheduler(deterministic=True, blackbox_mb=1).add(failing(0)[0]).run_sync(0.1)
    assert "could not be taken apart" in caplog.text


def test_without_size_there_is_no_box(blackbox_dir: Path) -> None:
    """blackbox_mb=0, the default: nothing is made."""
    scheduler = Scheduler(deterministic=True).add(Node("arm", tick=lambda _: None))
    scheduler.run_sync(0.01)
    assert scheduler.blackbox is None
    assert not blackbox_dir.exists()


def test_a_restart_keeps_the_evidence(blackbox_dir: Path) -> None:
    """Each run has a box of its own with its own id; the last ones stay beside it (J.1-29, 32)."""
    runs = [events(run(Node("arm", tick=lambda _: None), duration=0.01))[0].run for _ in range(5)]
    assert len(set(runs)) == 5
    kept = {path.name: open_blackbox(path).run for path in blackbox_dir.iterdir()}
    assert kept == dict(zip([f"scheduler{n}.hbb" for n in ("~3", "~2", "~1", "")], runs[1:], strict=True))
    assert {path.stat().st_size for path in blackbox_dir.iterdir()} == {2**20}


def test_a_ring_that_is_full_loses_the_oldest_and_counts_them() -> None:
    """A run with more events than the box holds keeps the newest, gapless, and says how many are gone (J.1-27)."""
    scheduler = run(Node("arm", tick=lambda node: node.log.debug("x")), duration=1200, tick_rate=100)
    assert scheduler.blackbox is not None
    seqs = [record.seq for record in scheduler.blackbox.events()]
    assert scheduler.blackbox.lost > 0
    assert seqs == [*range(scheduler.blackbox.lost, 120_003)]


# What ended the run


def test_stop() -> None:
    """stop() and request_stop() end it with the reason stop, after the current tick."""
    scheduler = run(Node("arm", tick=lambda node: node.request_stop()), duration=1)
    assert (reason(scheduler), events(scheduler, "SchedulerStop")[0].total_ticks) == ("stop", 1)


def test_fatal() -> None:
    """fatal: NODE: ERROR."""
    node, _ = failing(1)
    scheduler = run(node)
    assert reason(scheduler) == "fatal: arm: ValueError: tick 1"
    assert kinds(scheduler)[-5:] == ["NodeTick", "NodeError", "NodeTick", "FailurePolicy", "SchedulerStop"]


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
async def test_cancelled(deterministic: bool) -> None:
    """A run whose task is cancelled says so."""
    begun = trio.Event()
    scheduler = Scheduler(deterministic=deterministic, blackbox_mb=1)

    token = trio.lowlevel.current_trio_token()

    async def work(node: Node) -> None:
        if tick() >= 3:
            token.run_sync_soon(begun.set)

    scheduler.add(Node("arm", tick=work))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(scheduler.run)
        await begun.wait()
        nursery.cancel_scope.cancel()
    assert reason(scheduler) == "cancelled"


def test_replay_finished(recordings_dir: Path) -> None:
    """A replay that came to its end says so."""
    recorded = run(Node("arm", tick=lambda node: node.send("a", 1), pubs="a"), recording="night", blackbox_dir=None)
    assert reason(recorded) == "duration"
    replay = Scheduler.replay_from("night")
    replay._options = recorded._options.__class__(blackbox_mb=1, name="replay")
    replay.set_replay_speed(float("inf")).run_sync()
    assert reason(replay) == "replay finished"
    assert [record.name for record in events(replay, "NodeAdded")] == ["arm"]


SIGNALLED = """
from horus_async import Node, Scheduler, tick
said = []
def work(node):
    if tick() >= 2 and not said:
        said.append(print("ready", flush=True))
Scheduler(blackbox_mb=1, deterministic={deterministic}).add(Node("arm", tick=work)).run_sync()
"""


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals(number: signal.Signals, deterministic: bool, blackbox_dir: Path) -> None:
    """Ctrl-C and SIGTERM leave their mark as the reason (J.1-31)."""
    code, _, _ = signalled_script(SIGNALLED.format(deterministic=deterministic), number)
    assert code == 128 + number
    with open_blackbox(blackbox_dir / "scheduler.hbb") as box:
        assert [stop.reason for stop in box.events(kind="SchedulerStop")] == [f"signal {number.name}"]


def test_an_exception_from_outside_the_nodes() -> None:
    """Whatever else takes the run down is the reason, under the scheduler's name."""
    scheduler = Scheduler(deterministic=True, blackbox_mb=1, name="robot").add(Node("arm", tick=lambda _: None))
    original = scheduler._set_up

    def fail(step: Step) -> None:
        if step.tick == 2:
            raise OSError("no disk")

    def set_up(duration: float | None) -> Any:
        parts = original(duration)
        parts.runtime.at_step.append(fail)
        return parts

    scheduler._set_up = set_up  # type: ignore[method-assign]
    with pytest.raises(BaseExceptionGroup):
        scheduler.run_sync()
    assert reason(scheduler).startswith("fatal: robot: OSError: no disk")


def test_a_run_that_cannot_begin_says_why(recordings_dir: Path) -> None:
    """Where the recording cannot begin there is a box with a start and the reason, and it is free again."""
    run(Node("arm", tick=lambda _: None), recording="night")
    scheduler = run(Node("arm", tick=lambda _: None), recording="night")
    assert isinstance(error_of(scheduler), SessionExistsError | RecordingError)
    assert reason(scheduler).startswith("fatal: scheduler: SessionExistsError: ")
    assert kinds(scheduler)[0] == "SchedulerStart"


def test_a_run_that_cannot_be_set_up_leaves_the_box_free(blackbox_dir: Path) -> None:
    """A configuration error after the box was opened gives it back."""
    scheduler = Scheduler(deterministic=True, blackbox_mb=1).add(Node("arm", tick=lambda _: None))
    scheduler._options = scheduler._options.__class__(blackbox_mb=1, recording=True, tick_rate=100)
    assert scheduler.blackbox is not None
    vars(scheduler.nodes[0])["on"] = ("..",)  # what no node can be made with
    with pytest.raises((ConfigurationError, ValueError)):
        scheduler.run_sync(0.01)
    assert reason(run(Node("arm", tick=lambda _: None), duration=0.01)) == "duration"


def test_sys_exit_in_a_tick_is_fatal_and_exits() -> None:
    """SystemExit is no Exception: it ends the run under every policy, and the process with its code."""
    done = run_script(
        "import sys\n"
        "from horus_async import Ignore, Node, Scheduler\n"
        "Scheduler(deterministic=True, blackbox_mb=1).add(\n"
        "    Node('arm', tick=lambda _: sys.exit(7), failure_policy=Ignore())).run_sync(1)\n"
    )
    assert done.returncode == 7, done.stderr


CRASH = """
import faulthandler, os, sys
from horus_async import Node, Scheduler, tick
def the_culprit(node):
    if tick() == 3:
        faulthandler._sigsegv() if sys.argv[1] == "SIGSEGV" else os.abort()
Scheduler(deterministic=True, blackbox_mb=1, name="robot").add(Node("arm", tick=the_culprit)).run_sync(1)
"""


@pytest.mark.parametrize("variable", ["", "PYTHONFAULTHANDLER", "PYTHONDEVMODE"])
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT"])
def test_fatal_signals(name: str, variable: str, blackbox_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A segmentation fault or an abort is in the box as the last thing, with the stack, for both readers.

    Also where the fault handler was on before, for standard error.
    """
    monkeypatch.delenv("PYTHONFAULTHANDLER", raising=False)
    monkeypatch.delenv("PYTHONDEVMODE", raising=False)
    if variable:
        monkeypatch.setenv(variable, "1")
    done = run_script(CRASH, name)
    assert done.returncode == -getattr(signal, name)
    path = blackbox_dir / "robot.hbb"
    assert path.stat().st_size == 2**20
    with open_blackbox(path) as box:
        *_, tick_before, error, stop = box.events()
        assert (tick_before.kind, tick_before.tick) == ("NodeTick", 2)
        assert (error.kind, error.name, error.seq) == ("NodeError", "robot", tick_before.seq + 1)
        assert name in error.error
        assert "in the_culprit" in error.traceback
        assert (stop.event, stop.seq) == (SchedulerStop(f"signal {name}", 3), error.seq + 1)
        assert [record.kind for record in box.anomalies()] == ["NodeError"]
        assert box.events(ticks=0, kind="NodeError") == []
        assert box.newest_seq == stop.seq
        assert (box.damage, box.lost) == ([], 0)
    command = [sys.executable, "-m", "horus_async.blackbox", str(path)]
    small = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert small.stdout.splitlines()[-2:] == [error.to_json().decode(), stop.to_json().decode()]


def test_the_fault_handler_is_as_it_was_after_the_run() -> None:
    """Off before, off after; on before, on after; a second box in the process hands it back to the first."""
    done = run_script(
        "import faulthandler\n"
        "faulthandler.disable()\n"  # whatever the environment says
        "from horus_async.blackbox import BlackBox\n"
        "first = BlackBox.create(name='first', size_mb=1); first.catch_fatal_signals()\n"
        "second = BlackBox.create(name='second', size_mb=1); second.catch_fatal_signals()\n"
        "assert faulthandler.is_enabled()\n"
        "second.close(); assert faulthandler.is_enabled()\n"
        "first.close(); assert not faulthandler.is_enabled()\n"
        "faulthandler.enable()\n"
        "with BlackBox.create(name='third', size_mb=1) as third: third.catch_fatal_signals()\n"
        "assert faulthandler.is_enabled()\n"
        "faulthandler._sigsegv()\n"
    )
    assert done.returncode == -signal.SIGSEGV, done.stderr
    assert done.stderr.startswith("Fatal Python error: Segmentation fault")


def test_a_forked_child_that_crashes_leaves_no_mark_in_its_parents_box(blackbox_dir: Path) -> None:
    """A fatal signal in a child process is none of the run's."""
    done = run_script(
        "import faulthandler, os\n"
        "from horus_async.blackbox import BlackBox, Custom\n"
        "with BlackBox.create(name='robot', size_mb=1) as box:\n"
        "    box.catch_fatal_signals()\n"
        "    box.custom('a', 'b')\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        faulthandler._sigsegv()\n"
        "    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])\n"
    )
    assert done.returncode == 0, done.stderr
    with open_blackbox(blackbox_dir / "robot.hbb") as box:
        assert [record.kind for record in box.events()] == ["Custom"]


# Two processes, full disks


def test_two_processes_with_one_box(blackbox_dir: Path) -> None:
    """The second run is refused with a line that says who has it and what to do."""
    program = SIGNALLED.format(deterministic=False)
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as first:
        assert first.stdout is not None
        first.stdout.readline()
        scheduler = Scheduler(deterministic=True, blackbox_mb=1).add(Node("arm", tick=lambda _: None))
        with pytest.raises(BlackBoxError, match=rf"in use by another run \(process {first.pid}\); give this"):
            scheduler.run_sync(0.01)
        first.terminate()
    assert first.returncode == 128 + signal.SIGTERM


def test_node_failure_is_raised_whole() -> None:
    """Two nodes that fail in one tick, one in shutdown: the group holds both, the first names it (J.1-45)."""

    def shutdown(node: Node) -> None:
        raise OSError("stuck")

    node, _ = failing(1)
    scheduler = run(node, Node("leg", tick=lambda _: None, shutdown=shutdown))
    error = error_of(scheduler)
    assert isinstance(error, NodeFailure)
    assert [type(inner) for inner in error.exceptions] == [ValueError, OSError]
    assert reason(scheduler) == "fatal: arm: ValueError: tick 1"
    assert [record.name for record in events(scheduler, "NodeError")] == ["arm", "leg"]
