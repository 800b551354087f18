"""What follows a failing callback: the four policies, their parameters, and who is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from horus_async import ConfigurationError, Fatal, Ignore, Node, NodeFailure, Restart, Scheduler, Skip, sleep, tick
from horus_async.engine.rules.failure import Action, FailureMachine, State

from .kit import error_of, events, failing, kinds, reason, run, transitions

if TYPE_CHECKING:
    from horus_async.nodes.failure_policies import FailurePolicy


@pytest.mark.parametrize("policy", [None, Fatal()], ids=["default", "Fatal"])
def test_fatal_ends_the_run_and_raises(policy: FailurePolicy | None) -> None:
    """The node's own exception comes out of run(), in a group with the node's name; every shutdown ran (J.1-45, 47)."""
    shut: list[str] = []
    node, log = failing(2, failure_policy=policy, shutdown=lambda _: shut.append("arm"))
    other = Node("other", tick=lambda _: None, shutdown=lambda _: shut.append("other"))
    scheduler = run(node, other)
    error = error_of(scheduler)
    assert isinstance(error, NodeFailure)
    assert (error.node, error.tick) == ("arm", 2)
    assert [type(inner) for inner in error.exceptions] == [ValueError]
    assert log == ["init", 0, 1, 2]
    assert sorted(shut) == ["arm", "other"]
    assert transitions(scheduler) == [(2, "running", "failed")]
    assert reason(scheduler) == "fatal: arm: ValueError: tick 2"


def test_a_failure_in_init_is_a_failure() -> None:
    """By default it ends the run before the first tick, with the node's name."""
    ticks: list[int] = []

    def init(node: Node) -> None:
        raise OSError("no port")

    scheduler = run(Node("arm", init=init, tick=lambda _: ticks.append(tick())))
    assert ticks == []
    assert reason(scheduler) == "fatal: arm: OSError: no port"
    assert [stop.total_ticks for stop in events(scheduler, "SchedulerStop")] == [0]


def test_restart_waits_longer_each_time_and_runs_init_again() -> None:
    """Wait backoff × 2ⁿ after the nth failure in a row, then init, then the tick decides (J.1-47)."""
    node, log = failing(0, 10, 30, failure_policy=Restart(max_retries=3, backoff=0.1))
    scheduler = run(node, duration=0.75)
    assert log == ["init", 0, "init", 10, "init", 30, "init", 70, 71, 72, 73, 74]
    assert transitions(scheduler) == [
        (0, "running", "waiting"),
        (10, "waiting", "restarted"),
        (10, "restarted", "waiting"),
        (30, "waiting", "restarted"),
        (30, "restarted", "waiting"),
        (70, "waiting", "restarted"),
        (70, "restarted", "running"),
    ]
    stats = scheduler.stats().nodes["arm"]
    assert (stats.errors, stats.restarts, stats.deadline_misses) == (3, 3, 0)


def test_too_many_failures_in_a_row_are_fatal() -> None:
    """After max_retries restarts the next failure ends the run."""
    node, log = failing(*range(100), failure_policy=Restart(max_retries=2, backoff=0.01))
    scheduler = run(node, duration=1.0)
    assert log == ["init", 0, "init", 1, "init", 3]
    assert isinstance(error_of(scheduler), NodeFailure)
    assert transitions(scheduler)[-1] == (3, "restarted", "failed")


def test_a_good_tick_resets_the_count() -> None:
    """Failures with good ticks between them never add up, and each begins with the first wait."""
    node, log = failing(*range(0, 100, 4), failure_policy=Restart(max_retries=1, backoff=0.01))
    scheduler = run(node, duration=0.2)
    assert error_of(scheduler) is None
    assert log[:8] == ["init", 0, "init", 1, 2, 3, 4, "init"]
    assert scheduler.stats().nodes["arm"].restarts == 5


def test_after_a_good_tick_all_begins_anew() -> None:
    """Waits and counts are those of a node that never failed."""
    machine = FailureMachine(Restart(max_retries=2, backoff=0.1))
    for _ in "12":
        for wait_ns in (100_000_000, 200_000_000):
            assert machine.failed(now_ns=7).action is Action.WAIT
            assert machine.waits(7 + wait_ns - 1)
            assert not machine.waits(7 + wait_ns)
            assert machine.time_up().action is Action.INIT
        machine.succeeded()
        assert (machine.state, machine.failures) == (State.RUNNING, 0)


def test_no_retries_is_fatal_at_once() -> None:
    """Restart(max_retries=0) has no restart."""
    node, log = failing(0, failure_policy=Restart(max_retries=0))
    scheduler = run(node)
    assert log == ["init", 0]
    assert isinstance(error_of(scheduler), NodeFailure)


