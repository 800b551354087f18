"""Finds where two message values differ. Pure."""

from __future__ import annotations

import dataclasses
import math
import reprlib
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

MISSING = "(missing)"
"""Stands in for a field that only one side has."""


def first_difference(a: Any, b: Any, *, tolerance: float | None = None, path: str = "") -> tuple[str, Any, Any]:
    """The path of the first place where ``a`` and ``b`` differ, and both values there; ``(path, a, b)`` if nowhere.

    Args:
        a: A message value.
        b: Another.
        tolerance: Numbers at most this far apart (absolute) are equal. None: every bit counts, -0.0 is not 0.0 and an
            int is not a float.
        path: The path of ``a`` and ``b`` themselves.
    """
    found = _search(a, b, tolerance, path)
    return found if found is not None else (path, a, b)


def same(a: Any, b: Any, *, tolerance: float | None = None) -> bool:
    """Whether `first_difference` would find none."""
    return _search(a, b, tolerance, "") is None


def largest_difference(a: Any, b: Any) -> float | None:
    """The largest difference of two numbers in the same place of two values; None where no two numbers differ.

    Infinite where one is NaN or infinite and the other is not.
    """
    if _is_number(a) and _is_number(b):
        if a == b or (_is_nan(a) and _is_nan(b)):
            return None
        try:
            distance = abs(float(a) - float(b))
        except OverflowError:
            return math.inf
        return math.inf if math.isnan(distance) else distance
    found = [apart for x, y in _pairs(a, b) if (apart := largest_difference(x, y)) is not None]
    return max(found, default=None)


def _pairs(a: Any, b: Any) -> Iterable[tuple[Any, Any]]:
    """What lies in the same place of two values."""
    if isinstance(a, dict) and isinstance(b, dict):
        return ((a[key], b[key]) for key in a if key in b)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return zip(a, b, strict=False)
    if type(a) is type(b) and (left := _fields(a)) is not None and (right := _fields(b)) is not None:
        return _pairs(left, right)
    if hasattr(a, "dtype") and hasattr(b, "dtype") and a.shape == b.shape:
        return zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)
    return ()


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of an object of an attrs class, a dataclass or a pydantic model; None for other values."""
    kind = type(value)
    if hasattr(kind, "__attrs_attrs__"):
        return {one.name: getattr(value, one.name, MISSING) for one in kind.__attrs_attrs__}
    if dataclasses.is_dataclass(kind):
        return {one.name: getattr(value, one.name, MISSING) for one in dataclasses.fields(kind)}
    if "__pydantic_validator__" not in kind.__dict__:
        return None
    given = sorted(map(str, getattr(value, "__pydantic_fields_set__", ())))
    return {**value.__dict__, **(getattr(value, "__pydantic_extra__", None) or {}), "model_fields_set": given}


_SHOWN = 36
"""Characters of a value in a line about a difference."""


def short(value: Any, *, text: bool = False) -> str:
    """A value in at most `_SHOWN` characters or so, however large it is; a name with ``text``, without quotes."""
    if text or isinstance(value, str | bytes | bytearray):
        shown = value if text else repr(value[: _SHOWN + 1])
        if len(value) <= _SHOWN and len(shown) <= _SHOWN + 3:
            return str(shown)
        cut = shown[: _SHOWN - 3] + "..."
        return str(cut) if text else f"{cut} ({len(value)} {'characters' if isinstance(value, str) else 'bytes'})"
    if hasattr(value, "dtype") and hasattr(value, "shape") and value.shape:
        return f"array {value.dtype}{list(value.shape)}"
    shown = _SHORTENING.repr(value)
    if len(shown) <= _SHOWN:
        return shown
    size = f" ({len(value)} items)" if isinstance(value, dict | list | tuple) else ""
    return shown[: _SHOWN - 3] + "..." + size


def short_pair(a: Any, b: Any) -> tuple[str, str]:
    """Two values that differ, each in `_SHOWN` characters or so: of long texts what stands where they differ."""
    texts = type(a) is type(b) and isinstance(a, str | bytes) and max(len(a), len(b)) > _SHOWN
    if not texts:
        return short(a), short(b)
    place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return _around(a, place), _around(b, place)


def _around(value: str | bytes, place: int) -> str:
    begin = max(0, place - 6)
    shown = repr(value[begin : begin + 20])
    if len(shown) > _SHOWN:  # of characters that are written as escapes
        shown = shown[: _SHOWN - 3] + "..."
    unit = "characters" if isinstance(value, str) else "bytes"
    return f"{shown} (from {begin} of {len(value)} {unit})"


class _Shortening(reprlib.Repr):
    """Shows the beginning of a value without making the text of all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxlist, self.maxtuple, self.maxdict = 3, 6, 6, 6
        self.maxstring = self.maxother = _SHOWN
        self.maxlong = 40

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        """In the order of the dict, not sorted."""
        if level <= 0:
            return "{...}"
        items = [f"{self.repr1(k, level - 1)}: {self.repr1(v, level - 1)}" for k, v in islice(x.items(), self.maxdict)]
        return "{" + ", ".join(items) + (", ..." if len(x) > self.maxdict else "") + "}"


