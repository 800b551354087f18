"""The most that readers of recordings take, and that writers write: docs/format.md has the table.

A file of others may be made so that few bytes become many. What is beyond a limit is damage, and nothing is allocated
for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.limits.text import Most, counted

if TYPE_CHECKING:
    from pathlib import Path

FRAME_LIMIT = 3 << 26
"""Bytes of text in one frame, so in one line. The largest message that a topic takes is 179 MB of text."""

VALUES_LIMIT = 1 << 22
"""Commas, brackets, braces and lines in one frame: as many values a line can have. An array is one value."""

OBJECTS_LIMIT = 1 << 20
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
    return beyond(len(text), *(counted(text) if len(text) > OBJECTS_LIMIT else (0, 0)))


def beyond(size: int, values: int, objects: int) -> str | None:
    """The same of a text with so many bytes, values and objects."""
    what = Most(VALUES_LIMIT, OBJECTS_LIMIT).exceeded(values, objects)
    if size > FRAME_LIMIT:
        what = f"more than {FRAME_LIMIT} bytes of text"
    return what and f"{what}, the most that a frame may hold"
