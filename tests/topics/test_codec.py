"""Values to payloads and back."""

from __future__ import annotations

import collections
import contextlib
import datetime
import enum
import fractions
import json
import math
import sys
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import MessageDecodeError, ValueNotSupportedError
from horus_async.topics.codec import as_bytes, decode, encode, to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary(max_size=700)
HASHABLE = st.recursive(
    ATOMS.filter(lambda value: not isinstance(value, float) or not math.isnan(value)),
    lambda items: st.lists(items, max_size=3).map(tuple),
)
TIMES = st.datetimes() | st.datetimes(timezones=st.timezones()).map(
    lambda time: time.astimezone(datetime.timezone(time.utcoffset() or datetime.timedelta()))
)
VALUES = st.recursive(
    ATOMS | TIMES,
    lambda items: (
        st.lists(items, max_size=5)
        | st.lists(items, max_size=5).map(tuple)
        | st.dictionaries(TEXT | TEXT.map("${}".format), items, max_size=5)
        | st.dictionaries(HASHABLE, items, max_size=5)
    ),
    max_leaves=20,
)


def same(one: Any, other: Any) -> bool:
    """Equal and of the same type all the way down; NaN is itself, and -0.0 is not 0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, datetime.datetime):
        return bool(one == other and one.utcoffset() == other.utcoffset())
    return bool(one == other)


def there_and_back(value: Any) -> Any:
    """``value`` through the ring's form, after checking that its recorded form says the same."""
    payload = as_bytes(encode(value))
    text = to_json(payload)

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    assert b"\n" not in text
    assert orjson.dumps(orjson.loads(text)) == text
    json.loads(text, parse_constant=no_constant)
    back = decode(payload)
    assert same(back, decode(text))
    assert same(orjson.loads(to_json(encode(back))), orjson.loads(text))
    return back


@given(VALUES)
@settings(max_examples=400)
def test_values_come_back(value: Any) -> None:
    """Any value comes back equal and of the same type, from the ring and from a recorded line (J.1-51)."""
    assert same(there_and_back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        {"pose": {"x": 1.5, "y": [1, 2, {"z": None}]}, "ok": True, "n": 7, "name": "ärm"},
        {},
        [],
        (),
        {"a": ()},
        {"t": (1, (2, [3]))},
        {"nan": math.nan, "inf": [math.inf, -math.inf]},
        {"null": None, "x": 0.5},
        [None, 1.0],
        -0.0,
        2**63 - 1,
        2**63,
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**5000,
        -(10**5000),
        b"",
        b"\0\xff",
        b"x" * 5000,
        {"$bytes": "not bytes"},
        {"$type": "os.system", "value": {}},
        {"a": 1, "$b": 2},
        {"price": "$5"},
        {2: "a", "2": "b", None: 0, (1, 2): 3, 1.5: 4, True: 5},
        {"": ""},
        "null",
        "$",
        "\0\x7f\u2028",
        datetime.datetime(2026, 4, 24, 3, 17, 5, 123456),  # noqa: DTZ001 - a naive one is the point
        datetime.datetime(2026, 4, 24, tzinfo=datetime.UTC),
        datetime.datetime(1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=-5, seconds=30))),
        {"many": [b"a" * 600, b"b" * 601, b"c" * 607]},
    ],
    ids=lambda value: "huge" if type(value) is int and value.bit_length() > 99 else repr(value)[:30],
)
def test_chosen_values_come_back(value: Any) -> None:
    """What other codecs change comes back as it was: bytes, NaN, tuples, large ints and more (J.1-51)."""
    assert same(there_and_back(value), value)


