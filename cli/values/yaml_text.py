"""Plain values as YAML, of versions 1.1 and 1.2: what any of its readers loads as the same value.

A text is plain where nothing can be mistaken about it, and else in double quotes, in which whatever would control a
terminal is an escape of YAML.
"""

from __future__ import annotations

import base64
import math
import re
from typing import TYPE_CHECKING, Any

from horus_async.spelling import printable

from .plain import Left

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+-]+)*")
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "null", "none", "nan", "inf"))
"""Texts that some reader takes for something else."""
_NO_CHARACTER = re.compile("[\ufffe\uffff]")
_WIDTH = 100
_KEY = 100
"""Characters of a key that is written simply."""


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """The lines of a value: dicts, lists, texts, bytes, numbers, booleans, None and `Left`."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            written = _scalar(key)
            if len(written) > _KEY:
                yield f"{indent}? {written}"
                yield from _after(f"{indent}:", item, indent)
            else:
                yield from _after(f"{indent}{written}:", item, indent)
    elif isinstance(value, list) and value and _flow(value) is None:
        for item in value:
            yield from _after(f"{indent}-", item, indent)
    else:
        yield f"{indent}{_inline(value)}"


def _after(start: str, item: Any, indent: str) -> Iterator[str]:
    """An item behind its key or dash."""
    inline = _inline(item)
    if inline is not None:
        yield f"{start} {inline}"
    else:
        yield start
        yield from yaml_lines(item, f"{indent}  ")


def _inline(value: Any) -> str | None:
    """A value on one line; None if it needs several."""
    if isinstance(value, dict):
        return None if value else "{}"
    if isinstance(value, list):
        return _flow(value)
    return _scalar(value)


def _flow(row: list[Any]) -> str | None:
    """A row of scalars, or a short row of such rows, in brackets; None for any other."""
    if any(isinstance(item, dict) and item for item in row):
        return None
    parts = [
        _flow(item) if isinstance(item, list) else "{}" if isinstance(item, dict) else _scalar(item) for item in row
    ]
    if any(part is None for part in parts):
        return None
    text = f"[{', '.join(part for part in parts if part is not None)}]"
    nested = any(isinstance(item, list) for item in row)
    return None if nested and len(text) > _WIDTH else text


def _scalar(value: Any) -> str:  # noqa: PLR0911 - one line a type
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, bytes):
        return f'!!binary "{base64.b64encode(value).decode()}"'
    if isinstance(value, Left):
        return f'"… {value.count} more"'
    return _text(str(value))


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    text = repr(value)
    before, e, after = text.partition("e")  # version 1.1 takes 1e-05 for a text
    return f"{before}{'' if '.' in before else '.0'}{e}{after}"


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{_NO_CHARACTER.sub(_escape, printable(quoted))}"'


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"
