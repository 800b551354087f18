"""Lookups in random trees give what an independent library gives, and follow the laws of motions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from horus_async.errors import ExtrapolationError, FramesError
from horus_async.frames import Frames, RigidTransform, stamped
from horus_async.frames.arrays import between_many, compose_many, inverse_many
from horus_async.frames.rigid import between, compose, inverse
from horus_async.messages import Time

from .trees import SECOND, World, edge

TOLERANCE = 1e-8
"""Metres, over levers of a few; half of it is the oracle's, which takes the arc cosine of small angles."""
TODAY = 1_795_230_000 * SECOND + 123_456_789
"""Floats have steps of 238 ns here."""


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, Frames, Any]:
    """A tree of up to nine frames, each with up to five samples or a fixed place."""
    count = draw(st.integers(1, 8))
    parents = [draw(st.integers(0, child)) for child in range(count)]
    static = draw(st.lists(st.booleans(), min_size=count, max_size=count))
    begin = draw(st.sampled_from([0, TODAY]))
    times = st.lists(st.integers(0, 10 * SECOND), min_size=1, max_size=5, unique=True)
    stamps = [[begin + ns for ns in sorted(draw(times))] for _ in range(count)]
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    world = World(parents, static, stamps)
    world.fill(random)
    return world, world.frames(random), random


@given(made=worlds(), data=st.data())
@settings(deadline=None)
def test_lookups_are_those_of_another_library(made: Any, data: st.DataObject) -> None:
    """Any two frames at any time: the same matrix, or an error where an edge on the way holds nothing."""
    world, frames, _ = made
    known = st.integers(0, len(world.parents))
    target, source = data.draw(known), data.draw(known)
    every = sorted({ns for stamps in world.stamps for ns in stamps})
    ns = data.draw(st.sampled_from(every) | st.integers(every[0] - SECOND, every[-1] + SECOND))
    expected = world.between(target, source, ns)
    if expected is None:
        with pytest.raises(ExtrapolationError, match="nothing is guessed"):
            frames.lookup(f"f{target}", f"f{source}", Time.from_ns(ns))
        return

    found = frames.lookup(f"f{target}", f"f{source}", Time.from_ns(ns))

    assert (found.target, found.source, found.stamp_ns) == (f"f{target}", f"f{source}", ns)
    np.testing.assert_allclose(found.matrix(), expected, atol=TOLERANCE)
    points = np.array([[0.0, 0, 0], [1, 2, 3]])
    np.testing.assert_allclose(found.points(points), points @ expected[:3, :3].T + expected[:3, 3], atol=TOLERANCE)


