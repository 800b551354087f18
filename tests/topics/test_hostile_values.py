"""Values that were made to do harm: keys that collide, endless nesting, text that is none; refused on both sides."""

from __future__ import annotations

import contextlib
import math
from decimal import Decimal
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from uuid import UUID

import attrs
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import MessageDecodeError, ValueNotSupportedError
from horus_async.topics.codec import as_bytes, codec, decode, decoding, encode, to_json
from horus_async.topics.codec.binary import assembled
from horus_async.topics.codec.plain import LEVELS
from horus_async.topics.values.keys import MOST_ALIKE
from horus_async.value_diff import same

if TYPE_CHECKING:
    from collections.abc import Callable

P = 2**61 - 1
"""Python takes numbers modulo this for their hash."""


@attrs.frozen
class Key:
    """Its hash is that of its fields."""

    a: int
    b: str = ""


@attrs.define
class Word:
    """Text and a table."""

    text: str = ""
    table: Any = None


# Keys

ALIKE: list[Callable[[int], Any]] = [
    lambda n: n * P,
    lambda n: -n * P - 1,
    lambda n: (n * P, 1.5),
    lambda n: ((n * P,), None),
    lambda n: Decimal(n * P),
    lambda n: UUID(int=n * P),
    lambda n: complex(0.0, 0.0) if n == 0 else frozenset({n * P}),
    lambda n: Key(n * P, "x"),
]


@pytest.mark.parametrize("make", ALIKE)
@pytest.mark.parametrize("into", [dict.fromkeys, set, frozenset, lambda keys: {"a": [dict.fromkeys(keys, 1)]}])
def test_keys_of_one_hash_are_refused(make: Callable[[int], Any], into: Callable[[Any], Any]) -> None:
    """A few may have one, as happens; a row of them would take time that grows with the square of their number."""
    keys = [make(n) for n in range(1, MOST_ALIKE + 1)]
    few = into(keys)
    assert decode(as_bytes(encode(few))) == decode(to_json(encode(few))) == few

    with pytest.raises(ValueNotSupportedError, match="keys that have the same hash"):
        encode(into([*keys, make(MOST_ALIKE + 1)]))


def test_whoever_sends_them_is_refused_before_they_are_compared() -> None:
    """A hundred thousand: comparing each with each would take minutes."""
    count = 0

    class Counting(int):
        __hash__ = int.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal count
            count += 1
            return int(self) == other

    from horus_async.topics.values import keys

    many = [Counting(n * P) for n in range(100_000)]
    with pytest.raises(ValueError, match="100000 keys that have the same hash"):
        keys.as_dict(many, many)
    with pytest.raises(ValueError, match="100000 keys that have the same hash"):
        keys.as_set(many)
    assert count == 0

    pairs = [[{"$int": str(n * P)}, 1] for n in range(100_000)]
    for payload in (
        {"$dict": pairs},
        {"$set": [key for key, _ in pairs]},
        {"a": {"$frozenset": [k for k, _ in pairs]}},
    ):
        with pytest.raises(MessageDecodeError, match="keys that have the same hash"):
            decode(orjson.dumps(payload))


@pytest.mark.parametrize(
    "text",
    [
        b'{"$dict":[[1,"a"],[1,"b"]]}',
        b'{"$dict":[[1,"a"],[true,"b"]]}',
        b'{"$dict":[[1,"a"],[1.0,"b"]]}',
        b'{"$dict":[["$a",1],["$a",1]]}',
        b'{"$set":[1,1]}',
        b'{"$frozenset":["a","b","a"]}',
        b'{"$dict":[[[1],"a"]]}',
        b'{"$dict":[[{"a":1},"a"]]}',
        b'{"$set":[[]]}',
        b'{"$dict":[[1]]}',
        b'{"$dict":{"a":1}}',
        b'{"$dict":[[{"$type":"not.Known","value":1},1]]}',
    ],
)
def test_keys_that_no_sender_writes(text: bytes) -> None:
    """Nothing of a message is dropped in silence: it is one, or it is none."""
    with pytest.raises(MessageDecodeError):
        decode(text)


