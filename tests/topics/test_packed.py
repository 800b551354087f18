"""Packed messages: equal to the general form in all that can be seen, and understood by those without the class."""

from __future__ import annotations

import dataclasses
import itertools
import math
import struct
import sys
import threading
from enum import Enum
from typing import Any

import attrs
import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from horus_async import Topic
from horus_async.errors import MessageDecodeError, SchemaMismatchError, TopicError
from horus_async.topics import Bus
from horus_async.topics.codec import as_bytes, decode, encode, to_json
from horus_async.topics.codec.decoding import decode_tagged
from horus_async.topics.packed import schema
from horus_async.topics.packed.marks import MARK, RAW, pack_bytes
from horus_async.topics.packed.packed import form_of
from horus_async.topics.packed.rows import DTYPES
from horus_async.topics.packed.schema import Schema
from tests.topics import message_classes
from tests.topics.message_classes import (
    GENERAL,
    PACKED,
    Careful,
    Chain,
    Counting,
    Deeper,
    Drive,
    Gear,
    Labels,
    Lamp,
    Loose,
    Point,
    Reading,
    Tree,
)

HERE = sys.modules[__name__]
PLACE = message_classes.__name__


def pack(value: Any) -> bytes | None:
    """The packed message of an object; None if it takes the general form."""
    form = form_of(type(value))
    assert form is not None
    return None if form.pack is None else form.pack(value)


def same(left: Any, right: Any) -> bool:
    """Whether two values are equal and of the same types, all the way down; floats to the last bit."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return struct.pack("<d", left) == struct.pack("<d", right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if attrs.has(type(left)):
        unset = object()
        names = [field.name for field in attrs.fields(type(left))]
        return all(same(getattr(left, name, unset), getattr(right, name, unset)) for name in names)
    if isinstance(left, np.ndarray):
        return (left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes())
    return left is right if isinstance(left, Enum) and not isinstance(left, Lamp) else bool(left == right)


INTS = st.integers(-(2**63), 2**63 - 1)
POINTS = st.builds(Point, st.floats(), st.floats())
TYPES: dict[Any, st.SearchStrategy[Any]] = {
    float: st.floats(),
    int: INTS,
    bool: st.booleans(),
    str: st.text(max_size=6),
    Gear: st.sampled_from(Gear),
    Lamp: st.sampled_from([Lamp(0), Lamp.LEFT, Lamp.RIGHT, Lamp.LEFT | Lamp.RIGHT]),
    Point: POINTS,
    tuple[float, float]: st.tuples(st.floats(), st.floats()),
    tuple[Point, tuple[int]]: st.tuples(POINTS, st.tuples(INTS)),
    list[float]: st.lists(st.floats(), max_size=4),
    list[int]: st.lists(INTS, max_size=4),
    list[str]: st.lists(st.text(max_size=3), max_size=3),
    tuple[float, ...]: st.lists(st.floats(), max_size=4).map(tuple),
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [1, 1.0, True, None, 2**63, -(2**200), Gear.FIRST, Deeper(), np.float64(1.5), "x", b"x", [1, 2.0], [True], (), {}]
)
_numbers = itertools.count()


@st.composite
def classes(draw: st.DrawFn) -> type:
    """A class of a module, with any fields."""
    name = f"Generated{next(_numbers)}"
    kinds = draw(st.lists(st.sampled_from(list(TYPES)), max_size=6))
    fields = {f"field{index}": attrs.field(type=kind) for index, kind in enumerate(kinds)}
    made: type = attrs.make_class(name, fields, frozen=draw(st.booleans()), slots=draw(st.booleans()))
    made.__module__ = __name__
    setattr(HERE, name, made)
    return made


@given(data=st.data(), kind=classes())
@settings(max_examples=60, deadline=None)
def test_packed_and_general_give_the_same(data: st.DataObject, kind: type) -> None:
    """For any class of packable fields and any values, both forms give the same object and the same text."""
    value = kind(*(data.draw(TYPES[field.type]) for field in attrs.fields(kind)))

    message = pack(value)

    assert message is not None
    assert message[:2] == MARK
    general = as_bytes(encode(value))
    assert same(decode(message), decode(general))
    assert decode(message) is not value
    assert to_json(message) == to_json(general)
    for field in attrs.fields(kind):
        sent, arrived = getattr(value, field.name), getattr(decode(message), field.name)
        assert same(sent, arrived) or "nan" in repr(sent)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_what_is_not_as_annotated_arrives_as_it_was(data: st.DataObject) -> None:
    """A value of another type than its field's comes back of its own type, whichever form the message takes."""
    value = Drive()
    names = [field.name for field in attrs.fields(Drive)]
    for name in data.draw(st.lists(st.sampled_from(names), max_size=2)):
        setattr(value, name, data.draw(ODD))

    message = pack(value)

    general = as_bytes(encode(value))
    if message is not None:
        assert same(decode(message), decode(general))
        assert to_json(message) == to_json(general)
    with Topic("t") as topic:
        topic.send(value)
        arrived = topic.recv()
    assert all(same(getattr(arrived, name), getattr(value, name)) for name in names)