def test_a_failing_init_is_tried_again_under_restart() -> None:
    """An init that fails counts like a tick that fails, and no tick runs before one went well."""
    log: list[Any] = []

    def init(node: Node) -> None:
        log.append("init")
        if log.count("init") < 3:
            raise OSError("no port")

    run(Node("arm", init=init, tick=lambda _: log.append(tick()), failure_policy=Restart(backoff=0.01)), duration=0.06)
    assert log == ["init", "init", "init", 3, 4, 5]


@pytest.mark.parametrize("policy", [Ignore(), Skip(max_failures=3, cooldown=1.0)], ids=str)
def test_a_node_never_ticks_without_its_init(policy: FailurePolicy) -> None:
    """Where the run goes on after a failed init, init is tried again before the next tick."""
    log: list[Any] = []

    def init(node: Node) -> None:
        log.append("init")
        if len(log) < 2:
            raise OSError("no port")

    run(Node("arm", init=init, tick=lambda _: log.append(tick()), failure_policy=policy), duration=0.03)
    assert log == ["init", "init", 0, 1, 2]


def test_an_async_init_after_a_restart_costs_no_deadline() -> None:
    """While init runs again the node ticks not, and that is no missed period."""
    log: list[Any] = []

    async def init(node: Node) -> None:
        log.append("init")
        await sleep(0.025)
        log.append("ready")

    def work(node: Node) -> None:
        log.append(tick())
        if log.count(0) == 1 and tick() == 0:
            raise ValueError

    scheduler = run(Node("arm", init=init, tick=work, failure_policy=Restart(backoff=0.01)), duration=0.06)
    assert log == ["init", "ready", 0, "init", "ready", 4, 5]
    assert scheduler.stats().nodes["arm"].deadline_misses == 0


def test_skip_rests_and_then_probes() -> None:
    """After max_failures in a row the node rests for the cooldown; then one tick decides (J.1-47)."""
    node, log = failing(0, 1, 2, 12, failure_policy=Skip(max_failures=3, cooldown=0.1))
    scheduler = run(node, duration=0.25)
    assert log == ["init", 0, 1, 2, 12, 22, 23, 24]
    assert transitions(scheduler) == [
        (0, "running", "failing"),
        (2, "failing", "resting"),
        (12, "resting", "probing"),
        (12, "probing", "resting"),
        (22, "resting", "probing"),
        (22, "probing", "running"),
    ]
    assert reason(scheduler) == "duration"


def test_skip_counts_only_failures_in_a_row() -> None:
    """A good tick between failures ends the count."""
    node, log = failing(0, 1, 3, 4, failure_policy=Skip(max_failures=3, cooldown=1.0))
    scheduler = run(node, duration=0.06)
    assert log == ["init", 0, 1, 2, 3, 4, 5]
    assert [change[1:] for change in transitions(scheduler)] == [("running", "failing"), ("failing", "running")] * 2


def test_ignore_goes_on() -> None:
    """Each failure is an event, there is no transition, and the node goes on (J.1-47)."""
    node, log = failing(1, 2, failure_policy=Ignore())
    scheduler = run(node, duration=0.04)
    assert log == ["init", 0, 1, 2, 3]
    assert [(e.tick, e.error) for e in events(scheduler, "NodeError")] == [
        (1, "ValueError: tick 1"),
        (2, "ValueError: tick 2"),
    ]
    assert transitions(scheduler) == []
    assert scheduler.stats().nodes["arm"].errors == 2


def test_a_failing_node_leaves_the_others_alone() -> None:
    """The others tick as if nothing had happened (J.1-44)."""
    ticks: list[int] = []
    node, _ = failing(*range(10), failure_policy=Ignore())
    run(node, Node("other", tick=lambda _: ticks.append(tick())))
    assert ticks == list(range(10))


def test_an_event_node_restarts_and_loses_no_message() -> None:
    """Messages that come while a node waits for its restart bring their ticks afterwards."""
    log: list[Any] = []

    def send(node: Node) -> None:
        node.send("a", tick())

    def work(node: Node) -> None:
        value = node.recv("a")
        log.append((tick(), value))
        if len(log) == 1:
            raise ValueError

    run(
        Node("source", tick=send, rate=100, pubs="a"),
        Node("arm", tick=work, on="a", failure_policy=Restart(backoff=0.03)),
        duration=0.06,
    )
    assert log == [(0, 0), (3, 1), (3, 2), (3, 3), (4, 4), (5, 5)]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("tick_is_async", [False, True], ids=["plain tick", "async tick"])
