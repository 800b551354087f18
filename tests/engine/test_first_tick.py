"""What is imported before the first tick of a first run: what it needs, and nothing else.

The time to that tick is nearly all imports, and most of these are trio's. So the modules are counted, which gives the
same on every machine.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import attrs, logging, orjson, trio
needed = set(sys.modules)
from horus_async import Node, Scheduler

def tick(node):
    print(json.dumps(sorted(set(sys.modules) - needed)))
    node.send("reading", {"value": 1.5})

nodes = Node("sensor", tick=tick, rate=100, pubs=["reading"]), Node("reader", tick=read, rate=100, subs=["reading"])
Scheduler(deterministic=MODE == "deterministic").add(nodes[0]).add(nodes[1]).run_sync(0.01)
print(json.dumps(sorted(set(sys.modules) - needed)))
"""
READ = 'def read(node):\n    assert node.recv("reading") == {"value": 1.5}\n'

OURS = "horus_async"
MOST_OF_OURS = 126
MOST_OF_OTHERS = {"real time": 4, "deterministic": 8}
"""The determinism guard knows where Python is installed, and watches ``secrets``."""

UNUSED = {
    *("anyio", "asyncio", "cattrs", "click", "lz4", "numpy", "platformdirs", "pytest", "rich", "trio.testing"),
    *("concurrent.futures", "decimal", "difflib", "email", "fractions", "http", "multiprocessing", "typing_extensions"),
    *(f"{OURS}.{room}" for room in ("blackbox", "cli", "messages", "policy", "recorder", "replay", "testing")),
    *(f"{OURS}.topics.{module}" for module in ("borrowing", "inspection", "message", "topic")),
    *(f"{OURS}.topics.packed.{module}" for module in ("accessors", "describe", "packed", "schema")),
    *(f"{OURS}.topics.codec.{module}" for module in ("decoding", "encoding")),
    *(f"{OURS}.topics.values.{module}" for module in ("arrays", "classes", "standard")),
    *(f"{OURS}.{module}" for module in ("engine.stats", "scheduler.overrides", "scheduler.stats")),
}


def imported(mode: str) -> list[set[str]]:
    """The modules beyond trio's and the like: in the first tick, and when the run has ended."""
    program = READ + PROGRAM.replace("MODE", repr(mode))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [set(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("mode", ["real time", "deterministic"])
def test_only_what_the_first_tick_needs_is_imported_before_it(mode: str) -> None:
    """No more modules than now, none of another event loop's, and none that plain messages do without."""
    modules, *_ = imported(mode)
    ours = {module for module in modules if module.partition(".")[0] == OURS}

    assert not modules & UNUSED
    assert len(ours) <= MOST_OF_OURS
    assert len(modules - ours) <= MOST_OF_OTHERS[mode]


def test_plain_messages_and_the_end_of_a_run_need_no_more() -> None:
    """Nothing is put off to the moment at which a dict is sent or taken."""
    first, last = imported("real time")

    assert not last - first
