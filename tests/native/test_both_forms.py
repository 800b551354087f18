"""The native core and the Python code do the same: the same bytes, the same values, the same errors."""

from __future__ import annotations

import random
import sys
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Topic
from horus_async.errors import HorusError
from horus_async.native import core
from horus_async.topics.codec import codec
from horus_async.topics.packed.accessors import generated, make
from horus_async.topics.packed.describe import describe
from horus_async.topics.packed.marks import FAILURES, MARK_BYTES
from horus_async.topics.packed.schema import Schema
from tests.topics import message_classes
from tests.topics.test_codec import VALUES
from tests.topics.test_packed import ODD, TYPES, classes, same
from tests.topics.test_processes import child, until

native = pytest.mark.skipif(core is None, reason="the native core is not in use")


def outcome(function: Any, *arguments: Any) -> Any:
    """What a function gives, or the error that it raises."""
    try:
        return function(*arguments)
    except HorusError as error:
        return type(error), str(error)


def readable(read: Any, message: bytes) -> Any:
    """What it reads; an error is an error, as of two faults each form may meet another one first."""
    try:
        return read(message)
    except (HorusError, *FAILURES):
        return HorusError


@native
@given(VALUES)
@settings(max_examples=300, deadline=None)
def test_values_become_the_same_bytes_and_come_back_alike(value: Any) -> None:
    """Whatever is sent."""
    payload = codec.as_bytes(codec.encode(value))
    assert payload == codec.as_bytes(codec.encode_slowly(value))
    assert same(codec.decode(payload), codec.decode_slowly(payload)) or "nan" in repr(value)


@native
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | st.binary(max_size=60).map(b"\0$".__add__))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_alike(payload: bytes) -> None:
    """A value, or the same error."""
    assert outcome(codec.decode, payload) == outcome(codec.decode_slowly, payload) or payload[:1] != b"\0"


@native
@pytest.mark.parametrize("depth", [199, 200, 201, 249, 250, 251, 300, 2000])
def test_depth_is_judged_alike(depth: int) -> None:
    """Brackets in texts are none, and neither is an escaped quote the end of one."""
    value: Any = '[[[{{{\\"' * 200
    for level in range(depth):
        value = [value] if level % 3 else {"{": value}
    assert outcome(codec.encode, value) == outcome(codec.encode_slowly, value)
    text = b'{"\\"[":' * (depth // 2) + b"[" * (depth - depth // 2) + b'"\\\\"'
    text += b"]" * (depth - depth // 2) + b"}" * (depth // 2)
    assert outcome(codec.decode, text) == outcome(codec.decode_slowly, text)


def both(kind: type) -> tuple[Any, Any]:
    """The functions of a class in both forms: pack and read of each."""
    record = describe(kind)
    assert record is not None
    schema = Schema.of(record)
    made = make(schema)
    assert made is not None
    return made, generated(schema)


@native
@given(data=st.data(), kind=classes())
@settings(max_examples=150, deadline=None)
def test_objects_are_packed_alike(data: st.DataObject, kind: type) -> None:
    """Of any class, also with values that do not fit it, and messages that were changed."""
    (pack, read), (pack_too, read_too) = both(kind)
    fields: list[Any] = [data.draw(TYPES[field.type]) for field in attrs.fields(kind)]
    odd: bool = data.draw(st.booleans())
    if fields and odd:
        fields[data.draw(st.integers(0, len(fields) - 1))] = data.draw(ODD)
    value = kind(*fields)
    message = pack(value)
    assert message == pack_too(value)
    if message is None:
        return
    assert same(read(message), read_too(message))
    damaged = bytearray(message)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(MARK_BYTES, len(damaged)))])
    for changed in (bytes(damaged), cut):
        one, other = readable(read, changed), readable(read_too, changed)
        assert same(one, other) or one is other is HorusError


@native
def test_every_make_of_class_is_packed_alike() -> None:
    """Frozen, private, without slots, with properties and defaults."""
    drive = message_classes.Drive(
        speed=float("nan"), names=["a", "ü"], ranges=[0.1] * 360, ticks=(1, -(2**63)), loose=[]
    )
    (pack, read), (pack_too, read_too) = both(message_classes.Drive)
    assert pack(drive) == pack_too(drive)
    assert same(read(pack(drive)), read_too(pack(drive)))
    assert sys.getrefcount(read(pack(drive))) == sys.getrefcount(read_too(pack(drive)))


@pytest.mark.parametrize("here", ["native", "python"])
def test_one_form_writes_what_the_other_reads(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two processes, in both directions, over many laps of the ring and its growth."""
    if here == "native" and core is None:
        pytest.skip("the native core is not in use")
    monkeypatch.setenv("HORUS_NATIVE", "0" if core is not None else "1")
    program = """
    import random
    from horus_async.native import core
    tell("python" if core is None else "native")
    with Topic("there", capacity=4096) as there, Topic("back", capacity=4096) as back:
        tell("open")
        heard()
        rng = random.Random(7)
        for number in range(3000):
            back.send({"n": number, "text": "x" * rng.randrange(400)})
        tell(str(back._subscriber.arrived))
        got = 0
        while True:
            value = there.recv()
            if value == "end":
                break
            got += value is not None
        tell(f"{got} {there.lost}")
    """
    with Topic("there", capacity=4096) as there, Topic("back", capacity=4096) as back, child(program) as other:
        other.line()
        assert other.line() == "open"
        other.go()
        assert other.line() == "3000"
        rng = random.Random(7)
        texts = ["x" * rng.randrange(400) for _ in range(3000)]
        got = until(back.recv_all)
        assert [value["text"] for value in got] == [texts[value["n"]] for value in got]
        assert got[-1]["n"] == 2999
        assert len(got) + back.lost == 3000
        for number in range(3000):
            there.send({"n": number, "text": texts[number]})
        there.send("end")
        taken, lost = map(int, other.line().split())
        assert taken + lost == 3000
        assert other.end() == 0
