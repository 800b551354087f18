"""Random models of pydantic: each message is refused or comes back as it was, and no message is an invalid model."""

from __future__ import annotations

import datetime
import decimal
import itertools
import json
import uuid
from operator import getitem
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from horus_async.errors import MessageDecodeError, ValueNotSupportedError
from horus_async.topics.codec import as_bytes, decode, encode, to_json
from horus_async.value_diff import same

pytest.importorskip("pydantic")

from . import model_classes

m: Any = model_classes
of: Any = getitem
"""``of(list, int)`` is ``list[int]``."""
numbers = st.floats(allow_nan=True)
ATOMS: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(),
    float: numbers,
    str: st.text(max_size=5),
    bytes: st.binary(max_size=600),
    complex: st.complex_numbers(allow_nan=False),
    datetime.datetime: st.datetimes(timezones=st.none() | st.just(datetime.UTC)),
    datetime.timedelta: st.timedeltas(),
    decimal.Decimal: st.decimals(allow_nan=False, allow_infinity=False),
    uuid.UUID: st.uuids(),
    m.Gear: st.sampled_from(m.Gear),
    m.Point: st.builds(m.Point, x=numbers) | st.builds(m.Point),
    m.Key: st.builds(m.Key, x=st.integers()),
    m.Plain: st.builds(m.Plain, numbers, st.lists(st.integers(), max_size=2)),
    m.IntBox: st.builds(m.IntBox, inside=st.integers()),
    m.Open: st.builds(m.Open, note=st.integers() | st.builds(m.Point)),
    m.Pet: st.builds(m.Cat) | st.builds(m.Dog, bones=st.integers(0, 9)),
    Any: st.none() | st.integers() | st.tuples(st.integers()) | st.builds(m.Point),
}
WRAPPED: list[Any] = [
    lambda kind, values: (kind, values),
    lambda kind, values: (kind | None, st.none() | values),
    lambda kind, values: (of(list, kind), st.lists(values, max_size=3)),
    lambda kind, values: (of(tuple, (kind, ...)), st.lists(values, max_size=3).map(tuple)),
    lambda kind, values: (of(dict, (str, kind)), st.dictionaries(st.sampled_from(["a", "$b", "c.d"]), values)),
    lambda kind, values: (of(dict, (int, kind)), st.dictionaries(st.integers(), values, max_size=2)),
]
HASHABLE = [int, str, uuid.UUID, m.Gear, m.Key]
_numbers = itertools.count()


@st.composite
def types_and_values(draw: st.DrawFn) -> tuple[Any, st.SearchStrategy[Any]]:
    """An annotation, and values that fit it."""
    if draw(st.integers(0, 5)) == 0:
        kind = draw(st.sampled_from(HASHABLE))
        made = draw(st.sampled_from([set, frozenset]))
        return of(made, kind), st.lists(ATOMS[kind], max_size=3).map(made)
    kind = draw(st.sampled_from(list(ATOMS)))
    wrap = draw(st.sampled_from(WRAPPED))
    annotation, values = wrap(kind, ATOMS[kind])
    return annotation, values


@st.composite
def objects(draw: st.DrawFn) -> Any:
    """An object of a random class, of values that it accepts, and perhaps changed since as nobody should."""
    import pydantic

    fields, given_values = {}, {}
    for name in draw(st.lists(st.sampled_from(["a", "b", "speed", "_x", "value", "unset"]), unique=True, max_size=4)):
        kind, values = draw(types_and_values())
        if name.startswith("_"):
            fields[name] = (kind, pydantic.PrivateAttr(draw(values)))
            continue
        alias = draw(st.sampled_from([None, None, "other " + name]))
        if draw(st.booleans()):
            fields[name] = (kind, pydantic.Field(default=draw(values), alias=alias))
            if draw(st.booleans()):
                continue
        else:
            fields[name] = (kind, pydantic.Field(alias=alias))
        given_values[alias or name] = draw(values)
    config = pydantic.ConfigDict(
        frozen=draw(st.booleans()),
        strict=draw(st.booleans()),
        extra=draw(st.sampled_from(["ignore", "allow", "forbid"])),
        arbitrary_types_allowed=True,
        revalidate_instances=draw(st.sampled_from(["never", "never", "always"])),
        str_strip_whitespace=draw(st.booleans()),
    )
    create: Any = pydantic.create_model
    kind = create(f"Random{next(_numbers)}", __config__=config, __module__=m.__name__, **fields)
    try:
        made = kind(**given_values)
    except pydantic.ValidationError:  # a text of spaces, stripped, in a union
        reject()
    if config.get("extra") == "allow" and draw(st.booleans()):
        made.__pydantic_extra__["more"] = draw(ATOMS[draw(st.sampled_from(list(ATOMS)))])
    if given_values and draw(st.integers(0, 3)) == 0:
        name = draw(st.sampled_from(sorted(kind.model_fields)))
        made.__dict__[name] = draw(ATOMS[draw(st.sampled_from(list(ATOMS)))])
    return made


