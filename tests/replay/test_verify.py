"""Does live code still do what was recorded?"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from click.testing import CliRunner

from horus_async import (
    ConfigurationError,
    Fatal,
    Ignore,
    Miss,
    Node,
    NodeFailure,
    ReplayError,
    Restart,
    Scheduler,
    Skip,
    Topic,
    VerifyReport,
    dt,
    sleep,
    tick,
)
from horus_async.cli import main
from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from horus_async.errors import RecordingError
from horus_async.recorder import open_session
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.diff import diff_sessions
from tests.replay.sessions import PROGRAMS, controller, pair, record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from horus_async.nodes.failure_policies import FailurePolicy


def verify(session: str, live: Sequence[Node], **options: Any) -> VerifyReport:
    """Verify live nodes against a session."""
    scheduler = Scheduler(deterministic=True)
    for node in live:
        scheduler.add(node)

    async def run() -> VerifyReport:
        return await Scheduler.verify(session, scheduler, **options)

    return trio.run(run)


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_is_verified_against_its_own_recording(program: str, deterministic: bool) -> None:
    """Plain, multi-rate, event, suspended, looped, threaded nodes pass, from both modes (J.1-15, J.1-16)."""
    record("s", PROGRAMS[program](), duration=0.4, deterministic=deterministic)
    report = verify("s", PROGRAMS[program]())
    assert report.first_difference is None, str(report.first_difference)
    assert (report.differences, report.compared > 10, report.passed) == (0, True, True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_node_alone(program: str) -> None:
    """One live node among recorded ones passes too."""
    record("s", PROGRAMS[program](), duration=0.4)
    names = [node.name for node in PROGRAMS[program]()]
    for name in names:
        report = verify("s", [node for node in PROGRAMS[program]() if node.name == name], nodes=[name])
        assert report.first_difference is None, f"{name}: {report.first_difference}"
        assert report.passed


def test_a_changed_constant_is_found() -> None:
    """The first difference is named with tick, node, topic, field and both values."""
    record("s", pair())
    report = verify("s", [controller(gain=0.25)], nodes=["controller"])
    assert not report.passed
    assert report.compared == report.differences == 50
    first = report.first_difference
    assert first is not None
    assert (first.tick, first.node, first.topic, first.field) == (0, "controller", "ctrl.cmd", "output")
    assert first.recorded == 2 * first.live
    for word in ("tick 0", "controller", "ctrl.cmd", "output"):
        assert word in str(first)


def test_a_difference_in_one_tick_is_found() -> None:
    """It is the first, not the last, and the others count as equal."""

    def node(bad: int) -> Node:
        return Node("n", tick=lambda n: n.send("t", {"pose": {"x": [1, 2, 3 if tick() != bad else 4]}}))

    record("s", [node(-1)])
    report = verify("s", [node(17)])
    assert (report.compared, report.differences) == (50, 1)
    first = report.first_difference
    assert first is not None
    assert (first.tick, first.field, first.recorded, first.live) == (17, "pose.x[2]", 3, 4)


def test_bit_by_bit() -> None:
    """-0.0 is not 0.0, 1 is not 1.0 and True is not 1; NaN equals itself."""
    for recorded, live, same in [(0.0, -0.0, False), (1, 1.0, False), (True, 1, False), (math.nan, math.nan, True)]:
        name = f"s{[*map(str, (recorded, live))]}".translate(str.maketrans("[]', ", "-----"))
        record(name, [Node("n", tick=lambda n, value=recorded: n.send("t", value))], duration=0.05)
        report = verify(name, [Node("n", tick=lambda n, value=live: n.send("t", value))])
        assert report.passed is same, (recorded, live)


@pytest.mark.parametrize(("recorded", "live"), [(1, 2), (2, 1), (1, 0), (0, 1)])
def test_missing_and_extra_messages_are_differences(recorded: int, live: int) -> None:
    """A message that only one side sent is a difference, also where the other sent nothing at all."""

    def node(count: int) -> Node:
        return Node("n", tick=lambda n: [n.send("t", i) for i in range(count)])

    record("s", [node(recorded)], duration=0.05)
    report = verify("s", [node(live)])
    assert report.differences == 5
    assert not report.passed


def test_a_slower_node_differs() -> None:
    """Ticks that a live node leaves out are missing messages."""
    record("s", [Node("n", tick=lambda n: n.send("t", tick()))], duration=0.2)
    report = verify("s", [Node("n", tick=lambda n: n.send("t", tick()), rate=50)])
    assert report.differences == 10


def test_one_difference_does_not_spread() -> None:
    """The other live nodes get the recorded messages, not the changed one's."""
    record("s", pair())
    changed = Node("sensor", tick=lambda n: n.send("sensor.reading", {"value": 0.0, "count": 0}))
    report = verify("s", [changed, controller()])
    assert report.compared == 100
    assert report.differences == 50
    assert report.first_difference is not None
    assert report.first_difference.node == "sensor"


