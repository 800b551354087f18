"""attrs classes, dataclasses and enums in messages."""

from __future__ import annotations

import dataclasses
import enum
import sys
import types
from typing import Any

import attrs
import numpy as np
import orjson
import pytest

from horus_async import Miss, NodeStats
from horus_async.errors import MessageDecodeError, ValueNotSupportedError
from horus_async.topics.codec import as_bytes, decode, encode, to_json
from horus_async.topics.values.classes import find


@attrs.define
class Pose:
    """Slots."""

    x: float
    y: float = 0.0
    path: list[Any] = attrs.field(factory=list)


def _next(value: int) -> int:
    return value + 1


def _double(command: Command) -> int:
    return 2 * command._id


@attrs.frozen
class Command:
    """Frozen, with a private name, a converter, a validator and a field that is not for __init__."""

    _id: int = attrs.field(converter=_next)
    pose: Pose | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(Pose))
    )
    double: int = attrs.field(init=False, default=attrs.Factory(_double, takes_self=True))


@attrs.define(slots=False)
class Loose:
    """No slots, keyword-only."""

    a: Any = attrs.field(kw_only=True)

    @attrs.frozen
    class Inner:
        """Nested."""

        b: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Reading:
    """A dataclass."""

    value: float
    tags: list[str] = dataclasses.field(default_factory=list)
    unit: str = "m"
    total: float = dataclasses.field(init=False, compare=False, default=0.0)


class Mode(enum.Enum):
    """Members whose values are anything."""

    IDLE = object()
    RUN = (1, 2)


class Level(enum.IntEnum):
    """Also an int."""

    LOW = 1
    HIGH = 2


class Bits(enum.Flag):
    """Combines."""

    A = 1
    B = 2
    C = 4


@attrs.define
class Labels(dict):  # type: ignore[type-arg]
    """Also a dict."""

    color: str = "red"


def both_ways(value: Any) -> list[Any]:
    """The value out of the ring, and out of a recorded line."""
    payload = as_bytes(encode(value))
    return [decode(payload), decode(to_json(payload))]


@pytest.mark.parametrize(
    "value",
    [
        Pose(1.5),
        Pose(float("inf"), -0.0, [(1, b"x"), Pose(2.0)]),
        Command(4, Pose(1.0)),
        Loose(a=Loose.Inner((1, 2))),
        Reading(1.5, ["a"]),
        Mode.IDLE,
        Mode.RUN,
        Level.HIGH,
        Bits.A | Bits.C,
        Bits(0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_objects_come_back(value: Any) -> None:
    """An object comes back equal and of its class, wherever it is in the value (J.1-51)."""
    for back in both_ways({"a": value, "b": [value, (value,)], "c": {1: value}}):
        for item in (back["a"], back["b"][0], back["b"][1][0], back["c"][1]):
            assert type(item) is type(value)
            assert item == value


def test_objects_come_back_without_running_their_constructor() -> None:
    """Converters and defaults are not applied a second time."""
    command = Command(4)
    assert (command._id, command.double) == (5, 10)

    for back in both_ways(command):
        assert (back._id, back.double) == (5, 10)


def test_the_form_of_an_object() -> None:
    """An object is its class's full name and its fields; an enum's member goes by its name."""
    assert orjson.loads(to_json(encode([Pose(1.0), Mode.RUN, Bits.A | Bits.B]))) == [
        {"$type": f"{__name__}.Pose", "value": {"x": 1.0, "y": 0.0, "path": []}},
        {"$type": f"{__name__}.Mode", "value": "RUN"},
        {"$type": f"{__name__}.Bits", "value": 3},
    ]


def test_objects_with_arrays() -> None:
    """Arrays in an object travel raw."""
    pose = Pose(1.0, path=[np.arange(3.0)])

    for back in both_ways(pose):
        assert back.path[0].tolist() == [0.0, 1.0, 2.0]
    assert np.arange(3.0).tobytes() in as_bytes(encode(pose))


def test_keys_may_be_objects() -> None:
    """Frozen objects and enum members are dict keys, too."""
    value = {Level.LOW: 1, Loose.Inner((3,)): 2}

    for back in both_ways(value):
        assert back == value
        assert [type(key) for key in back] == [Level, Loose.Inner]


def test_a_class_made_inside_a_function() -> None:
    """A class that no module holds comes back within the process that sent it."""

    @attrs.frozen
    class Local:
        n: int

    for back in both_ways(Local(3)):
        assert back == Local(3)


def test_an_unknown_class_arrives_as_a_dict() -> None:
    """A class that is not imported here arrives as a dict with its type, tags inside it resolved."""
    message = {"$type": "robot.Arm", "value": {"joints": {"$tuple": [1, 2]}}}
    value = decode(orjson.dumps(message))

    assert value == {"$type": "robot.Arm", "value": {"joints": (1, 2)}}
    assert both_ways(value) == [value, value]


@pytest.mark.parametrize("name", ["os.system", "builtins.dict", "subprocess.Popen", "os", "", ".", "builtins.eval"])
def test_other_things_are_never_built(name: str) -> None:
    """A name of something other than an attrs class, dataclass or enum stays a dict."""
    message = {"$type": name, "value": {"args": ["true"]}}

    assert decode(orjson.dumps(message)) == message


def test_looking_a_class_up_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that would import on attribute access is not asked."""
    lazy = types.ModuleType("lazy_robot")

    def forbidden(name: str) -> None:
        raise AssertionError(name)

    lazy.__getattr__ = forbidden  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "lazy_robot", lazy)

    assert decode(b'{"$type":"lazy_robot.Arm","value":1}') == {"$type": "lazy_robot.Arm", "value": 1}


def test_fields_that_came_and_went() -> None:
    """A message without a newer field gets its default; one with a field that is no more loses it."""
    name = f"{__name__}.Pose"

    assert decode(orjson.dumps({"$type": name, "value": {"x": 1.5, "gone": 3}})) == Pose(1.5)
    assert decode(orjson.dumps({"$type": f"{__name__}.Reading", "value": {"value": 2.0}})) == Reading(2.0)
    with pytest.raises(MessageDecodeError, match="Pose needs a field 'x'"):
        decode(orjson.dumps({"$type": name, "value": {"y": 1.5}}))


@pytest.mark.parametrize(
    ("name", "value"), [("Pose", [1.5]), ("Mode", "FLY"), ("Mode", [1]), ("Bits", "A"), ("Pose", None)]
)
def test_contents_that_do_not_fit(name: str, value: object) -> None:
    """A known class with contents that cannot be its own is a MessageDecodeError."""
    with pytest.raises(MessageDecodeError):
        decode(orjson.dumps({"$type": f"{__name__}.{name}", "value": value}))


def test_an_object_that_is_a_container_too() -> None:
    """An attrs class that is also a dict would lose its items, and is refused."""
    with pytest.raises(ValueNotSupportedError, match="Labels, which is also a dict"):
        encode(Labels(color="blue"))


def test_the_path_leads_into_objects() -> None:
    """The error for something inside an object names the field."""
    with pytest.raises(ValueNotSupportedError, match=r"^value\['p'\]\.path\[0\] is not supported: object"):
        encode({"p": Pose(1.0, path=[object()])})


def test_classes_of_ours_are_found_where_they_were() -> None:
    """Recordings hold the modules in which some of our classes were before."""
    assert find("horus_async.policies.Miss") is Miss
    assert find("horus_async.stats.NodeStats") is NodeStats