@settings(max_examples=400, deadline=None)
@given(objects(), st.booleans())
def test_what_is_taken_comes_back(value: Any, nested: bool) -> None:
    """Equal to the last bit, of the same types, with the same fields set; or it is refused in one line, unchanged."""
    before, told = repr(value), ""
    try:
        payload = as_bytes(encode({"in": [value]} if nested else value))
    except ValueNotSupportedError as error:
        payload, told = b"", str(error)
    assert repr(value) == before
    if not payload:
        assert len(told.splitlines()) == 1
        return
    for back in (decode(payload), decode(to_json(payload))):
        one = back["in"][0] if nested else back
        assert type(one) is type(value)
        assert same(one, value)
        assert one.model_fields_set == value.model_fields_set
        assert one == value or "nan" in before
        assert as_bytes(encode({"in": [one]} if nested else one)) == payload


@settings(max_examples=200, deadline=None)
@given(objects())
def test_valid_objects_of_simple_classes_are_taken(value: Any) -> None:
    """What the class itself gives back from its own dump in Python's types is no reason to refuse it."""
    kind = type(value)
    try:
        again = kind.model_validate(dict(value), by_name=True, by_alias=False)
    except Exception:  # noqa: BLE001 - then it may be refused
        return
    if same(again, value) and again == value and "nan" not in repr(value):
        assert decode(as_bytes(encode(value))) == value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["x", "y", "at", "$set", "$tuple", "$type", "value", "unset"]), inner, max_size=3
        )
        | st.builds(
            lambda kind, content, unset: {"$type": f"{m.__name__}.{kind}", "value": content, "unset": unset},
            st.sampled_from(
                ["Point", "Pose", "Limited", "Key", "Keys", "Plain", "Numbers", "Box[int]", "Zoo", "Holder"]
            ),
            st.dictionaries(
                st.sampled_from(["x", "y", "at", "speed", "keys", "level", "root", "inside", "pet", "limited", "name"]),
                inner,
                max_size=4,
            ),
            inner,
        )
    ),
    max_leaves=12,
)


def invalid(value: Any) -> bool:
    """Whether there is a model in it that its own class would not accept."""
    if isinstance(value, dict):
        return any(map(invalid, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(invalid, value))
    check = CHECKS.get(type(value))
    return check is not None and (not check(value) or invalid(list(vars(value).values())))


CHECKS: dict[Any, Any] = {
    m.Limited: lambda it: type(it.speed) is float and 0.0 <= it.speed <= 2.0,
    m.Point: lambda it: type(it.x) is type(it.y) is float,
    m.Plain: lambda it: type(it.x) is float and it.level > 0 and {int}.issuperset(map(type, it.items)),
    m.Pose: lambda it: type(it.at) is m.Point,
    m.Keys: lambda it: {m.Key}.issuperset(map(type, it.keys)),
    m.Key: lambda it: type(it.x) is int,
}


@settings(max_examples=400, deadline=None)
@given(JSON)
def test_any_message_is_a_valid_model_or_an_error(data: Any) -> None:
    """Whatever another process writes."""
    told = ""
    try:
        value = decode(json.dumps(data).encode())
    except MessageDecodeError as error:
        value, told = None, str(error)
    assert "\n" not in told
    assert not invalid(value)