def test_plain_json_is_itself() -> None:
    """What JSON can say is plain JSON text."""
    value = {"value": 1.25, "tick": 7, "on": True, "list": [1, "a", None]}

    assert encode(value) == orjson.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"ab", {"$bytes": "YWI="}),
        ((1, 2), {"$tuple": [1, 2]}),
        ({"x": math.nan}, {"x": {"$float": "nan"}}),
        ([-math.inf, math.inf], [{"$float": "-inf"}, {"$float": "inf"}]),
        (2**64, {"$int": "18446744073709551616"}),
        ({1: 2}, {"$dict": [[1, 2]]}),
        ({"$a": 1}, {"$dict": [["$a", 1]]}),
        (datetime.datetime(2026, 4, 24, tzinfo=datetime.UTC), {"$datetime": "2026-04-24T00:00:00+00:00"}),
        (b"\0" * 513, {"$bytes": "AAAA" * 171}),
        (
            np.array([[1.0, 2.0]]),
            {"$ndarray": {"dtype": "<f8", "shape": [1, 2], "data": "AAAAAAAA8D8AAAAAAAAAQA=="}},
        ),
        (np.int32(5), {"$ndarray": {"dtype": "<i4", "shape": [], "data": "BQAAAA==", "scalar": True}}),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_tags(value: Any, text: Any) -> None:
    """What JSON lacks is tagged in the form that recordings promise."""
    assert orjson.loads(to_json(encode(value))) == text


class Number(int):
    """A subclass of int."""


class Text(str):
    """A subclass of str."""

    __slots__ = ()


class Mode(enum.StrEnum):
    """Also a str."""

    ON = "on"


