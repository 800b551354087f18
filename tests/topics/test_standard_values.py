"""Types of the standard library in messages: they come back equal and of their own type, or are refused with advice."""

from __future__ import annotations

import array
import asyncio
import collections
import dataclasses
import datetime
import decimal
import fractions
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import types
import typing
import uuid
import zoneinfo
from typing import Any, NamedTuple

import attrs
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Node, Scheduler, Topic
from horus_async.errors import MessageDecodeError, TopicTypeError, ValueNotSupportedError
from horus_async.recorder import open_session
from horus_async.recorder.read.info import type_name
from horus_async.recorder.records import ExecutionRecord
from horus_async.recorder.tables.flatten import plain
from horus_async.topics.codec import as_bytes, decode, encode, to_json
from horus_async.value_diff import first_difference, same
from tests.engine.programs import environment, scheduler_of

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Joint(NamedTuple):
    """A named tuple with a default."""

    name: str
    angle: float = 0.5


OldStyle = collections.namedtuple("OldStyle", "a b")  # noqa: PYI024 - many programs have such


class Better(OldStyle):
    """A named tuple with a method, as they were written of old."""

    __slots__ = ()

    def total(self) -> Any:
        """Use the fields."""
        return self.a + self.b


def alike(one: Any, other: Any) -> bool:
    """Equal, of one type, and told apart by nothing that a program could see."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (set, frozenset)):
        return bool(one == other) and to_json(encode(one)) == to_json(encode(other))
    if isinstance(one, (datetime.datetime, datetime.time)):
        return bool(one == other and one.fold == other.fold and one.tzinfo == other.tzinfo)
    return repr(one) == repr(other)


PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
ZONED = st.datetimes(timezones=st.timezones() | st.none())
FOLDED = st.builds(lambda time, fold: time.replace(fold=fold), ZONED, st.integers(0, 1))
STANDARD = st.one_of(
    st.timedeltas(),
    st.dates(),
    st.times(timezones=st.none() | st.timezones()),
    FOLDED,
    st.uuids(),
    st.decimals() | st.decimals().map(lambda number: number.scaleb(2000) if number.is_finite() else number),
    st.complex_numbers(),
    st.binary(max_size=700).map(bytearray),
    PATHS.map(pathlib.Path),
    PATHS.map(pathlib.PurePosixPath),
    PATHS.map(pathlib.PureWindowsPath),
    st.builds(Joint, st.text("ab", max_size=3), st.floats(allow_nan=False)),
    st.builds(Better, st.integers(), st.integers()),
)
ITEMS = st.one_of(
    st.integers(),
    st.text("ab$", max_size=3),
    st.booleans(),
    st.binary(max_size=600),
    st.uuids(),
    st.dates(),
    st.timedeltas(),
    st.builds(Better, st.integers(), st.integers()),
)
SETS = st.frozensets(st.recursive(ITEMS, lambda inner: st.frozensets(inner, max_size=3), max_leaves=6), max_size=6)


def both_ways(value: Any) -> list[Any]:
    """The value out of the ring, and out of a recorded line."""
    payload = as_bytes(encode(value))
    text = to_json(payload)
    assert b"\n" not in text
    assert orjson.dumps(orjson.loads(text)) == text
    assert to_json(encode(decode(text))) == text
    return [decode(payload), decode(text)]


@given(STANDARD | SETS | SETS.map(set))
@settings(max_examples=400)
def test_they_come_back(value: Any) -> None:
    """Equal and of the same type, wherever in the message, from a ring and from a recorded line."""
    for back in both_ways({"a": value, "b": [value, (value, 1)]}):
        for item in (back["a"], back["b"][0], back["b"][1][0]):
            assert alike(item, value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({3, 1, 2}, {"$set": [1, 2, 3]}),
        (frozenset({"b", "a"}), {"$frozenset": ["a", "b"]}),
        (datetime.timedelta(days=-1, microseconds=5), {"$timedelta": [-1, 0, 5]}),
        (datetime.date(2026, 4, 24), {"$date": "2026-04-24"}),
        (datetime.time(3, 17, 5, fold=1), {"$time": "03:17:05", "fold": 1}),
        (
            datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
            {"$datetime": "2026-10-25T02:30:00+01:00", "zone": "Europe/Berlin", "fold": 1},
        ),
        (pathlib.Path("/a/b"), {"$path": "/a/b"}),
        (pathlib.PureWindowsPath("C:/a"), {"$path": "C:\\a", "pure": "windows"}),
        (uuid.UUID(int=1), {"$uuid": "00000000-0000-0000-0000-000000000001"}),
        (decimal.Decimal("1.10"), {"$decimal": "1.10"}),
        (complex(1.5, float("inf")), {"$complex": [1.5, {"$float": "inf"}]}),
        (bytearray(b"ab"), {"$bytearray": "YWI="}),
        (bytearray(b"\0" * 513), {"$bytearray": "AAAA" * 171}),
        (Joint("a"), {"$type": f"{__name__}.Joint", "value": {"name": "a", "angle": 0.5}}),
    ],
    ids=lambda value: next(iter(value)) if type(value) is dict else type(value).__name__,
)
def test_tags(value: Any, text: Any) -> None:
    """The text of each in a recording is the one that the format promises."""
    assert orjson.loads(to_json(encode(value))) == text


@pytest.mark.parametrize("fold", [0, 1])
def test_the_repeated_hour(fold: int) -> None:
    """A zoned time in the hour that occurs twice is the same moment, equal, and still in its zone (nodes/18)."""
    value = datetime.datetime(2026, 10, 25, 2, 30, fold=fold, tzinfo=BERLIN)
    for back in both_ways(value):
        assert back == value
        assert back.tzinfo is BERLIN
        assert back.utcoffset() == datetime.timedelta(hours=2 - fold)


def test_a_zone_that_this_machine_lacks() -> None:
    """The moment and its offset remain; and so where the zone's rules are others here."""
    for zone in ("Mars/Olympus_Mons", "../../etc/passwd", "Europe", "", 5, "Europe/London"):
        text = orjson.dumps({"$datetime": "2026-07-01T12:00:00+02:00", "zone": zone})
        back = decode(text)
        assert back == datetime.datetime(2026, 7, 1, 10, tzinfo=datetime.UTC)
        assert back.utcoffset() == datetime.timedelta(hours=2)


