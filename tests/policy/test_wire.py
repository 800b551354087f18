"""Observations and answers as MessagePack with NumPy arrays."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from horus_async.errors import PolicyError
from horus_async.policy import ObservationError
from horus_async.policy.model.wire import WireFormat, decoded, pack, unpack

DTYPES = st.one_of(
    arrays.boolean_dtypes(),
    arrays.integer_dtypes(endianness="?"),
    arrays.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    arrays.unicode_string_dtypes(),
    arrays.byte_string_dtypes(),
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
)
VALUES = st.recursive(
    st.one_of(PLAIN, ARRAYS), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)


def alike(first: Any, second: Any) -> bool:
    """Equal, arrays with their kinds and shapes."""
    if isinstance(first, numpy.ndarray):
        same = isinstance(second, numpy.ndarray) and (first.dtype, first.shape) == (second.dtype, second.shape)
        return same and first.tobytes() == second.tobytes()
    if isinstance(first, list):
        return len(first) == len(second) and all(map(alike, first, second))
    if isinstance(first, dict):
        return list(first) == list(second) and all(alike(first[key], second[key]) for key in first)
    return type(first) is type(second) and first == second


@given(VALUES)
def test_what_is_packed_comes_back(value: Any) -> None:
    """Whatever is nested in what."""
    assert alike(value, decoded(pack(value), WireFormat.MSGPACK))


@pytest.mark.parametrize("value", [numpy.float32(0.1), numpy.int64(-3), numpy.bool_(True)])
def test_scalars_keep_their_kind(value: Any) -> None:
    """They come back as NumPy's, not as Python's."""
    found = unpack(pack({"x": value}))["x"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("value", [numpy.zeros(2, object), numpy.zeros(2, complex), numpy.zeros(2, "i4,f4"), object()])
def test_what_cannot_travel_is_refused(value: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(PolicyError, match="has no MessagePack form"):
        pack({"x": value})


def array(**said: Any) -> bytes:
    """A body with one array, described as said."""
    whole = {"__ndarray__": True, "data": bytes(8), "dtype": "<f4", "shape": [2]}
    packed: bytes = msgpack.packb({name.encode(): value for name, value in (whole | said).items()})
    return packed


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgpack.packb(1) + b"\0",
        msgpack.packb([1, 2])[:-1],
        b"\x91" * 100_000,
        msgpack.packb({1: 2}),
        msgpack.packb(msgpack.ExtType(4, b"x")),
        array(dtype="O"),
        array(dtype="c8"),
        array(dtype="f4,f4"),
        array(dtype="V8"),
        array(dtype="nonsense"),
        array(dtype="U0", data=b""),
        array(dtype=None),
        array(dtype=["<f4"]),
        array(shape=[3]),
        array(shape=[1]),
        array(shape=[-1]),
        array(shape=[2.0]),
        array(shape=None),
        array(shape=[2**62, 2**62]),
        array(data="text"),
        array(data=None),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "<f4"}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "<i4", b"data": "a"}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "|O", b"data": 1}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "|S1", b"data": 20_000_000_000}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "<U1", b"data": 7}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "<i8", b"data": "9" * 4000}),
        msgpack.packb({b"__npgeneric__": True, b"dtype": "<M8[s]", b"data": "9" * 4000}),
        array(shape=[2**40, 0], data=b""),
        array(shape=[0, 2**31, 2**31], data=b""),
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdc\xff\xff" * 400,
    ],
)
def test_a_damaged_body_is_refused(body: bytes) -> None:
    """With an error of ours, whatever is wrong with it."""
    with pytest.raises(ObservationError):
        unpack(body)


def test_an_array_without_elements_keeps_its_shape() -> None:
    """Up to what its rows would be as lists."""
    assert unpack(array(shape=[4, 0, 2], data=b"")).shape == (4, 0, 2)


@given(st.binary())
def test_bytes_by_chance_are_refused_or_read(body: bytes) -> None:
    """Nothing else is raised."""
    with contextlib.suppress(ObservationError):
        unpack(body)
