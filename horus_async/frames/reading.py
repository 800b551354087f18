"""What comes from outside made into names, times and motions, or refused with what is wrong about it."""

from __future__ import annotations

from contextlib import contextmanager
from math import isfinite, sqrt, ulp
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, NamedTuple, Never

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import FramesError
from horus_async.messages import Header, Quaternion, Time, Transform, TransformStamped, Vector3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from .rigid import Motion

LONGEST_NAME = 255
"""Characters of a frame's name."""
FARTHEST = 1e12
"""Metres. What is farther away than the planets is a mistake, and would end in infinities."""
LAST_NS = 1 << 62
"""Nanoseconds, in either direction: more is no time."""
OFF_UNIT = 0.01
"""A quaternion's length may differ so much from 1, as float32 and rounded text do; it is normalised."""


class Read(NamedTuple):
    """An edge as it came."""

    parent: str
    child: str
    ns: int
    motion: Motion


def frame_name(name: Any, what: str = "a frame's name") -> str:
    """A frame's name, without the ``/`` that tf1 wrote before it.

    Raises:
        FramesError: It is no text, empty or too long.
    """
    if not isinstance(name, str):
        raise FramesError(f"{what} is {name!r:.60}; give a text such as 'base_link'")
    found: str = name.removeprefix("/")
    if not found:
        raise FramesError(f"{what} is empty; give one such as 'base_link'")
    if len(found) > LONGEST_NAME:
        raise FramesError(f"{what} has {len(found)} characters, '{found[:40]}…'; up to {LONGEST_NAME} are possible")
    return found


def read(stamped: Any) -> Read:
    """The edge in a `TransformStamped`, or in a dict with its fields.

    Raises:
        FramesError: It is neither, or has an empty name, a frame that is its own parent, or numbers that are no rigid
            motion.
    """
    if type(stamped) is dict:
        stamped = _from_dict(stamped)
    elif not isinstance(stamped, TransformStamped):
        if isinstance(stamped, Transform):
            raise FramesError(
                "a Transform alone does not say between which frames: send a TransformStamped, or stamped(…)"
            )
        raise FramesError(f"{type(stamped).__name__} {stamped!r:.40} is no TransformStamped, nor a list of them")
    try:
        header, transform = stamped.header, stamped.transform
        given = header.frame_id, stamped.child_frame_id, header.stamp, transform.translation, transform.rotation
    except AttributeError as error:  # fields of a message from outside hold anything
        raise FramesError(f"a TransformStamped with a field that is none: {error}") from None
    parent = frame_name(given[0], "header.frame_id, the parent's name,")
    child = frame_name(given[1], "child_frame_id")
    if parent == child:
        raise FramesError(f"frame {child!r} cannot be its own parent")
    try:
        return Read(parent, child, nanoseconds(given[2]), motion_of(given[3], given[4]))
    except FramesError as error:
        raise FramesError(f"edge {parent} → {child}: {error}") from None


def all_in(value: Any) -> Iterator[Any]:
    """What may be edges in a message: itself, each of a list, or ``transforms`` as in tf2's TFMessage."""
    if type(value) is dict and "transforms" in value:
        value = value["transforms"]
    if isinstance(value, (list, tuple)):
        yield from value
    else:
        yield value


def motion_of(position: Any, rotation: Any) -> Motion:
    """The numbers of a position (x, y, z) and a quaternion (x, y, z, w), which is normalised.

    Raises:
        FramesError: They are no finite numbers, or no rotation.
    """
    try:
        x, y, z = position.x, position.y, position.z
        i, j, k, w = rotation.x, rotation.y, rotation.z, rotation.w
    except AttributeError as error:
        raise FramesError(f"a position or rotation without its fields: {error}") from None
    if not (type(x) is type(y) is type(z) is type(i) is type(j) is type(k) is type(w) is float):
        x, y, z, i, j, k, w = (number(value) for value in (x, y, z, i, j, k, w))
    length = i * i + j * j + k * k + w * w
    if not (-FARTHEST <= x <= FARTHEST and -FARTHEST <= y <= FARTHEST and -FARTHEST <= z <= FARTHEST):
        raise FramesError(f"translation ({x}, {y}, {z}) is no position: give metres, finite and below {FARTHEST:g}")
    if -1e-15 < length - 1.0 < 1e-15:
        return x, y, z, i, j, k, w
    length = sqrt(length) if isfinite(length) else length
    if not -OFF_UNIT <= length - 1.0 <= OFF_UNIT:
        way_out = "; no rotation is (0, 0, 0, 1)" if length == 0 else ""
        raise FramesError(
            f"rotation ({i}, {j}, {k}, {w}) is no unit quaternion x, y, z, w: its length is {length:.6g}{way_out}"
        )
    return x, y, z, i / length, j / length, k / length, w / length


