"""Numbers that JSON lacks: what is written for them, and how tags are read back."""

from __future__ import annotations

from collections import deque
from math import inf, nan
from typing import Any

import numpy as np
import orjson
import pytest

from horus_async import json_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": None, "null": "null"}, b'{"a":null,"null":"null"}'),
        ([nan, inf, -inf, 1.5], b'[{"$float":"nan"},{"$float":"inf"},{"$float":"-inf"},1.5]'),
        ({"rows": [[1, nan], (None, True)]}, b'{"rows":[[1,{"$float":"nan"}],[null,true]]}'),
        (
            [np.float32(nan), np.float64(inf), np.array([nan])],
            b'[{"$float":"nan"},{"$float":"inf"},[{"$float":"nan"}]]',
        ),
    ],
)
def test_floats_that_json_lacks_are_tagged(value: Any, text: bytes) -> None:
    """A real null stays one."""
    assert json_text.encode(value, json_text.tagged_float, orjson.OPT_SERIALIZE_NUMPY) == text


def test_what_replaces_them_is_up_to_the_caller() -> None:
    """Tables for other programs have no tags."""
    assert json_text.encode({"range": [1.0, inf]}, str) == b'{"range":[1.0,"inf"]}'


@pytest.mark.parametrize("value", [2**64, b"bytes", deque(), {1: 2}])
def test_anything_else_that_json_lacks_is_refused(value: Any) -> None:
    """Here only floats are replaced."""
    with pytest.raises(TypeError):
        json_text.encode([value, nan], json_text.tagged_float)


def test_tags_are_read_back() -> None:
    """What only looks like a tag stays as it is."""
    others = {"other": {"$float": "NaN"}, "two": {"$float": "inf", "x": 1}, "number": {"$float": 1}}

    assert json_text.untagged({"a": [{"$float": "-inf"}, 1], **others}) == {"a": [-inf, 1], **others}
    assert np.isnan(json_text.untagged({"$float": "nan"}))


def test_integers_are_read_back_where_a_format_tags_them() -> None:
    """Decimal up to a length, hexadecimal beyond."""
    tags = [{"$int": "18446744073709551616"}, {"$int": "-0x10"}, {"$int": "1_000"}]

    assert json_text.untagged(tags) == tags
    assert json_text.untagged(tags, integers=True) == [2**64, -16, {"$int": "1_000"}]
