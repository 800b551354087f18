"""``horus-async frames``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from horus_async import Node, Scheduler, Topic, now_ns
from horus_async.cli import main
from horus_async.frames import stamped
from horus_async.messages import Time

from .robots import Asker, Base
from .trees import edge


def call(*args: str) -> Result:
    """Run it in this process."""
    return CliRunner().invoke(main, ["frames", *args])


def test_a_recorded_tree_is_shown() -> None:
    """As it was when the session ended, with the ages of that moment."""
    Scheduler(deterministic=True, recording="s").add(Asker()).add(Base()).run_sync(0.5)

    result = call("s", "--lookup", "odom", "laser")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[:3] == ["odom", "└─ base_link  100.0 Hz, 0.000 s old", "   └─ laser  static"]
    assert lines[3] == "odom from laser, at 0.490000 s"
    shown = json.loads(call("s", "--lookup", "odom", "laser", "--json").stdout)
    assert [(one["parent"], one["child"], one["static"], one["samples"]) for one in shown["edges"]] == [
        ("odom", "base_link", False, 50),
        ("base_link", "laser", True, 0),
    ]
    assert shown["lookup"]["stamp_ns"] == 490_000_000
    assert (shown["left_out"], shown["reasons"]) == (0, [])


def test_a_running_tree_is_shown() -> None:
    """What is there at once, and what comes while it listens."""
    with Topic("frames") as moving, Topic("frames.static") as static:
        moving.send(stamped("odom", "base", at=Time.from_ns(now_ns())))
        static.send([stamped("base", "laser"), stamped("base", "cam\x1b[2J\nera")])
        result = call("--window", "0.05", "--lookup", "odom", "laser")

    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "odom"
    assert lines[1].startswith("└─ base  one sample, ")
    assert lines[2:4] == ["   ├─ cam\\x1b[2J\\nera  static", "   └─ laser  static"]


def test_where_nobody_publishes_it_says_so() -> None:
    """With the topics that were meant perhaps, and exit code 2; the same for a session without frames."""
    with Topic("frame") as other:
        other.send(1)
        result = call("--window", "0.01")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "nobody publishes 'frames' or 'frames.static'" in result.stderr
    assert "did you mean 'frame'?" in result.stderr

    Scheduler(deterministic=True, recording="none").add(Node("n", tick=lambda node: node.send("x", 1))).run_sync(0.1)
    for session in ("none", "nowhere"):
        result = call(session)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_left_out_is_said_and_is_exit_code_1(as_json: bool) -> None:
    """Once each; and so is a lookup that has no way."""

    def tick(node: Node) -> None:
        node.send("frames", [edge("odom", "base", 5), edge("map", "base", 5), "x"])

    Scheduler(deterministic=True, recording="s").add(Node("bad", tick=tick)).run_sync(0.05)

    result = call("s", *(["--json"] if as_json else []))

    assert result.exit_code == 1
    if as_json:
        shown: Any = json.loads(result.stdout)
        assert shown["left_out"] == 10
        assert len(shown["reasons"]) == 2
    else:
        assert "left out: on 'frames' from 'bad': edge map → base would be a second parent" in result.stderr
        assert result.stderr.count("\n") == 2
    lost = call("s", "--lookup", "odom", "bse")
    assert lost.exit_code == 1
    assert "did you mean 'base'?" in lost.stderr


def test_the_tree_of_a_bag_is_shown() -> None:
    """Its topics are called otherwise."""
    Scheduler(deterministic=True, recording="bag").add(
        Node("tf", tick=lambda node: node.send("tf", {"transforms": [stamped("odom", "base")]}))
    ).run_sync(0.05)
    result = call("bag", "--moving", "tf", "--static", "tf_static")
    assert result.exit_code == 0, result.output
    assert "└─ base" in result.stdout
