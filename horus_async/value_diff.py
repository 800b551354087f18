"""Finds where two message values differ. Pure."""

from __future__ import annotations

import math
from typing import Any

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


def _search(a: Any, b: Any, tolerance: float | None, path: str) -> tuple[str, Any, Any] | None:
    if isinstance(a, dict) and isinstance(b, dict):
        return _search_dicts(a, b, tolerance, path)
    if isinstance(a, list | tuple) and type(a) is type(b):
        return _search_lists(a, b, tolerance, path)
    if hasattr(a, "__attrs_attrs__") and type(a) is type(b):
        names = [field.name for field in a.__attrs_attrs__]
        return _search_dicts({n: getattr(a, n) for n in names}, {n: getattr(b, n) for n in names}, tolerance, path)
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
            return f"{path}[{index}]", left, right
    return None


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