class Pair(tuple[int, ...]):
    """A subclass of tuple."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "place", "kind"),
    [
        ({"pose": [1, 2, 3, range(3)]}, "value['pose'][3] ", "range"),
        ([{"a": ({"b": object()},)}], "value[0]['a'][0]['b'] ", "object"),
        ({"id": fractions.Fraction(1, 3)}, "value['id'] ", "fractions.Fraction"),
        (slice(3), "value ", "slice"),
        ([Number(1)], "value[0] ", "Number, a subclass of int"),
        ({"s": Text("a")}, "value['s'] ", "Text, a subclass of str"),
        (collections.OrderedDict(a=1), "value ", "OrderedDict, a subclass of dict"),
        ({"p": Pair((1, 2))}, "value['p'] ", "Pair, a subclass of tuple"),
        ({"s": {1, range(3)}}, "value['s'] item range(0, 3) ", "range"),
        ({"a": "x\ud800"}, "value['a'] ", "lone surrogate"),
        ({"\ud800": 1}, "value key '\\ud800' ", "lone surrogate"),
        ({range(0): 1}, "value key range(0, 0) ", "range"),
        ({"f": orjson.Fragment(b"{")}, "value['f'] ", "Fragment"),
        ({"f": len}, "value['f'] ", "builtin_function_or_method"),
        ([np.ma.masked_array([1.0])], "value[0] ", "MaskedArray"),
        ([np.array([1, len], dtype=object)], "value[0].flat[1] ", "builtin"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_no_topic_can_carry(value: Any, place: str, kind: str) -> None:
    """A value that would be changed is refused, and the error names the type and where it is."""
    with pytest.raises(ValueNotSupportedError) as caught:
        encode(value)

    assert str(caught.value).startswith(place)
    assert kind in str(caught.value)


def test_values_that_hold_themselves() -> None:
    """A list or dict that holds itself is an error that says so, not a crash."""
    loop: list[Any] = [1]
    loop.append({"again": loop})

    with pytest.raises(
        ValueNotSupportedError, match=r"value\[1\]\['again'\] is not supported: a value that holds itself"
    ):
        encode(loop)


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: (value,), lambda value: {1: value}])
def test_values_nested_too_deeply(wrap: Any) -> None:
    """Nesting beyond what can be carried is an error, not a crash."""
    value: Any = 1
    for _ in range(100_000):
        value = wrap(value)

    with pytest.raises(ValueNotSupportedError, match="nested too deeply"):
        encode(value)
    while type(value) is not int:  # taken apart here: freeing it in one go would need as deep a stack
        value = next(iter(value.values())) if type(value) is dict else value[0]


@pytest.mark.parametrize("depth", [50, 200])
def test_deep_values_come_back(depth: int) -> None:
    """Nesting of hundreds of levels is carried, tagged or not."""
    value: Any = 1.5
    for _ in range(depth):
        value = [value]

    assert there_and_back(value) == value
    tagged: Any = math.inf
    for _ in range(depth // 4):
        tagged = (tagged,)
    assert there_and_back(tagged) == tagged


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_garbage(data: bytes) -> None:
    """Any bytes are a value or a MessageDecodeError, nothing else."""
    for payload in (data, b"\0\1" + data, b'{"$' + data):
        with contextlib.suppress(MessageDecodeError):
            decode(payload)


@given(st.data())
@settings(max_examples=400)
def test_damaged_payloads(data: st.DataObject) -> None:
    """A good payload with some bytes changed or cut off is a value or a MessageDecodeError, nothing else."""
    value = {
        "a": np.arange(6, dtype=">f4").reshape(2, 3),
        "b": np.array([(1, "x")], dtype=[("n", "i4"), ("o", "O")]),
        "c": (1, {2: math.nan}, 2**70, b"x" * 600, datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)),
        "d": np.float32(1),
    }
    payload = bytearray(as_bytes(encode(value)))
    for _ in range(data.draw(st.integers(0, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(payload[: data.draw(st.integers(0, len(payload)))])

    for read in (decode, to_json):
        with contextlib.suppress(MessageDecodeError):
            read(damaged)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0",
        b"\0\1" + bytes(14),
        b"[" * 5000,
        b'{"$tuple":' * 400 + b"1" + b"}" * 400,
        b'{"$tuple":5}',
        b'{"$bytes":"=="}',
        b'{"$bytes":0}',
        b'{"$bytes":null}',
        b'{"$float":"fast"}',
        b'{"$float":[]}',
        b'{"$int":"' + b"9" * 10_000 + b'"}',
        b'{"$dict":[[[],1]]}',
        b'{"$dict":[1]}',
        b'{"$dict":{"ab":1}}',
        b'{"$datetime":"yesterday"}',
        b'{"$type":"x"}',
        b'{"$ndarray":{}}',
        b'{"$ndarray":{"dtype":"<f8","shape":[1000000000000],"data":""}}',
        b'{"$ndarray":{"dtype":"<f8","shape":[-1],"data":""}}',
        b'{"$ndarray":{"dtype":"<f8","shape":[0.5],"data":""}}',
        b'{"$ndarray":{"dtype":"|O","shape":[1000000000000],"data":[]}}',
        b'{"$ndarray":{"dtype":"|O","shape":[1],"data":"AAAAAAAAAAA="}}',
        b'{"$ndarray":{"dtype":"f8,i4","shape":[0],"data":""}}',
        b'{"$ndarray":{"dtype":{"names":["a"],"formats":["<f8"],"offsets":[-8],"itemsize":8},"shape":[1],"data":"AAAAAAAAAAA="}}',
    ],
    ids=lambda payload: repr(payload[:50]),
)
def test_chosen_garbage(payload: bytes) -> None:
    """Payloads made to confuse are MessageDecodeErrors."""
    with pytest.raises(MessageDecodeError):
        decode(payload)


def test_json_text_is_a_payload() -> None:
    """Any JSON text may be published: the data of a recorded line, or what somebody typed."""
    typed = b'{"x": 1.5,\n "t": {"$tuple": [1, 2]}}'

    assert decode(typed) == {"x": 1.5, "t": (1, 2)}
    assert to_json(typed) == b'{"x":1.5,"t":{"$tuple":[1,2]}}'


def test_nothing_is_imported_because_a_message_says_so() -> None:
    """A class in a module that is not imported arrives as a dict with its type."""
    message = b'{"$type":"antigravity.Robot","value":{"x":1,"t":{"$tuple":[1]}}}'

    assert decode(message) == {"$type": "antigravity.Robot", "value": {"x": 1, "t": (1,)}}
    assert "antigravity" not in sys.modules


def test_large_buffers_are_not_copied_into_text() -> None:
    """Arrays and large bytes travel as they are, in parts that refer to the value."""
    image = np.arange(3_000_000, dtype=np.uint8)
    payload = encode({"image": image, "raw": b"x" * 100_000})

    assert isinstance(payload, list)
    assert sum(map(len, payload)) < 3_100_300
    assert any(isinstance(part, memoryview) and len(part) == image.nbytes for part in payload)
    assert np.shares_memory(image, np.frombuffer(payload[1], np.uint8))
