"""JSON for evidence: nothing a program puts into an event may keep the event out of the box.

What JSON lacks and a robot's numbers often are, is tagged and comes back as it was: NaN and the infinities as
``{"$float":"nan"}``, integers beyond 64 bits as ``{"$int":"..."}``. Anything else becomes its ``repr``.
"""

from __future__ import annotations

import math
from typing import Any

import orjson

_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
_DEEPEST = 50


def to_json_bytes(value: Any) -> bytes:
    """Compact JSON of any value. Never raises because of what the value holds."""
    try:
        encoded = orjson.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(_plain(value, 0))
    # orjson writes NaN as null without a word, so a null is worth a second, slower look.
    return encoded if b"null" not in encoded else orjson.dumps(_plain(value, 0))


def from_plain(value: Any) -> Any:
    """Undo the tags in something that came out of JSON."""
    if isinstance(value, list):
        return [from_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and isinstance(text := value.get("$float"), str) and text in ("nan", "inf", "-inf"):
        return float(text)
    if len(value) == 1 and isinstance(text := value.get("$int"), str) and text.lstrip("-").isdecimal():
        return int(text)
    return {key: from_plain(item) for key, item in value.items()}


def _plain(value: Any, depth: int) -> Any:
    """The value in terms of what orjson writes without loss."""
    plain: Any
    if value is None or isinstance(value, bool):
        plain = value
    elif isinstance(value, str):
        plain = str(value).encode("utf-8", "backslashreplace").decode()
    elif isinstance(value, int):
        plain = int(value) if -(2**63) <= value < 2**64 else {"$int": str(int(value))}
    elif isinstance(value, float):
        plain = float(value) if math.isfinite(value) else {"$float": str(float(value))}
    elif depth < _DEEPEST and isinstance(value, dict):
        plain = {_plain(str(key), depth): _plain(item, depth + 1) for key, item in value.items()}
    elif depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        plain = [_plain(item, depth + 1) for item in value]
    else:
        plain = _other(value)
    return plain


def _other(value: Any) -> Any:
    if callable(to_list := getattr(value, "tolist", None)):  # NumPy, without importing it
        return _plain(to_list(), _DEEPEST - 1)
    try:
        return orjson.loads(orjson.dumps(value, None, _OPTIONS))
    except (TypeError, ValueError, RecursionError):
        return _plain(_safe_repr(value), 0)


def _safe_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a broken __repr__ must not cost the event
        return f"<{type(value).__name__} whose repr failed: {type(error).__name__}>"