def test_on_error_is_told_and_swallows_nothing(is_async: bool, tick_is_async: bool) -> None:
    """on_error(node, exception) gets each exception itself; the policy still applies (J.1-44)."""
    told: list[tuple[str, BaseException]] = []

    def on_error(node: Node, error: Exception) -> None:
        told.append((node.name, error))

    async def on_error_async(node: Node, error: Exception) -> None:
        await sleep(0.001)
        told.append((node.name, error))

    def work(node: Node) -> None:
        raise ValueError("no")

    async def work_async(node: Node) -> None:
        await sleep(0.001)
        raise ValueError("no")

    chosen = on_error_async if is_async else on_error
    scheduler = run(Node("arm", tick=work_async if tick_is_async else work, on_error=chosen))
    ((name, error),) = told
    assert name == "arm"
    assert error_of(scheduler).exceptions == (error,)
    assert kinds(scheduler, "NodeError", "FailurePolicy") == ["NodeError", "FailurePolicy"]


def test_the_failure_is_on_record_before_on_error_is_told() -> None:
    """Whatever on_error does, even if the process does not survive it, the NodeError is in the box."""
    scheduler = Scheduler(deterministic=True, blackbox_mb=1)
    seen: list[str] = []

    def on_error(node: Node, error: Exception) -> None:
        assert scheduler.blackbox is not None
        seen.extend(record.kind for record in scheduler.blackbox.anomalies())

    def work(node: Node) -> None:
        raise ValueError("no")

    scheduler.add(Node("arm", tick=work, on_error=on_error, failure_policy=Ignore()))
    scheduler.run_sync(0.01)
    assert seen == ["NodeError"]


def test_a_failing_on_error_changes_nothing() -> None:
    """What on_error itself raises is logged, and the node's own exception goes on."""

    def on_error(node: Node, error: Exception) -> None:
        raise RuntimeError("worse")

    def work(node: Node) -> None:
        raise ValueError("no")

    scheduler = run(Node("arm", tick=work, on_error=on_error))
    assert [str(error) for error in error_of(scheduler).exceptions] == ["no"]


def test_what_on_error_sends_keeps_its_order() -> None:
    """In deterministic mode on_error is a part of the tick that failed: its messages come in the nodes' order."""
    heard: list[str] = []

    def work(node: Node) -> None:
        raise ValueError("no")

    async def on_error(node: Node, error: Exception) -> None:
        await sleep(0.001)
        node.send("alarm", node.name)

    nodes = [Node(f"n{i}", tick=work, on_error=on_error, failure_policy=Ignore(), pubs="alarm") for i in range(5)]
    run(*nodes, Node("ear", tick=lambda node: heard.extend(node.recv_all("alarm")), subs="alarm"), duration=0.05)
    assert heard == [f"n{i}" for i in range(5)] * 4


def test_an_exception_whose_text_fails_is_still_evidence() -> None:
    """A broken __str__ neither hides the failure nor ends the engine."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def work(node: Node) -> None:
        raise BrokenError

    scheduler = run(Node("arm", tick=work, failure_policy=Ignore()), duration=0.02)
    assert [e.error for e in events(scheduler, "NodeError")] == [
        "BrokenError: (its message cannot be shown: RuntimeError)"
    ] * 2


def test_the_traceback_names_the_line() -> None:
    """NodeError has the Python traceback down to the line that raised."""
    node, _ = failing(0, failure_policy=Ignore())
    scheduler = run(node, duration=0.01)
    (error,) = events(scheduler, "NodeError")
    assert 'raise ValueError(f"tick {tick()}")' in error.traceback
    assert error.traceback.rstrip().endswith("in tick of node 'arm', tick 0")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Restart(max_retries=-1),
        lambda: Restart(max_retries=1.5),  # type: ignore[arg-type]
        lambda: Restart(backoff=-0.1),
        lambda: Restart(backoff=float("inf")),
        lambda: Skip(max_failures=0),
        lambda: Skip(cooldown=float("nan")),
        lambda: Skip(cooldown="long"),  # type: ignore[arg-type]
    ],
)
def test_parameters_that_cannot_work_are_refused(make: Any) -> None:
    """A policy's parameters are checked when it is made, with the package's own error (J.1-46)."""
    with pytest.raises(ConfigurationError, match="give"):
        make()


def test_a_very_long_row_of_failures_does_not_overflow() -> None:
    """The wait, backoff × 2ⁿ, stays a number however large n gets."""
    node, _ = failing(*range(2000), failure_policy=Restart(max_retries=10**6, backoff=0))
    scheduler = run(node, duration=20)
    assert scheduler.stats().nodes["arm"].errors == 2000
    assert error_of(scheduler) is None
