"""`horus_async.testing`: the kit that users test their nodes with, and its pytest fixture."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from horus_async import ConfigurationError, HorusError, Ignore, Node, NodeFailure, dt, node, now, rng, sleep, tick
from horus_async.testing import Captured, CapturedError, CapturedMessage, run_nodes, run_nodes_async, unique_namespace

ROOT = Path(__file__).parent.parent


@attrs.frozen
class Speed:
    """A typed message."""

    mps: float


def doubler() -> Node:
    """A node that sends twice what it receives."""

    async def double(node: Node) -> None:
        for value in node.recv_all("in"):
            node.send("out", 2 * value)

    return Node("doubler", tick=double, rate=50, subs=["in"], pubs=["out"])


def test_a_fed_message_comes_out_under_its_tick() -> None:
    """What was sent is captured in order with tick, publisher, number, stamp and value; so is what was fed in."""
    captured = run_nodes(doubler(), ticks=6, feed={"in": [(0, 1), (3, 2), (3, 3)]})

    assert captured["out"] == [
        CapturedMessage(0, "doubler", "out", 0, 0, 2),
        CapturedMessage(4, "doubler", "out", 1, 40_000_000, 4),
        CapturedMessage(4, "doubler", "out", 2, 40_000_000, 6),
    ]
    assert [(message.tick, message.publisher) for message in captured["in"]] == [(0, "feed"), (3, "feed"), (3, "feed")]
    assert captured.values("out") == [2, 4, 6]
    assert captured.topics() == {"in", "out"}


def test_each_nodes_ticks_are_captured() -> None:
    """J.1-37, 38: a 10 Hz node ticks 10 times a second, and an event node only on messages."""
    slow = Node("slow", tick=lambda node: node.send("t", tick()), rate=10)
    event = Node("event", tick=lambda node: node.recv("t"), on="t")
    captured = run_nodes(event, slow, duration=0.5)

    assert captured.ticks == {"slow": [0, 10, 20, 30, 40], "event": [0, 10, 20, 30, 40]}


@pytest.mark.parametrize("tick_rate", [1, 3, 7, 30, 33.3, 60, 100, 999, 1000 / 3])
@pytest.mark.parametrize("ticks", [1, 2, 20, 61])
def test_as_many_ticks_as_asked_for(tick_rate: float, ticks: int) -> None:
    """``ticks`` is exact at any rate, and a message may be fed into the last one."""
    idle = Node("idle", tick=lambda node: node.recv("in"))
    captured = run_nodes(idle, ticks=ticks, tick_rate=tick_rate, feed={"in": [(ticks - 1, "last")]})

    assert captured.ticks["idle"] == list(range(ticks))
    assert captured.values("in") == ["last"]


@pytest.mark.parametrize(("duration", "ticks"), [(0.1, 10), (0.101, 11), (0.3, 30), (0.001, 1)])
def test_a_duration_is_counted_as_a_scheduler_counts_it(duration: float, ticks: int) -> None:
    """Ticks with tick / tick_rate below the duration; the last of them can be fed, the next is an error."""
    idle = Node("idle", tick=lambda _: None, subs="in")

    assert len(run_nodes(idle, duration=duration, feed={"in": [(ticks - 1, 0)]}).ticks["idle"]) == ticks
    with pytest.raises(ConfigurationError, match=f"tick {ticks}; the run has ticks 0 to {ticks - 1}"):
        run_nodes(idle, duration=duration, feed={"in": [(ticks, 0)]})


def test_time_is_virtual() -> None:
    """An hour of sleep costs nothing, and the time API says what it says in any deterministic run."""
    seen = []

    @node()
    async def sleeper(node: Node) -> None:
        seen.append((now(), dt()))
        await sleep(3599.5)
        node.send("awake", True)

    captured = run_nodes(sleeper, duration=3600, tick_rate=1)

    assert captured["awake"][0].stamp_ns == 3_599_500_000_000
    assert seen == [(0.0, 1.0)]


def test_the_same_seed_gives_the_same_run() -> None:
    """Random numbers come from the seed: equal for equal seeds, different for others."""
    noisy = Node("noisy", tick=lambda node: node.send("noise", rng().random()))
    values = [run_nodes(noisy, ticks=5, seed=seed).values("noise") for seed in (1, 1, 2)]

    assert values[0] == values[1] != values[2]


def test_values_come_back_with_their_types() -> None:
    """Attrs classes, arrays and bytes are captured as what they are."""
    array = np.arange(3, dtype=np.int16)
    echo = Node("echo", tick=lambda node: node.send("out", node.recv("in")), on="in")
    captured = run_nodes(echo, ticks=1, feed={"in": [(0, Speed(1.5)), (0, array), (0, b"\0")]})

    speed, ranges, raw = captured.values("out")
    assert (speed, raw) == (Speed(1.5), b"\0")
    assert ranges.dtype == np.int16
    assert ranges.tolist() == [0, 1, 2]


def test_init_and_shutdown_run_each_time() -> None:
    """The same node object can be run again, from its ``init``; what that and ``shutdown`` send is captured."""
    calls: list[str] = []

    class Careful(Node):
        pubs = ("ready",)

        def init(self) -> None:
            calls.append("init")
            self.send("ready", "now")

        def tick(self) -> None:
            calls.append("tick")

        def shutdown(self) -> None:
            calls.append("shutdown")
            self.send("ready", "no more")

    careful = Careful()
    assert [run_nodes(careful, ticks=1).values("ready") for _ in range(2)] == [["now", "no more"]] * 2
    assert calls == ["init", "tick", "shutdown"] * 2


def test_a_failing_node_surfaces() -> None:
    """J.1-45: the node's own exception is in the group, with the node's name."""

    def fail(_: Node) -> None:
        raise ZeroDivisionError("no way")

    with pytest.raises(NodeFailure, match="'bad'") as caught:
        run_nodes(Node("bad", tick=fail), ticks=3)

    assert isinstance(caught.value.exceptions[0], ZeroDivisionError)


def test_a_failure_that_a_policy_lets_pass_is_captured() -> None:
    """With `Ignore` the run goes on, and the errors are listed with tick and node."""

    def fail_once(_: Node) -> None:
        if tick() == 1:
            raise ValueError("once")

    captured = run_nodes(Node("shaky", tick=fail_once, failure_policy=Ignore()), ticks=3)

    assert captured.errors == [CapturedError(1, "shaky", "ValueError: once")]
    assert captured.ticks["shaky"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("nodes", "options", "says"),
    [
        ([], {"ticks": 1}, "needs a node"),
        ([doubler()], {}, "give one of them"),
        ([doubler()], {"ticks": 1, "duration": 1.0}, "give one of them"),
        ([doubler()], {"ticks": 0}, "ticks=0"),
        ([doubler()], {"ticks": 1.5}, "ticks=1.5"),
        ([doubler()], {"duration": 0}, "duration=0"),
        ([doubler()], {"duration": "1"}, "duration='1'"),
        ([doubler()], {"duration": float("inf")}, "duration=inf"),
        (
            [doubler()],
            {"ticks": 5, "feed": {"in": [(5, 1)]}},
            "'in' has a message for tick 5; the run has ticks 0 to 4",
        ),
        ([doubler()], {"ticks": 5, "feed": {"in": [(-1, 1)]}}, "tick -1"),
        ([doubler()], {"ticks": 5, "feed": {"in": [(0.5, 1)]}}, "tick 0.5"),
        ([doubler()], {"ticks": 5, "feed": {"in": [(0, object())]}}, "object"),
        ([doubler()], {"ticks": 5, "feed": {"/in": []}}, "/in"),
        ([doubler()], {"ticks": 5, "feed": [(0, 1)]}, "feed=.*give pairs of a scheduler tick and a value for each"),
        ([doubler()], {"ticks": 5, "feed": {"in": 1}}, "feed: 'in' has 1: give pairs"),
        ([doubler()], {"ticks": 5, "feed": {"in": [1, 2]}}, "feed: 'in' has .*: give pairs"),
        ([doubler()], {"ticks": 5, "feed": {"in": {3: 1}}}, "feed: 'in' has .*: give pairs"),
        ([doubler()], {"ticks": 5, "tick_rate": 10}, "above the scheduler's"),
        ([doubler(), doubler()], {"ticks": 5}, "there is a node 'doubler' already"),
    ],
)
def test_what_cannot_work_is_an_error(nodes: list[Node], options: dict[str, Any], says: str) -> None:
    """A run that could not show anything says why, before it begins."""
    with pytest.raises(HorusError, match=says):
        run_nodes(*nodes, **options)


async def test_it_works_inside_an_event_loop() -> None:
    """Under pytest-trio a coroutine awaits `run_nodes_async`; it captures the same."""
    captured = await run_nodes_async(doubler(), ticks=2, feed={"in": [(0, 21)]})

    assert captured == run_nodes_async_twin()


def run_nodes_async_twin() -> Captured:
    """The same run as above, from a thread without an event loop."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: run_nodes(doubler(), ticks=2, feed={"in": [(0, 21)]})).result()


