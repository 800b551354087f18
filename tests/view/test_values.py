"""What is plotted and shown of a message."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.topics.codec import as_bytes, encode, to_json
from horus_async.view.parts.values import numbers, shortened


def _recorded(value: Any) -> Any:
    return orjson.loads(to_json(as_bytes(encode(value))))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1.5, [("value", 1.5)]),
        (True, [("value", 1.0)]),
        ({"a": {"b": 2}, "c": "text", "d": None}, [("a.b", 2.0)]),
        ({"x.y": 1, "x": {"y": 2}}, [("x\\.y", 1.0), ("x.y", 2.0)]),
        ({"r": [1, 2]}, [("r[0]", 1.0), ("r[1]", 2.0)]),
        ({"r": list(range(20))}, [("min(r)", 0.0), ("mean(r)", 9.5), ("max(r)", 19.0)]),
        ({"r": np.arange(20.0)}, [("min(r)", 0.0), ("mean(r)", 9.5), ("max(r)", 19.0)]),
        ({"r": np.zeros((200, 200), "u1")}, []),
        ({"n": float("inf")}, [("n", float("inf"))]),
        ({"n": 10**400}, []),
        ({"n": 10**30}, []),
        ({"b": b"12", "t": (1, 2)}, [("t[0]", 1.0), ("t[1]", 2.0)]),
        ("text", []),
        (None, []),
    ],
)
def test_numbers(value: Any, found: list[tuple[str, float]]) -> None:
    """Every number of a message is a plot, long lists are three."""
    assert numbers(_recorded(value)) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=80) | st.dictionaries(st.text(), inner, max_size=12),
    max_leaves=60,
)


@given(value=JSON)
def test_any_value_can_be_shown(value: Any) -> None:
    """And takes no more room than it may; what is cut says so."""
    recorded = _recorded(value)
    text = orjson.dumps(shortened(recorded, 500))
    assert len(text) <= 500 or text.startswith(b'"(a value of')


@given(value=JSON)
def test_numbers_of_any_value_are_floats(value: Any) -> None:
    """None fails, whatever the message."""
    assert all(type(path) is str and type(number) is float for path, number in numbers(_recorded(value)))


def test_short_values_are_shown_whole() -> None:
    """Nothing is left out where there is room."""
    value = {"a": [1, 2.5, None, True], "b": {"c": "x"}}
    assert shortened(_recorded(value), 4000) == value


def test_what_is_cut_says_so() -> None:
    """Texts, lists, arrays, dicts."""
    shown = shortened(_recorded({"t": "x" * 9000, "l": list(range(9000)), "a": np.zeros((480, 640, 3), "u1")}), 4000)
    assert shown["t"].endswith("(9000 characters)")
    assert shown["l"][-1] == "… (9000 items)"
    assert shown["a"] == "(array |u1 480×640×3)"