@given(made=worlds(), data=st.data())
@settings(deadline=None)
def test_there_and_back_is_no_motion_and_chains_compose(made: Any, data: st.DataObject) -> None:
    """lookup(a, b) · lookup(b, a) = 1, and lookup(a, b) · lookup(b, c) = lookup(a, c)."""
    world, frames, _ = made
    known = st.integers(0, len(world.parents)).map("f{}".format)
    a, b, c = data.draw(known), data.draw(known), data.draw(known)
    ns = data.draw(st.sampled_from([ns for stamps in world.stamps for ns in stamps]))
    at = Time.from_ns(ns)
    assume(all(frames.can_lookup(one, other, at) for one, other in ((a, b), (b, c), (a, c))))

    there, back, on = frames.lookup(a, b, at), frames.lookup(b, a, at), frames.lookup(b, c, at)

    np.testing.assert_allclose((there @ back).matrix(), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(there.inverse().matrix(), back.matrix(), atol=1e-12)
    np.testing.assert_allclose((there @ on).matrix(), frames.lookup(a, c, at).matrix(), atol=1e-12)
    assert math.hypot(*there.motion[3:]) == pytest.approx(1.0, abs=1e-15)


@given(made=worlds(), data=st.data())
@settings(deadline=None)
def test_many_lookups_at_once_are_those_one_by_one(made: Any, data: st.DataObject) -> None:
    """The arrays give what the numbers give, and refuse what they refuse."""
    world, frames, _ = made
    known = st.integers(0, len(world.parents)).map("f{}".format)
    target, source = data.draw(known), data.draw(known)
    every = sorted({ns for stamps in world.stamps for ns in stamps})
    times = data.draw(st.lists(st.sampled_from(every) | st.integers(every[0], every[-1]), min_size=1, max_size=6))

    def matrix(motion: Any) -> Any:
        return RigidTransform(target, source, None, tuple(motion)).matrix()

    if not all(frames.can_lookup(target, source, Time.from_ns(ns)) for ns in times):
        with pytest.raises(ExtrapolationError):
            frames.lookups(target, source, np.array(times))
        return
    for ns, motion in zip(times, frames.lookups(target, source, np.array(times)), strict=True):
        expected = frames.lookup(target, source, Time.from_ns(ns)).matrix()
        np.testing.assert_allclose(matrix(motion), expected, atol=1e-9)


@given(seed=st.integers(0, 2**32), count=st.integers(1, 5), part=st.floats(0, 1), near=st.booleans())
def test_rows_of_motions_are_motions(seed: int, count: int, part: float, near: bool) -> None:
    """Each function for arrays is the one for numbers, row by row."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, count, 7))
    if near:
        b[:, 3:] = a[:, 3:] * random.choice([-1, 1]) + random.choice([0, 1e-9, 1e-7, 1e-6, 1e-5])
    for rows in (a, b):
        rows[:, 3:] /= np.linalg.norm(rows[:, 3:], axis=1, keepdims=True)
    rows_a, rows_b = ([tuple(row) for row in rows.tolist()] for rows in (a, b))

    np.testing.assert_allclose(compose_many(a, b), [*map(compose, rows_a, rows_b)], atol=1e-14)
    np.testing.assert_allclose(inverse_many(a), [*map(inverse, rows_a)], atol=1e-14)
    many = between_many(a, b, np.full(count, part))
    np.testing.assert_allclose(many, [between(*both, part) for both in zip(rows_a, rows_b, strict=True)], atol=1e-12)


@given(
    start=st.floats(-3, 3),
    turn=st.floats(-3.1, 3.1) | st.sampled_from([0.0, 1e-300, 1e-16, 1e-12, 1e-9, 1e-7, 3e-6, 1e-5, 1e-3]),
    part=st.floats(0, 1),
    flipped=st.booleans(),
)
def test_a_turn_is_even_and_takes_the_shorter_way(start: float, turn: float, part: float, flipped: bool) -> None:
    """About one axis the angle is in proportion, for angles of any size and either of a rotation's two quaternions."""
    side = -1.0 if flipped else 1.0

    def at(yaw: float, sign: float = 1.0) -> Any:
        return 0.0, 0.0, 0.0, 0.0, 0.0, sign * math.sin(yaw / 2), sign * math.cos(yaw / 2)

    found, expected = between(at(start), at(start + turn, side), part), at(start + part * turn)

    near = sum(one * other for one, other in zip(found[3:], expected[3:], strict=True))
    assert abs(near) == pytest.approx(1.0, abs=1e-14)
    sign = math.copysign(1.0, near)
    assert [sign * one for one in found] == pytest.approx(expected, abs=1e-14)


def frames_of(*edges: Any, **options: Any) -> Frames:
    """With these added."""
    found = Frames(**options)
    for one in edges:
        found.add(one)
    return found


def test_the_direction_is_that_of_tf2() -> None:
    """`lookup(target, source)` takes a point of the source into the target, and is where the source is in it."""
    frames = frames_of(stamped("map", "base", (10.0, 0.0, 0.0), yaw=math.pi / 2, at=0))
    frames.add(stamped("base", "laser", (0.5, 0.0, 0.2)), static=True)

    found = frames.lookup("map", "laser")

    np.testing.assert_allclose(found.points([2.0, 0.0, 0.0]), [10.0, 2.5, 0.2], atol=1e-15)
    message = found.stamped()
    assert (message.header.frame_id, message.child_frame_id) == ("map", "laser")
    assert (message.transform.translation.x, found.translation.y) == pytest.approx((10.0, 0.5))
    assert found.yaw == pytest.approx(math.pi / 2)


def test_a_child_may_come_before_its_parent() -> None:
    """Edges come late, in any order: what is not connected yet is when the one between has come."""
    frames = frames_of(stamped("base", "laser", at=1), stamped("map", "odom", at=1))
    with pytest.raises(FramesError, match="'laser' is under the root 'base', 'map' is a root"):
        frames.lookup("map", "laser")

    frames.add(stamped("odom", "base", (1.0, 0, 0), at=1))

    assert frames.lookup("map", "laser").translation.x == 1.0


def test_no_time_is_the_newest_that_all_have() -> None:
    """The slowest edge says when; static ones hold always."""
    frames = frames_of(*(stamped("map", "odom", at=at) for at in (1, 2, 3)))
    frames.add([stamped("odom", "base", (float(at), 0, 0), at=at / 2) for at in range(10)])
    frames.add(stamped("base", "laser"), static=True)

    assert frames.lookup("map", "laser").stamp_ns == 3 * SECOND
    assert frames.lookup("odom", "laser").stamp_ns == 9 * SECOND // 2
    assert frames.lookup("base", "laser").stamp_ns is None
    assert frames.lookup("laser", "laser").motion == (0, 0, 0, 0, 0, 0, 1)


def test_edges_without_a_time_in_common_are_named() -> None:
    """One ended before the other began."""
    frames = frames_of(stamped("map", "odom", at=1), stamped("odom", "base", at=1.5))
    with pytest.raises(
        ExtrapolationError, match=r"map → odom and odom → base have no time in common.*500\.000 ms"
    ) as found:
        frames.lookup("map", "base")
    assert found.value.gap == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("at", "gap", "said"),
    [
        (2.25, 0.25, r"at 2.250000 s: edge odom → base is 250.000 ms behind: its newest is of 2.000000 s; it holds 2"),
        (0.999, -0.001, r"edge odom → base begins 1.000 ms later: its oldest is of 1.000000 s"),
        (1000.0, 998.0, r"998.0 s behind"),
    ],
)
def test_nothing_is_guessed(at: float, gap: float, said: str) -> None:
    """Beyond the samples there is an error with the edge and the gap."""
    frames = frames_of(stamped("odom", "base", at=1), stamped("odom", "base", at=2))
    with pytest.raises(ExtrapolationError, match=said) as found:
        frames.lookup("odom", "base", at)
    assert found.value.gap == pytest.approx(gap)
    assert isinstance(found.value, LookupError)