def test_namespaces_are_never_the_same() -> None:
    """Two calls give two names, and both are names that topics can live in."""
    first, second = unique_namespace(), unique_namespace()

    assert first != second
    for namespace in (first, second):
        assert run_nodes(doubler(), ticks=1, namespace=namespace).ticks == {"doubler": [0]}


USER_TESTS = """
import os
from pathlib import Path

from horus_async import Node, Scheduler

def counter():
    return Node("counter", tick=lambda node: node.send("count", 1), rate=10)

def test_run(horus):
    assert horus.run_nodes(counter(), duration=1).values("count") == [1] * 10

async def test_run_in_a_coroutine(horus):
    assert (await horus.run_nodes_async(counter(), ticks=1)).values("count") == [1]

def test_record(horus, tmp_path):
    scheduler = horus.scheduler(recording="first").add(counter())
    scheduler.run_sync(1)
    assert horus.recordings_dir.is_relative_to(tmp_path)
    assert Scheduler.list_recordings() == ["first"]
    assert all(Path(file).parent == horus.recordings_dir / "first" for file in scheduler.stop_recording())

def test_each_test_has_its_own(horus):
    assert Scheduler.list_recordings() == []
    assert os.environ["HORUS_NAMESPACE"] == horus.namespace != "outer"
    assert os.environ["HORUS_BLACKBOX_DIR"] == str(horus.blackbox_dir)

def test_real_time_on_request(horus):
    scheduler = horus.scheduler(deterministic=False).add(counter())
    scheduler.run_sync(0.05)
    assert scheduler.stats().nodes["counter"].ticks == 1
"""


