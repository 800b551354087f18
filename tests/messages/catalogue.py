"""All messages, values for them, and the table of docs/messages.md.

``python -m tests.messages.catalogue`` writes the table into the page.
"""

from __future__ import annotations

import inspect
import re
import typing
from enum import Enum, IntFlag
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from horus_async import messages

PAGE = Path(__file__).parents[2] / "docs" / "messages.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"

PUBLIC = {name: getattr(messages, name) for name in messages.__all__}
CLASSES = {name: kind for name, kind in PUBLIC.items() if isinstance(kind, type) and attrs.has(kind)}
ENUMS = {name: kind for name, kind in PUBLIC.items() if isinstance(kind, type) and issubclass(kind, Enum)}


def values(kind: type) -> st.SearchStrategy[Any]:
    """Any object of this class."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return st.builds(
        kind,
        **{attribute.name: _field(hints[attribute.name]) for attribute in attrs.fields(kind)},
    )


def _field(hint: Any) -> st.SearchStrategy[Any]:
    if hint in _ROWS:
        return _ROWS[hint]
    if hint in _SIMPLE:
        return _SIMPLE[hint]
    if typing.get_origin(hint) is list:
        return st.lists(_field(typing.get_args(hint)[0]), max_size=2)
    if issubclass(hint, IntFlag):
        return st.builds(hint, st.integers(0, 15))
    return st.sampled_from(hint) if issubclass(hint, Enum) else values(hint)


def _arrays(dtype: Any) -> st.SearchStrategy[Any]:
    shapes = st_numpy.array_shapes(max_dims=3, max_side=3, min_side=0)
    return st_numpy.arrays(dtype, shapes)


_SIMPLE = {float: st.floats(), int: st.integers(), str: st.text(max_size=8), bool: st.booleans()}
_ROWS: dict[Any, st.SearchStrategy[Any]] = {
    messages.Array: st.lists(st.floats(), max_size=4) | _arrays(np.float64) | _arrays(np.float32) | _arrays(np.int8),
    messages.Data: st.binary(max_size=700) | _arrays(np.uint8) | _arrays(np.float32),
}


def layout(kind: type) -> str:
    """The definitions that a class is laid out like, as its docstring names them."""
    found = re.search(r"^Layout: (.+?)\.$", inspect.getdoc(kind) or "", re.MULTILINE | re.DOTALL)
    assert found, f"{kind.__name__} does not say where its layout comes from"
    return " ".join(found[1].split())


def table() -> str:
    """The table of docs/messages.md."""
    lines = ["| class | what it is | laid out like | fields |", "|---|---|---|---|"]
    for name, kind in CLASSES.items():
        what = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
        fields = ", ".join(f"`{attribute.name}`" for attribute in attrs.fields(kind))
        lines.append(f"| `{name}` | {what} | {layout(kind)} | {fields} |")
    lines += ["", "| choice | what it is | members |", "|---|---|---|"]
    for name, enum in ENUMS.items():
        what = " ".join((inspect.getdoc(enum) or "").split("\n\n")[0].split())
        members = ", ".join(f"`{member}` {value.value}" for member, value in enum.__members__.items())
        lines.append(f"| `{name}` | {what} | {members} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.write_text(before + BEGIN + table() + END + after, encoding="utf-8")