def test_one_sample_holds_for_its_own_time() -> None:
    """As in tf2: from one sample nothing follows for other times."""
    frames = frames_of(stamped("odom", "base", at=1))
    assert frames.can_lookup("odom", "base", 1.0)
    assert not frames.can_lookup("odom", "base", 1.000001)
    assert not frames.can_lookup("odom", "base", 0.999999)


@given(ns=st.integers(0, 2 * TODAY))
def test_a_time_in_seconds_finds_the_sample_of_that_time(ns: int) -> None:
    """`now()` has steps of 238 ns today: one of them beyond the newest sample is still that sample."""
    frames = frames_of(edge("odom", "base", ns), history=1.0)

    assert frames.lookup("odom", "base", ns / 1e9).motion[6] == 1.0
    with pytest.raises(ExtrapolationError):
        frames.lookup("odom", "base", ns / 1e9 + max(1e-3, 2 * math.ulp(ns / 1e9)))
    with pytest.raises(ExtrapolationError):
        frames.lookup("odom", "base", Time.from_ns(ns + 1))


def test_a_fixed_frame_connects_two_times() -> None:
    """Where is now, seen from the robot, what it saw two seconds ago?"""
    frames = frames_of(*(stamped("odom", "base", (float(at), 0, 0), at=at) for at in (1, 2, 3)))

    found = frames.lookup("base", "base", 3.0, source_at=1.0, fixed="odom")

    np.testing.assert_allclose(found.points([5.0, 0, 0]), [3.0, 0, 0])
    with pytest.raises(FramesError, match="source_at needs fixed="):
        frames.lookup("base", "base", 3.0, source_at=1.0)


@pytest.mark.parametrize(
    ("at", "said"),
    [
        ("now", "at='now' is no time"),
        (True, "at=True is no time"),
        (math.nan, "at=nan is no time"),
        (math.inf, "at=inf is no time"),
        (1e300, r"at=1e\+300 is no time"),
        (TODAY, r"for nanoseconds give at=Time.from_ns\(1795230000123456789\)"),
        (Time("1", 2), "is no time"),  # type: ignore[arg-type]
        (Time(1 << 80, 2), "is no time"),
    ],
)
def test_what_is_no_time_is_refused(at: Any, said: str) -> None:
    """Named, with the way out; `can_lookup` and `wait` do not take it for "not yet"."""
    frames = frames_of(stamped("odom", "base", at=1))
    for ask in (frames.lookup, frames.can_lookup):
        with pytest.raises(FramesError, match=said):
            ask("odom", "base", at)


def test_an_unknown_frame_is_named_with_the_nearest() -> None:
    """In alphabetical order, and not hundreds of them."""
    frames = frames_of(*(stamped("map", f"f{n:02}", at=1) for n in range(30)), stamped("map", "laser", at=1))
    with pytest.raises(FramesError, match=r"no frame 'lasr'; known: f00, .*, f11 and 20 more; did you mean 'laser'\?"):
        frames.lookup("map", "lasr")
    with pytest.raises(FramesError, match="no frame 'map': no edge has come yet"):
        Frames().lookup("map", "laser")


@pytest.mark.parametrize("name", ["", None, 3, ["map"], "x" * 300, b"map"])
def test_what_is_no_name_is_refused(name: Any) -> None:
    """Also what cannot be a key of a dict."""
    frames = frames_of(stamped("odom", "base", at=1))
    with pytest.raises(FramesError, match="target"):
        frames.lookup(name, "base")
    with pytest.raises(FramesError, match="source"):
        frames.lookup("odom", name)


def test_the_slash_of_tf1_means_nothing() -> None:
    """`/map` is `map`, in edges and in questions."""
    frames = frames_of(edge("/map", "/base", SECOND, (1.0, 0, 0)))
    found = frames.lookup("/map", "base", 1)
    assert (found.target, found.source, found.translation.x) == ("map", "base", 1.0)
    assert frames.names() == ["base", "map"]


def test_motions_compose_only_where_they_meet() -> None:
    """A chain of the wrong frames is an error that names them."""
    frames = frames_of(stamped("map", "odom", at=1), stamped("odom", "base", at=1))
    one, other = frames.lookup("map", "odom"), frames.lookup("odom", "base")
    assert (one @ other).source == "base"
    with pytest.raises(FramesError, match="'odom' from 'base' cannot follow 'map' from 'odom'"):
        _ = other @ one
    with pytest.raises(TypeError):
        _ = one @ 3  # type: ignore[operator]
    assert RigidTransform.of(one.stamped()) == one
