"""``horus-async check``: it finds what differs between runs, names the place, and is silent on sound programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from horus_async import Node, NodeFailure, Scheduler, rng
from horus_async.determinism.certificate import Certificate
from horus_async.determinism.comparison import NO_MESSAGE, Comparison, Divergence, RunDiedError
from horus_async.determinism.frames import TickDigests
from horus_async.determinism.variants import shuffled, variants
from tests.engine.test_signals import hangs_up
from tests.topics.test_processes import until

ROOT = Path(__file__).parent.parent.parent
BUGS = ROOT / "examples" / "bugs"


def check(app: object, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    command = [sys.executable, "-m", "horus_async", "check", str(app), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=300)


# the fault, where the runs part for the first time, and the line and call that the guard names
FAULTS = {
    "set_order": ("node planner, topic patrol, field route", None),
    "wall_clock": ("tick 1, node heater, topic power, field watts", "time.time()"),
    "shared_random": ("tick 0, node gyroscope, topic imu, field yaw_rate", "random.gauss()"),
    "stray_thread": ("node detector, topic obstacles, field checked", "threading.Thread.start()"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found(fault: str) -> None:
    """The place is named down to the field with both values, and where the guard can tell, the line."""
    place, call = FAULTS[fault]
    done = check(BUGS / f"{fault}.py", "--duration", "1", "--runs", "3")

    assert done.returncode == 1, done.stdout + done.stderr
    difference = next(line for line in done.stdout.splitlines() if line.startswith("first difference: "))
    assert place in difference
    assert " in run 1, " in difference
    assert "PYTHONHASHSEED=" in difference
    if call is None:
        assert "not deterministic" not in done.stdout
    else:
        source = (BUGS / f"{fault}.py").read_text(encoding="utf-8").splitlines()
        line = next(number for number, text in enumerate(source, 1) if "# " in text and "the fault:" in text)
        assert f"{BUGS / fault}.py:{line}: node " in done.stdout
        assert call in done.stdout
    assert not done.stderr


@pytest.mark.parametrize("fault", FAULTS)
def test_each_corrected_program_passes(fault: str) -> None:
    """Nothing differs, and the guard has nothing to say."""
    done = check(BUGS / f"{fault}_fixed.py", "--duration", "1", "--runs", "3")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ticks 0 to ")
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr


def test_the_certificate_says_from_where_to_where() -> None:
    """``--json``: versions, seed, digests, the range that is replayable, and why not elsewhere."""
    done = check(BUGS / "wall_clock.py", "--duration", "1", "--runs", "2", "--seed", "7", "--json")
    certificate = json.loads(done.stdout)

    assert done.returncode == 1
    assert certificate["replayable"] is False
    differs = certificate["difference"]["tick"]  # the clocks of two runs may agree by chance in a tick or two
    assert differs >= 1
    assert (certificate["from_tick"], certificate["to_tick"]) == (0, differs - 1)
    assert certificate["seed"] == 7
    assert certificate["difference"]["expected"] != certificate["difference"]["found"]
    assert certificate["why_not"][0].startswith(f"from tick {differs} on: ")
    assert "time.time()" in certificate["why_not"][1]
    assert {"horus-async", "python", "trio"} <= certificate["versions"].keys()
    assert [run["hash_seed"] for run in certificate["runs"]] == [0, 1]
    assert all(len(digest) == 32 for digest in certificate["digests"].values())


PROGRAMS = """
import os
from horus_async import Node, Scheduler, tick

def fails():
    def step(node):
        node.send("topic", tick())
        if tick() == 3:
            raise ValueError("on purpose")
    return Scheduler().add(Node("n", tick=step))

def silent():
    return Scheduler().add(Node("n", tick=lambda node: None))

def dies():
    return Scheduler().add(Node("n", tick=lambda node: os._exit(3) if tick() == 3 else None))

def records():
    return Scheduler(recording="taken", tick_rate=10).add(Node("n", tick=lambda node: node.send("topic", 1)))

def takes(args):
    print("a program may print")
    return Scheduler(seed=len(args)).add(Node("n", tick=lambda node: node.send("topic", args)))
"""


@pytest.mark.parametrize(
    ("app", "code", "text"),
    [
        ("programs.py:fails", 1, "failed in every run: node 'n' failed in tick 3: ValueError: on purpose"),
        ("programs.py:silent", 2, "nothing was compared: "),
        ("programs.py:dies", 1, "a run of the check ended with exit code 3"),
        ("programs.py:nothing", 2, "has no 'nothing'"),
        ("programs.py", 2, "has neither a function build(args)"),
        ("missing.py", 2, "there is no file 'missing.py'"),
    ],
)
def test_what_cannot_pass_says_why_in_a_line(app: str, code: int, text: str, tmp_path: Path) -> None:
    """A failing node is exit 1; nothing to compare, or no program, is exit 2; each with one clear line."""
    (tmp_path / "programs.py").write_text(PROGRAMS)
    done = check(tmp_path / app if app != "missing.py" else app, "--duration", "0.1", "--runs", "2")

    assert done.returncode == code
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_program_that_records_is_not_recorded(tmp_path: Path, recordings_dir: Path) -> None:
    """A check leaves nothing behind, and a session's name that is taken is no obstacle to it."""
    (tmp_path / "programs.py").write_text(PROGRAMS)
    done = check(f"{tmp_path}/programs.py:records", "--duration", "0.5")

    assert done.returncode == 0, done.stderr
    assert not recordings_dir.exists()