class OtherZone(datetime.tzinfo):
    """A zone of no known kind, in whose last hour of the year the clock is set back."""

    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta:
        """An hour less the second time."""
        again = when is not None and when.fold and (when.month, when.day) == (12, 31)
        return datetime.timedelta(hours=0 if again else 1)

    def dst(self, _: datetime.datetime | None) -> None:
        """None."""

    def tzname(self, _: datetime.datetime | None) -> str:
        """A name."""
        return "other"


def test_a_zone_of_another_library() -> None:
    """It comes back as its offset, as long as that is equal; where it would not be, it is refused, with a way out."""
    summer = datetime.datetime(2026, 7, 1, tzinfo=OtherZone())
    for back in both_ways(summer):
        assert back == summer
        assert back.utcoffset() == datetime.timedelta(hours=1)
    with pytest.raises(ValueNotSupportedError, match=r"occurs twice.*astimezone"):
        encode([datetime.datetime(2026, 12, 31, 23, tzinfo=OtherZone())])


def test_sets_are_the_same_bytes_in_every_process() -> None:
    """Whatever the hash seed, a set of strings, tuples and bytes is sent in the same order."""
    program = (
        "from horus_async.topics.codec import encode, to_json\n"
        "long = b'x' * 600\n"
        "value = {'a', 'b', ('c', 1), b'd', long, frozenset({'e', 2.5, None, frozenset({'f', 'g'})}), 7}\n"
        "print(to_json(encode([value, {'name%d' % n for n in range(40)}])).decode())"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment(PYTHONHASHSEED=seed),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(texts) == 1
    assert json.loads(texts.pop())


def test_nested_sets_take_no_exponential_time() -> None:
    """Ordering the items of a set orders those inside it once."""
    value: Any = frozenset({1})
    for level in range(60):
        value = frozenset({value, level + 0.5})
    for back in both_ways(value):
        assert back == value


@pytest.mark.parametrize(
    "payload",
    [
        b'{"$set":5}',
        b'{"$set":[[]]}',
        b'{"$frozenset":[{}]}',
        b'{"$timedelta":[1]}',
        b'{"$timedelta":[1e300,0,0]}',
        b'{"$timedelta":["a",0,0]}',
        b'{"$date":"yesterday"}',
        b'{"$date":5}',
        b'{"$time":"25:00"}',
        b'{"$time":"01:00","fold":2}',
        b'{"$datetime":"2026-01-01T00:00:00","fold":"x"}',
        b'{"$uuid":"no"}',
        b'{"$uuid":5}',
        b'{"$decimal":"one"}',
        b'{"$decimal":[0,[1],0]}',
        b'{"$complex":[1]}',
        b'{"$complex":["a","b"]}',
        b'{"$path":5}',
        b'{"$path":["a"]}',
        b'{"$path":"a","pure":[]}',
        b'{"$bytearray":"=="}',
        b'{"$bytearray":3}',
    ],
    ids=lambda payload: payload.decode(),
)
def test_damaged_ones(payload: bytes) -> None:
    """What cannot be such a value is a MessageDecodeError."""
    with pytest.raises(MessageDecodeError):
        decode(payload)


def test_nothing_is_imported_for_a_message() -> None:
    """Not even by a zone's name: only the standard library's own module for the tag."""
    program = (
        "import sys\n"
        "from horus_async.topics.codec import decode\n"
        'for text in (b\'{"$type":"fractions.Fraction","value":1}\', b\'{"$datetime":"2026-01-01","zone":"a/b"}\'):\n'
        "    decode(text)\n"
        "print([name for name in ('fractions', 'a', 'b', 'decimal', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Named tuples


def test_named_tuples_change_like_other_classes() -> None:
    """A field that the message lacks gets its default, one that the class lacks is dropped, one of neither is told."""
    name = f"{__name__}.Joint"
    assert decode(orjson.dumps({"$type": name, "value": {"name": "a", "gone": 1}})) == Joint("a")
    with pytest.raises(MessageDecodeError, match="Joint needs a field 'name'"):
        decode(orjson.dumps({"$type": name, "value": {"angle": 1.0}}))
    with pytest.raises(MessageDecodeError):
        decode(orjson.dumps({"$type": name, "value": ["a", 1.0]}))


def test_a_class_with_a_named_tuple_in_it() -> None:
    """It takes the general form, whatever its annotations say, and comes back whole over a topic."""
    with Topic("arm") as topic:
        topic.send(Arm(Joint("elbow", 1.5), {uuid.UUID(int=1)}))
        back = topic.recv()
    assert back == Arm(Joint("elbow", 1.5), {uuid.UUID(int=1)})
    assert type(back.joint) is Joint


@attrs.define
class Arm:
    """Has fields of such types."""

    joint: Joint
    ids: set[uuid.UUID]


# Attributes that are no fields


@dataclasses.dataclass
class Spot:
    """Has a ``__dict__``."""

    x: float = 0.0

    @property
    def twice(self) -> float:
        """Computed."""
        return 2 * self.x


@attrs.define(slots=False)
class Place:
    """So has this."""

    x: Any = 0.0


class Marked(OldStyle):
    """And this."""


@pytest.mark.parametrize("value", [Spot(1.5), Place(1.5), Place([1]), Marked(1, 2)], ids=repr)
@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: {"a": Place(value)}])
def test_attributes_that_are_no_fields_are_refused(value: Any, wrap: Any) -> None:
    """They would be lost: the error names class and attribute, whether the object would travel packed or not."""
    value = Marked(1, 2) if isinstance(value, Marked) else type(value)(value.x)
    with Topic("spot") as topic:
        topic.send(wrap(value))
        assert topic.recv() == wrap(value)
        value.note = "set later"
        with pytest.raises(ValueNotSupportedError, match=rf"{type(value).__name__} with an attribute 'note'"):
            topic.send(wrap(value))