def test_nothing_compared_is_no_pass() -> None:
    """A live node that the session does not know compares nothing, which is a failure."""
    record("s", pair())
    report = verify("s", [controller(name="other")])
    assert (report.compared, report.passed) == (0, False)
    record("silent", [Node("n", tick=lambda n: None)])
    report = verify("silent", [Node("n", tick=lambda n: None)])
    assert (report.compared, report.passed) == (0, False)


def test_a_recorded_node_that_is_not_live_is_a_difference() -> None:
    """It is named, its messages are missing and were not compared; ``nodes`` leaves it out."""
    record("s", [*pair(), Node("silent", tick=lambda n: None)])
    report = verify("s", [pair()[0], controller(name="controler", gain=9.0)])
    assert report.missing_nodes == ("controller", "silent")
    assert (report.compared, report.differences) == (50, 51)
    assert report.first_difference is not None
    assert (report.first_difference.node, report.first_difference.live) == ("controller", "(nothing)")
    assert [(row.topic, row.compared, row.differing) for row in report.topics] == [
        ("ctrl.cmd", 0, 50),
        ("sensor.reading", 50, 0),
    ]
    assert verify("s", [pair()[0]], nodes=["sensor"]).passed


def lab() -> list[Node]:
    """A log with two scans in some scheduler ticks, each of which is matched with a pose: a chain of event nodes."""

    def drive(n: Node) -> None:
        for number in range(2 if tick() % 7 == 3 else 1):
            n.send("encoders", (tick(), number))
            n.send("scan", [tick(), number])

    def odometry(n: Node) -> None:
        n.send("pose", n.recv("encoders"))

    def mapper(n: Node) -> None:
        n.send("map", (n.recv("scan"), n.recv("pose"), dt()))

    async def guard(n: Node) -> None:
        here = n.recv("map")
        await sleep(0.001)
        n.send("cmd", (here, n.latest("scan"), n.has_msg("pose"), n.recv("pose")))

    return [
        Node("driver", tick=drive, rate=100, pubs=["encoders", "scan"]),
        Node("odometry", tick=odometry, on="encoders", pubs=["pose"]),
        Node("mapper", tick=mapper, on="scan", subs=["pose"], pubs=["map"]),
        Node("guard", tick=guard, on="map", subs=["scan", "pose"], pubs=["cmd"]),
    ]


@pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
def test_several_messages_within_a_scheduler_tick(deterministic: bool) -> None:
    """Each of a node's ticks is given what that one read, from each of its topics."""
    record("s", lab(), deterministic=deterministic)
    report = verify("s", lab())
    assert report.first_difference is None, str(report.first_difference)
    assert report.compared == sum(1 for _ in session_messages(open_session("s"))) > 100
    for name in ("odometry", "mapper", "guard"):
        assert verify("s", [node for node in lab() if node.name == name], nodes=[name]).passed


def test_nothing_hides_behind_a_name() -> None:
    """A tick that raised is no tick that was cut short, whatever the exception is called; nor is a name enough."""
    for name in ("CancelledByOperator", "Cancelled", "CancelledError"):
        failure = type(name, (Exception,), {})

        def fail(n: Node, sends: int, failure: type[Exception] = failure) -> None:
            for number in range(sends):
                n.send("t", number)
            raise failure("x")

        for deterministic in (True, False):
            session = f"{name}-{deterministic}"

            def node(sends: int, fail: Any = fail) -> Node:
                return Node("n", tick=lambda n: fail(n, sends), failure_policy=Ignore())

            record(session, [node(2)], duration=0.05, deterministic=deterministic)
            report = verify(session, [node(1)])
            assert report.differences == report.compared / 2 > 0
            assert verify(session, [node(3)]).differences > 0
            assert verify(session, [node(2)]).passed