@pytest.mark.parametrize(
    "value",
    [
        Drive(1, 0),
        Drive(count=True),
        Drive(count=2**63),
        Drive(on=1),  # type: ignore[arg-type]
        Drive(gear=1),  # type: ignore[arg-type]
        Drive(lamps=3),  # type: ignore[arg-type]
        Drive(point=Deeper()),
        Drive(triple=(0.0, 0)),  # type: ignore[arg-type]
        Drive(triple=[0.0, 0, Point()]),  # type: ignore[arg-type]
        Drive(frame="\ud800"),
        Drive(names=("a",)),  # type: ignore[arg-type]
        Drive(ranges=[1.0, 2]),
        Drive(ranges=np.zeros((2, 2))),  # type: ignore[arg-type]
        Drive(ranges=np.arange(3.0).astype(">f8")),  # type: ignore[arg-type]
        Drive(ranges=np.arange(3.0).astype("f2")),  # type: ignore[arg-type]
        Drive(ranges=np.ma.arange(3)),  # type: ignore[arg-type]
        Drive(ranges=np.zeros(2049)),  # type: ignore[arg-type]
        Drive(ticks=(2**63,)),
        Drive(loose=None),
        Careful(1, part=0.5),  # ``later`` is not set
    ],
    ids=repr,
)
def test_what_only_the_general_form_can_carry(value: Any) -> None:
    """Such values are never packed: their types would be lost."""
    assert pack(value) is None


def test_every_nan_arrives_as_it_does_in_the_general_form() -> None:
    """Sign and payload of a NaN are not carried by text, so a replay would differ if a packed message carried them."""
    odd = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0123))[0]
    value = Drive(speed=odd, triple=(odd, 1, Point(odd, -0.0)), ranges=[1.0, odd], loose=[odd])

    message = pack(value)

    assert message is not None
    arrived = decode(message)
    assert same(arrived, decode(as_bytes(encode(value))))
    assert math.copysign(1, arrived.speed) == 1
    assert math.copysign(1, arrived.triple[2].y) == -1


@pytest.mark.parametrize("dtype", DTYPES)
def test_small_arrays_of_numbers_arrive(dtype: str) -> None:
    """In a field that may hold one; the receiver owns it, and gets the strides and bits of a plain array."""
    array = np.arange(-6, 6).astype(dtype)[::2]
    value = Drive(loose=array)  # type: ignore[arg-type]

    message = pack(value)

    assert message is not None
    assert to_json(message) == to_json(encode(value))
    for arrived in (decode(message), decode(as_bytes(encode(value)))):
        loose: Any = arrived.loose
        assert (loose.dtype, loose.tolist(), loose.flags.writeable) == (array.dtype, array.tolist(), True)
    assert to_json(pack(Drive(loose=array[:0]))) == to_json(encode(Drive(loose=array[:0])))  # type: ignore[arg-type]


