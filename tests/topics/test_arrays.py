"""NumPy arrays and scalars in messages."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from horus_async.errors import MessageDecodeError, ValueNotSupportedError
from horus_async.topics.codec import as_bytes, decode, encode, to_json

DTYPES = (
    hnp.scalar_dtypes()
    | hnp.unicode_string_dtypes()
    | hnp.byte_string_dtypes()
    | hnp.array_dtypes(allow_subarrays=True)
)


def both_ways(value: Any) -> list[Any]:
    """The value out of the ring, and out of a recorded line."""
    payload = as_bytes(encode(value))
    return [decode(payload), decode(to_json(payload))]


def assert_same_array(back: Any, array: np.ndarray[Any, Any]) -> None:
    """Equal dtype, shape and bytes; writable and independent."""
    assert type(back) is np.ndarray
    assert back.dtype == array.dtype
    assert back.dtype.isalignedstruct == array.dtype.isalignedstruct
    assert back.shape == array.shape
    assert back.flags.writeable
    assert back.flags.owndata
    fields = array.dtype.fields
    if array.dtype.hasobject:
        assert back.tolist() == array.tolist()
    elif fields is not None and array.dtype.itemsize > sum(field[0].itemsize for field in fields.values()):
        assert repr(back.tolist()) == repr(array.tolist())  # NumPy leaves the padding of a copy undefined
    else:
        assert back.tobytes() == array.tobytes()


@given(st.data())
@settings(max_examples=300)
def test_arrays_of_any_dtype_and_shape_come_back(data: st.DataObject) -> None:
    """An array of any dtype, byte order and shape comes back bit for bit (J.1-51)."""
    dtype = data.draw(DTYPES)
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    array = data.draw(hnp.arrays(dtype, shape))

    for back in both_ways({"array": array}):
        assert_same_array(back["array"], array)


@given(st.data())
@settings(max_examples=300)
def test_scalars_come_back(data: st.DataObject) -> None:
    """A NumPy scalar comes back as a scalar of the same type (J.1-51)."""
    value = data.draw(hnp.arrays(data.draw(hnp.scalar_dtypes()), ()))[()]

    for back in both_ways([value]):
        assert type(back[0]) is type(value)
        assert back[0].dtype == value.dtype
        assert back[0].tobytes() == value.tobytes()


CHOSEN = {
    "non-contiguous": np.arange(24).reshape(4, 6)[::2, ::-3],
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "broadcast": np.broadcast_to(np.int16(7), (3, 4)),
    "read-only": np.frombuffer(b"12345678", "<u4"),
    "0-d": np.array(5.5),
    "0-d object": np.array({"a": 1}, dtype=object),
    "zero size": np.zeros((3, 0, 2), "f4"),
    "big endian": np.arange(3, dtype=">i8"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "half": np.array([1.5], "f2"),
    "long double": np.array([1.5], np.longdouble),
    "long long": np.array([1], np.longlong),
    "datetime64": np.array(["2026-04-24T03:17:05", "NaT"], "M8[ns]"),
    "datetime64 of 25 s": np.array([3], "M8[25s]"),
    "timedelta64": np.array([3, -4], "m8[us]"),
    "timedelta64 of 7 days": np.array([3], "m8[7D]"),
    "unicode": np.array(["ä", "bcd"]),
    "big-endian unicode": np.array(["ä", "bcd"], ">U3"),
    "bytes": np.array([b"a", b"bcd"]),
    "void": np.array([b"ab"], "V2"),
    "NaN payload": np.array([0x7FF8000000000001], "u8").view("f8"),
    "structured": np.array([(1, 2.5)], [("a", "<i4"), ("b", ">f8")]),
    "nested": np.zeros(2, [("p", [("x", "f4"), ("y", "f4")]), ("m", "i2", (2, 3))]),
    "aligned": np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True)),
    "padded": np.zeros(2, np.dtype({"names": ["a"], "formats": ["i2"], "offsets": [5], "itemsize": 16})),
    "overlapping": np.zeros(2, np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 0]})),
    "titled": np.zeros(2, np.dtype({"names": ["a"], "formats": ["i2"], "titles": ["first"]})),
    "objects": np.array([None, 1, "a", (1, 2), b"x", {"k": [1]}], dtype=object),
    "lists as objects": np.array([[1, 2], None, [3]], dtype=object),
    "structured with objects": np.array([(1, {"a": (2,)}), (3, None)], [("n", "i4"), ("o", "O")]),
    "no fields": np.zeros(2, np.dtype([])),
    "strings": np.array(["ä", ""], np.dtypes.StringDType()) if hasattr(np.dtypes, "StringDType") else np.array([]),
}


@pytest.mark.parametrize("array", CHOSEN.values(), ids=CHOSEN)
def test_chosen_arrays_come_back(array: np.ndarray[Any, Any]) -> None:
    """Layouts that trip others come back equal, writable and owning their memory (J.1-51)."""
    for back in both_ways({"a": array, "b": [array]}):
        assert_same_array(back["a"], array)
        assert_same_array(back["b"][0], array)


@pytest.mark.parametrize(
    "value",
    [
        np.float64("nan"),
        np.bool_(True),
        np.str_("ä\0"),
        np.str_(""),
        np.bytes_(b"a\0\0"),
        np.bytes_(b""),
        np.datetime64("2026-04-24", "D"),
        np.timedelta64(5, "ms"),
        np.longlong(5),
        np.ulonglong(5),
        np.longdouble(1.5),
        np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")])[0],
        np.array([(1, {"x": 1})], [("a", "i4"), ("b", "O")])[0],
        np.void(b"abc"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_chosen_scalars_come_back(value: Any) -> None:
    """Scalars that NumPy itself mixes up come back as what they were (J.1-51)."""
    for back in both_ways({"s": value}):
        assert type(back["s"]) is type(value)
        assert back["s"].dtype == value.dtype
        assert repr(back["s"]) == repr(value)


def test_a_decoded_array_is_independent() -> None:
    """Two decodings of one payload share nothing with each other or with the payload."""
    payload = as_bytes(encode(np.zeros(4)))
    one, other = decode(payload), decode(payload)

    one[:] = 7

    assert other.tolist() == [0, 0, 0, 0]
    assert decode(payload).tolist() == [0, 0, 0, 0]


PADDED = {
    "between": np.dtype([("a", "i1"), ("b", "f8")], align=True),
    "around": np.dtype({"names": ["a"], "formats": ["i2"], "offsets": [5], "itemsize": 16}),
    "nested": np.dtype([("n", "i2"), ("p", np.dtype([("x", "i1"), ("y", "i4")], align=True), (2,))]),
    "no fields": np.dtype({"names": [], "formats": [], "itemsize": 8}),
}


@pytest.mark.parametrize("dtype", PADDED.values(), ids=PADDED)
def test_padding_is_always_zero(dtype: Any) -> None:
    """What lies between fields is undefined memory, and not sent: the same values have the same bytes in each run."""
    texts = set()
    for junk in (b"\x00", b"\xa5"):
        array = np.frombuffer(bytearray(junk * dtype.itemsize * 6), dtype).reshape(2, 3)
        fill(array)
        for value in (array, array[::-1, ::-1], array[0, 0]):
            texts.add((value.shape, to_json(encode({"a": value}))))
            assert repr(decode(as_bytes(encode(value))).tolist()) == repr(value.tolist())
    assert len(texts) == 2


def fill(array: np.ndarray[Any, Any]) -> None:
    """Ones in all fields."""
    for name in array.dtype.names or ():
        fill(array[name])
    if array.dtype.names is None:
        array[...] = 1


def test_an_array_without_padding_is_not_copied() -> None:
    """What is sent is the array's own memory, structured ones and those in other byte orders included."""
    packed = np.zeros(3, [("a", "<i4"), ("b", ">f8"), ("c", [("d", "i1"), ("e", "i2", (2,))])])
    for array in (np.arange(9.0), np.arange(6, dtype=">i2").reshape(2, 3), packed, np.zeros(4, "M8[ns]")):
        assert np.shares_memory(np.frombuffer(encode(array)[1], np.uint8), array)  # type: ignore[arg-type]


