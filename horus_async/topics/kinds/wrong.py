"""A value that is not what an annotation says, and how that is said."""

from __future__ import annotations

import typing
from typing import Any, NamedTuple

from horus_async.validators import Fits
from horus_async.value_diff import short


class Wrong(NamedTuple):
    """A value that is not what an annotation says."""

    path: str
    """From the object that was checked, beginning with a dot or a bracket."""
    hint: Any
    value: Any

    def __str__(self) -> str:
        where, has = self.path.removeprefix("."), type(self.value)
        text = f"whose {where} has to be {_text_of(self.hint)}, not {_name(has)}: {short(self.value)}"
        return " ".join(text.split("\n"))


def _text_of(hint: Any) -> str:
    """An annotation, for people."""
    if isinstance(hint, Fits):
        return hint.text
    if isinstance(hint, type) and not typing.get_args(hint):
        return "None" if hint is type(None) else _name(hint)
    text = str(hint).replace("typing.", "")
    return text if len(text) <= 100 else f"{text[:100]}…"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else title(kind)


def title(kind: type) -> str:
    """The full name of a class."""
    return f"{kind.__module__}.{kind.__qualname__}"
