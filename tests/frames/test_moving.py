"""Points, poses, scans and clouds in other frames."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import attrs
import numpy as np
import pytest
import transforms3d as t3
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import FramesError
from horus_async.frames import Frames, stamped
from horus_async.messages import (
    Header,
    LaserScan,
    Point,
    PointCloud,
    PointDatatype,
    PointField,
    Pose,
    PoseStamped,
    Quaternion,
    Time,
    Vector3,
)

from .test_edges import ODD
from .trees import SECOND

TURN = (0.3, -0.7, 2.1)
SHIFT = (1.0, -2.0, 0.5)


def placed(*, at: float = 1.0) -> Frames:
    """A laser on a map, somewhere."""
    frames = Frames()
    frames.add(stamped("map", "laser", SHIFT, rpy=TURN, at=at))
    return frames


MATRIX = t3.affines.compose(SHIFT, t3.euler.euler2mat(*TURN, "sxyz"), np.ones(3))


@given(shape=st.sampled_from([(3,), (5, 3), (2, 4, 3), (0, 3)]), kind=st.sampled_from(["f8", "f4", "i4", "u1", ">f4"]))
def test_arrays_of_points_keep_their_shape(shape: tuple[int, ...], kind: str) -> None:
    """The last axis is x, y, z; float32 stays float32, and what is given stays as it is."""
    points = (np.arange(math.prod(shape)) % 7).astype(kind).reshape(shape)
    before, moved = points.copy(), placed().lookup("map", "laser")

    found, turned = moved.points(points), moved.vectors(points)

    assert found.dtype == turned.dtype == (np.float32 if kind == "f4" else np.float64)
    tolerance = 1e-5 if kind == "f4" else 1e-13
    np.testing.assert_allclose(turned, points @ MATRIX[:3, :3].T, atol=tolerance)
    np.testing.assert_allclose(found, points @ MATRIX[:3, :3].T + MATRIX[:3, 3], atol=tolerance)
    np.testing.assert_array_equal(points, before)
    np.testing.assert_array_equal(moved.apply(points), found)


def test_messages_are_moved_as_what_they_are() -> None:
    """A point is shifted, a direction is not, and a pose is both placed and turned."""
    moved = placed().lookup("map", "laser")
    np.testing.assert_allclose(moved.matrix(), MATRIX, atol=1e-15)
    np.testing.assert_allclose(moved.inverse().matrix(), np.linalg.inv(MATRIX), atol=1e-15)

    point, vector = moved.apply(Point(1.0, 2.0, 3.0)), moved.apply(Vector3(1.0, 2.0, 3.0))
    turn = t3.euler.euler2quat(0.4, 0.5, 0.6, "sxyz")
    orientation = Quaternion(x=turn[1], y=turn[2], z=turn[3], w=turn[0])
    pose = moved.apply(Pose(Point(1.0, 2.0, 3.0), orientation))

    assert (point.x, point.y, point.z) == pytest.approx(tuple(MATRIX @ [1, 2, 3, 1])[:3], abs=1e-14)
    assert (vector.x, vector.y, vector.z) == pytest.approx(tuple(MATRIX @ [1, 2, 3, 0])[:3], abs=1e-14)
    assert pose.position == point
    found = pose.orientation
    np.testing.assert_allclose(
        t3.quaternions.quat2mat([found.w, found.x, found.y, found.z]),
        MATRIX[:3, :3] @ t3.quaternions.quat2mat(turn),
        atol=1e-14,
    )
    assert moved.apply(orientation) == found
    assert moved.pose() == Pose(Point(*moved.motion[:3]), moved.rotation)
    assert moved.apply((1, 2, 3)).tolist() == pytest.approx([point.x, point.y, point.z], abs=1e-14)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("abc", "a str cannot be taken from 'laser' into 'map'"),
        (LaserScan(), "a LaserScan cannot be taken"),
        ([1.0, 2.0], r"an array of shape \(2,\) holds no points"),
        (np.zeros((3, 4)), r"shape \(3, 4\)"),
        (np.float64(3), r"shape \(\)"),
        ([[1, 2, 3], [1, 2]], "different lengths"),
        (np.zeros((2, 3), complex), "complex128 holds no points"),
        (["a", "b", "c"], "holds no points"),
        (Point(math.nan, 0.0, 0.0), "is no position"),
        (Quaternion(0.0, 0.0, 0.0, 0.0), "no unit quaternion"),
        (Pose(Point("1", 0.0, 0.0)), "'1' is no number"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_moved_is_refused(value: Any, said: str) -> None:
    """By what it is."""
    with pytest.raises(FramesError, match=said):
        placed().lookup("map", "laser").apply(value)


def test_a_pose_goes_by_its_header() -> None:
    """Frame and time are the message's; a new one comes back."""
    frames = placed()
    frames.add(stamped("map", "laser", SHIFT, at=2.0))
    pose = PoseStamped(Header(Time(2), "laser"), Pose(Point(1.0, 0.0, 0.0)))

    found = frames.transform(pose, "map")

    assert found.header == Header(Time(2), "map")
    assert found.pose.position == Point(2.0, -2.0, 0.5)
    assert pose.header.frame_id == "laser"
    with pytest.raises(FramesError, match=r"1\.000 ms behind"):
        frames.transform(PoseStamped(Header(Time(2, 1_000_000), "laser")), "map")
    with pytest.raises(FramesError, match=r"a LaserScan cannot be taken.*scan_points\(scan, target\)"):
        frames.transform(LaserScan(), "map")
    with pytest.raises(FramesError, match="a Point cannot be taken"):
        frames.transform(Point(), "map")


