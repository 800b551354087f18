"""The most that readers of recordings take, and that writers write: docs/format.md has the table.

A file of others may be made so that few bytes become many. What is beyond a limit is damage, and nothing is allocated
for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.bounds.text import Most

if TYPE_CHECKING:
    from pathlib import Path

FRAME_LIMIT = 3 << 26
"""Bytes of text in one frame, so in one line. The largest message that a topic takes is 179 MB of text."""

VALUES_LIMIT = 1 << 22
"""Commas, brackets, braces and lines in one frame: as many values a line can have. An array is one value."""

OBJECTS_LIMIT = 3 << 18
"""Opening braces in one frame."""

JSON_FILE_LIMIT = 1 << 24
"""Bytes of ``session.json`` and of ``origin.json``."""

JSON_FILE = Most(values=1 << 19, objects=1 << 18)
"""What may be in one of these."""


def read_json_file(path: Path) -> bytes:
    """The text of ``session.json`` or ``origin.json``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is more than such a file may hold.
    """
    with path.open("rb") as file:
        text = file.read(JSON_FILE_LIMIT + 1)
    if len(text) > JSON_FILE_LIMIT:
        raise ValueError(f"more than {JSON_FILE_LIMIT} bytes, the most that it may hold")
    if (what := JSON_FILE.exceeded_by(text)) is not None:
        raise ValueError(f"{what}, the most that it may hold")
    return text


def too_much(text: bytes) -> str | None:
    """Why a text is beyond what one frame may hold; None if it is not."""
    what = Most(VALUES_LIMIT, OBJECTS_LIMIT).exceeded_by(text)
    return beyond(len(text)) if what is None else _said(what)


def beyond(size: int, values: int = 0, objects: int = 0) -> str | None:
    """The same of a text with so many bytes, values and objects."""
    if size > FRAME_LIMIT:
        return _said(f"more than {FRAME_LIMIT} bytes of text")
    what = Most(VALUES_LIMIT, OBJECTS_LIMIT).exceeded(values, objects)
    return None if what is None else _said(what)


def _said(what: str) -> str:
    return f"{what}, the most that a frame may hold"
