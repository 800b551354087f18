"""pydantic models in messages: taken where they come back equal, validated where they arrive."""

from __future__ import annotations

import datetime
import decimal
import math
import os
import pathlib
import subprocess
import sys
import types
import uuid
from typing import Any

import attrs
import numpy as np
import orjson
import pytest
from click.testing import CliRunner

from horus_async import Topic
from horus_async.cli import main
from horus_async.errors import MessageDecodeError, SchemaMismatchError, TopicTypeError, ValueNotSupportedError
from horus_async.topics.codec import as_bytes, decode, decode_borrowed, encode, to_json
from horus_async.topics.packed.packed import form_of
from horus_async.value_diff import first_difference, same

pytest.importorskip("pydantic")

from . import model_classes

m: Any = model_classes
PLACE = model_classes.__name__
FULL = {
    "at": m.Point(x=1.5),
    "path": [m.Point(), m.Point(y=-0.0)],
    "marks": {"home": m.Point(x=2.0), "$": m.Point()},
    "pair": (m.Point(), 3),
    "gear": m.Gear.HIGH,
    "seen": datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.UTC),
    "took": datetime.timedelta(seconds=1.5),
    "id": uuid.UUID(int=7),
    "file": pathlib.Path("/tmp/a"),
    "cost": decimal.Decimal("1.50"),
    "ids": {3, 1},
    "raw": b"\0" * 1000,
    "any": {1: (m.Point(), None)},
}


def both_ways(value: Any) -> list[Any]:
    """The value out of the ring, borrowed, and out of a recorded line."""
    payload = as_bytes(encode(value))
    return [decode(payload), decode_borrowed(payload, lambda: None), decode(to_json(payload))]


def message(kind: str, content: Any, **beside: Any) -> bytes:
    """What any process can put into a ring."""
    return orjson.dumps({"$type": f"{PLACE}.{kind}", "value": content, **beside})


def changed(value: Any, **fields: Any) -> Any:
    """The same object with fields as nobody validated them."""
    vars(value).update(fields)
    return value


def refusal(value: Any) -> str:
    """Why a value is refused, in one line; the value stays as it is."""
    before = repr(value)
    with pytest.raises(ValueNotSupportedError) as caught:
        encode(value)
    text = str(caught.value)
    assert "\n" not in text
    assert repr(value) == before
    return text


TAKEN = [
    m.Point(),
    m.Point(x=1.5),
    m.Point(x=math.inf, y=-0.0),
    m.Pose(at=m.Point()),
    m.Pose(**FULL),
    m.Swapped(a=1, b=2),
    m.Swapped(b=2),
    m.Found(q=3),
    m.Open(x=1),
    m.Open(x=1, y=2, z=m.Point(), **{"$k": [1]}),
    m.Closed(),
    m.Counted(x=2),
    m.Derived(x=4),
    m.Wrapped(angle=725.0),
    m.Doubled(x=0),
    m.Built(3),
    m.Numbers([1, 2]),
    m.Few(),
    m.Few([2]),
    m.Box(inside=m.Point()),
    m.IntBox(inside=3),
    m.Zoo(pet=m.Dog(bones=2), pets=[m.Cat(), m.Dog()]),
    m.Near(x=1.25),
    m.Deferred(x=2.0),
    m.Pose(at=m.Far(x=1.0, z=2.0)),
    m.Open(x=1).model_copy(update={"y": 3}),
    m.Tree(left=m.Tree(value=1, right=m.Tree(value=2))),
    m.Key(x=1),
    m.Keys(keys={m.Key(x=1), m.Key(x=2)}),
    m.Limited(speed=2.0),
    m.Log(last=m.Stamped(m.Point(x=1.0), 3)),
    m.Stamped(m.Point(x=1.0), 3),
    m.Plain(1.0),
    m.Plain(1.0, [1, 2], 5),
    m.Slotted(y=1.0),
    m.Twice(3),
    m.Holder(1.0, m.Plain(2.0)),
]


@pytest.mark.parametrize("value", TAKEN, ids=lambda value: type(value).__name__)
def test_models_come_back(value: Any) -> None:
    """Equal, of their class, with the same ``model_fields_set``, wherever they are in a message."""
    for back in both_ways({"a": value, "b": [value, (value,)], "c": {1: value}}):
        for item in (back["a"], back["b"][0], back["b"][1][0], back["c"][1]):
            assert type(item) is type(value)
            assert item == value
            assert getattr(item, "model_fields_set", None) == getattr(value, "model_fields_set", None)
            assert same(item, value)


