"""A typed topic takes objects whose fields are what their class says, and nothing else."""

from __future__ import annotations

import collections.abc  # noqa: TC003 - annotations are evaluated
import dataclasses
import datetime
import enum
import sys
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Literal, NewType, Optional, Self, TypeVar

import attrs
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray  # noqa: TC002 - as above

from horus_async import Topic, TopicTypeError
from horus_async.errors import ValueNotSupportedError
from horus_async.messages import BatteryState, CmdVel, Image, LaserScan, Odometry, Path
from horus_async.topics import Bus
from horus_async.topics.kinds.checks import first_wrong

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

Item = TypeVar("Item")
Metres = NewType("Metres", float)


class Mode(enum.Enum):
    """Members that are no numbers."""

    IDLE = "idle"
    RUN = "run"


class Gear(enum.IntEnum):
    """Members that are numbers."""

    LOW = 1
    HIGH = 2


class Corner(typing.TypedDict):
    """A dict with these keys."""

    x: float
    name: typing.NotRequired[str]


class Named(typing.NamedTuple):
    """A tuple with names."""

    a: int = 0
    b: float = 0.0


class Sized(typing.Protocol):
    """Says nothing of values."""

    def size(self) -> int:
        """How large it is."""


@attrs.define
class Point:
    """Two numbers."""

    x: float = 0.0
    y: float = 0.0


@dataclasses.dataclass
class Box(Generic[Item]):
    """Of anything."""

    item: Item | None = None


@attrs.define
class Tree:
    """Holds others of its kind."""

    children: list[Tree] = attrs.field(factory=list)
    parent: Self | None = None
    point: Point = attrs.field(factory=Point)


@attrs.define
class All:
    """A field of each kind."""

    shared: ClassVar[int] = 3
    float_: float = 0.0
    int_: int = 0
    bool_: bool = False
    complex_: complex = 0j
    text: str = ""
    raw: bytes = b""
    nothing: None = None
    anything: Any = None
    metres: Metres = Metres(0.0)
    noted: Annotated[int, "a note"] = 0
    maybe: float | None = None
    maybe_old: Optional[str] = None  # noqa: UP045 - as it was written before
    either: int | str = 0
    choice: Literal["a", 1] = 1
    floats: list[float] = attrs.field(factory=list)
    bare: list = attrs.field(factory=list)  # type: ignore[type-arg]
    pair: tuple[int, str] = (0, "")
    row: tuple[float, ...] = ()
    empty: tuple[()] = ()
    table: dict[str, list[int]] = attrs.field(factory=dict)
    chosen: set[int] = attrs.field(factory=set)
    frozen: frozenset[str] = frozenset()
    sequence: collections.abc.Sequence[int] = ()
    mapping: collections.abc.Mapping[int, Point] = attrs.field(factory=dict)
    when: datetime.datetime = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    mode: Mode = Mode.IDLE
    gear: Gear = Gear.LOW
    point: Point = attrs.field(factory=Point)
    points: list[Point | None] = attrs.field(factory=list)
    box: Box[int] = attrs.field(factory=Box)
    named: Named = Named()  # noqa: RUF009 - nobody changes it
    corner: Corner = attrs.field(factory=lambda: Corner(x=0.0))
    tree: Tree = attrs.field(factory=Tree)
    array: np.ndarray[Any, Any] = attrs.field(factory=lambda: np.zeros(2))
    doubles: NDArray[np.float64] = attrs.field(factory=lambda: np.zeros(2))
    reals: NDArray[np.floating[Any]] = attrs.field(factory=lambda: np.zeros(2))
    single: NDArray[np.float32 | np.int8] = attrs.field(factory=lambda: np.zeros(2, np.int8))
    some_array: NDArray[Any] = attrs.field(factory=lambda: np.zeros(2))
    sized: Sized | None = None
    call: collections.abc.Callable[[], int] | None = None


