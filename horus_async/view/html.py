"""Puts a page together: the template, our style and program, the data, and the plotting library if it is installed.

The page needs nothing else. Its Content-Security-Policy lets only these very programs run, told by their hashes, and
nothing be loaded. All text of others is in one block of JSON, without a ``<``, and is text wherever it is shown.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.spelling import printable_html, printable_json, printable_lines

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_SCRIPTS = ("base.js", "data.js", "timeline.js", "plots.js", "cursor.js", "tree.js", "sections.js", "main.js")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_EXACT = 2**53
"""Beyond this, integers are no longer exact in a browser."""


def has_plots() -> bool:
    """Whether the plotting library is installed, which the extra ``view`` brings."""
    return bool(_library())


def page(data: dict[str, Any], title: str) -> str:
    """The page.

    Args:
        data: As described in ``docs/view.md``: sources and perhaps a comparison.
        title: Of the page.
    """
    program = _program()
    library = _library()
    allowed = [_hash(program.encode()), *([_hash(library)] if library else [])]
    policy = (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    packed = base64.b64encode(zlib.compress(library, 9)).decode() if library else ""
    parts = {
        "policy": policy,
        "title": printable_html(title),
        "style": _text("style.css"),
        "data": embedded({**data, "has_plots": bool(library)}),
        "library": packed,
        "program": program,
    }
    return _PLACE.sub(lambda place: parts[place[1]], _text("page.html"))


def embedded(data: Any) -> str:
    """JSON that may stand in a ``<script>`` element: its text is printable, and no markup begins in it."""
    return printable_json(orjson.dumps(printable_data(data)).decode()).replace("<", "\\u003c").replace("&", "\\u0026")


def printable_data(value: Any) -> Any:
    """The same data with every text of it spelled out where it has to be; integers that browsers round as text."""
    kind = type(value)
    if kind is str:
        return printable_lines(value)
    if kind is dict:
        return {printable_lines(str(key)): printable_data(item) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [printable_data(item) for item in value]
    if kind is int and not -_EXACT <= value <= _EXACT:
        return {"$int": str(value) if value.bit_length() <= 2048 else hex(value)}
    return value


def _hash(script: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"


@cache
def _program() -> str:
    parts = "\n".join(_text(name) for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def _text(name: str) -> str:
    return _folder().joinpath(name).read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("horus_async.view") / "page"


@cache
def _library() -> bytes:
    """The plotting library's own file; empty if it is not installed."""
    found = find_spec("plotly")  # which imports nothing of it
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path.read_bytes()
    return b""
