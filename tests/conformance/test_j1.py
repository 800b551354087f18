"""Each promise of the conformance list has a test that names it, as ``J.1-4``, in its docstring."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

PROMISES = {
    1: "recording yields a file a node and one of the scheduler",
    2: "list_recordings has the session; delete_recording says True, then False",
    3: "stop_recording gives the same paths before and after the run's end",
    4: "every message sent in a tick is recorded once, in order",
    5: "the same records for every kind of node, under the true tick",
    6: "recording changes nothing",
    9: "corrupt, truncated, foreign and newer files are refused clearly",
    12: "no largest loadable size",
    13: "a full replay feeds recorded messages and ends by itself",
    14: "run(duration) of a replay ends at the earlier of both",
    15: "a live node among recorded ones gets exactly their messages",
    16: "now, elapsed, tick, dt and rng in a replay are the recorded ones",
    17: "start and stop tick, inclusive",
    18: "speed 0.01 to 100 and as fast as possible",
    19: "override, with an error for what is not there",
    20: "loop",
    21: "replay options on a scheduler that replays nothing are errors",
    22: "~ is expanded; a missing file is an error",
    34: "the same results over 100 runs",
    35: "orders, diamonds, loops",
    36: "declared topics make the order before tick 0",
    37: "several rates",
    38: "event nodes tick on messages only",
    39: "fixed dt",
    40: "random numbers by node and tick",
    41: "unpaced simulation",
    42: "wall time changes no result",
    43: "init, tick, shutdown",
    45: "a fatal failure raises and gives a non-zero exit code",
    46: "rates, budgets and deadlines are validated",
    49: "live introspection",
    50: "the oldest message goes, and is counted",
    51: "what values a message may hold",
    52: "has_msg consumes nothing; None is not nothing",
}


def docstrings() -> str:
    """The docstrings of all tests."""
    found = []
    for path in sorted(TESTS.rglob("test_*.py")):
        for item in ast.walk(ast.parse(path.read_text())):
            if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and item.name.startswith("test_"):
                found += [ast.get_docstring(item) or ""]
    return "\n".join(found)


@pytest.fixture(scope="module")
def named() -> set[int]:
    """The numbers that test docstrings name."""
    return {int(number) for number in re.findall(r"J\.1-(\d+)", docstrings())}


@pytest.mark.parametrize("number", PROMISES)
def test_a_test_names_each_promise(number: int, named: set[int]) -> None:
    """At least one test says in its docstring that it proves this one."""
    assert number in named, f"J.1-{number}: {PROMISES[number]}"