GOOD: list[tuple[str, Any]] = [
    ("float_", 1.5),
    ("float_", 1),
    ("float_", float("nan")),
    ("float_", np.float64(1)),
    ("float_", np.float32(1)),
    ("float_", np.int8(1)),
    ("int_", 2**70),
    ("int_", Gear.HIGH),
    ("int_", np.int64(1)),
    ("bool_", True),
    ("bool_", np.bool_(True)),
    ("complex_", 1),
    ("complex_", 1.5),
    ("text", "ü"),
    ("raw", b"x" * 1000),
    ("anything", {1: (2, b"")}),
    ("metres", 1),
    ("noted", 5),
    ("maybe", None),
    ("maybe", 2),
    ("maybe_old", "x"),
    ("either", "x"),
    ("choice", "a"),
    ("choice", 1),
    ("floats", [1, 2.5, np.float32(1)]),
    ("bare", [1, "x"]),
    ("pair", (1, "x")),
    ("row", (1.0, 2)),
    ("table", {"a": [1], "b": []}),
    ("chosen", {1, 2}),
    ("frozen", frozenset("a")),
    ("sequence", [1, 2]),
    ("mapping", {1: Point(1, 2)}),
    ("mode", Mode.RUN),
    ("gear", 7),  # as in messages of ROS
    ("point", Point(1, 2)),
    ("points", [None, Point()]),
    ("box", Box("anything")),
    ("named", Named(1, 2)),
    ("corner", {"x": 1, "name": "n"}),
    ("tree", Tree([Tree(), Tree([Tree()])], Tree())),  # type: ignore[arg-type]
    ("array", np.arange(3)),
    ("doubles", np.ones((2, 2))),
    ("reals", np.ones(2, np.float32)),
    ("single", np.ones(2, np.float32)),
    ("some_array", np.ones(2, bool)),
    ("sized", 5),
    ("call", 5),
]

BAD: list[tuple[str, Any, str]] = [
    ("float_", "fast", "float_ has to be float, not str: 'fast'"),
    ("float_", True, "float_ has to be float, not bool: True"),
    ("float_", None, "float_ has to be float, not NoneType"),
    ("int_", True, "int_ has to be int, not bool"),
    ("int_", 1.0, "int_ has to be int, not float: 1.0"),
    ("int_", np.float64(1), "int_ has to be int"),
    ("bool_", 1, "bool_ has to be bool, not int: 1"),
    ("complex_", "1j", "complex_"),
    ("text", b"x", "text has to be str, not bytes"),
    ("raw", "x", "raw has to be bytes, not str"),
    ("nothing", 0, "nothing has to be None"),
    ("metres", "1", "metres has to be float"),
    ("noted", "5", "noted has to be int"),
    ("maybe", "x", "maybe has to be float | None, not str"),
    ("maybe_old", 1, "maybe_old has to be "),
    ("either", 1.5, "either has to be int | str, not float"),
    ("choice", "b", "choice has to be Literal['a', 1], not str: 'b'"),
    ("choice", True, "choice has to be"),  # which equals 1
    ("floats", [1.0, "2"], r"floats[1] has to be float, not str: '2'"),
    ("floats", (1.0,), "floats has to be list[float], not tuple"),
    ("floats", np.zeros(2), "floats has to be list[float], not numpy.ndarray: array float64[2]"),
    ("bare", (), "bare has to be list"),
    ("pair", (1, 2), "pair[1] has to be str"),
    ("pair", (1, "x", 2), "pair has to be tuple[int, str], not tuple"),
    ("row", (1.0, None), "row[1] has to be float"),
    ("empty", (1,), "empty has to be tuple[()]"),
    ("table", {"a": [1.5]}, "table['a'][0] has to be int, not float"),
    ("table", {1: [1]}, "table key 1 has to be str, not int"),
    ("chosen", {1.5}, "chosen[0] has to be int"),
    ("frozen", {"a"}, "frozen has to be frozenset[str], not set"),
    ("sequence", {1}, "sequence has to be collections.abc.Sequence[int], not set"),
    ("mapping", {1: Point("x")}, "mapping[1].x has to be float, not str: 'x'"),  # type: ignore[arg-type]
    ("when", "2026-01-01", "when has to be datetime.datetime, not str"),
    ("mode", "idle", f"mode has to be {__name__}.Mode, not str"),
    ("gear", True, f"gear has to be {__name__}.Gear, not bool"),
    ("point", Box(), f"point has to be {__name__}.Point, not {__name__}.Box"),
    ("point", {"x": 1.0, "y": 1.0}, f"point has to be {__name__}.Point, not dict"),
    ("points", [None, Point(y="1")], "points[1].y has to be float"),  # type: ignore[arg-type]
    ("points", [1], "points[0] has to be"),
    ("box", Point(), "box has to be"),
    ("named", Named("x"), "named.a has to be int"),  # type: ignore[arg-type]
    ("named", (1, 2.0), f"named has to be {__name__}.Named, not tuple"),
    ("corner", {"x": "1"}, "corner['x'] has to be float"),
    ("corner", {"y": 1.0}, f"corner has to be {__name__}.Corner, not dict"),
    ("tree", Tree([Tree(), Tree(point=Point(x=[]))]), "tree.children[1].point.x has to be float, not list"),  # type: ignore[arg-type]
    ("tree", Tree(parent=Point()), "tree.parent has to be "),  # type: ignore[arg-type]
    ("array", [1.0], "array has to be numpy.ndarray"),
    ("doubles", np.zeros(2, np.float32), "doubles has to be numpy.ndarray["),
    ("reals", np.zeros(2, int), "reals has to be numpy.ndarray["),
    ("single", np.zeros(2), "single has to be numpy.ndarray["),
    ("some_array", [1], "some_array has to be numpy.ndarray["),
]


