"""What may become an edge: loops, second parents, late ones, numbers that are none; and how much is kept."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.errors import ConfigurationError, ExtrapolationError, FramesError
from horus_async.frames import Frames, stamped
from horus_async.frames import edge as edge_module
from horus_async.frames import tree as tree_module
from horus_async.messages import Header, Point, Quaternion, Time, Transform, TransformStamped, Vector3

from .trees import SECOND, edge


def test_a_loop_is_refused_and_named() -> None:
    """The edge that would close it is left out; what was there stays."""
    frames = Frames()
    frames.add([stamped("map", "odom", at=1), stamped("odom", "base", at=1)])
    with pytest.raises(FramesError, match="edge base → map would close a loop: map → odom → base → map"):
        frames.add(stamped("base", "map", at=1))
    with pytest.raises(FramesError, match="'base' cannot be its own parent"):
        frames.add(edge("base", "base"))
    assert frames.can_lookup("map", "base")


@given(pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=40), reparent=st.booleans())
def test_whatever_comes_there_is_never_a_loop(pairs: list[tuple[int, int]], reparent: bool) -> None:
    """From each frame the way up ends, and each pair of one tree can be looked up."""
    frames, parents = Frames(reparent=reparent), dict[str, str]()
    for parent, child in pairs:
        try:
            frames.add(edge(f"f{parent}", f"f{child}", SECOND))
        except FramesError:
            continue
        parents[f"f{child}"] = f"f{parent}"

    def root(name: str) -> str:
        for _ in range(8):
            if name not in parents:
                return name
            name = parents[name]
        raise AssertionError("a loop")

    names = {*parents, *parents.values()}
    assert frames.names() == sorted(names)
    for one in names:
        for other in names:
            assert frames.can_lookup(one, other) == (root(one) == root(other))


def test_a_second_parent_is_refused_and_named() -> None:
    """Two programs that both place a frame are a mistake; ROS would let the tree flip to and fro."""
    frames = Frames()
    frames.add(stamped("odom", "base", (1.0, 0, 0), at=1))
    with pytest.raises(
        FramesError, match=r"second parent of 'base', which is under 'odom'; .* Frames\(reparent=True\)"
    ):
        frames.add(stamped("map", "base", at=2))
    assert frames.lookup("odom", "base").translation.x == 1.0
    assert frames.names() == ["base", "odom"]


def test_a_frame_changes_its_parent_where_that_is_meant() -> None:
    """A cup is lifted from a table: from then on it is in the hand, and what was before is gone."""
    frames = Frames(reparent=True)
    frames.add([stamped("room", "table", at=1), stamped("room", "hand", at=1), stamped("hand", "finger", at=1)])
    frames.add(stamped("table", "cup", at=1))
    frames.add(stamped("hand", "cup", (0, 0, 0.1), at=1))

    assert frames.moved == 1
    assert frames.lookup("hand", "cup").translation.z == pytest.approx(0.1)
    with pytest.raises(FramesError, match="would close a loop"):
        frames.add(stamped("finger", "hand", at=1))
    assert frames.lookup("room", "cup").stamp_ns == SECOND


def test_fixed_and_moving_are_not_mixed() -> None:
    """An edge stays what it was, unless changes are meant."""
    frames = Frames()
    frames.add(stamped("base", "laser"), static=True)
    with pytest.raises(FramesError, match="edge base → laser is fixed, and now comes as moving"):
        frames.add(stamped("base", "laser", at=1))
    frames.add(stamped("base", "arm", at=1))
    with pytest.raises(FramesError, match="edge base → arm moves, and now comes as fixed"):
        frames.add(stamped("base", "arm"), static=True)
    frames.add(stamped("base", "laser", (1.0, 0, 0)), static=True)
    assert frames.lookup("base", "laser").translation.x == 1.0


@given(order=st.permutations(range(8)))
def test_samples_may_come_in_any_order(order: list[int]) -> None:
    """A late one takes its place, and of two with one stamp the later to come counts."""
    frames = Frames()
    for number in order:
        frames.add(stamped("odom", "base", (-1.0, 0, 0), at=number))
        frames.add(stamped("odom", "base", (float(number), 0, 0), at=number))
    for at in (0.0, 0.5, 3.25, 7.0):
        assert frames.lookup("odom", "base", at).translation.x == pytest.approx(at)


def test_what_is_older_than_the_history_is_refused() -> None:
    """With the gap; what is kept is not shortened by it."""
    frames = Frames(history=2.0)
    frames.add([stamped("odom", "base", (float(at), 0, 0), at=at) for at in (5, 6, 7)])
    with pytest.raises(FramesError, match=r"edge odom → base of 4.500000 s comes 500.000 ms too late"):
        frames.add(stamped("odom", "base", at=4.5))
    assert frames.can_lookup("odom", "base", 5.0)
    frames.add(stamped("odom", "base", at=7.5))
    assert not frames.can_lookup("odom", "base", 5.0)
    assert frames.can_lookup("odom", "base", 6.0)


def test_a_bag_that_begins_again_begins_the_history_again() -> None:
    """One stray message does not; three in a row that are older than everything do, and it is counted."""
    frames = Frames(history=2.0)
    frames.add(stamped("odom", "base", at=100))
    for at in (1, 2):
        with pytest.raises(FramesError, match="too late"):
            frames.add(stamped("odom", "base", at=at))
    frames.add(stamped("odom", "base", at=101))
    for at in (1, 2):
        with pytest.raises(FramesError, match="too late"):
            frames.add(stamped("odom", "base", at=at))
    assert frames.went_back == 0
    frames.add(stamped("odom", "base", at=3))
    assert frames.went_back == 1
    assert frames.lookup("odom", "base").stamp_ns == 3 * SECOND


def changed(**fields: Any) -> Any:
    """A transform with one field that is wrong; ``rotation_w`` for that of the rotation."""
    shift = {axis: fields.pop(f"translation_{axis}", 0.0) for axis in "xyz"}
    turn = {axis: fields.pop(f"rotation_{axis}", float(axis == "w")) for axis in "xyzw"}
    found = edge("odom", "base", SECOND)
    found.transform = fields.pop("transform", Transform(Vector3(**shift), Quaternion(**turn)))
    for name, value in fields.items():
        owner = found.header if name in {"stamp", "frame_id"} else found
        setattr(owner, name, value)
    return found


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"translation_x": math.nan}, r"edge odom → base: translation \(nan, 0.0, 0.0\) is no position"),
        ({"translation_z": -math.inf}, "is no position"),
        ({"translation_y": 1e13}, "is no position"),
        ({"translation_y": "1"}, "'1' is no number"),
        ({"translation_y": True}, "True is no number"),
        ({"translation_y": 10**400}, "is no number"),
        ({"rotation_w": 0.0}, r"rotation \(0.0, 0.0, 0.0, 0.0\) is no unit quaternion.*length is 0; no rotation is"),
        ({"rotation_x": 1.0}, "its length is 1.41421"),
        ({"rotation_x": math.nan}, "its length is nan"),
        ({"rotation_x": 1e200}, "its length is inf"),
        ({"rotation_x": None}, "None is no number"),
        ({"frame_id": ""}, "header.frame_id, the parent's name, is empty"),
        ({"frame_id": "/"}, "is empty"),
        ({"child_frame_id": ""}, "child_frame_id is empty"),
        ({"child_frame_id": 7}, "child_frame_id is 7; give a text"),
        ({"child_frame_id": "x" * 256}, "has 256 characters"),
        ({"child_frame_id": "/odom"}, "'odom' cannot be its own parent"),
        ({"stamp": None}, "stamp None is no time"),
        ({"stamp": Time("1", 0)}, "is no time"),  # type: ignore[arg-type]
        ({"stamp": Time(1 << 70, 0)}, "is no time"),
        ({"header": None}, "a TransformStamped with a field that is none"),
        ({"transform": 3}, "a TransformStamped with a field that is none"),
        ({"transform": Transform(3, Quaternion())}, "without its fields"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_edge_is_refused(fields: dict[str, Any], said: str) -> None:
    """The message names the edge, the field and the way out, and nothing is half added."""
    frames = Frames()
    with pytest.raises(FramesError, match=said):
        frames.add(changed(**fields))
    assert frames.names() == []


@pytest.mark.parametrize(
    "value", [None, 3, "map", Transform(), Point(), {}, {"x": 1}, {"child_frame_id": "a", "header": 3}]
)
@pytest.mark.parametrize("in_list", [False, True])
def test_what_is_no_transform_is_refused(value: Any, in_list: bool) -> None:
    """By its class or its value."""
    with pytest.raises(FramesError, match=r"TransformStamped|child_frame_id|dict of its fields"):
        Frames().add([value] if in_list else value)


PARTS = ["header", "child", "stamp", "frame", "transform", "shift", "turn", "x", "w"]
ODD: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=3)
    | st.just(1 << 2000),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["x", "sec", "frame_id", "stamp"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(data=st.data(), names=st.sets(st.sampled_from(PARTS)))
def test_whatever_comes_is_an_edge_or_an_error(data: st.DataObject, names: set[str]) -> None:
    """Any value in any field of an object, of a dict, or in place of them: added, or a `FramesError`."""

    def odd(name: str, usual: Any) -> Any:
        return data.draw(ODD, name) if name in names else usual

    shift = odd("shift", Vector3(odd("x", 1.0), 0.0, 0.0))
    turn = odd("turn", Quaternion(w=odd("w", 1.0)))
    header = odd("header", Header(odd("stamp", Time(odd("x", 1))), odd("frame", "odom")))
    message = TransformStamped(header, odd("child", "base"), odd("transform", Transform(shift, turn)))
    for value in (message, attrs.asdict(message), {"transforms": [attrs.asdict(message)]}, data.draw(ODD)):
        for one in (value, [value]):
            frames = Frames()
            with contextlib.suppress(FramesError):
                frames.add(one)
            assert all(
                math.isfinite(x) for a in frames.names() for b in frames.names() for x in frames.lookup(a, b).motion
            )


def test_quaternions_are_normalised() -> None:
    """Text of few digits and float32 are off by a little."""
    frames = Frames()
    frames.add(edge("odom", "base", SECOND, turn=(0.0, 0.0, 0.7071, 0.7071)))
    motion = frames.lookup("odom", "base").motion
    assert math.hypot(*motion[3:]) == pytest.approx(1.0, abs=1e-15)
    assert motion[5] == pytest.approx(math.sqrt(0.5))


def test_integers_and_numpy_numbers_are_numbers() -> None:
    """JSON writes 1 for 1.0."""
    frames = Frames()
    frames.add(edge("odom", "base", SECOND, (1, np.float32(0.5), np.int64(2)), (0, 0, 0, 1)))
    motion = frames.lookup("odom", "base").motion
    assert motion == (1.0, 0.5, 2.0, 0.0, 0.0, 0.0, 1.0)
    assert set(map(type, motion)) == {float}


def test_transforms_of_a_bag_are_edges() -> None:
    """tf2's TFMessage, as dicts."""
    one = attrs.asdict(edge("odom", "base", SECOND, (1.0, 2.0, 3.0)))
    frames = Frames()
    frames.add({"transforms": [one, {"header": {"frame_id": "base"}, "child_frame_id": "laser"}]})
    assert frames.lookup("odom", "base", 1).motion[:3] == (1.0, 2.0, 3.0)
    assert frames.can_lookup("base", "laser", 0)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges are refused beyond a number, and with many samples in all histories get shorter, not longer."""
    monkeypatch.setattr(tree_module, "MOST_EDGES", 5)
    monkeypatch.setattr(tree_module, "MOST_SAMPLES", 100)
    frames = Frames(history=1e6)
    for at in range(1000):
        frames.add([stamped("map", f"f{n}", at=at) for n in range(5)])
        assert frames._tree.samples <= 100
    assert frames._tree.samples == sum(info.samples for info in frames.edges()) == 100
    assert all(len(edge._stamps) < 200 for edge in frames._tree.edges.values())
    with pytest.raises(FramesError, match="edge map → more is one too many: 5 are possible"):
        frames.add(stamped("map", "more", at=1))


def test_what_is_over_is_let_go() -> None:
    """A robot that runs for days keeps the last seconds."""
    frames = Frames(history=1.0)
    for at in range(20_000):
        frames.add(edge("odom", "base", at * SECOND // 100, (float(at), 0, 0)))
    (kept,) = frames._tree.edges.values()
    assert len(kept) == 101
    assert frames._tree.samples == 101
    assert len(kept._stamps) == len(kept._samples) < 101 * 2 + edge_module._SPARE
    assert frames.lookup("odom", "base", 199.25).translation.x == 19_925
    with pytest.raises(ExtrapolationError, match=r"holds 101 samples, 198\.990000 s to 199\.990000 s"):
        frames.lookup("odom", "base", 198.98)


def test_the_picture_shows_the_tree() -> None:
    """In alphabetical order, whatever the order of the edges."""
    frames = Frames()
    frames.add([stamped("base", "laser"), stamped("base", "camera")], static=True)
    frames.add([stamped("odom", "base", at=at / 10) for at in range(11)])
    frames.add(stamped("rig", "lamp", at=1))
    assert frames.picture().splitlines() == [
        "odom",
        "└─ base  10.0 Hz, newest 1.000 s",
        "   ├─ camera  static",
        "   └─ laser  static",
        "rig",
        "└─ lamp  one sample, newest 1.000 s",
    ]
    info = frames.edges()[0]
    assert (info.parent, info.child, info.static, info.samples, info.rate) == ("odom", "base", False, 11, 10.0)
    frames.clear()
    assert frames.picture() == ""


@pytest.mark.parametrize("history", [0, -1, math.nan, math.inf, 1e9, "10", None, True])
def test_a_history_is_a_number_of_seconds(history: Any) -> None:
    """Else it is an error that says so."""
    with pytest.raises(ConfigurationError, match="history="):
        Frames(history=history)


def test_the_first_argument_is_a_node() -> None:
    """`Frames(10.0)` was meant to be something else."""
    with pytest.raises(ConfigurationError, match=r"Frames\(10.0\): give the node"):
        Frames(10.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"rotation": (0, 0, 0, 1), "yaw": 1.0}, "give one of rotation, rpy and yaw"),
        ({"translation": (1, 2)}, "give 3 numbers"),
        ({"translation": "abc"}, "give 3 numbers"),
        ({"rotation": 3}, "give 4 numbers"),
        ({"rpy": (1, 2, "x")}, "give 3 numbers"),
        ({"rpy": (1, 2, math.nan)}, "is no unit quaternion"),
        ({"at": "now"}, "is no time"),
    ],
)
def test_numbers_that_make_no_transform_are_refused(arguments: dict[str, Any], said: str) -> None:
    """By the helper that makes messages, too."""
    with pytest.raises(FramesError, match=said):
        stamped("odom", "base", **arguments)


def test_roll_pitch_and_yaw_are_about_fixed_axes() -> None:
    """As in REP 103 and URDF."""
    from transforms3d.euler import euler2quat

    w, x, y, z = euler2quat(0.1, -0.2, 0.3, "sxyz")
    found = stamped("odom", "base", Vector3(1.0, 2.0, 3.0), rpy=(0.1, -0.2, 0.3), at=Time(1, 5)).transform
    turn = found.rotation
    assert (turn.x, turn.y, turn.z, turn.w) == pytest.approx((x, y, z, w), abs=1e-15)
    assert found.translation == Vector3(1.0, 2.0, 3.0)
    assert isinstance(stamped("odom", "base", rotation=Quaternion()), TransformStamped)


def test_what_is_answered_does_not_depend_on_hashes() -> None:
    """The same program, with other hash seeds, prints the same to the last bit."""
    script = """
from horus_async.frames import Frames, stamped
frames = Frames()
for n in range(50):
    frames.add(stamped(f"f{n // 3}", f"g{n}" if n % 3 else f"f{n + 1}", (n, 1, 2), rpy=(0.1 * n, 0.2, n), at=1))
print(frames.picture(), frames.names(), frames.edges())
for n in range(50):
    try:
        print(frames.lookup("f0", f"g{n}").motion)
    except LookupError as error:
        print(error)
"""
    shown = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "7")
    }
    assert len(shown) == 1