def test_models_hold_arrays_and_nan() -> None:
    """What has no ``==`` comes back bit by bit; the array that is sent is neither copied nor touched."""
    image = m.Image(data=np.arange(100_000.0), raw=b"x" * 1000)
    for back in both_ways([image, m.Point(x=math.nan)]):
        assert type(back[0].data) is np.ndarray
        assert np.array_equal(back[0].data, image.data)
        assert math.isnan(back[1].x)
    assert image.data.flags.writeable


def test_sets_and_keys_may_be_models() -> None:
    """Where they are frozen."""
    value = {m.Key(x=2): {m.Key(x=1), m.Key(x=3)}}
    assert both_ways(value) == [value] * 3


def test_only_what_was_given_is_set() -> None:
    """A model that leaves fields to their defaults still does where it arrives."""
    for back in both_ways(m.Pose(at=m.Point(y=1.0))):
        assert back.model_dump(exclude_unset=True) == {"at": {"y": 1.0}}
    assert orjson.loads(to_json(encode(m.Point(x=1.0)))) == {
        "$type": f"{PLACE}.Point",
        "value": {"x": 1.0, "y": 0.0},
        "unset": ["y"],
    }
    assert "unset" not in orjson.loads(to_json(encode(m.Point(x=1.0, y=0.0))))


def test_what_is_computed_is_computed_again() -> None:
    """Cached properties, computed fields and private attributes that follow from the fields are no loss."""
    value = m.Derived(x=4)
    assert value.next == 5
    for back in both_ways(value):
        assert back == value
        assert (back._double, back.next, back.triple) == (8, 5, 12)


def counted() -> Any:
    """A model whose private attribute was set."""
    value = m.Counted()
    value._hits = 4
    return value


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (counted, "Counted with a private attribute '_hits' that would be lost; send value.model_dump()"),
        (m.Guarded, "Guarded with a private attribute '_lock' that would be lost; send value.model_dump()"),
        (m.Doubled.model_construct, "Doubled: x = 1 to 2; send value.model_dump()"),
        (lambda: m.Moving(at=m.Point()), "Moving: at.x = 1.0 to 2.0; send value.model_dump()"),
        (m.Identity, "Identity, which by its own __eq__ would not arrive equal; send value.model_dump()"),
        (lambda: changed(m.Point(), x=1), "Point: x = 1 to 1.0; send value.model_dump()"),
        (lambda: changed(m.Point(), x=True), "Point: x = True to 1.0; send value.model_dump()"),
        (lambda: changed(m.Cleared(), x=math.nan), "Cleared: x = nan to None; send value.model_dump()"),
        (lambda: changed(m.Signless(), x=-0.0), "Signless: x = -0.0 to 0.0; send value.model_dump()"),
        (lambda: changed(m.Signless(), more=[1.0, -0.0]), "Signless: more[1] = -0.0 to 0.0; send value.model_dump()"),
        (lambda: m.Brighter(data=np.zeros(3)), "Brighter: data[0] = 1.0 to 2.0; send value.model_dump()"),
        (
            lambda: m.Inverted(data=np.ones(3)),
            "Inverted does not accept data = array float64[3]: Value error, output array is read-only",
        ),
        (lambda: changed(m.Point(), x="far"), "Point does not accept x = 'far': Input should be a valid number"),
        (
            lambda: changed(m.Pose(at=m.Point()), path=(m.Point(),)),
            "Pose: path = (Point(x=0.0, y=0.0),) to [Point(x=0.0, y=0.0)]; send",
        ),
        (lambda: changed(m.Limited(), speed=3.0), "Limited does not accept speed = 3.0: Input should be less than"),
        (
            lambda: changed(m.Plain(1.0), level=-3),
            "level = -3: Input should be greater than 0; send dataclasses.asdict",
        ),
        (lambda: changed(m.Twice(3), double=5), "Twice: double = 5 to 6; send dataclasses.asdict(value)"),
        (lambda: m.Point.model_construct(_fields_set={"z"}), "Point whose model_fields_set would not arrive: ["),
        (lambda: changed(m.Point(), note=3), "Point with an attribute 'note' that is no field of the class"),
        (m.Waiting.model_construct, "PydanticUserError: `Waiting` is not fully defined; you should define `Later`"),
        (m.Plugin, "Plugin, whose ImportString imports what a message names"),
        (lambda: m.Parsed(numbers="[1]"), "Parsed does not accept numbers = [1]"),
        (lambda: m.Open(x=1, y=object()), "value.y is not supported: object, which no topic can carry"),
        (lambda: m.Secret(word="a"), "value.word is not supported: pydantic.types.SecretStr"),
        (lambda: m.Link(url="http://a.b"), "which no topic can carry; send str(value)"),
        (lambda: m.Pose(at=changed(m.Point(), y=1)), f"value.at is not supported: validation would change {PLACE}.Po"),
    ],
)
def test_what_would_not_come_back_is_refused(make: Any, reason: str) -> None:
    """In one line, with the path to it and what to send instead; wherever it is."""
    assert reason in refusal(make())
    assert reason.removeprefix("value") in refusal({"a": [make()]})