_SHORTENING = _Shortening()


def _search(a: Any, b: Any, tolerance: float | None, path: str) -> tuple[str, Any, Any] | None:
    if isinstance(a, dict) and isinstance(b, dict):
        return _search_dicts(a, b, tolerance, path)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return _search_lists(a, b, tolerance, path)
    if type(a) is type(b) and (left := _fields(a)) is not None and (right := _fields(b)) is not None:
        return _search_dicts(left, right, tolerance, path)
    if hasattr(a, "dtype") and hasattr(b, "dtype"):
        return _search_arrays(a, b, tolerance, path)
    return None if _equal(a, b, tolerance) else (path, a, b)


def _search_dicts(
    a: dict[Any, Any], b: dict[Any, Any], tolerance: float | None, path: str
) -> tuple[str, Any, Any] | None:
    for key in [*a, *(key for key in b if key not in a)]:
        inner = f"{path}.{key}" if path else str(key)
        if key not in a or key not in b:
            return inner, a.get(key, MISSING), b.get(key, MISSING)
        if (found := _search(a[key], b[key], tolerance, inner)) is not None:
            return found
    if tolerance is None and list(a) != list(b):
        return path, list(a), list(b)
    return None


def _search_lists(a: Any, b: Any, tolerance: float | None, path: str) -> tuple[str, Any, Any] | None:
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if (found := _search(left, right, tolerance, f"{path}[{index}]")) is not None:
            return found
    if len(a) == len(b):
        return None
    shorter = min(len(a), len(b))
    return (
        f"{path}[{shorter}]",
        a[shorter] if shorter < len(a) else MISSING,
        b[shorter] if shorter < len(b) else MISSING,
    )


def _search_arrays(a: Any, b: Any, tolerance: float | None, path: str) -> tuple[str, Any, Any] | None:
    if a.shape != b.shape or (tolerance is None and a.dtype != b.dtype):
        return path, f"{a.dtype}{list(a.shape)}", f"{b.dtype}{list(b.shape)}"
    if tolerance is None and a.tobytes() == b.tobytes():
        return None
    for index, (left, right) in enumerate(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True)):
        if not _equal(left, right, tolerance):
            return f"{path}[{_place(index, a.shape)}]", left, right
    return None


def _place(index: int, shape: tuple[int, ...]) -> str:
    """The indices of the ``index``-th item of an array, in all its dimensions."""
    places = []
    for size in reversed(shape):
        index, place = divmod(index, size)
        places.append(place)
    return ",".join(map(str, reversed(places)))


def _equal(a: Any, b: Any, tolerance: float | None) -> bool:
    if not _is_number(a) or not _is_number(b):
        return type(a) is type(b) and _is_same(a, b)
    if _is_nan(a) or _is_nan(b):
        return _is_nan(a) and _is_nan(b)
    if tolerance is None:
        return bool(type(a) is type(b) and a == b and _is_negative_zero(a) == _is_negative_zero(b))
    try:
        return bool(a == b or abs(a - b) <= tolerance)
    except OverflowError:  # an int beyond the range of floats, beside a float
        return False


def _is_same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b) or repr(a) == repr(b)  # a decimal NaN is itself
    except ArithmeticError:  # a signalling one, which cannot be compared
        return repr(a) == repr(b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _is_negative_zero(value: Any) -> bool:
    return isinstance(value, float) and value == 0 and math.copysign(1, value) < 0