def test_a_stamp_that_was_never_set_is_said_to_be_one() -> None:
    """The age of the universe of computers is no gap that anybody wants to read alone."""
    frames = placed(at=1_795_230_000.0)
    with pytest.raises(FramesError, match="a stamp of 0 was perhaps never set"):
        frames.transform(PoseStamped(Header(frame_id="laser")), "map")


def test_a_message_may_be_taken_to_another_time() -> None:
    """With the frame in which nothing moved meanwhile."""
    frames = Frames()
    frames.add([stamped("odom", "base", (float(at), 0, 0), at=at) for at in (1, 2, 3)])
    pose = PoseStamped(Header(Time(1), "base"), Pose(Point(5.0, 0.0, 0.0)))

    found = frames.transform(pose, "base", at=3.0, fixed="odom")

    assert (found.header, found.pose.position) == (Header(Time(3), "base"), Point(3.0, 0.0, 0.0))
    with pytest.raises(FramesError, match="give fixed="):
        frames.transform(pose, "base", at=3.0)
    moved = frames.transform(stamped("base", "cup", (1, 0, 0), at=2), "odom")
    assert (moved.header.frame_id, moved.child_frame_id, moved.transform.translation.x) == ("odom", "cup", 3.0)


def scan_of(ranges: Any, **fields: Any) -> LaserScan:
    """A scan of the laser, a ray each degree."""
    return LaserScan(
        header=Header(Time(1), "laser"),
        angle_increment=math.radians(1),
        range_min=0.1,
        range_max=30.0,
        ranges=ranges,
        **fields,
    )


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda ranges: np.array(ranges, np.float32)])
def test_a_scan_becomes_points(kind: Any) -> None:
    """Of the rays that hit something, in their order."""
    scan = scan_of(kind([1.0, math.nan, 2.0, math.inf, 0.05, 31.0, 3.0, -math.inf]), angle_min=0.5)
    expected = [
        [r * math.cos(a), r * math.sin(a), 0, 1]
        for r, a in ((1, 0.5), (2, 0.5 + math.radians(2)), (3, 0.5 + math.radians(6)))
    ]

    found = placed().scan_points(scan, "map")

    np.testing.assert_allclose(found, (np.array(expected) @ MATRIX.T)[:, :3], atol=1e-14)
    assert placed().scan_points(scan_of(kind([])), "map").shape == (0, 3)


def test_limits_that_were_never_set_are_none() -> None:
    """A scan whose range_max is 0 would have no points at all."""
    scan = attrs.evolve(scan_of([1.0, 100.0]), range_max=0.0, range_min=0.0)
    assert len(placed().scan_points(scan, "map")) == 2


