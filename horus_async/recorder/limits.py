"""The most that readers of recordings take, and that writers write: docs/format.md has the table.

A file of others may be made so that few bytes become many. What is beyond a limit is damage, and nothing is allocated
for it.
"""

from __future__ import annotations

FRAME_LIMIT = 1 << 28
"""Bytes of text in one frame, so in one line. The largest message that a topic takes is 179 MB of text."""

VALUES_LIMIT = 1 << 22
"""Commas, brackets, braces and lines in one frame: as many values a line can have. An array is one value."""

JSON_FILE_LIMIT = 1 << 24
"""Bytes of ``session.json`` and of ``origin.json``."""


def too_much(text: bytes) -> str | None:
    """Why a text is beyond what one frame may hold; None if it is not."""
    if len(text) > FRAME_LIMIT:
        return f"more than {FRAME_LIMIT} bytes of text, the most that a frame may hold"
    if len(text) > VALUES_LIMIT and sum(map(text.count, (b",", b"[", b"{", b"\n"))) > VALUES_LIMIT:
        return f"more than {VALUES_LIMIT} values, the most that a frame may hold"
    return None
