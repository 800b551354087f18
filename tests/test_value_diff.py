"""Where two values differ: arrays and lists at once give what a look at each element gives, and lines are short."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from horus_async import value_diff
from horus_async.value_diff import difference, first_difference, same, short_pair

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = ["?", "u1", "i2", ">i4", "i8", "u8", "f2", "f4", ">f8", "c8", "M8[s]", "m8[ms]", "S2", "U2", "O"]
TOLERANCES = st.sampled_from([None, 0.0, 1e-6, 0.5, 2.0])
NUMBERS = st.sampled_from(
    [0, 1, 2, 2**53, 2**53 + 1, 2**63, -1, 0.0, -0.0, 1.0, 1.5, math.nan, math.inf, -math.inf, True, 10**400]
)


@st.composite
def array_pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    """Two arrays of one shape, of any types, alike in most places."""
    left, right = draw(st.sampled_from(DTYPES)), draw(st.sampled_from(DTYPES))
    if draw(st.booleans()):
        right = left
    shape = draw(hnp.array_shapes(max_dims=3, max_side=3, min_side=0))
    numbers = hnp.arrays("i1", shape, elements=st.integers(0, 2))
    a = draw(numbers)
    b = a if draw(st.booleans()) else draw(numbers)
    return _as(a, left), _as(b, right)


def _as(array: Any, dtype: str) -> Any:
    found = array.astype(dtype)
    if found.dtype.kind in "fc" and found.size > 1:
        found.reshape(-1)[0] = math.nan
        found.reshape(-1)[1] = -0.0
    return found


def element_by_element(a: Any, b: Any, tolerance: float | None) -> tuple[str, str, str] | None:
    """The first place where two arrays of one shape differ, without any shortcut."""
    if tolerance is None and a.dtype != b.dtype:
        return "", f"{a.dtype}{list(a.shape)}", f"{b.dtype}{list(b.shape)}"
    for place in np.ndindex(a.shape):
        x, y = (one[place].item() if one.dtype.kind != "O" else one[place] for one in (a, b))
        if not value_diff._equal(x, y, tolerance):
            return f"[{','.join(map(str, place))}]", repr(x), repr(y)
    return None


@given(array_pairs(), TOLERANCES)
def test_arrays_at_once_are_as_element_by_element(pair: tuple[Any, Any], tolerance: float | None) -> None:
    """NaN, -0.0, numbers beside booleans, 64 bits beside floats, byte orders, dates, text."""
    found = difference(*pair, tolerance=tolerance)
    wanted = element_by_element(*pair, tolerance)
    if wanted is None or not wanted[0]:
        assert found == wanted
    else:
        assert found is not None
        assert (found[0], repr(found[1]), repr(found[2])) == wanted
    assert same(*pair, tolerance=tolerance) is (wanted is None)


@given(st.lists(NUMBERS, max_size=5), st.lists(NUMBERS, max_size=5), TOLERANCES)
def test_lists_at_once_are_as_element_by_element(a: list[Any], b: list[Any], tolerance: float | None) -> None:
    """The same for lists of numbers of every size, of any length."""
    wanted = None
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if not value_diff._equal(x, y, tolerance):
            wanted = f"[{index}]"
            break
    else:
        if len(a) != len(b):
            wanted = f"[{min(len(a), len(b))}]"
    found = difference(a, b, tolerance=tolerance)
    assert (found and found[0]) == wanted


@pytest.mark.parametrize(
    ("a", "b", "path"),
    [
        ({"a": {"b": [0, {"c": 1}]}}, {"a": {"b": [0, {"c": 2}]}}, "a.b[1].c"),
        ([{"a": 1}], [{"a": 2}], "[0].a"),
        ({"": 1}, {"": 2}, ""),
        ({".a": 1}, {".a": 2}, ".a"),
        ({"d": np.zeros((2, 3))}, {"d": np.eye(2, 3)}, "d[0,0]"),
        ({"a": 1}, {}, "a"),
    ],
)
def test_paths(a: Any, b: Any, path: str) -> None:
    """Fields with dots, indices in brackets, all dimensions of an array; a prefix that is given comes first."""
    assert first_difference(a, b)[0] == path
    prefixed = first_difference(a, b, path="data")[0]
    assert prefixed == ("data" + path if path[:1] == "[" else f"data.{path}")


def test_a_large_array_is_compared_without_a_look_at_each_element(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another type, within a tolerance and with one difference: only what may differ is looked at."""
    looks = []
    real = value_diff._equal

    def equal(*values: Any) -> bool:
        looks.append(values)
        return real(*values)

    monkeypatch.setattr(value_diff, "_equal", equal)
    image = np.zeros((480, 640, 3))
    other = image.astype("f4")
    other[3, 4, 1] = 1
    assert difference(image, other, tolerance=1e-9) == ("[3,4,1]", 0.0, 1.0)
    noisy = image + 1e-12
    assert same(image, noisy, tolerance=1e-9)
    assert same(image.reshape(-1).tolist(), noisy.reshape(-1).tolist(), tolerance=1e-9)
    assert len(looks) == 1


@pytest.mark.parametrize("kind", [str, bytes, bytearray])
def test_long_text_is_shown_where_it_differs(kind: type) -> None:
    """The place, and some characters around it; never all of it."""
    text = "x" * 50_000
    a, b = (text + end + text for end in ("one", "two"))
    if kind is not str:
        a, b = kind(a.encode()), kind(b.encode())
    left, right = short_pair(a, b)
    assert "one" in left
    assert "two" in right
    assert "of 100003" in left
    assert max(len(left), len(right)) < 100


@pytest.mark.parametrize("wrapped", [lambda value: value, lambda value: {"a": [value]}, lambda value: (1, value)])
def test_minus_zero_is_not_zero_bit_by_bit(wrapped: Callable[[float], Any]) -> None:
    """They are equal numbers, so with a tolerance, even none, they do not differ."""
    assert difference(wrapped(0.0), wrapped(-0.0)) is not None
    assert difference(wrapped(-0.0), wrapped(-0.0)) is None
    assert difference(wrapped(0.0), wrapped(-0.0), tolerance=0.0) is None