def test_a_missing_field_is_refused() -> None:
    """It would get its default."""
    value = m.Point()
    del value.__dict__["x"]
    assert "validation would change" in refusal(value)


def test_generic_models() -> None:
    """With their types filled in only where other processes find them: as an attribute of their module."""
    assert both_ways(m.Box(inside=1)) == [m.Box(inside=1)] * 3

    def inside_a_function() -> Any:
        return m.Box[str](inside="a")

    text = refusal(inside_a_function())
    assert f"{PLACE}.Box[str], which no other process finds; make it a class of its own" in text


# Whatever comes in


@pytest.mark.parametrize(
    ("payload", "error", "reason"),
    [
        (
            message("Point", {"x": "far"}),
            MessageDecodeError,
            "Point does not accept x = 'far': Input should be a valid",
        ),
        (
            message("Limited", {"speed": 9.0}),
            MessageDecodeError,
            "Limited does not accept speed = 9.0: Input should be",
        ),
        (message("Zoo", {"pet": {"kind": "cow"}}), MessageDecodeError, "Zoo does not accept pet = {'kind': 'cow'}"),
        (message("Plain", {"x": 1.0, "level": 0}), MessageDecodeError, "Plain does not accept level = 0"),
        (message("Point", 3), MessageDecodeError, "the content of a Point is not a dict but 3"),
        (message("Point", {}, unset=3), MessageDecodeError, "a damaged message: fields were expected, not 3"),
        (message("Point", {}, unset=[[]]), MessageDecodeError, "a damaged message: fields were expected"),
        (message("Crash", {"x": 1}), MessageDecodeError, "the validation of .*Crash failed: KeyError: 1"),
        (message("Crash", {"x": []}), MessageDecodeError, "the validation of .*Crash failed: TypeError: unhashable"),
        (message("Plugin", {"what": "antigravity"}), MessageDecodeError, "whose ImportString imports"),
        (message("Swapped", {"b": 1}), SchemaMismatchError, "Swapped needs a field 'a', which the message lacks"),
        (message("Plain", {"level": 1}), SchemaMismatchError, "Plain needs a field 'x', which the message lacks"),
        (message("Numbers", {}), SchemaMismatchError, "Numbers needs a field 'root', which the message lacks"),
        (
            message("Closed", {"z": 1}),
            SchemaMismatchError,
            "Closed has no field 'z', which the message has, and forbids",
        ),
    ],
)
def test_what_a_class_does_not_accept_is_no_message(payload: bytes, error: type[Exception], reason: str) -> None:
    """One line says class, field, value and reason; nothing is imported."""
    with pytest.raises(error, match=reason) as caught:
        decode(payload)
    assert "\n" not in str(caught.value)
    assert "antigravity" not in sys.modules


def test_messages_of_other_versions() -> None:
    """Fields are matched by name: those that the message lacks have their defaults, those of the past are dropped."""
    old = decode(message("Point", {"x": 1, "z": 5.0}))
    assert old == m.Point(x=1.0)
    assert type(old.x) is float
    assert old.model_fields_set == {"x"}
    assert decode(message("Open", {"x": 1, "z": 5})) == m.Open(x=1, z=5)


def test_no_ring_gives_a_model_that_was_not_validated() -> None:
    """Neither models nor pydantic's dataclasses have a packed form, also inside other classes."""
    assert form_of(m.Point) is None
    assert form_of(m.Plain) is None
    form = form_of(m.Holder)
    assert form is not None
    assert form.pack is None


def test_an_unknown_model_arrives_as_a_dict() -> None:
    """With all there is to know."""
    text = message("Nowhere", {"x": 1.0, "y": 0.0}, unset=["y"])
    assert decode(text) == {"$type": f"{PLACE}.Nowhere", "value": {"x": 1.0, "y": 0.0}, "unset": ["y"]}


# Topics


