"""What a page shows of a message: its numbers, which become plots, and its value, shortened. Pure."""

from __future__ import annotations

import math
from typing import Any

import orjson

from horus_async.recorder.tables.flatten import VALUE, plain

ELEMENTS = 16
"""Lists of up to so many numbers become a plot for each; of longer ones the least, the mean and the greatest are
plotted."""
MOST_ELEMENTS = 20_000
"""Longer arrays are images, scans of many points and the like, and have no plot."""
_DEPTH = 8
_SCALARS = (int, float, bool)


def numbers(data: Any) -> list[tuple[str, float]]:
    """Path and value of each number in a message, as parsed from JSON with the codec's tags; booleans are 0 and 1.

    Paths are those of exported tables: ``pose.x``, and ``value`` for a message that is itself a number. The elements of
    lists are ``ranges[3]``, or ``min(ranges)``, ``mean(ranges)`` and ``max(ranges)``.
    """
    found: list[tuple[str, float]] = []
    _collect("", data, 0, found)
    return found


def _collect(path: str, value: Any, depth: int, found: list[tuple[str, float]]) -> None:
    kind = type(value)
    if kind is float:
        found.append((path or VALUE, value))
    elif kind is int or kind is bool:
        found.append((path or VALUE, _as_float(value)))
    elif kind is dict:
        if value and next(iter(value))[:1] == "$":
            value = _untagged(value)
            if type(value) is not dict:
                _collect(path, value, depth, found)
                return
        if depth < _DEPTH:
            before = f"{path}." if path else ""
            for key, item in value.items():
                step = key.replace("\\", "\\\\").replace(".", "\\.") if "." in key or "\\" in key else key
                if type(item) is float:
                    found.append((before + step, item))
                else:
                    _collect(before + step, item, depth + 1, found)
    elif kind is list or hasattr(value, "dtype"):
        _elements(path or VALUE, value, depth, found)


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _untagged(value: dict[str, Any]) -> Any:
    array = value.get("$ndarray")
    if isinstance(array, dict) and _size(array.get("shape")) > MOST_ELEMENTS:
        return None
    shown = plain(value)
    return None if shown is value or isinstance(shown, str) else shown


def _size(shape: Any) -> int:
    size = 1
    for side in shape if isinstance(shape, list) else ():
        size *= side if isinstance(side, int) else 1
    return size


def _elements(path: str, values: Any, depth: int, found: list[tuple[str, float]]) -> None:
    if hasattr(values, "dtype"):
        values = values.reshape(-1).tolist() if values.dtype.kind in "biuf" else []
    if len(values) > MOST_ELEMENTS:
        return
    if len(values) <= ELEMENTS:
        for place, value in enumerate(values):
            if depth < _DEPTH:
                _collect(f"{path}[{place}]", value, depth + 1, found)
        return
    finite = [one for value in values if type(value) in _SCALARS and math.isfinite(one := _as_float(value))]
    if finite:
        found += [(f"min({path})", min(finite)), (f"mean({path})", sum(finite) / len(finite))]
        found.append((f"max({path})", max(finite)))


def shortened(data: Any, most_bytes: int) -> Any:
    """A message's value as JSON that takes no more than so many bytes: what is longer is cut, and says so itself."""
    for items, letters in ((64, 600), (24, 200), (8, 80), (3, 40)):
        shown = _short(data, items, letters, 0)
        if len(orjson.dumps(shown)) <= most_bytes:
            return shown
    return f"(a value of {len(orjson.dumps(data))} bytes as JSON: too large for this page)"


def _short(value: Any, items: int, letters: int, depth: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= letters else f"{value[:letters]}… ({len(value)} characters)"
    if isinstance(value, dict):
        return _fields(value, items, letters, depth)
    if isinstance(value, list):
        return f"… ({len(value)} items)" if depth >= _DEPTH else _row(value, len(value), items, letters, depth)
    return value


def _fields(value: dict[str, Any], items: int, letters: int, depth: int) -> Any:
    if value and next(iter(value))[:1] == "$" and (said := _tagged(value, items, letters, depth)) is not None:
        return said
    if depth >= _DEPTH:
        return f"… ({len(value)} fields)"
    kept = list(value.items())[: items * 2]
    shown = {_short(key, items, letters, depth): _short(item, items, letters, depth + 1) for key, item in kept}
    if len(value) > len(kept):
        shown["…"] = f"{len(value) - len(kept)} more fields"
    return shown


def _row(values: list[Any], size: int, items: int, letters: int, depth: int) -> list[Any]:
    shown = [_short(value, items, letters, depth + 1) for value in values[:items]]
    return [*shown, f"… ({size} items)"] if size > items else shown


def _tagged(value: dict[str, Any], items: int, letters: int, depth: int) -> Any:
    """A tagged value as people read it; None where it is to be shown as it is."""
    tag = next(iter(value))
    inside = value[tag]
    if tag == "$ndarray" and isinstance(inside, dict):
        shape = "×".join(map(str, inside.get("shape") or ()))
        name = f"array {inside.get('dtype')} {shape}".rstrip()
        if _size(inside.get("shape")) > items:
            return f"({name})"
        cell = plain(value)
        cell = cell.tolist() if hasattr(cell, "tolist") else cell
        return {f"({name})": _short(_json_numbers(cell), items, letters, depth + 1)}
    if tag == "$type":
        shown = _short(value.get("value"), items, letters, depth)
        return {"(class)": _short(inside, items, letters, depth), **shown} if isinstance(shown, dict) else shown
    if tag in {"$bytes", "$bytearray"} and isinstance(inside, str):
        return f"({len(inside) * 3 // 4} bytes)"
    cell = plain(value)
    return None if cell is value or isinstance(cell, dict) else _short(_json_numbers(cell), items, letters, depth)


def _json_numbers(value: Any) -> Any:
    """NaN and infinities as words, which JSON lacks."""
    if isinstance(value, list):
        return [_json_numbers(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):  # noqa: PLR0124
        return str(value)
    return value if isinstance(value, int | float | str | bool | dict) or value is None else str(value)