@pytest.mark.parametrize(("name", "value"), GOOD, ids=repr)
def test_what_a_field_takes(name: str, value: Any) -> None:
    """And what a reader gets is the same."""
    sent = All(**{name: value})

    assert first_wrong(sent) is None
    with Topic("t", All) as topic:
        topic.send(sent)
        arrived = getattr(topic.recv(), name)
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value)


@pytest.mark.parametrize(("name", "value", "reason"), BAD, ids=repr)
def test_what_a_field_does_not_take(name: str, value: Any, reason: str) -> None:
    """Nothing is sent, and the error names field, annotation and value; a reader of it is told the same."""
    sent = All(**{name: value})

    with Topic("t", All) as typed, Topic("t") as anything:
        with pytest.raises(TopicTypeError) as refused:
            typed.send(sent)
        assert not typed.has_msg()
        anything.send(sent)
        anything.send(All())
        with pytest.raises(TopicTypeError) as left:
            typed.recv()
        assert type(typed.recv()) is All

    assert str(refused.value).startswith(f"topic 't' carries {__name__}.All, whose {reason}")
    assert str(left.value).startswith(
        f"topic 't' was opened for {__name__}.All, but holds a {__name__}.All whose {reason}"
    )
    assert "in process" in str(left.value)
    assert "\n" not in str(refused.value) + str(left.value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (CmdVel(linear="fast"), "whose linear has to be float, not str: 'fast'"),  # type: ignore[arg-type]
        (CmdVel(angular=None), "whose angular has to be float, not NoneType: None"),  # type: ignore[arg-type]
        (LaserScan(ranges="near"), "whose ranges has to be a list, a tuple or a NumPy array of numbers, not str"),  # type: ignore[arg-type]
        (LaserScan(ranges=[1.0, "2"]), "whose ranges has to be a list, a tuple or a NumPy array of numbers"),  # type: ignore[arg-type]
        (Image(data=[1, 2]), "whose data has to be bytes or a NumPy array, not list: [1, 2]"),  # type: ignore[arg-type]
        (BatteryState(power_supply_status="full"), "whose power_supply_status has to be horus_async.messages."),  # type: ignore[arg-type]
        (Path(poses=[CmdVel()]), "whose poses[0] has to be horus_async.messages.PoseStamped"),  # type: ignore[list-item]
    ],
    ids=repr,
)
def test_our_messages(value: Any, reason: str) -> None:
    """Also those whose fields take arrays."""
    with Topic("t", type(value)) as topic, pytest.raises(TopicTypeError) as refused:
        topic.send(value)
    assert reason in str(refused.value)


def test_our_messages_take_numbers_of_any_make() -> None:
    """As their documentation says."""
    rows: list[Any] = [[1.0, 2], (1, 2.5), np.zeros(3, np.float32), [np.float32(1)], np.zeros((2, 2)), []]
    with Topic("t", LaserScan) as topic:
        for ranges in rows:
            topic.send(LaserScan(ranges=ranges))
            assert type(topic.recv().ranges) is type(ranges)
    with Topic("u", BatteryState) as topic:
        topic.send(BatteryState(power_supply_status=2, voltage=12))  # type: ignore[arg-type]
        assert topic.recv().voltage == 12


def test_a_message_of_another_process_is_checked_too() -> None:
    """In whatever form it comes; one that is refused is consumed."""
    name = f"{__name__}.Point"
    with Topic("t", Point) as topic, Bus() as other:
        publisher = other.publisher("t", "driver")
        for number, value in enumerate(({"x": "1"}, {"x": [1.0]}, {"y": True}, {"x": 1, "y": 2.5, "gone": 3})):
            publisher.publish(orjson.dumps({"$type": name, "value": value}), number)
        for field in ("x", "x", "y"):
            with pytest.raises(
                TopicTypeError, match=rf"a {name} whose {field} has to be float, .*sent by driver in proc"
            ):
                topic.recv()
        assert topic.recv() == Point(1, 2.5)
        publisher.publish(orjson.dumps({"$type": name, "value": {"x": b"".hex() or None}}), 9)
        with pytest.raises(TopicTypeError), topic.borrow():
            pass