def test_a_tick_that_was_cut_short_may_go_on() -> None:
    """What it would have sent is open, and so is where it was cut: by the field of its line, not by its error."""

    async def slow(n: Node) -> None:
        n.send("t", 1)
        await sleep(0.055)
        n.send("t", 2)

    for deterministic in (True, False):
        record(f"s{deterministic}", [Node("n", tick=slow)], duration=0.1, deterministic=deterministic)
        report = verify(f"s{deterministic}", [Node("n", tick=slow)])
        assert report.passed, str(report.first_difference)


def test_safe_states_are_entered_as_recorded() -> None:
    """What was late once, and what followed, is not judged again."""

    def motor() -> Node:
        def run(n: Node) -> None:
            if tick() in (5, 30):
                sleep_until_monotonic(monotonic_ns() + 20_000_000)
            n.send("wheels", n.state)

        def stop(n: Node) -> None:
            n.state = (0, n.state)
            n.send("wheels", "safe")

        def begin(n: Node) -> None:
            n.state = "going"

        return Node(
            "motor", init=begin, tick=run, enter_safe_state=stop, rate=100, deadline=0.012, on_miss=Miss.SAFE_MODE
        )

    record("s", [motor()], deterministic=False)
    session = open_session("s")
    assert any(line.kind == "safe_state" for line in session.executions("motor"))
    report = verify("s", [motor()])
    assert report.passed, str(report.first_difference)


def test_failures_are_followed_as_recorded() -> None:
    """A node that restarts, skips or fails for good does the same again: nothing of it is a difference, or an error."""

    def node(policy: FailurePolicy) -> Node:
        def begin(n: Node) -> None:
            n.state = [*(n.state or []), "init"]
            n.send("t", n.state)

        def run(n: Node) -> None:
            n.state.append(tick())
            n.send("t", n.state)
            if tick() % 7 == 4:
                raise ValueError(f"at {object()}")

        return Node("n", init=begin, tick=run, failure_policy=policy)

    policies = [Restart(backoff=0.02), Skip(max_failures=1, cooldown=0.05), Ignore(), Fatal()]
    for number, policy in enumerate(policies):
        with suppress(NodeFailure):
            record(f"s{number}", [node(policy)])
        report = verify(f"s{number}", [node(policy)])
        assert report.passed, f"{policy}: {report.first_difference}"


def test_tolerance_and_the_rows() -> None:
    """Each topic has a row; numbers that are near enough are equal; the largest difference is said all the same."""

    def node(more: float) -> Node:
        def run(n: Node) -> None:
            n.send("far", {"x": [1.0, tick() + 10 * more]})
            n.send("near", (tick(), 1.0 + more))
            n.send("same", "text")

        return Node("n", tick=run)

    record("s", [node(0.0)], duration=0.1)
    report = verify("s", [node(0.25)])
    assert [(row.topic, row.compared, row.differing, row.largest) for row in report.topics] == [
        ("far", 10, 10, 2.5),
        ("near", 10, 10, 0.25),
        ("same", 10, 0, None),
    ]
    assert verify("s", [node(0.25)], tolerance=0.25).differences == 10
    report = verify("s", [node(0.25)], tolerance=2.5)
    assert report.passed
    assert [row.largest for row in report.topics] == [2.5, 0.25, None]


LARGE: list[tuple[Any, Any]] = [
    ("x" * 10_000 + "a", "x" * 10_000 + "b"),
    (b"\0" * 10_000, b"\0" * 9_999 + b"\1"),
    ({"k" * 5_000: 1}, {"k" * 5_000: 2}),
    ({"a": 1}, "y" * 10_000),
    (list(range(10_000)), [{"deep": ["z" * 5000] * 100}] * 100),
    ({f"key {n}": "v" * 100 for n in range(1000)}, None),
    (2**5000, 1),
]