@given(
    count=st.integers(1, 40),
    increment=st.floats(1e-4, 0.02) | st.floats(-0.02, -1e-4),
    to_base=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_each_ray_is_taken_from_where_the_sensor_was(count: int, increment: float, to_base: bool, seed: int) -> None:
    """A robot that moves and turns during the scan: as if each ray was looked up alone."""
    random = np.random.default_rng(seed)
    frames = Frames()
    for at in range(21):
        place, turn = random.normal(size=3).tolist(), random.normal(size=3).tolist()
        frames.add(stamped("odom", "base", place, rpy=turn, at=at / 10))
    frames.add(stamped("base", "laser", (0.2, 0, 0.1), yaw=0.3), static=True)
    scan = scan_of(random.uniform(0.2, 5.0, count), time_increment=increment)

    if to_base:
        found = frames.scan_points(scan, "base", at=1.25, fixed="odom")
    else:
        found = frames.scan_points(scan, "odom")

    for index, (point, reach) in enumerate(zip(found, scan.ranges, strict=True)):
        angle = index * scan.angle_increment
        when = Time.from_ns(SECOND + round(index * increment * SECOND))
        ray = frames.lookup("odom", "laser", when).points([reach * math.cos(angle), reach * math.sin(angle), 0.0])
        expected = frames.lookup("base", "odom", 1.25).points(ray) if to_base else ray
        np.testing.assert_allclose(point, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"ranges": [[1.0, 2.0]]}, "shape"),
        ({"ranges": ["a"]}, "no points"),
        ({"angle_min": math.nan}, "not finite"),
        ({"angle_increment": math.inf}, "not finite"),
        ({"time_increment": math.nan}, "time_increment=nan"),
        ({"time_increment": "ab"}, "'ab' is no number"),  # not to be repeated 10**9 times
        ({"time_increment": 1e9}, r"time_increment=1000000000\.0"),
        ({"time_increment": 1.0}, "behind"),
        ({"header": Header(Time(1), "lasr")}, "did you mean 'laser'"),
    ],
)
def test_a_scan_that_cannot_be_placed_is_refused(fields: dict[str, Any], said: str) -> None:
    """Named by its field, or by the edge that says nothing of a ray's time."""
    scan = attrs.evolve(scan_of([1.0, 2.0, 3.0]), **fields)
    with pytest.raises(FramesError, match=said):
        placed().scan_points(scan, "map")
    with pytest.raises(FramesError, match="give fixed="):
        placed().scan_points(scan_of([1.0]), "map", at=1.0)


def cloud_of(points: Any, kind: str, *, padding: int, rows: int, structured: bool, normals: bool) -> PointCloud:
    """A cloud of these points, a channel beside them, and bytes that mean nothing after points and rows."""
    names = ["x", "intensity", "y", "z", *(("normal_x", "normal_y", "normal_z") if normals else ())]
    dtype = np.dtype({
        "names": names,
        "formats": [kind if name != "intensity" else "u2" for name in names],
        "offsets": [3 + 10 * at for at in range(len(names))],
        "itemsize": 3 + 10 * len(names) + padding,
    })  # fmt: skip
    data = np.zeros(len(points), dtype)
    for axis, name in enumerate("xyz"):
        data[name] = points[:, axis]
        if normals:
            data[f"normal_{name}"] = points[:, axis]
    data["intensity"] = np.arange(len(points))
    width = len(points) // rows
    datatype = PointDatatype.FLOAT32 if kind.endswith("4") else PointDatatype.FLOAT64
    fields = [
        PointField(name, 3 + 10 * at, PointDatatype.UINT16 if name == "intensity" else datatype)
        for at, name in enumerate(names)
    ]
    row = data.itemsize * width
    raw: Any = data
    if not structured:
        raw = b"".join(data[at : at + width].tobytes() + b"row" for at in range(0, len(points), width))
        row += 3
    return PointCloud(Header(Time(1), "laser"), rows, width, fields, kind[0] == ">", data.itemsize, row, raw)


