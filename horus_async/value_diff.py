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
    return difference(a, b, tolerance=tolerance, path=path) or (path, a, b)


def difference(a: Any, b: Any, *, tolerance: float | None = None, path: str = "") -> tuple[str, Any, Any] | None:
    """The same, but None if they differ nowhere."""
    found = _search(a, b, tolerance)
    if found is None:
        return None
    steps, left, right = found
    return path + steps if path or steps[:1] != "." else steps[1:], left, right


def same(a: Any, b: Any, *, tolerance: float | None = None) -> bool:
    """Whether `first_difference` would find none."""
    return _search(a, b, tolerance) is None


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
    texts = type(a) is type(b) and isinstance(a, str | bytes | bytearray) and max(len(a), len(b)) > _SHOWN
    if not texts:
        return short(a), short(b)
    place = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return _around(a, place), _around(b, place)


def _around(value: str | bytes | bytearray, place: int) -> str:
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

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() <= _DECIMAL_BITS else hex(x)


_SHORTENING = _Shortening()
_DECIMAL_BITS = 2048
"""Python refuses to write much larger integers in decimal; recordings have them in hexadecimal, too."""


def _search(a: Any, b: Any, tolerance: float | None) -> tuple[str, Any, Any] | None:
    """The steps to the first difference, ``.field`` and ``[index]``, and what is there; None if there is none."""
    if isinstance(a, dict) and isinstance(b, dict):
        return _search_dicts(a, b, tolerance)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return _search_lists(a, b, tolerance)
    if type(a) is type(b) and (left := _fields(a)) is not None and (right := _fields(b)) is not None:
        return _search_dicts(left, right, tolerance)
    if hasattr(a, "dtype") and hasattr(b, "dtype"):
        return _search_arrays(a, b, tolerance)
    return None if _equal(a, b, tolerance) else ("", a, b)


def _search_dicts(a: dict[Any, Any], b: dict[Any, Any], tolerance: float | None) -> tuple[str, Any, Any] | None:
    for key in [*a, *(key for key in b if key not in a)]:
        if key not in a or key not in b:
            return f".{key}", a.get(key, MISSING), b.get(key, MISSING)
        if (found := _search(a[key], b[key], tolerance)) is not None:
            return f".{key}{found[0]}", *found[1:]
    if tolerance is None and list(a) != list(b):
        return "", list(a), list(b)
    return None


def _search_lists(a: Any, b: Any, tolerance: float | None) -> tuple[str, Any, Any] | None:
    shared = min(len(a), len(b))
    begin = 0 if tolerance is None else _first_far(a, b, tolerance)
    for index in range(begin, shared):
        if (found := _search(a[index], b[index], tolerance)) is not None:
            return f"[{index}]{found[0]}", *found[1:]
    if len(a) == len(b):
        return None
    return (
        f"[{shared}]",
        a[shared] if shared < len(a) else MISSING,
        b[shared] if shared < len(b) else MISSING,
    )


def _first_far(a: Any, b: Any, tolerance: float) -> int:
    """In rows of plain numbers the first place where a look at both finds a difference; 0 in others. No call each."""
    if not _NUMBERS.issuperset(map(type, a)) or not _NUMBERS.issuperset(map(type, b)):
        return 0
    pairs = enumerate(zip(a, b, strict=False))
    try:
        far = (index for index, (x, y) in pairs if x != y and not -tolerance <= x - y <= tolerance)
        return next(far, min(len(a), len(b)))
    except OverflowError:  # an int beyond the range of floats, beside a float
        return 0


_NUMBERS = frozenset({int, float})


def _search_arrays(a: Any, b: Any, tolerance: float | None) -> tuple[str, Any, Any] | None:
    if a.shape != b.shape or (tolerance is None and a.dtype != b.dtype):
        return "", f"{a.dtype}{list(a.shape)}", f"{b.dtype}{list(b.shape)}"
    if a.dtype == b.dtype and not a.dtype.hasobject and a.tobytes() == b.tobytes():
        return None
    left, right = a.reshape(-1), b.reshape(-1)
    for index in _suspects(left, right, tolerance):
        x, y = left[index : index + 1].tolist()[0], right[index : index + 1].tolist()[0]
        if not _equal(x, y, tolerance):
            return f"[{_place(index, a.shape)}]", x, y
    return None


def _suspects(a: Any, b: Any, tolerance: float | None) -> Iterable[int]:
    """The places where the elements of two flat arrays may differ, in order; no other place does."""
    import numpy as np

    plain = a.dtype.kind in "biufcmMSU" and b.dtype.kind in "biufcmMSU"
    if a.dtype == b.dtype and plain and a.dtype.itemsize:  # whose bits may differ all the same, as those of NaNs do
        size = a.dtype.itemsize
        bits = [np.ascontiguousarray(one).view(np.uint8).reshape(-1, size) for one in (a, b)]
        differ = (bits[0] != bits[1]).any(axis=1)
        if tolerance is None or a.dtype.kind not in "iuf":
            return _places(differ)
    elif "b" in (a.dtype.kind, b.dtype.kind):
        return range(len(a))
    else:
        differ = np.ones(len(a), bool)
    if not (_fits_floats(a.dtype) and _fits_floats(b.dtype)):
        return _places(differ)
    left, right = a.astype("f8"), b.astype("f8")
    with np.errstate(invalid="ignore", over="ignore"):
        near = (left == right) | (np.abs(left - right) <= (tolerance or 0.0)) | (np.isnan(left) & np.isnan(right))
    return _places(differ & ~near)


def _places(mask: Any) -> Iterable[int]:
    return map(int, mask.nonzero()[0])


def _fits_floats(dtype: Any) -> bool:
    """Whether the elements are floats of 64 bits without loss."""
    return bool((dtype.kind == "f" and dtype.itemsize <= 8) or (dtype.kind in "iu" and dtype.itemsize <= 4))


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