@pytest.mark.parametrize("number", range(len(LARGE)))
def test_a_line_about_a_difference_is_short(number: int) -> None:
    """Whatever differs."""
    recorded, live = LARGE[number]
    record("s", [Node("n", tick=lambda n: n.send("t", recorded))], duration=0.01)
    text = str(verify("s", [Node("n", tick=lambda n: n.send("t", live))]).first_difference)
    assert 40 <= len(text) <= 200, text
    assert "\n" not in text


def test_a_live_node_that_waits_for_more_than_there_is() -> None:
    """Changed code may receive what never comes: the rest of what was recorded is missing, and it ends."""

    async def once(n: Node) -> None:
        n.send("got", await n.receive("t"))

    async def twice(n: Node) -> None:
        await n.receive("t")
        n.send("got", await n.receive("t"))

    def sender() -> Node:
        return Node("sender", tick=lambda n: n.send("t", tick()), pubs="t")

    record("s", [sender(), Node("n", tick=once, subs="t", pubs="got")], duration=0.1)
    report = verify("s", [sender(), Node("n", tick=twice, subs="t", pubs="got")])
    assert report.differences > 5


def test_nodes_chooses() -> None:
    """Only the named ones are compared; a name that is in neither is an error with those that are."""
    record("s", pair())
    report = verify("s", [controller(gain=0.1), pair()[0]], nodes=["sensor"])
    assert (report.compared, report.differences) == (50, 0)
    with pytest.raises(ReplayError, match=r"sensr.*sensor"):
        verify("s", pair(), nodes=["sensr"])


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_verify_takes_a_factory_and_runs_anywhere(backend: str) -> None:
    """A function that makes the scheduler works as well, under each event loop, several times."""
    record("s", pair())

    def make() -> Scheduler:
        scheduler = Scheduler()
        for node in pair():
            scheduler.add(node)
        return scheduler

    async def run() -> list[VerifyReport]:
        return [await Scheduler.verify("s", make), await Scheduler.verify("s", make())]

    reports = anyio.run(run, backend=backend)
    assert [(report.compared, report.passed) for report in reports] == [(100, True)] * 2


def test_a_live_node_that_fails_is_an_error() -> None:
    """Its exception comes out, and the nodes can run again afterwards."""
    record("s", pair())

    def fail(n: Node) -> None:
        raise ValueError("live")

    node = Node("controller", tick=fail)
    for _ in range(2):
        with pytest.raises(NodeFailure) as caught:
            verify("s", [node])
        assert isinstance(caught.value.exceptions[0], ValueError)


@pytest.mark.parametrize("deterministic", [False])
def test_messages_from_outside_are_verified_too(deterministic: bool) -> None:
    """What came from other handles is recorded as external and given to the live node again."""

    def echo() -> Node:
        return Node("echo", tick=lambda n: [n.send("echo", value) for value in n.recv_all("outside")], subs="outside")

    with Topic("outside") as outside:
        driver = Node("driver", tick=lambda n: outside.send({"n": tick()}), rate=50)
        record("s", [echo(), driver], deterministic=deterministic)
    report = verify("s", [echo()], nodes=["echo"])
    assert report.passed, str(report.first_difference)
    assert report.compared >= 5


def test_an_event_node_on_outside_messages_is_verified() -> None:
    """Event nodes that were woken from outside between two ticks pass as well."""

    def event() -> Node:
        return Node("event", on="outside", tick=lambda n: n.send("heard", n.recv("outside")))

    async def drive(n: Node) -> None:
        await sleep(0.004)
        outside.send(tick())

    with Topic("outside") as outside:
        record("s", [event(), Node("driver", tick=drive, rate=50)], deterministic=False)
    report = verify("s", [event()], nodes=["event"])
    assert report.passed, str(report.first_difference)
    assert report.compared >= 5


def test_has_msg_and_latest_are_verified() -> None:
    """Nodes that look before they read do the same again."""

    def nodes() -> list[Node]:
        def look(n: Node) -> None:
            n.send("seen", (n.has_msg("t"), n.latest("t")))
            if tick() % 3 == 0:
                n.send("got", (n.recv("t", "empty"), n.has_msg("t")))

        return [
            Node("sender", tick=lambda n: n.send("t", tick()) if tick() % 2 else None, pubs="t"),
            Node("looker", tick=look, subs="t"),
        ]

    record("s", nodes())
    report = verify("s", nodes())
    assert report.passed, str(report.first_difference)


