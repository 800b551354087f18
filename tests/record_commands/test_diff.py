"""``record diff``: J.1-23."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from horus_async.topics.codec import decode

from .sessions import bulky, call, call_json, make, outsider, robot

if TYPE_CHECKING:
    from pathlib import Path


def test_equal_sessions_pass_and_say_how_much_was_compared(recordings_dir: Path) -> None:
    """J.1-23: two equal sessions give exit code 0, and every message of each common topic was compared."""
    robot(recordings_dir, "a")
    robot(recordings_dir, "b")
    result = call("diff", "a", "b")
    assert result.exit_code == 0
    assert "compared 100 messages of 2 topics, 0 differ" in result.output


def test_first_difference_is_named(recordings_dir: Path) -> None:
    """J.1-23: a difference is reported with tick, node, topic, field and both values, and gives exit code 1."""
    robot(recordings_dir, "a")
    robot(recordings_dir, "b", gain=0.75)
    result = call("diff", "a", "b", "--limit", "1")
    assert result.exit_code == 1
    assert "tick 1, node controller, topic ctrl.cmd, field output: 0.5 != 0.75" in result.output
    assert "... and 48 more" in result.output


def test_json_has_the_same(recordings_dir: Path) -> None:
    """J.1-23: ``--json`` gives counts, tick ranges and the first differences by tick."""
    robot(recordings_dir, "a")
    robot(recordings_dir, "b", gain=0.75, ticks=40)
    found = call_json("diff", "a", "b", "--limit", "2")
    assert found["topics"] == {"sensor.reading": 40, "ctrl.cmd": 40}
    assert (found["a"]["last_tick"], found["b"]["last_tick"]) == (49, 39)
    assert found["differences"] == 39 + 2 * 10
    assert found["shown"][0] == {
        "tick": 1,
        "node": "controller",
        "topic": "ctrl.cmd",
        "field": "output",
        "a": 0.5,
        "b": 0.75,
    }


def test_ticks_outside_the_overlap_are_differences(recordings_dir: Path) -> None:
    """J.1-23: messages after the end of the shorter session are differences, whichever side is shorter."""
    robot(recordings_dir, "a", ticks=20)
    robot(recordings_dir, "b", ticks=10)
    for pair in (("a", "b"), ("b", "a")):
        found = call_json("diff", *pair)
        assert found["differences"] == 20
        assert found["shown"][0]["tick"] == 10


def test_one_missing_message_puts_no_other_out_of_step(recordings_dir: Path) -> None:
    """A message that one session lacks is one difference, and so is one that it has too many."""
    sent = {tick: [("n", "t", {"tick": tick})] for tick in range(10)}
    make(recordings_dir, "a", sent, ticks=10)
    make(recordings_dir, "b", {**sent, 4: [], 7: [*sent[7], ("n", "t", {"tick": 7})]}, ticks=10)
    found = call_json("diff", "a", "b")
    assert [(line["tick"], line["a"], line["b"]) for line in found["shown"]] == [
        (4, {"tick": 4}, "(no message)"),
        (7, "(no message)", {"tick": 7}),
    ]
    assert found["topics"] == {"t": 9}


@pytest.mark.parametrize(
    ("a", "b", "tolerance", "code"),
    [
        ({"x": 1}, {"x": 1.0}, "0", 0),
        ({"x": 1.0}, {"x": 1.0 + 1e-9}, "0", 1),
        ({"x": 1.0}, {"x": 1.0 + 1e-9}, "1e-6", 0),
        ({"x": 1.0}, {"x": 1.1}, "0.05", 1),
        ({"x": True}, {"x": 1}, "0", 1),
        ({"x": math.nan}, {"x": math.nan}, "0", 0),
        ({"x": math.inf}, {"x": 1e308}, "1e9", 1),
        ({"x": 1, "y": 2}, {"y": 2, "x": 1}, "0", 0),
        ({"x": [1, 2]}, {"x": [1, 2, 3]}, "0", 1),
        ({"x": None}, {}, "0", 1),
        (3, "3", "0", 1),
        ({"x": 10**400}, {"x": 1.5}, "0", 1),
        ({"x": b"a"}, {"x": b"a"}, "0", 0),
        ({"x": np.arange(4.0)}, {"x": np.arange(4.0) + 1e-9}, "1e-6", 0),
        ({"x": np.arange(4.0)}, {"x": np.arange(5.0)}, "9", 1),
    ],
)
def test_which_values_are_equal(recordings_dir: Path, a: object, b: object, tolerance: str, code: int) -> None:
    """J.1-23: 1 equals 1.0, NaN equals NaN, the tolerance is absolute, and all else must be equal."""
    make(recordings_dir, "a", {0: [("n", "t", a)]}, ticks=1)
    make(recordings_dir, "b", {0: [("n", "t", b)]}, ticks=1)
    assert call("diff", "a", "b", "--tolerance", tolerance).exit_code == code


def test_field_inside_an_array_is_named(recordings_dir: Path) -> None:
    """The element of an array that differs is named, with both numbers."""
    make(recordings_dir, "a", {0: [("n", "t", {"ranges": np.zeros(3)})]}, ticks=1)
    make(recordings_dir, "b", {0: [("n", "t", {"ranges": np.array([0.0, 0.0, 2.0])})]}, ticks=1)
    assert "field ranges[2]: 0.0 != 2.0" in call("diff", "a", "b").output


def test_missing_session_is_wrong_usage(recordings_dir: Path) -> None:
    """J.1-23: a session that is not there gives exit code 2 and one line that lists those that are."""
    robot(recordings_dir, "a")
    result = call("diff", "a", "tuesday")
    assert result.exit_code == 2
    assert "no session 'tuesday'" in result.output
    assert result.output.count("\n") == 1


@pytest.mark.parametrize(
    "other",
    [
        {},
        {0: [("other", "elsewhere", 1)]},
    ],
)
def test_nothing_compared_is_no_pass(recordings_dir: Path, other: dict[int, list[tuple[str, str, object]]]) -> None:
    """J.1-23: where no message could be compared the exit code is 2, whether or not there are messages."""
    make(recordings_dir, "a", {0: [("n", "t", 1)]} if other else {}, ticks=3, nodes=["n", "other"])
    make(recordings_dir, "b", other, ticks=3, nodes=["n", "other"])
    result = call("diff", "a", "b")
    assert result.exit_code == 2
    assert "nothing could be compared" in result.output


def test_common_topic_that_never_meets_is_no_pass(recordings_dir: Path) -> None:
    """J.1-23: a topic that both have, but never at the same tick and node, makes the sessions differ."""
    make(recordings_dir, "a", {0: [("n", "t", 1), ("n", "u", 1)]}, ticks=3)
    make(recordings_dir, "b", {0: [("n", "t", 1)], 2: [("n", "u", 1)]}, ticks=3)
    found = call_json("diff", "a", "b")
    assert found["topics"] == {"t": 1, "u": 0}
    assert found["same"] is False


def test_node_of_one_session_only_is_a_difference(recordings_dir: Path) -> None:
    """J.1-23: the messages of a node that only one session has are differences, not passed over."""
    make(recordings_dir, "a", {0: [("n", "t", 1)]}, ticks=1)
    make(recordings_dir, "b", {0: [("n", "t", 1), ("m", "u", 1)]}, ticks=1)
    result = call("diff", "a", "b")
    assert result.exit_code == 1
    assert "only b has messages of u" in result.output


def test_messages_from_outside_are_compared(recordings_dir: Path) -> None:
    """Messages that came from other processes are compared as well."""
    robot(recordings_dir, "a", outside=[outsider(0, {"go": True})])
    robot(recordings_dir, "b", outside=[outsider(0, {"go": False})])
    assert "node joystick, topic operator.cmd, field go: True != False" in call("diff", "a", "b").output


def test_cut_session_differs_and_says_so(recordings_dir: Path) -> None:
    """What a cut file has lost shows as differences, with a note that it is cut."""
    bulky(recordings_dir, "a")
    bulky(recordings_dir, "b", close=False)
    result = call("diff", "a", "b")
    assert result.exit_code == 1
    assert "compared 3 messages of 1 topics, 1 differ" in result.stdout
    assert "note: b: camera" in result.stderr
    assert "the last frame is cut off" in result.stderr


def test_only_what_is_shown_is_made_into_values(recordings_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A re-import with other ticks, or with keys in another order, does not cost the decoding of every message."""
    decoded: list[bytes] = []

    def noted(payload: bytes) -> Any:
        decoded.append(payload)
        return decode(payload)

    monkeypatch.setattr("horus_async.recorder.read.diff.decode", noted)
    values = [{"a": tick, "b": np.arange(3.0) + tick} for tick in range(100)]
    make(recordings_dir, "a", {tick: [("n", "t", value)] for tick, value in enumerate(values)}, ticks=300)
    make(recordings_dir, "b", {3 * tick: [("n", "t", value)] for tick, value in enumerate(values)}, ticks=300)
    turned = {tick: [("n", "t", dict(reversed(value.items())))] for tick, value in enumerate(values)}
    make(recordings_dir, "c", turned, ticks=300)
    found = call_json("diff", "a", "b", "--limit", "5")
    assert (found["compared"], found["differences"]) == (34, 33 + 66 + 66)
    assert len(decoded) <= 2 * 33 + 5
    decoded.clear()
    assert call_json("diff", "a", "c")["same"] is True
    assert decoded == []