def numbers_of(rows: Any) -> NDArray[Any]:
    """An array of real numbers.

    Raises:
        FramesError: It cannot be made one.
    """
    import numpy as np

    try:
        found = np.asarray(rows)
    except ValueError:
        raise FramesError("rows of different lengths are no points: give x, y, z for each") from None
    if found.dtype.kind not in "fiu":
        raise FramesError(f"an array of {found.dtype} holds no points: give numbers")
    return found


@contextmanager
def sense(message: Any) -> Iterator[None]:
    """What fails meanwhile is a message whose fields hold something else than its class says, as one from outside may.

    Raises:
        FramesError: It failed.
    """
    try:
        yield
    except (AttributeError, OverflowError, TypeError, ValueError) as error:
        raise FramesError(f"this {type(message).__name__} makes no sense: {error}") from error


def nanoseconds(stamp: Any) -> int:
    """A message's time in nanoseconds.

    Raises:
        FramesError: It is none.
    """
    if isinstance(stamp, Time) and type(stamp.sec) is type(stamp.nanosec) is int:
        ns = stamp.sec * NANOSECONDS + stamp.nanosec
        if -LAST_NS < ns < LAST_NS:
            return ns
    raise FramesError(f"stamp {stamp!r:.80} is no time: give Time(sec, nanosec), such as Time.from_ns(now_ns())")


def time_of(at: Any) -> tuple[int, int]:
    """The time asked for, ns, and how finely the question could name it: a float of today has steps of 238 ns.

    Raises:
        FramesError: It is no time.
    """
    if isinstance(at, Time):
        return nanoseconds(at), 0
    if type(at) is not float:
        if isinstance(at, Integral) and not isinstance(at, bool):
            return _whole_seconds(int(at)), 0
        at = float(at) if isinstance(at, Real) and not isinstance(at, bool) else _no_time(at)
    if not abs(at) < LAST_NS / NANOSECONDS:
        _no_time(at)
    return round(at * NANOSECONDS), int(ulp(at) * NANOSECONDS) + 1


def _whole_seconds(at: int) -> int:
    if abs(at) >= LAST_NS // NANOSECONDS:
        raise FramesError(f"at={at} are too many seconds; for nanoseconds give at=Time.from_ns({at})")
    return at * NANOSECONDS


def _no_time(at: Any) -> Never:
    raise FramesError(f"at={at!r:.60} is no time: give seconds as now() does, a Time such as header.stamp, or None")


def number(value: Any) -> float:
    """A real number.

    Raises:
        FramesError: It is none.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise FramesError(f"{value!r:.40} is no number")


def counts(*values: Any) -> None:
    """See whether these are whole numbers from 0 on.

    Raises:
        FramesError: One is not.
    """
    for value in values:
        if type(value) is bool or not isinstance(value, Integral) or int(value) < 0:
            raise FramesError(f"{value!r:.40} is no number of bytes or points")


def _from_dict(value: dict[str, Any]) -> TransformStamped:
    """From the fields, as bags and JSON have them; what is missing has the default that the class has."""

    def part(of: dict[str, Any], name: str) -> dict[str, Any]:
        found = of.get(name, {})
        if type(found) is not dict:
            raise FramesError(f"{name}={found!r:.40} of a transform is no dict of its fields")
        return found

    if "child_frame_id" not in value:
        raise FramesError(f"{value!r:.60} is no transform: it has no child_frame_id")
    header, transform = part(value, "header"), part(value, "transform")
    stamp, shift, turn = part(header, "stamp"), part(transform, "translation"), part(transform, "rotation")
    time = Time(stamp.get("sec", 0), stamp.get("nanosec", 0))
    at, turned = (shift.get(axis, 0.0) for axis in "xyz"), (turn.get(axis, float(axis == "w")) for axis in "xyzw")
    moved = Transform(Vector3(*at), Quaternion(*turned))
    return TransformStamped(Header(time, header.get("frame_id", "")), value["child_frame_id"], moved)