def test_cached_properties_are_no_loss() -> None:
    """What a class computes from its fields is computed again."""
    import functools

    @dataclasses.dataclass
    class Scan:
        ranges: list[float]

        @functools.cached_property
        def nearest(self) -> float:
            return min(self.ranges)

    scan = Scan([2.0, 1.0])
    assert scan.nearest == 1.0
    for back in both_ways(scan):
        assert back == scan
        assert back.nearest == 1.0


# Classes defined anew


def _cell(module: types.ModuleType) -> None:
    """Run a notebook's cell."""
    source = "import dataclasses\n@dataclasses.dataclass\nclass Pose:\n    x: float = 0.0\n"
    exec(source, vars(module))


def test_a_class_defined_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The type error says which of the two is the older definition, on sending and on receiving (nodes/19)."""
    notebook: Any = types.ModuleType("notebook_cell")
    monkeypatch.setitem(sys.modules, "notebook_cell", notebook)
    _cell(notebook)
    old_pose = notebook.Pose
    with Topic("pose", old_pose) as before, Topic("pose") as untyped:
        _cell(notebook)
        with pytest.raises(TopicTypeError, match=r"the topic was opened with an older definition.*open it again"):
            before.send(notebook.Pose(1.0))
        untyped.send(notebook.Pose(2.0))
        with pytest.raises(TopicTypeError, match="the topic was opened with an older definition"):
            before.recv()
    with (
        Topic("pose", notebook.Pose) as after,
        pytest.raises(TopicTypeError, match="the value is of an older definition"),
    ):
        after.send(old_pose(1.0))


# What is refused


class Model:
    """Looks like a pydantic model."""

    def __init__(self) -> None:
        self.x = 1

    def model_dump(self) -> dict[str, int]:
        """As pydantic has it."""
        return vars(self)


class Table:
    """Looks like a data frame."""

    def to_numpy(self) -> Any:
        """As pandas has it."""


class Stamp(datetime.datetime):
    """Looks like a pandas.Timestamp."""

    def to_pydatetime(self) -> datetime.datetime:
        """As pandas has it."""
        return self


class Tensor:
    """Looks like one."""

    def __array__(self) -> Any:
        """As others have it."""


async def _coroutine() -> None: ...


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (Model(), "value.model_dump()"),
        (Table(), "value.to_numpy()"),
        (Stamp(2026, 1, 1), "value.to_pydatetime()"),
        (Tensor(), "numpy.asarray(value)"),
        (collections.OrderedDict(a=1), "dict(value)"),
        (collections.defaultdict(int), "dict(value)"),
        (collections.ChainMap(), "dict(value)"),
        (types.MappingProxyType({}), "dict(value)"),
        (collections.deque([1]), "list(value)"),
        (range(3), "list(value)"),
        ((n for n in (1, 2)), "list(value)"),
        ({}.keys(), "list(value)"),
        (memoryview(b""), "bytes(value)"),
        (array.array("d"), "numpy.asarray(value)"),
        (fractions.Fraction(1, 3), "str(value)"),
        (ipaddress.ip_address("::1"), "str(value)"),
        (ValueError("x"), "repr(value)"),
        (len, "only in its own process"),
        (lambda: 1, "only in its own process"),
        (int, "its name"),
        (object(), "attrs class or a dataclass"),
        (types.SimpleNamespace(x=1), "attrs class or a dataclass"),
        (os.stat_result(range(10)), "tuple(value)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_advice(value: Any, advice: str) -> None:
    """The error says what can be sent instead of just this value (nodes/27)."""
    with pytest.raises(ValueNotSupportedError) as caught:
        encode({"it": value})
    assert str(caught.value).startswith("value['it'] is not supported: ")
    assert advice in str(caught.value)


def test_a_coroutine_was_not_awaited() -> None:
    """It is what forgetting an await makes."""
    waiting = _coroutine()
    with pytest.raises(ValueNotSupportedError, match=r"coroutine, which was not awaited; send \(await value\)"):
        encode(waiting)
    waiting.close()


def test_real_tables() -> None:
    """The same with pandas, where it is installed."""
    pandas = pytest.importorskip("pandas")
    for value, advice in [(pandas.Series([1]), "to_numpy"), (pandas.NaT, "to_pydatetime")]:
        with pytest.raises(ValueNotSupportedError, match=advice):
            encode(value)


# Through everything


@given(st.lists(STANDARD | SETS, min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_through_topic_recording_and_replay(values: list[Any]) -> None:
    """What a node sends, its reader, the recording and the replay of it have alike."""
    name = f"values{uuid.uuid4().hex}"
    heard: list[Any] = []

    def reader() -> Node:
        heard.clear()
        return Node("reader", tick=lambda node: heard.extend(node.recv_all("t")), subs="t")

    writer = Node("writer", tick=lambda node: [node.send("t", value) for value in values] and None, pubs="t")
    scheduler_of(writer, reader(), recording=name).run_sync(0.01)
    assert len(heard) == len(values)
    assert all(map(alike, heard, values))
    lines = [line for line in open_session(name).executions("writer") if isinstance(line, ExecutionRecord)]
    recorded = [decode(output.payload) for line in lines for output in line.outputs]
    assert all(map(alike, recorded, values))
    Scheduler.replay_from(name).set_replay_speed(float("inf")).add(reader()).run_sync()
    assert len(heard) == len(values)
    assert all(map(alike, heard, values))


@given(STANDARD | SETS)
@settings(max_examples=100)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    """Also one that does not equal itself, as a decimal NaN."""
    back = decode(to_json(encode({"a": value})))
    assert same(back, {"a": value})
    assert first_difference(back, {"a": 1})[0] == "a"


def test_in_tables() -> None:
    """An exported table has text and numbers for them; the list of topics has their type."""
    for value, cell, kind in [
        ({2, 1}, [1, 2], "set"),
        (frozenset({(1, 2)}), [[1, 2]], "frozenset"),
        (datetime.timedelta(milliseconds=1500), 1.5, "timedelta"),
        (datetime.date(2026, 1, 2), "2026-01-02", "date"),
        (datetime.time(1, 2), "01:02:00", "time"),
        (datetime.datetime(2026, 1, 2, tzinfo=BERLIN), "2026-01-02T00:00:00+01:00", "datetime"),
        (pathlib.Path("/a"), "/a", "path"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1)), "uuid"),
        (decimal.Decimal("1.10"), "1.10", "decimal"),
        (1 + 2j, [1.0, 2.0], "complex"),
        (bytearray(b"ab"), "YWI=", "bytearray"),
        (Joint("a"), {"name": "a", "angle": 0.5}, f"{__name__}.Joint"),
    ]:
        data = orjson.loads(to_json(encode(value)))
        assert plain(data) == cell
        assert type_name(data) == kind


def test_annotated_values_are_no_types() -> None:
    """A special form of typing is no named tuple."""
    with pytest.raises(ValueNotSupportedError):
        encode(typing.NamedTuple)
    with pytest.raises(ValueNotSupportedError):
        encode(asyncio.Queue)