def test_keys_that_are_not_equal_to_themselves() -> None:
    """NaN is a key as often as it occurs."""
    back = decode(as_bytes(encode({math.nan: 1, float("nan"): 2})))
    assert list(back.values()) == [1, 2]


def test_large_dicts_and_sets_pass() -> None:
    """Their keys hash as they come."""
    value: Any
    for value in (
        {n: str(n) for n in range(10_000)},
        {n << 40 for n in range(10_000)},
        {(n, -n) for n in range(10_000)},
        {n / 7: n for n in range(10_000)},
    ):
        assert decode(as_bytes(encode(value))) == value


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("numbers", lambda n: n),
        ("numbers", str),
        ("table", str),
        ("ids", lambda n: str(UUID(int=n))),
        ("decimals", lambda n: f"{n}.0"),
    ],
)
def test_keys_that_validation_would_make(
    field: str, make: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model makes sets and dicts of lists and texts."""
    pydantic = pytest.importorskip("pydantic")
    fields: dict[str, Any] = {"numbers": set[int], "table": dict[int, int], "ids": set[UUID], "decimals": set[Decimal]}
    kind = pydantic.create_model("Keyed", __module__=__name__, **{name: (hint, ...) for name, hint in fields.items()})
    monkeypatch.setitem(globals(), "Keyed", kind)

    def message(count: int) -> bytes:
        given = [make(n * P) for n in range(1, count + 1)]
        content: dict[str, Any] = {name: {} if name == "table" else [] for name in fields}
        content[field] = dict.fromkeys(given, 1) if field == "table" else given
        if field == "numbers" and isinstance(given[0], int):
            content[field] = [{"$int": str(one)} for one in given]
        return orjson.dumps({"$type": f"{__name__}.Keyed", "value": content})

    assert len(getattr(decode(message(MOST_ALIKE)), field)) == MOST_ALIKE
    with pytest.raises(MessageDecodeError, match="keys that have the same hash"):
        decode(message(MOST_ALIKE + 1))


# Depth

WRAPS: list[Callable[[bytes], bytes]] = [
    lambda text: b"[%b]" % text,
    lambda text: b'{"a":%b}' % text,
    lambda text: b'{"$tuple":[%b]}' % text,
    lambda text: b'{"$dict":[[1,%b]]}' % text,
    lambda text: b'{"$type":"not.Known","value":%b}' % text,
    lambda text: b'[1,{"b":[]},%b]' % text,
]


def levels(text: bytes) -> int:
    """How deep it is."""
    level, depth = [orjson.loads(text)], 0
    while level := [one for one in level if isinstance(one, (list, dict))]:
        level = [item for one in level for item in (one.values() if isinstance(one, dict) else one)]
        depth += 1
    return depth


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("core", [b"1", b'"[[[["'])
def test_no_message_is_deeper_than_can_be_recorded(wrap: Callable[[bytes], bytes], core: bytes) -> None:
    """At the limit it is one, and can be written with more around it; one level more, and it is none."""
    text = core
    while levels(wrap(text)) <= LEVELS:
        text = wrap(text)
    decode(text)
    assert orjson.dumps([{"a": {"data": orjson.loads(text)}}])
    with pytest.raises(MessageDecodeError, match="nested too deeply"):
        decode(wrap(text))


@pytest.mark.parametrize("wrap", WRAPS)
def test_the_same_with_buffers(wrap: Callable[[bytes], bytes]) -> None:
    """Where a number stands in the text for bytes outside of it."""
    text = b'{"$bytes":0}'
    while levels(wrap(text)) <= LEVELS:
        text = wrap(text)
    payload = b"".join(assembled(text, [b"x" * 8]))
    assert decode(payload) == decode(to_json(payload))
    with pytest.raises(MessageDecodeError, match="nested too deeply"):
        decode(b"".join(assembled(wrap(text), [b"x" * 8])))


@pytest.mark.parametrize("depth", [LEVELS + 1, 254, 255, 1021, 1024, 1025, 100_000])
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}"), (b'{"$tuple":[', b"]}")])
def test_any_depth_beyond_is_our_error(depth: int, pair: tuple[bytes, bytes]) -> None:
    """Not Python's."""
    text = pair[0] * depth + b"1" + pair[1] * depth
    for payload in (text, b"".join(assembled(text, [b"12345678"]))):
        with pytest.raises(MessageDecodeError):
            decode(payload)


@pytest.mark.parametrize("make", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: Word("", inner)])
def test_a_value_just_too_deep_is_refused_by_name(make: Callable[[Any], Any]) -> None:
    """The sender is told, not the reader."""
    value: Any = 1
    while True:
        value = make(value)
        try:
            deepest = as_bytes(encode(value))
        except ValueNotSupportedError as error:
            reason = str(error)
            break
    assert f"nested too deeply: more than {LEVELS} lists and objects" in reason
    assert LEVELS - 2 < levels(deepest) <= LEVELS
    decode(deepest)