@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=hangs_up), signal.SIGKILL])
def test_no_run_outlives_a_check_that_is_ended(signum: signal.Signals, tmp_path: Path) -> None:
    """As by ``timeout``: the runs would take all processors for as long as they have virtual time left."""
    app, pids = tmp_path / "app.py", tmp_path / "pids"
    app.write_text(
        "import os\nfrom horus_async import Node, Scheduler\n"
        "def build(args):\n"
        "    with open(args[0], 'a') as file: print(os.getpid(), file=file)\n"
        "    return Scheduler(tick_rate=100).add(Node('a', tick=lambda node: node.send('t', 1)))\n"
    )
    command = [sys.executable, "-m", "horus_async", "check", str(app), "--runs", "2", "--duration", "1e6"]
    done = subprocess.Popen([*command, "--", str(pids)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until(lambda: pids.exists() and len(pids.read_text().splitlines()) == 2)
        done.send_signal(signum)
        assert done.wait(30) == (-signum if signum == signal.SIGKILL else 128 + signum)
        runs = [int(pid) for pid in pids.read_text().split()]
        try:
            until(lambda: not any(map(_lives, runs)))
        finally:
            for pid in filter(_lives, runs):
                os.kill(pid, signal.SIGKILL)
    finally:
        done.kill()
        done.wait()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")  # nobody may reap an orphan in a container
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_the_program_gets_its_arguments(tmp_path: Path) -> None:
    """What comes after ``--`` goes to the function; what it prints is not the command's output."""
    (tmp_path / "programs.py").write_text(PROGRAMS)
    done = check(f"{tmp_path}/programs.py:takes", "--duration", "0.1", "--json", "--", "a", "--b")
    certificate = json.loads(done.stdout)

    assert certificate["seed"] == 2
    assert certificate["args"] == ["a", "--b"]
    assert certificate["messages"] == 10


# -- the parts ---------------------------------------------------------------------------------------------------------


def frames(*nodes: Node, ticks: int = 3) -> list[bytes]:
    """What one run tells."""
    lines: list[bytes] = []
    scheduler = Scheduler(tick_rate=10, deterministic=True)
    digests = TickDigests(lines.append, lambda: scheduler.guard_findings)
    scheduler.observe(digests)
    for node in nodes:
        scheduler.add(node)
    failure = ""
    try:
        scheduler.run_sync(ticks / 10)
    except NodeFailure as error:
        failure = str(error)
    digests.finish(failure)
    return lines


def compare(*runs: list[bytes]) -> Comparison:
    """Compare runs."""
    comparison = Comparison(variants(len(runs)))
    list(comparison.read(runs))
    return comparison


def sender(name: str, *values: object, topic: str = "topic", **options: object) -> Node:
    """A node that sends these values, one a tick; ``...`` for none."""
    left = list(values)

    def step(node: Node) -> None:
        value = left.pop(0)
        if value is not ...:
            node.send(topic, value)

    return Node(name, tick=step, pubs=[topic], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "tick", "field", "expected", "found"),
    [
        ([1, {"a": [1, 2]}, 3], 1, "a[1]", 1.5, 2),
        ([1, ..., 3], 1, "", {"a": [1, 1.5]}, NO_MESSAGE),
        ([..., {"a": [1, 1.5]}, 3], 0, "", 1, NO_MESSAGE),
        ([1.0, {"a": [1, 1.5]}, 3], 0, "", 1, 1.0),
    ],
)
def test_the_first_difference_has_both_values(
    values: list[object], tick: int, field: str, expected: object, found: object
) -> None:
    """Tick, node, topic and field; a message that only one run sent; an integer is no float."""
    comparison = compare(frames(sender("n", 1, {"a": [1, 1.5]}, 3)), frames(sender("n", *values)))

    difference = comparison.difference
    assert difference is not None
    assert (difference.tick, difference.node, difference.topic) == (tick, "n", "topic")
    assert (difference.field, difference.expected, difference.found) == (field, expected, found)
    assert comparison.ticks == tick


def test_what_init_and_shutdown_send_is_compared() -> None:
    """They belong to the first and the last tick."""

    def node(first: int, last: int) -> Node:
        return Node(
            "n",
            tick=lambda _: None,
            init=lambda node: node.send("begin", first),
            shutdown=lambda node: node.send("end", last),
        )

    one, other, third = (frames(node(*values)) for values in ((1, 2), (3, 2), (1, 4)))

    early, late = compare(one, other).difference, compare(one, third).difference
    assert early is not None
    assert late is not None
    assert (early.tick, early.topic) == (0, "begin")
    assert (late.tick, late.topic) == (2, "end")
    assert compare(one, one).messages == 2


def test_an_exception_is_compared() -> None:
    """A node that fails in one run only makes them different, though nothing was sent."""

    def node(*, fails: bool) -> Node:
        def step(_: Node) -> None:
            if fails:
                raise ValueError(f"at {object()}")

        from horus_async import Ignore

        return Node("n", tick=step, failure_policy=Ignore())

    difference = compare(frames(node(fails=True)), frames(node(fails=False))).difference
    assert difference is not None
    assert (difference.node, difference.field) == ("n", "(exception)")
    assert (difference.expected, difference.found) == ("ValueError", "none")
    assert compare(frames(node(fails=True)), frames(node(fails=True))).difference is None


def test_a_run_that_ends_early_is_a_difference() -> None:
    """The others went on."""
    difference = compare(frames(sender("n", 1, 2, 3)), frames(sender("n", 1, 2), ticks=2)).difference

    assert difference is not None
    assert difference.tick == 2
    assert (difference.expected, difference.found) == ("the run goes on", "the run ended (duration)")


def test_the_order_of_independent_nodes_does_not_count() -> None:
    """Which of two nodes ticks first follows ``add``; the digests are the same either way."""

    def pair() -> list[Node]:
        return [sender("a", 1, 2, 3, topic="one"), sender("b", 4, 5, 6, topic="two")]

    comparison = compare(frames(*pair()), frames(*reversed(pair())))
    assert comparison.difference is None
    assert comparison.messages == 6


def test_a_run_that_dies_is_named() -> None:
    """A source that ends in the middle of a line, or without an end."""
    whole = frames(sender("n", 1, 2, 3))
    for torn in (whole[:-1], [*whole[:2], whole[2][:-5]], []):
        with pytest.raises(RunDiedError) as died:
            compare(whole, torn)
        assert died.value.number == 1


def test_digests_roll() -> None:
    """What came before is part of a tick's digest; equal runs have equal ones, and the last is kept."""
    same = compare(frames(sender("n", 1, 2, 3)), frames(sender("n", 1, 2, 3)))
    other = compare(*[frames(sender("n", 9, 2, 3))] * 2)

    assert list(same.digests) == [0, 2]
    assert same.digests[2] != other.digests[2]


def _program(*names: str) -> list[Node]:
    pubs = {"plant": ["state"], "control": ["force"], "left": ["shared"], "right": ["shared"]}
    subs = {"plant": ["force"], "control": ["state"]}
    return [Node(name, tick=lambda _: None, pubs=pubs.get(name, ()), subs=subs.get(name, ())) for name in names]


def test_add_is_shuffled_where_it_does_not_count() -> None:
    """Nodes of a loop, and those that share a topic, keep their order; the others change places."""
    names = ["plant", "a", "control", "left", "b", "c", "right", "d"]
    orders = [[node.name for node in shuffled(_program(*names), seed)] for seed in range(20)]

    assert all(sorted(order) == sorted(names) for order in orders)
    assert all(order.index("plant") < order.index("control") for order in orders)
    assert all(order.index("left") < order.index("right") for order in orders)
    assert len({tuple(order) for order in orders}) > 10


def test_variants_begin_with_the_program_as_it_is() -> None:
    """Run 1 is the plain one; four runs together have every kind of noise, and all hash seeds differ."""
    first, *others = variants(4)

    assert [first.allocator_noise, first.cpu_load, first.shuffled] == [False] * 3
    assert all(any(getattr(run, kind) for run in others) for kind in ("allocator_noise", "cpu_load", "shuffled"))
    assert len({run.hash_seed for run in variants(10)}) == 10
    assert len(variants(2)) == 2


def test_a_certificate_over_nothing_is_none() -> None:
    """No message, no pass."""
    nothing = {"app": "a.py", "args": (), "seed": 0, "tick_rate": 1.0, "ended": "duration", "runs": (), "digests": {}}
    certificate = Certificate(**nothing, ticks=5, messages=0, first_tick=None, last_tick=None, difference=None)  # type: ignore[arg-type]

    assert not certificate.replayable
    assert certificate.why_not() == ["nothing was sent, so nothing was compared"]
    assert orjson.dumps(certificate.as_json(), option=orjson.OPT_NON_STR_KEYS)


def test_a_difference_reads_well() -> None:
    """Parts that do not apply are left out."""
    assert str(Divergence(0, "n", "t", "a.b", 1, 2, "run 2 (x)")) == (
        "tick 0, node n, topic t, field a.b: 1 in run 1, 2 in run 2 (x)"
    )
    assert str(Divergence(3, "", "", "", "a", "b", "run 2")) == "tick 3: 'a' in run 1, 'b' in run 2"


def test_randomness_of_ours_is_the_same_in_each_run() -> None:
    """``rng()`` passes where ``random`` does not."""

    def node() -> Node:
        return Node("n", tick=lambda node: node.send("topic", rng().random()))

    assert compare(frames(node()), frames(node())).difference is None
