"""Messages that fit their ROS 2 types, in all forms that Python has for numbers, and as rosbags has them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from horus_async import messages
from horus_async.encodings.ros_types import CLASSES, TRANSFORMS, definition
from horus_async.encodings.shapes import Data, Edges, Fields, Filler, Items, Number, Row, Shape, Text, shape_of

KINDS = {name: getattr(messages, name) for name in CLASSES}
RANGES = {"b": (-128, 127), "B": (0, 255), "H": (0, 2**16 - 1), "i": (-(2**31), 2**31 - 1), "I": (0, 2**32 - 1)}
FLOATS = st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False) | st.just(math.nan)
"""With the usual NaN only: the text of recordings has no other."""
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def store() -> Any:
    """The types of rosbags, made from our definitions."""
    found = get_typestore(Stores.EMPTY)
    types: dict[str, Any] = {}
    for name in {*CLASSES.values(), TRANSFORMS}:
        types.update(get_types_from_msg(definition(name), name))
    found.register(types)
    return found


STORE = store()


def fitting(kind: type) -> st.SearchStrategy[Any]:
    """Any message of a class that fits its ROS 2 type."""
    return of_shape(shape_of(kind))


def of_shape(shape: Shape) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - a case for each shape
    """Any value of a part of a message."""
    match shape:
        case Number(code="?"):
            return st.booleans()
        case Number(code="f" | "d"):
            return FLOATS | st.integers(-9, 9)
        case Number(code=code, choice=choice):
            is_byte = choice is messages.DiagnosticLevel  # unsigned to ROS, signed to rosbags
            numbers = st.integers(*RANGES[code] if not is_byte else (0, 127))
            return numbers if choice is None else st.sampled_from(choice) | numbers
        case Text():
            return TEXT
        case Data():
            return st.binary(max_size=40) | st.sampled_from(PIXELS).flatmap(
                lambda dtype: st_numpy.arrays(dtype, SHAPES)
            )
        case Row():
            return _rows(shape)
        case Items(of=of):
            return st.lists(of_shape(of), max_size=3) | st.tuples(of_shape(of))
        case Edges(of=of):
            return of_shape(of) | st.lists(of_shape(of), max_size=3)
        case Fields():
            return st.builds(shape.kind, **{name: of_shape(part) for name, part in shape.parts if name})
    raise AssertionError(shape)


PIXELS: list[np.dtype[Any]] = [np.dtype(np.uint8), np.dtype(np.float32), np.dtype([("x", "<f4"), ("i", "|u1")])]
SHAPES = st_numpy.array_shapes(max_dims=3, max_side=3, min_side=0)


def _rows(shape: Row) -> st.SearchStrategy[Any]:
    least, most = (0, 5) if shape.count is None else (shape.count, shape.count)
    plain = st.integers(-128, 127) if shape.code == "b" else FLOATS | st.integers(-9, 9)
    lists = st.lists(plain, min_size=least, max_size=most)
    own = st_numpy.arrays(np.dtype(shape.dtype), SHAPES if shape.count is None else shape.count)
    kinds = ["i1"] if shape.code == "b" else ["f8", "f4", "f2", "i4", "u1", ">f8"]
    fixed = [] if shape.count is None else [(shape.count,), (shape.count // 3, 3), (1, shape.count)]
    shapes: st.SearchStrategy[tuple[int, ...]] = st.sampled_from(fixed) if fixed else SHAPES
    others = st.sampled_from(kinds).flatmap(lambda kind: st_numpy.arrays(np.dtype(kind), shapes))
    return lists | lists.map(tuple) | own | others


def as_ros(shape: Shape, value: Any) -> Any:  # noqa: C901, PLR0911 - a case for each shape
    """The object of rosbags that says the same; written without a look at how we do it."""
    match shape:
        case Number(code="f"):
            with np.errstate(over="ignore"):
                return float(np.float32(value))
        case Number(code="d"):
            return float(value)
        case Number():
            return int(value) if shape.code != "?" else bool(value)
        case Text():
            return value
        case Data():
            return np.frombuffer(value if isinstance(value, bytes) else value.tobytes(), np.uint8)
        case Row():
            with np.errstate(all="ignore"):
                return np.asarray(value).reshape(-1).astype(shape.dtype)
        case Items(of=of):
            return [as_ros(of, item) for item in value]
        case Edges(of=of):
            edges = value if isinstance(value, list) else [value]
            return STORE.types[TRANSFORMS](transforms=[as_ros(of, edge) for edge in edges])
        case Fields(kind=kind) if kind is messages.CmdVel:
            vector, twist = STORE.types["geometry_msgs/msg/Vector3"], STORE.types["geometry_msgs/msg/Twist"]
            return twist(vector(float(value.linear), 0.0, 0.0), vector(0.0, 0.0, float(value.angular)))
        case Fields(parts=parts, kind=kind):
            ros = STORE.types[CLASSES[kind.__name__]]
            return ros(**{field: as_ros(part, getattr(value, field)) for field, part in parts})
        case Filler():
            pass
    raise AssertionError(shape)