ROWS = [
    b'[{"a":1},' + b'{"a":1},' * 400 + b"%b]",
    b"[" + b"[1]," * 400 + b"%b]",
    b"[" + b'"},{\\"a","],[1",' * 400 + b"%b]",
    b'["},{","a","},{",' + b'"},{",' * 400 + b"%b]",
    b'{"},{":"},{","a":%b}',
]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":1},{"a":', b"}]")])
def test_depth_is_found_beside_wide_rows(row: bytes, pair: tuple[bytes, bytes]) -> None:
    """And beside texts that look like such rows."""
    for depth in (1, LEVELS // 2 - 2, LEVELS - 2, LEVELS, LEVELS + 5, 2 * LEVELS):
        text = row % (pair[0] * depth + b"1" + pair[1] * depth)
        if levels(text) > LEVELS:
            with pytest.raises(MessageDecodeError, match="nested too deeply"):
                decode(text)
        else:
            assert decode(text) == orjson.loads(text)


@pytest.mark.parametrize("what", ["loads", "is_deep"])
@pytest.mark.parametrize("payload", [b"[" + b"[]," * 300 + b"1]", b"[" + b'{"$tuple":[]},' * 300 + b"1]"])
def test_no_memory_for_a_message_is_our_error(what: str, payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading one takes several times its size."""

    def fail(*_: Any) -> Any:
        raise MemoryError

    for module in (codec, decoding):
        monkeypatch.setattr(module, what, fail)
    with pytest.raises(MessageDecodeError):
        codec.decode_slowly(payload)


def test_wide_values_pass() -> None:
    """Many lists and objects beside one another are no depth."""
    value: Any
    for value in ([{"x": [1]}] * 5000, {str(n): [] for n in range(5000)}, [(n,) for n in range(5000)]):
        assert decode(as_bytes(encode(value))) == value


# Text

LONE = ["\ud800", "a\udfffb", "\udc00\ud800", "\ud83d" * 100]


@pytest.mark.parametrize("text", LONE, ids=ascii)
@pytest.mark.parametrize(
    "make",
    [
        lambda text: text,
        lambda text: {text: 1},
        lambda text: {text: 1, 2: 3},
        lambda text: [[text]],
        lambda text: {text},
        lambda text: (1, {"a": text}),
        Word,
        lambda text: Key(1, text),
        PurePosixPath,
        np.str_,
        lambda text: np.array([text, 1], dtype=object),
    ],
)
def test_half_a_character_is_no_text(text: str, make: Callable[[str], Any]) -> None:
    """What has no UTF-8 is refused where it is sent, by its place, in any form."""
    value = make(text)
    with pytest.raises(ValueNotSupportedError) as refused:
        encode(value)
    str(refused.value).encode()


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\xed\xa0\x80"', b'{"\\udfff":1}', b'["\\ud800\\ud800"]', b'"\xff"'])
def test_nobody_else_sends_one(text: bytes) -> None:
    """Nor as an escape."""
    with pytest.raises(MessageDecodeError):
        decode(text)


@pytest.mark.parametrize("code", [0x110000, 0xFFFFFFFF, 0xD800])
@pytest.mark.parametrize("dtype", ["<U1", ">U1", {"names": ["a"], "formats": ["<U1"], "offsets": [0], "itemsize": 4}])
def test_arrays_of_text_hold_characters(code: int, dtype: Any) -> None:
    """Numbers beyond them would make an array that fails wherever it is looked at. Half a character does not."""
    data = code.to_bytes(4, "big" if dtype == ">U1" else "little")
    skeleton = orjson.dumps({"$ndarray": {"dtype": dtype, "shape": [1], "data": 0}})
    payload = b"".join(assembled(skeleton, [data]))
    if code == 0xD800:
        assert "\ud800" in repr(decode(payload)) or "ud800" in repr(decode(payload))
    else:
        with pytest.raises(MessageDecodeError, match="no character"):
            decode(payload)


# What is recorded is what was received

TAGS = ("$bytes", "$bytearray", "$ndarray", "$tuple", "$dict", "$set", "$frozenset", "$float", "$int", "$type", "$x")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**63) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.sampled_from(TAGS), inner, max_size=3)
        | st.builds(lambda tag, item: {tag: item}, st.sampled_from(TAGS), inner)
        | st.builds(
            lambda pairs: {"$dict": [list(pair) for pair in pairs]}, st.lists(st.tuples(inner, inner), max_size=3)
        )
        | st.builds(lambda items: {"$tuple": items}, st.lists(inner, max_size=3))
        | st.builds(lambda value, more: {"$type": "no.Such", "value": value, "unset": more}, inner, inner)
        | st.builds(lambda at: {"$bytes": at}, st.integers(-1, 2))
        | st.builds(lambda at, more: {"a": more, "$bytes": at}, st.integers(-1, 2), inner)
        | st.builds(
            lambda at, dtype: {"$ndarray": {"dtype": dtype, "shape": [1], "data": at}},
            st.integers(-1, 2),
            st.sampled_from(["<f8", "<i8", "<M8[ns]", "<U2", "|V8", "|O"]),
        )
    ),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":3,"$bytes":0}',
        b'{"a":3,"$bytes":7}',
        b'{"$tuple":[],"":{"$bytes":7}}',
        b'{"$float":"nan","more":{"$ndarray":{"dtype":"<f8","shape":[1],"data":7}}}',
        b'{"$type":"no.Such","value":{"$bytes":0},"unset":{"$bytearray":7}}',
        b'{"$type":"no.Such","value":{"$bytes":0},"unset":{"$bytes":0}}',
    ],
)
def test_numbers_of_buffers_beside_a_tag(text: bytes) -> None:
    """Where a reader sees no buffer the recorder sees none."""
    payload = b"".join(assembled(text, [b"12345678"]))
    assert same(decode(to_json(payload)), decode(payload))


@given(value=JSON, buffers=st.lists(st.binary(min_size=8, max_size=8), max_size=2), binary=st.booleans())
@settings(max_examples=600, deadline=None)
def test_a_recording_holds_what_was_received(value: Any, buffers: list[bytes], binary: bool) -> None:
    """Whatever another process writes: if it is a value, the text that is recorded is the same value."""
    with contextlib.suppress(TypeError):
        text = orjson.dumps(value)
        payload = b"".join(assembled(text, list(buffers))) if binary else text
        try:
            received = decode(payload)
        except MessageDecodeError:
            return
        recorded = orjson.dumps(orjson.loads(to_json(payload)))
        assert same(decode(recorded), received)
        assert b"\n" not in recorded