APP = """
from horus_async import Node, Scheduler, tick
def build(args):
    more = float(args[0]) if args else 0.0
    scheduler = Scheduler(deterministic=True)
    scheduler.add(Node("n", tick=lambda n: n.send("t", tick() + more)))
    return scheduler.add(Node("m", tick=lambda n: n.send("u", "x" * 20_000 + str(more))))
"""


def test_the_command(tmp_path: Path) -> None:
    """Rows, tolerance, lacking nodes and exit codes; where nothing differs, standard output is one line."""
    app = tmp_path / "app.py"
    app.write_text(APP)
    other = tmp_path / "other.py"
    other.write_text(APP.replace('"m"', '"mm"'))
    nodes = [
        Node("n", tick=lambda n: n.send("t", tick() + 0.0)),
        Node("m", tick=lambda n: n.send("u", "x" * 20_000 + "0.0")),
    ]
    record("s", nodes, duration=0.1)

    def call(*arguments: str, program: Path = app) -> tuple[int, list[str], list[str]]:
        done = CliRunner().invoke(main, ["replay", "s", "--verify", str(program), *arguments])
        return done.exit_code, done.stdout.splitlines(), done.stderr.splitlines()

    code, out, err = call()
    assert (code, out) == (0, ["compared 20 messages, 0 differ"])
    assert [line.split() for line in err[1:]] == [["t", "10", "0", "-"], ["u", "10", "0", "-"]]
    code, out, _ = call("--", "0.5")
    assert code == 1
    assert [line.split() for line in out[1:3]] == [["t", "10", "10", "0.5"], ["u", "10", "10", "-"]]
    assert out[3] == "compared 20 messages, 20 differ"
    assert max(map(len, out)) <= 200
    assert call("--nodes", "n", "--tolerance", "0.5", "--", "0.5")[0] == 0
    assert call("--nodes", "n", "--tolerance", "0.4", "--", "0.5")[0] == 1
    code, out, _ = call(program=other)
    assert code == 1
    assert any("lacks: m" in line and "mm" in line for line in out)
    assert call("--nodes", "n", program=other)[0] == 0
    record("silent", [Node("n", tick=lambda n: None)])
    done = CliRunner().invoke(main, ["replay", "silent", "--verify", str(app), "--nodes", "n", "--stop-tick", "0"])
    assert done.exit_code == 1  # what it sends is too much
    app.write_text(APP.replace('"n"', '"nn"').replace('"m"', '"mm"'))
    assert call()[0] == 2


@pytest.mark.parametrize("tolerance", [math.nan, -1.0, math.inf, "1", None])
def test_a_tolerance_that_is_none(tolerance: Any) -> None:
    """Not a number, negative or infinite: an error, and no pass."""
    record("s", pair())
    with pytest.raises(ConfigurationError, match=r"tolerance=.*: give a number, 0 or more"):
        verify("s", pair(), tolerance=tolerance)
    with pytest.raises(RecordingError, match=r"tolerance=.*: give a number, 0 or more"):
        diff_sessions(open_session("s"), open_session("s"), tolerance=tolerance)


@pytest.mark.parametrize("code", [0, None, 3])
def test_a_node_that_ends_the_program(code: int | None) -> None:
    """No pass, whatever code it gives."""
    record("s", pair())

    def leave(_: Node) -> None:
        raise SystemExit(code)

    with pytest.raises(ReplayError, match=r"sys\.exit\(.*\), so there is no result"):
        verify("s", [Node("sensor", tick=leave)], nodes="sensor")


def test_values_come_decoded(recordings_dir: Path) -> None:
    """`value` is what was sent, `data` how it is written."""
    record("s", [Node("n", tick=lambda n: n.send("x", (math.inf, 2**70)))])
    found = next(iter(session_messages(open_session("s"))))
    assert found.data == {"$tuple": [{"$float": "inf"}, {"$int": str(2**70)}]}
    assert found.value == next(iter(open_session("s").outputs("n"))).value == (math.inf, 2**70)