@pytest.mark.parametrize(
    ("a", "b", "place"),
    [
        ("x" * 90_000 + "1", "x" * 90_000 + "2", "(from 89994 of 90001 characters)"),
        (b"\0" * 90_000 + b"1", b"\0" * 90_000 + b"2", "(from 89994 of 90001 bytes)"),
        ([0.5] * 9000, [0.5] * 8999, "v[8999]: 0.5 != '(missing)'"),
        ({"k" * 9000: 1}, {"k" * 9000: 2}, ""),
        (list(range(9000)), {"x": 1}, "[0, 1, 2, 3, 4, 5, ...] != {'x': 1}"),
        (np.zeros((4, 5, 6)), np.zeros((4, 5, 7)), "float64[4, 5, 6]"),
        (np.zeros((4, 5, 6)), np.eye(20, 6).reshape(4, 5, 6), "v[0,0,0]: 0.0 != 1.0"),
        (np.array(["y" * 9000]), np.array(["y" * 8999 + "z"]), "v[0]"),
        (10**3000, 10**3000 + 1, ""),
        ([7**6000], {"n": 7**9000}, "0x"),
        ({str(i): i for i in range(5000)}, None, "(5000 items)"),
        (np.array([{"k": "x" * 9000}], object), np.array([{"k": 1}], object), ""),
    ],
)
def test_lines_are_short_whatever_differs(recordings_dir: Path, a: object, b: object, place: str) -> None:
    """A line shows the place of the difference and a little around it, never a whole text, list or array."""
    make(recordings_dir, "a", {0: [("n", "t", {"v": a})]}, ticks=1)
    make(recordings_dir, "b", {0: [("n", "t", {"v": b})]}, ticks=1)
    result = call("diff", "a", "b")
    assert result.exit_code == 1
    assert place in result.output
    assert max(map(len, result.output.splitlines())) < 220


def test_json_has_integers_of_any_size(recordings_dir: Path) -> None:
    """As messages may: in digits, beside all that JSON has no name for."""
    for name, number in (("a", 2**70), ("b", -(2**64))):
        make(recordings_dir, name, {0: [("n", "t", number)], 1: [("n", "t", {"v": math.nan, "w": name})]}, ticks=2)
    result = call("diff", "a", "b", "--json")
    assert result.exit_code == 1, result.output
    shown = json.loads(result.stdout)["shown"]
    assert (shown[0]["a"], shown[0]["b"]) == (2**70, -(2**64))
    assert (shown[1]["a"], shown[1]["b"]) == ("a", "b")


def test_json_has_integers_that_python_does_not_write(recordings_dir: Path) -> None:
    """Those that recordings have in hexadecimal are text in hexadecimal here, too."""
    for name, number in (("a", 7**6000), ("b", -(7**6000))):
        make(recordings_dir, name, {0: [("n", "t", number)]}, ticks=1)
    result = call("diff", "a", "b", "--json")
    assert result.exit_code == 1, result.output
    (shown,) = json.loads(result.stdout)["shown"]
    assert (shown["a"], shown["b"]) == (hex(7**6000), hex(-(7**6000)))
