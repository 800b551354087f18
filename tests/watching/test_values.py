"""Values as YAML: whatever they are, a reader of YAML loads them back, and no terminal obeys them."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.cli.values.described import payload_for
from horus_async.cli.values.plain import Left, field_of, plain
from horus_async.cli.values.yaml_text import yaml_lines
from horus_async.errors import TopicError
from horus_async.spelling import printable
from horus_async.topics.codec import decode, encode, to_json
from horus_async.topics.packed.schema import Choice, Struct

TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(
    ["no", "1e5", "~", "- x", "a: b", "# c", "\x1b[2J", "\u202e", "0x1", "2026-12-01", "1:30", "=", "<<", "'", "---"]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS, inner, max_size=6), max_leaves=30
)


def loaded(value: Any) -> Any:
    """What somebody else's reader makes of our lines."""
    yaml = pytest.importorskip("ruamel.yaml")
    text = "\n".join(yaml_lines(value))
    for line in text.split("\n"):
        assert printable(line) == line
    return yaml.YAML(typ="safe", pure=True).load(io.StringIO(text))


def same(one: Any, other: Any) -> bool:
    """Equal, with NaN equal to itself, and of one type."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return isinstance(other, float) and math.isnan(other)
    return type(one) is type(other) and bool(one == other)


@given(VALUES)
def test_yaml_is_read_back(value: Any) -> None:
    """By a reader of YAML 1.2 that is not ours."""
    assert same(value, loaded(value))


@given(VALUES)
def test_full_values_are_what_was_sent(value: Any) -> None:
    """Through the codec and its tags."""
    import orjson

    assert same(value, plain(orjson.loads(to_json(encode(value))), full=True))


def test_what_is_long_is_shortened() -> None:
    """Lists, texts and arrays, with how much there is."""
    numpy = pytest.importorskip("numpy")
    import orjson

    value = {"row": list(range(100)), "text": "x" * 1000, "image": numpy.zeros((480, 640)), "raw": bytes(5000)}
    shown = plain(orjson.loads(to_json(encode(value))))
    assert shown["row"] == [*range(12), Left(88)]
    assert shown["text"].endswith("(1000 characters)")
    assert shown["image"][-1] == Left(468)
    assert shown["image"][0][-1] == Left(628)
    assert shown["raw"].endswith("(5000 bytes)")
    assert len("\n".join(yaml_lines(shown))) < 4000


def test_fields_are_found_by_their_path() -> None:
    """Through objects, lists and tuples; a wrong one names what there is."""
    value = {"$type": "a.B", "value": {"pose": {"x": [1, {"$tuple": [2, 3]}]}}}
    assert field_of(value, "pose.x.1.0") == 2
    with pytest.raises(TopicError, match="did you mean 'pose'"):
        field_of(value, "pos")
    with pytest.raises(TopicError, match="it is int"):
        field_of(value, "pose.x.0.y")


GRIPPER = Struct(
    "robot.Gripper",
    (
        ("width", "float"),
        ("mode", Choice("robot.Mode", (("OPEN", 0), ("SHUT", 1)))),
        ("inner", Struct("robot.In", (("n", "int"),))),
    ),
)


def test_a_described_class_that_nobody_has_here_is_sent_as_text() -> None:
    """Nothing is imported: a reader without the class gets its fields with its name."""
    payload = payload_for(GRIPPER, {"width": 1, "mode": "SHUT", "inner": {"n": 2}}, "g")
    assert isinstance(payload, bytes)
    assert decode(payload)["$type"] == "robot.Gripper"
    assert payload.startswith(b'{"$type":"robot.Gripper","value":{"width":1.0,')


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "give an object"), ({"widht": 1}, "did you mean 'width'"), ({"width": "x"}, "width is float"),
        ({"mode": "OPN"}, "mode is robot.Mode"), ({"inner": {"n": 1.5}}, "inner.n is int"), ({"width": True}, "float"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(value: Any, said: str) -> None:
    """With the place and what fits there."""
    with pytest.raises(TopicError, match=said):
        payload_for(GRIPPER, value, "g")