@given(
    kind=st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
    padding=st.integers(0, 5),
    rows=st.sampled_from([1, 2, 3]),
    structured=st.booleans(),
    normals=st.booleans(),
)
def test_a_cloud_is_moved_in_its_bytes(kind: str, padding: int, rows: int, structured: bool, normals: bool) -> None:
    """Any layout: only points and normals change, and the rest is what it was, byte by byte."""
    points = np.random.default_rng(3).normal(size=(6, 3))
    points[2] = np.nan
    expected = (np.c_[points, np.ones(6)] @ MATRIX.T)[:, :3]
    layout: Any = {"padding": padding, "rows": rows, "structured": structured, "normals": normals}
    cloud = cloud_of(points, kind, **layout)

    found = placed().transform(cloud, "map")

    wanted = cloud_of(expected, kind, **layout)
    assert attrs.evolve(found, data=b"", header=cloud.header) == attrs.evolve(cloud, data=b"")
    assert found.header == Header(Time(1), "map")
    assert type(found.data) is type(cloud.data)
    tolerance = 1e-5 if kind.endswith("4") else 1e-13

    def table(cloud: PointCloud) -> Any:
        raw = cloud.data if isinstance(cloud.data, bytes) else cloud.data.tobytes()
        flat = np.frombuffer(raw, np.uint8).reshape(rows, -1)[:, : cloud.width * cloud.point_step]
        names = {field.name: (kind if field.name != "intensity" else "u2", field.offset) for field in cloud.fields}
        return np.ascontiguousarray(flat).view(np.dtype({
            "names": [*names],
            "formats": [of for of, _ in names.values()],
            "offsets": [at for _, at in names.values()],
            "itemsize": cloud.point_step,
        })).reshape(-1)  # fmt: skip

    for name in ("x", "y", "z", "intensity"):
        np.testing.assert_allclose(table(found)[name], table(wanted)[name], atol=tolerance)
    if normals:
        np.testing.assert_allclose(table(found)["normal_y"], (points @ MATRIX[:3, :3].T)[:, 1], atol=tolerance)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"width": 7}, "does not fit its"),
        ({"width": -1}, "-1 is no number of bytes or points"),
        ({"height": 1 << 40}, "does not fit its"),
        ({"point_step": 1 << 60}, "does not fit its"),
        ({"data": b""}, "does not fit its 0 bytes"),
        ({"fields": []}, "without x, y and z"),
        ({"fields": [PointField(name, 0, PointDatatype.INT8) for name in "xyz"]}, "channel 'x' of a cloud is"),
        ({"fields": [PointField(name, 0, 99) for name in "xyz"]}, "channel 'x' of a cloud is 99"),  # type: ignore[arg-type]
        ({"fields": [PointField(name, 10_000) for name in "xyz"]}, "not within"),
        ({"fields": [PointField(name, -4) for name in "xyz"]}, "-4 is no number of bytes"),
    ],
)
def test_a_cloud_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    """Before a byte is touched that is not its own."""
    cloud = cloud_of(np.zeros((6, 3)), "<f4", padding=0, rows=1, structured=False, normals=False)
    with pytest.raises(FramesError, match=said):
        placed().transform(attrs.evolve(cloud, **fields), "map")


@given(data=st.data(), kind=st.sampled_from([LaserScan, PointCloud, PoseStamped]))
@settings(deadline=None)
def test_whatever_is_in_a_message_it_is_moved_or_refused(data: st.DataObject, kind: Any) -> None:
    """Fields of a message from another program hold anything: an error of ours, and no warning."""
    frames = Frames()
    frames.add(stamped("map", "laser", SHIFT, rpy=TURN), static=True)
    message: Any = PoseStamped(Header(Time(1), "laser"))
    if kind is LaserScan:
        message = scan_of([1.0, 2.0])
    elif kind is PointCloud:
        message = cloud_of(np.zeros((6, 3)), "<f4", padding=0, rows=1, structured=False, normals=True)
    names = [field.name for field in attrs.fields(kind)]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2)):
        setattr(message, name, data.draw(ODD | st.sampled_from([math.inf, 1e308, -1e308, [1e308] * 3, [math.inf]])))
    with contextlib.suppress(FramesError):
        if kind is LaserScan:
            assert np.isfinite(frames.scan_points(message, "map")).all()
        else:
            assert frames.transform(message, "map").header.frame_id == "map"


def test_points_that_are_none_stay_so() -> None:
    """NaN and infinite ones, without a warning."""
    found = (
        placed().lookup("map", "laser").points([[math.inf, 0, 0], [math.nan, 0, 0], [1e308, 1e308, 1e308], [0, 0, 0]])
    )
    assert not np.isfinite(found[:2]).all(axis=1).any()
    assert found[3].tolist() == list(SHIFT)


def test_an_empty_cloud_stays_empty() -> None:
    """It is no error to see nothing."""
    cloud = cloud_of(np.zeros((6, 3)), "<f4", padding=0, rows=1, structured=False, normals=False)
    found = placed().transform(attrs.evolve(cloud, width=0, row_step=0, data=b""), "map")
    assert (found.data, found.header.frame_id) == (b"", "map")