def test_arrays_do_not_travel_as_text() -> None:
    """Also a small array is raw bytes in the payload."""
    payload = as_bytes(encode({"xy": np.array([1.0, 2.0])}))

    assert np.array([1.0, 2.0]).tobytes() in payload


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.ma.masked_array([1]), "MaskedArray"),
        (np.rec.array([(1,)], dtype=[("a", "i4")]), "recarray"),
        (np.array([object()], dtype=object), "object"),
    ],
    ids=["masked", "record", "objects"],
)
def test_arrays_that_would_come_back_as_something_else(array: Any, reason: str) -> None:
    """A subclass of ndarray, or one of objects that cannot be carried, is refused."""
    with pytest.raises(ValueNotSupportedError, match=reason):
        encode({"a": array})


def test_a_large_shape_does_not_take_memory() -> None:
    """A message that claims a huge array without its data is an error, before memory is taken for it."""
    fields = {"dtype": "<f8", "shape": [1 << 40], "data": "AAAAAAAAAAA="}

    with pytest.raises(MessageDecodeError, match="1099511627776 elements"):
        decode(orjson.dumps({"$ndarray": fields}))


@pytest.mark.parametrize("raw", [False, True])
def test_without_numpy_arrays_stay_dicts(raw: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NumPy is not installed an array arrives as the dict that a recording holds."""
    payload = as_bytes(encode({"a": np.array([1, 2], "<u1")}))
    message = payload if raw else to_json(payload)
    monkeypatch.setitem(sys.modules, "numpy", None)

    assert decode(message) == {"a": {"$ndarray": {"dtype": "|u1", "shape": [2], "data": "AQI="}}}


def test_numpy_is_not_imported_for_nothing() -> None:
    """Sending and receiving values without arrays does not import NumPy."""
    program = (
        "import sys; from horus_async.topics.codec import encode, decode\n"
        "decode(encode({'a': (1, b'x', 1e400)}))\n"
        "try: encode({1, 2})\n"
        "except TypeError: pass\n"
        "assert 'numpy' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