def test_an_array_without_numpy_arrives_as_in_the_general_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a dict that describes it."""
    value = Drive(loose=np.arange(3.0))  # type: ignore[arg-type]
    message, general = pack(value), as_bytes(encode(value))
    assert message is not None
    monkeypatch.setitem(sys.modules, "numpy", None)

    arrived = decode(message)

    assert arrived == decode(general)
    assert arrived.loose["$ndarray"]["dtype"] == "<f8"


def test_infinities_arrive() -> None:
    """Also where their sum is no number."""
    value = Drive(speed=math.inf, point=Point(-math.inf, math.inf), ranges=[math.inf, -math.inf], loose=[1e308, 1e308])

    message = pack(value)

    assert message is not None
    assert same(decode(message), value)
    assert to_json(message) == to_json(encode(value))


def test_classes_of_all_makes() -> None:
    """Frozen, with converters, validators or own setters, nested or a dataclass: objects come back as they were."""
    careful = Careful(4, part=0.5)
    object.__setattr__(careful, "later", 2.5)
    object.__setattr__(careful, "share", 7.5)  # a validator would refuse it now
    for value in (careful, Loose(1.5), Counting(2.5), Counting.Inner(3.5), Reading(4.5, "s"), Deeper(1.0, 2.0, 3.0)):
        message = pack(value)
        assert message is not None
        arrived = decode(message)
        assert type(arrived) is type(value)
        assert arrived == value
        assert to_json(message) == to_json(encode(value))
    assert (careful._number, careful.share, careful.later) == (5, 7.5, 2.5)


@pytest.mark.parametrize("kind", PACKED, ids=lambda kind: kind.__qualname__)
def test_classes_that_travel_packed(kind: type) -> None:
    """All of their fields have a place in a packed message."""
    form = form_of(kind)

    assert form is not None
    assert form.pack is not None
    assert Schema.parse(form.schema.text) == form.schema


@pytest.mark.parametrize("kind", GENERAL, ids=lambda kind: kind.__qualname__)
def test_classes_that_take_the_general_form(kind: type) -> None:
    """They are described all the same, with the annotations that the schema has no word for."""
    form = form_of(kind)

    assert form is not None
    assert form.pack is None
    assert not form.schema.record.packed
    assert Schema.parse(form.schema.text) == form.schema


def test_a_field_that_has_no_place_is_described_by_its_annotation() -> None:
    """People see what is in it."""
    form = form_of(Tree)

    assert form is not None
    assert form.schema.record.describe() == "value: float, left: Tree | None"


def test_what_has_no_schema() -> None:
    """Classes that no other process could look up, containers, enums and plain types."""

    @attrs.define
    class Local:
        value: float = 0.0

    for kind in (Local, Labels, Gear, dict, float, np.ndarray):
        assert form_of(kind) is None
    with Topic("t") as topic:
        topic.send(Local(1.5))
        assert topic.recv() == Local(1.5)


def test_a_class_with_too_many_fields_takes_the_general_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code made for a class has a limit."""
    made = attrs.make_class("Wide", {f"f{index}": attrs.field(type=float, default=0.0) for index in range(1001)})
    made.__module__ = __name__
    monkeypatch.setattr(HERE, "Wide", made, raising=False)

    form = form_of(made)

    assert form is not None
    assert form.pack is None
    with Topic("t", made) as topic:
        topic.send(made())
        assert topic.recv() == made()


def test_names_that_are_no_identifiers_take_the_general_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """No name of a field becomes code that is not a name."""
    made = type("Odd", (), {"__annotations__": {"x): print(1": float}, "__module__": __name__})
    made = dataclasses.dataclass(init=False, repr=False, eq=False)(made)
    monkeypatch.setattr(HERE, "Odd", made, raising=False)

    form = form_of(made)

    assert form is not None
    assert form.schema.record.packed
    assert form.pack is None


def taken(value: Any, kind: type | None) -> tuple[bytes, Any]:
    """The payload as it lies in the ring, and the value that arrives."""
    with Topic("t", kind) as topic, Bus() as bus:
        subscriber = bus.subscriber("t", from_start=True)
        topic.send(value)
        message = subscriber.take()
        assert message is not None
        assert isinstance(message[0], bytes)
        return message[0], topic.recv()


@pytest.mark.parametrize("kind", [Drive, None])
def test_topics_carry_packed_messages(kind: type | None) -> None:
    """With a type or without: it is the class of the value that decides."""
    value = Drive(1.5, 2, True, Gear.FIRST, loose=[1.0])

    payload, arrived = taken(value, kind)

    assert payload == pack(value)
    assert arrived == value


def test_an_untyped_topic_carries_several_classes_and_anything_else() -> None:
    """Each message says which class it is of."""
    values = [Drive(loose=[0.5]), Point(1.0, 2.0), {"a": 1}, Tree(1.0, Tree()), Point(1, 2), None, Drive(loose=[])]
    with Topic("t") as topic:
        for value in values:
            topic.send(value)

        assert topic.recv_all() == values