def test_typed_topics() -> None:
    """A class is a type of a topic; another one is refused, an invalid one too, and the next message comes."""
    with Topic("pose", m.Point) as topic, Topic("pose") as untyped:
        topic.send(m.Point(x=1.0))
        assert topic.recv() == m.Point(x=1.0)
        with pytest.raises(TopicTypeError, match=r"carries .*Point, not .*Limited"):
            topic.send(m.Limited())
        untyped.send(m.Limited())
        with pytest.raises(TopicTypeError, match=r"opened for .*Point, but holds .*Limited"):
            topic.recv()
        assert topic._publisher is not None
        topic._publisher.publish(message("Point", {"x": "far"}), 0)
        topic.send(m.Point(x=2.0))
        with pytest.raises(MessageDecodeError, match="does not accept x = 'far'"):
            topic.recv()
        assert topic.recv() == m.Point(x=2.0)


def test_a_model_defined_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object of the older definition would arrive as one of the newer: it is refused, as on a typed topic."""
    notebook: Any = types.ModuleType("model_cell")
    monkeypatch.setitem(sys.modules, "model_cell", notebook)
    cell = "import pydantic\nclass Pose(pydantic.BaseModel):\n    x: float = 0.0\n"
    exec(cell, vars(notebook))
    old = notebook.Pose(x=1.0)
    assert both_ways(old) == [old] * 3
    exec(cell, vars(notebook))
    assert "model_cell.Pose of an older definition of that class; make it anew" in refusal(old)
    new = notebook.Pose(x=1.0)
    assert type(decode(as_bytes(encode(new)))) is notebook.Pose
    with Topic("p", notebook.Pose) as topic, pytest.raises(TopicTypeError, match="of an older definition"):
        topic.send(old)


def test_classes_made_inside_a_function() -> None:
    """Come back in their own process."""
    import pydantic

    made: Any = pydantic.create_model("Made", x=(int, 3))
    for back in both_ways(made(x=4)):
        assert back == made(x=4)


def test_commands_show_and_send_models() -> None:
    """``topic echo`` shows what is recorded, ``topic pub --type`` sends what the class accepts."""
    command = [sys.executable, "-m", "horus_async", "topic", "echo", "p", "-n", "1", "--json"]
    with Topic("p", m.Point) as topic, subprocess.Popen(command, stdout=subprocess.PIPE) as echo:
        while echo.poll() is None:
            topic.send(m.Point(x=1.5))
            topic.recv()
        assert echo.stdout is not None
        shown = orjson.loads(echo.stdout.read())["value"]
    assert shown == {"$type": f"{PLACE}.Point", "value": {"x": 1.5, "y": 0.0}, "unset": ["y"]}

    with Topic("q") as topic:
        sent = CliRunner().invoke(main, ["topic", "pub", "q", '{"at": {"x": 1}}', "--type", f"{PLACE}.Pose"])
        assert sent.exit_code == 0, sent.output
        assert topic.recv() == m.Pose(at=m.Point(x=1.0))
        for text, reason in [
            ('{"at": 3}', "does not accept at = 3"),
            ("3", "its fields must be"),
            ("{}", "needs a field 'at'"),
            ('{"att": 3}', "it has no field 'att'; it has at, name"),
        ]:
            refused = CliRunner().invoke(main, ["topic", "pub", "q", text, "--type", f"{PLACE}.Pose"])
            assert refused.exit_code == 2
            assert reason in refused.stderr
        assert topic.recv() is None


def test_differences_name_the_field() -> None:
    """Of models, in models, of dataclasses, and of what was set."""
    pose, other = m.Pose(at=m.Point(x=1.0)), m.Pose(at=m.Point(x=2.0))
    assert first_difference(pose, other) == ("at.x", 1.0, 2.0)
    assert first_difference(m.Plain(1.0), m.Plain(1.0, [2])) == ("items[0]", "(missing)", 2)
    assert first_difference(m.Open(y=1), m.Open(y=2)) == ("y", 1, 2)
    assert first_difference(m.Point(), m.Point(x=0.0)) == ("model_fields_set[0]", "(missing)", "x")


def test_programs_without_pydantic_never_import_it() -> None:
    """Neither to send and receive objects, nor for a message that names its classes."""
    code = (
        "import sys, dataclasses, attrs, horus_async\n"
        "from horus_async.topics.codec import as_bytes, decode, encode\n"
        "@attrs.define\nclass Pose:\n    x: object = None\n"
        "assert decode(as_bytes(encode(Pose({'a': (1,)})))) == Pose({'a': (1,)})\n"
        'decode(b\'{"$type":"pydantic.main.BaseModel","value":{}}\')\n'
        "assert not [name for name in sys.modules if name.startswith('pydantic')]\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_fields_of_attrs_classes_are_told_apart() -> None:
    """An attrs class without any pydantic is no model."""

    @attrs.define
    class Pose:
        x: Any = None

    for back in both_ways(Pose((1,))):
        assert back == Pose((1,))