def test_packed_objects_need_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are packed only if each field is what is annotated; the cost of a typed topic stays what it was."""
    from horus_async.topics import typed as module

    looked: list[Any] = []
    monkeypatch.setattr(module, "first_wrong", looked.append)
    with Topic("t", Point) as topic:
        topic.send(Point(1.0, 2.0))
        assert topic.recv() == Point(1.0, 2.0)
        assert not looked
        topic.send(Point(1, 2.0))
        assert topic.recv() == Point(1, 2.0)
    assert len(looked) == 2


def test_rows_of_numbers_are_looked_at_although_they_are_packed() -> None:
    """There a list, a tuple and an array look alike."""
    with Topic("t", Rows) as topic:
        topic.send(Rows([1.0]))
        with pytest.raises(TopicTypeError, match=r"whose floats has to be list\[float\], not tuple: \(1\.0,\)"):
            topic.send(Rows((1.0,)))  # type: ignore[arg-type]


def test_our_messages_need_no_look_when_they_are_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rows of numbers may be of any make."""
    from horus_async.topics import typed as module

    looked: list[Any] = []
    monkeypatch.setattr(module, "first_wrong", looked.append)
    for value in (LaserScan(ranges=[1.0]), LaserScan(ranges=np.ones(3)), Odometry(), BatteryState()):
        with Topic("t", type(value)) as topic:
            topic.send(value)
            assert topic.recv() == value
    assert not looked
    with Topic("t", Stamped) as topic:
        topic.send(Stamped(Rows([1.0])))
    assert looked == [Stamped(Rows([1.0]))]


@attrs.define
class Rows:
    """Packed, in a place for all rows of numbers."""

    floats: list[float]


@attrs.define
class Stamped:
    """Holds one that has to be looked at."""

    rows: Rows


@pytest.mark.skipif(sys.version_info < (3, 12), reason="there is no such statement")
def test_type_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    """As NumPy's ``NDArray`` is one from some release on: with types filled in, and holding themselves."""
    module = types.ModuleType("aliases")
    monkeypatch.setitem(sys.modules, "aliases", module)
    names = vars(module)
    names["attrs"] = attrs
    exec(  # - older releases could not read this file
        "type Row[T] = list[T]\n"
        "type Pairs[A, B] = dict[B, A]\n"
        "type Json = None | float | list[Json] | dict[str, Json]\n"
        "@attrs.define\n"
        "class Aliased:\n"
        "    row: Row[int] = attrs.field(factory=list)\n"
        "    pairs: Pairs[int, str] = attrs.field(factory=dict)\n"
        "    json: Json = None\n",
        names,
    )
    kind = names["Aliased"]

    assert first_wrong(kind([1], {"a": 1}, [1.5, {"b": [None]}])) is None
    assert str(first_wrong(kind(["1"]))).startswith("whose row[0] has to be int, not str")
    assert str(first_wrong(kind(pairs={1: "a"}))).startswith("whose pairs key 1 has to be str, not int")
    assert str(first_wrong(kind(json=[{"b": [{1}]}]))).startswith("whose json has to be ")


@attrs.define
class Unknown:
    """Its annotations can be told in part."""

    amount: OnlyForTypeCheckers
    odd: "not a type"  # type: ignore[valid-type]  # noqa: F722
    x: float = 0.0


def test_annotations_that_cannot_be_told_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """They cost their own fields alone."""
    with Topic("t", Unknown) as topic:
        topic.send(Unknown(1, 2, 3.0))  # type: ignore[arg-type]
        topic.send(Unknown("a", None, 3.0))  # type: ignore[arg-type]
        with pytest.raises(TopicTypeError, match="whose x has to be float"):
            topic.send(Unknown(1, 2, "3"))  # type: ignore[arg-type]
    (said,) = [text for text in caplog.messages if "not checked" in text]
    assert said.startswith(
        f"fields of {__name__}.Unknown are not checked, as their annotations cannot be told: amount ("
    )
    assert "OnlyForTypeCheckers" in said
    assert "odd (" in said


def test_a_value_that_holds_itself() -> None:
    """It is refused as on any other topic."""
    tree = Tree()
    tree.children.append(tree)
    with Topic("t", Tree) as topic, pytest.raises(ValueNotSupportedError):
        topic.send(tree)


def test_a_subclass_is_checked_by_its_own_fields() -> None:
    """A topic takes subclasses of its type."""

    @attrs.define
    class Deeper(Point):
        z: int = 0

    with Topic("t", Point) as topic:
        topic.send(Deeper(1.0, 2.0, 3))
        with pytest.raises(TopicTypeError, match="whose z has to be int"):
            topic.send(Deeper(1.0, 2.0, 3.5))  # type: ignore[arg-type]
        with pytest.raises(TopicTypeError, match="whose x has to be float"):
            topic.send(Deeper("1"))  # type: ignore[arg-type]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)


@given(name=st.sampled_from([field.name for field in attrs.fields(All)]), value=VALUES)
@settings(max_examples=300, deadline=None)
def test_any_value_is_taken_or_told(name: str, value: Any) -> None:
    """No value makes the check itself fail."""
    wrong = first_wrong(All(**{name: value}))
    if wrong is not None:
        assert wrong.path.startswith(f".{name}")
        assert "\n" not in str(wrong)