def test_the_fixture_gives_each_test_a_corner_of_its_own(tmp_path: Path) -> None:
    """A user's tests get namespace, recordings folder and schedulers from ``horus``."""
    (tmp_path / "test_user.py").write_text(USER_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    plugins = ["-p", "horus_async.pytest_plugin", "-p", "no:cacheprovider", "-p", "no:xdist"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugins, "--basetemp", str(tmp_path / "temp"), str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "5 passed" in done.stdout, done.stdout + done.stderr


def test_pytest_finds_the_fixture_by_itself() -> None:
    """The entry point leads to the module with the fixture, under the name that ``-p`` uses, so that it loads once."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entry_points = project["entry-points"]["pytest11"]

    assert entry_points == {"horus_async.pytest_plugin": "horus_async.pytest_plugin"}
    assert hasattr(import_module("horus_async.pytest_plugin"), "horus")


def test_the_kit_does_not_need_pytest() -> None:
    """``import horus_async.testing`` works where pytest is not installed."""
    script = "import sys; sys.modules['pytest'] = None; import horus_async.testing"

    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


# Names that nobody knows


def test_a_misspelt_feed_is_refused() -> None:
    """What is fed on a topic that no node uses reaches nobody: an error names the nearest (user/kit_typo_passes)."""
    with pytest.raises(ConfigurationError, match=r"feed: no node has read 'ni'; did you mean 'in'\?"):
        run_nodes(doubler(), ticks=2, feed={"ni": [(0, 1)]})
    with pytest.raises(ConfigurationError, match="no node has read 'elsewhere'; if one reads it only at times"):
        run_nodes(doubler(), ticks=2, feed={"in": [(0, 1)], "elsewhere": [(0, 1)]})


def test_a_topic_that_is_read_undeclared_can_be_fed() -> None:
    """Only the run can tell what a node reads."""
    reader = Node("reader", tick=lambda node: node.send("out", node.recv("in")))
    assert run_nodes(reader, ticks=1, feed={"in": [(0, 7)]}).values("out") == [7]


def test_a_failure_for_want_of_a_message_says_so() -> None:
    """A node that fails because a feed was misspelt fails with a word about that."""
    needy = Node("needy", tick=lambda node: node.recv("in")["x"], subs="in")
    with pytest.raises(NodeFailure) as caught:
        run_nodes(needy, ticks=1, feed={"ini": [(0, {"x": 1})]})
    assert "feed: no node has read 'ini'; did you mean 'in'?" in caught.value.__notes__


def test_silence_on_a_misspelt_topic_is_refused() -> None:
    """A topic that carried nothing is an empty list, whoever declares or uses it; an unknown one is an error."""
    captured = run_nodes(doubler(), ticks=2, feed={"in": []})
    assert captured.values("out") == captured.values("in") == []
    for ask in (captured.values, captured.__getitem__):
        with pytest.raises(ConfigurationError, match=r"a topic 'otu'; did you mean 'out'\?"):
            ask("otu")

    quiet = Node("quiet", tick=lambda node: node.recv("asked"), on="event", pubs=["told"])
    captured = run_nodes(quiet, Node("other", tick=lambda node: node.recv("used")), ticks=1)
    assert [captured[topic] for topic in ("event", "told", "used")] == [[], [], []]
    with pytest.raises(ConfigurationError, match="no node of this run declares or uses a topic 'asked'"):
        captured.values("asked")


@pytest.mark.trio
async def test_names_are_checked_in_a_coroutine_too() -> None:
    """The same with `run_nodes_async`."""
    with pytest.raises(ConfigurationError, match="no node has read 'ni'"):
        await run_nodes_async(doubler(), ticks=2, feed={"ni": [(0, 1)]})
    captured = await run_nodes_async(doubler(), ticks=2)
    with pytest.raises(ConfigurationError, match="a topic 'otu'"):
        captured.values("otu")