def test_a_class_that_is_not_here_arrives_as_a_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its name, its values as they were, and the classes inside of it that are here."""
    value = Drive(1.5, 2, True, Gear.FIRST, point=Point(math.inf, 0.5), loose=[1.0])
    message = pack(value)
    assert message is not None
    monkeypatch.delattr(message_classes, "Drive")

    arrived = decode(message)

    assert arrived["$type"] == f"{PLACE}.Drive"
    assert arrived["value"] == {field.name: getattr(value, field.name) for field in attrs.fields(Drive)}
    assert arrived == decode(as_bytes(encode(value)))


def test_a_class_that_was_loaded_again_gets_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message becomes an object of the class that has the name now, as in the general form."""
    message = pack(Point(1.5, 2.5))
    assert message is not None
    assert type(decode(message)) is Point

    @attrs.define
    class Again:
        x: float = 0.0
        y: float = 0.0

    Again.__qualname__, Again.__module__ = "Point", Point.__module__
    monkeypatch.setattr(message_classes, "Point", Again)
    assert type(decode(message)) is Again
    assert type(decode(message)) is Again
    monkeypatch.undo()
    assert type(decode(message)) is Point
    assert type(decode(message)) is Point


def other_version(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """From now on ``Point`` is a class with these fields."""
    made = attrs.make_class("Point", fields)
    made.__module__ = Point.__module__
    monkeypatch.setattr(message_classes, "Point", made)


def both_forms(value: Any) -> list[bytes]:
    """The message, packed and general."""
    message = pack(value)
    assert message is not None
    return [message, as_bytes(encode(value))]


def test_an_added_field_gets_its_default_and_an_unknown_one_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both forms: fields go by their names."""
    messages = both_forms(Point(1.5, 2.5))
    other_version(
        monkeypatch,
        y=attrs.field(type=float),
        z=attrs.field(type=float, default=9.5),
        path=attrs.field(type=list[str], factory=lambda: ["a"]),
    )

    for message in messages:
        arrived = decode(message)
        assert (arrived.y, arrived.z, arrived.path) == (2.5, 9.5, ["a"])
        assert not hasattr(arrived, "x")


def test_a_nested_class_evolves_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class inside has a new field; the one outside is the same."""
    messages = both_forms(Drive(point=Point(1.5, 2.5), loose=[]))
    other_version(monkeypatch, x=attrs.field(type=float), z=attrs.field(type=float, default=9.5))

    for message in messages:
        arrived = decode(message)
        point: Any = arrived.point
        assert type(arrived) is Drive
        assert (point.x, point.z) == (1.5, 9.5)


def test_a_missing_field_without_a_default_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In both forms; the packed one names the fields of both sides."""
    messages = both_forms(Point(1.5, 2.5))
    other_version(monkeypatch, x=attrs.field(type=float), heading=attrs.field(type=float))

    for message in messages:
        with pytest.raises(SchemaMismatchError, match="Point needs a field 'heading', which the message lacks"):
            decode(message)
    with pytest.raises(SchemaMismatchError, match=r"There it has x: float, y: float; here it has x: float, heading: f"):
        decode(messages[0])


def test_a_field_of_another_type_is_an_error_that_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """A packed message says what its fields are."""
    message = pack(Point(1.5, 2.5))
    assert message is not None
    other_version(monkeypatch, x=attrs.field(type=float), y=attrs.field(type=str))

    with pytest.raises(SchemaMismatchError, match="y is float there and str here"):
        decode(message)


def test_an_integer_fits_a_field_for_a_float(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere in Python; it arrives as the integer it is."""
    other_version(monkeypatch, x=attrs.field(type=int))
    message = pack(message_classes.Point(3))
    assert message is not None
    monkeypatch.undo()

    arrived = decode(message)

    assert type(arrived) is Point
    assert same(arrived.x, 3)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_messages_are_errors_and_no_more(data: st.DataObject) -> None:
    """Whatever is changed in a packed message or cut off, it is a value or an error of ours, either way to read it."""
    value = Drive(1.5, 2, True, Gear.FIRST, frame="laser", names=["a", "b"], ranges=[0.5], ticks=(1, 2), loose=[])
    message = bytearray(pack(value) or b"")
    for _ in range(data.draw(st.integers(0, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(message[: data.draw(st.integers(2, len(message)))]) + data.draw(st.binary(max_size=3))
    for read in (decode, to_json):
        try:
            read(damaged)
        except MessageDecodeError:
            continue


def test_messages_of_an_unknown_schema() -> None:
    """Nobody describes them: a clear error."""
    with pytest.raises(MessageDecodeError, match="no ring describes"):
        decode(b"\0$nobody" + bytes(16))
    with pytest.raises(MessageDecodeError, match="no ring describes"):
        to_json(b"\0$")


def test_the_form_as_a_stranger_reads_it() -> None:
    """A packed message and its schema are what their pages promise."""
    value = Drive(1.5, -2, True, Gear.REVERSE, Lamp.RIGHT, Point(3.5, 4.5), (5.5, 6, Point(7.5, 8.5)))
    value.frame, value.names, value.ranges, value.ticks, value.loose = "ü", ["a", "b"], [9.5], (10, 11), []
    form = form_of(Drive)
    message = pack(value)
    assert form is not None
    assert message is not None
    point = {"class": f"{PLACE}.Point", "fields": [["x", "float"], ["y", "float"]]}
    assert orjson.loads(form.schema.text) == {
        "class": f"{PLACE}.Drive",
        "fields": [
            ["speed", "float"],
            ["count", "int"],
            ["on", "bool"],
            [
                "gear",
                {"enum": f"{PLACE}.Gear", "members": {"REVERSE": -1, "NEUTRAL": 0, "FIRST": 1}},
            ],
            ["lamps", {"flag": f"{PLACE}.Lamp"}],
            ["point", point],
            ["triple", {"tuple": ["float", "int", point]}],
            ["empty", {"tuple": []}],
            ["frame", "str"],
            ["names", "strings"],
            ["ranges", "numbers"],
            ["ticks", "numbers"],
            ["loose", "numbers"],
        ],
    }
    fixed = struct.Struct("<8xdq?qqdddqddIIBIBIBI")
    assert fixed.unpack_from(message) == (
        *(1.5, -2, True, -1, 2, 3.5, 4.5, 5.5, 6, 7.5, 8.5),
        *(2, 9, 0, 1, 3, 2, 0, 0),
    )
    tail = "ü".encode() + b'["a","b"]' + struct.pack("<dqq", 9.5, 10, 11)
    assert message[fixed.size :] == tail


def test_threads_may_meet_a_class_at_the_same_time() -> None:
    """Each of them sends and reads it right, though the class is described while the others wait for it."""
    kinds = []
    for index in range(20):
        made = attrs.make_class(f"Shared{index}", {"x": attrs.field(type=float)})
        made.__module__ = __name__
        setattr(HERE, made.__name__, made)
        kinds.append(made)
    wrong: list[Any] = []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for kind in kinds:
            message = pack(kind(0.5))
            if message is None or decode(message) != kind(0.5):
                wrong.append(kind)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_schemas_with_one_mark_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message would be read as another one."""
    form = form_of(Point)
    assert form is not None
    other = attrs.evolve(Schema.of(form.schema.record), text=b"{}")

    with pytest.raises(TopicError, match="the same mark"):
        schema.remember(other)


def test_a_class_that_holds_itself_is_described() -> None:
    """The description ends."""
    form = form_of(Chain)

    assert form is not None
    assert form.schema.record.describe() == "link: Chain"


@given(st.binary(max_size=2000))
@example(b"")
@example(bytes(1 << 15))
@example(bytes((1 << 15) + 1))
def test_plain_bytes_travel_as_they_are(value: bytes) -> None:
    """A value of bytes comes back equal, and its text is that of the general form, whatever its length."""
    payload = as_bytes(encode(value, {bytes: pack_bytes}))
    assert decode(payload) == value
    assert decode_tagged(payload) == value
    assert to_json(payload) == to_json(encode(value))
    assert payload == RAW + value or len(value) > 1 << 15


def test_what_holds_bytes_takes_the_general_form() -> None:
    """Long bytes, and bytes in other values, come back equal, too."""
    with Topic("t") as topic:
        for value in (b"x" * 40_000, {"a": b"x"}, [b"x"], (b"", b"x" * 600)):
            topic.send(value)
            assert topic.recv() == value
