"""What ``top`` draws: whatever the names are, it fits, and controls no terminal."""

from __future__ import annotations

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from horus_async.cli.watching.look import Anomaly, Look, NodeRow, ProcessRow, TopicRow
from horus_async.cli.watching.processes import program_of
from horus_async.cli.watching.screen import Sort, View, frame
from tests.test_hostile_text import HOSTILE

NAMES = st.sampled_from(["arm", "腕" * 30, HOSTILE, "x" * 300, ""]) | st.text(max_size=20)
NUMBERS = st.none() | st.floats(0, 1e12)
NODES = st.builds(
    NodeRow,
    node=NAMES,
    run=NAMES,
    pid=st.integers(1, 1 << 22),
    wanted=NUMBERS,
    on=st.just(()),
    rate=NUMBERS,
    mean_us=NUMBERS,
    max_us=st.floats(0, 1e12),
    ticks=st.integers(0, 1 << 40),
    misses=st.integers(0, 9),
    overruns=st.just(0),
    errors=st.integers(0, 9),
    restarts=st.just(0),
    lost=st.integers(0, 1 << 40),
    refused=st.just(0),
    state=NAMES,
)
TOPICS = st.builds(
    TopicRow,
    topic=NAMES,
    publishers=st.lists(NAMES, max_size=3).map(tuple),
    pids=st.just(()),
    rate=NUMBERS,
    bytes_per_second=NUMBERS,
    messages=st.integers(0, 1 << 60),
    memory=st.just(1),
    state=NAMES,
)
PROCESSES = st.builds(
    ProcessRow,
    pid=st.integers(1, 9),
    program=NAMES,
    nodes=st.none() | st.integers(0, 9),
    topics=st.integers(0, 9),
    memory=st.none() | st.integers(0, 1 << 50),
    cpu=NUMBERS,
    state=NAMES,
)
ANOMALIES = st.builds(
    Anomaly,
    run=NAMES,
    pid=st.integers(1, 9),
    node=st.none() | NAMES,
    kind=NAMES,
    text=NAMES,
    tick=st.integers(0, 9),
    now_ns=st.integers(0, 1 << 60),
    count=st.integers(1, 9),
)
LOOKS = st.builds(
    Look,
    namespace=st.just("default"),
    at_ns=st.just(10**18),
    nodes=st.lists(NODES, max_size=8).map(tuple),
    topics=st.lists(TOPICS, max_size=8).map(tuple),
    processes=st.lists(PROCESSES, max_size=8).map(tuple),
    anomalies=st.lists(ANOMALIES, max_size=8).map(tuple),
    notes=st.lists(NAMES, max_size=3).map(tuple),
    cost=st.floats(0, 100),
)
KEYS = st.lists(
    st.sampled_from(["s", "r", "p", "/", "\t", "up", "down", "escape", "\r", "x", "\x7f", "\x1b"]), max_size=12
)


@given(LOOKS, KEYS, st.integers(1, 200), st.integers(1, 60))
def test_it_fits_and_controls_nothing(look: Look, keys: list[str], width: int, height: int) -> None:
    """At any size, after any keys."""
    view = View()
    for key in keys:
        view.press(key)
    console = Console(file=io.StringIO(), width=width, height=height, markup=False, emoji=False, highlight=False)
    with console.capture() as capture:
        console.print(frame(look, view, width, height), end="")
    lines = capture.get().split("\n")
    if width >= 20:
        assert len(lines) <= max(height, 2) + 1
    for line in lines:
        assert not {letter for letter in line if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {
            "\u200d",
            "\u200c",
        }


def test_the_worst_comes_first() -> None:
    """By trouble; and a filter leaves what has the word."""
    rows = [
        ProcessRow(1, "arm.py", None, 1, None, None, "running"),
        ProcessRow(2, "base.py", None, 1, None, None, "dead"),
    ]
    view = View(sort=Sort.TROUBLE)
    assert [row.pid for row in view.chosen(rows)] == [2, 1]
    for key in "/arm\r":
        view.press(key)
    assert [row.pid for row in view.chosen(rows)] == [1]


def test_programs_are_called_as_people_call_them() -> None:
    """Without the interpreter."""
    assert program_of(["/usr/bin/python3", "-u", "/home/me/robot.py", "--fast"]) == "robot.py --fast"
    assert program_of(["python", "-m", "horus_async", "run", "a.py"]) == "-m horus_async run a.py"[3:]
    assert program_of(["/usr/bin/python3", "-c", "x"]) == "python -c"
    assert program_of(["/opt/robot/driver"]) == "driver"
    assert program_of([]) == ""
