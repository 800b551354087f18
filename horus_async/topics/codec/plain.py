"""What is plain JSON, and how orjson is asked to write it. See ``codec``."""

from __future__ import annotations

from typing import Any

import orjson

ATOMS = frozenset({int, float, str, bool, type(None)})
"""The types of JSON values that contain no others."""

STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
"""Makes orjson refuse values that it would silently write as others."""

LEVELS = 250
"""So many lists and objects may be in one another in a message's JSON: whoever shows or records messages writes them
again, with a few of their own around them, and 254 is the most that is written."""

SHALLOW = 2 * LEVELS
"""Of so many bytes no text is deeper than that."""

TOO_DEEP = f"nested too deeply: more than {LEVELS} lists and objects in one another, a tuple being two"


def is_deep(text: bytes, value: Any) -> bool:
    """Whether a value is nested more than `LEVELS` deep; ``text`` is its JSON.

    Hot: for texts that are not longer than `SHALLOW` it need not be called.
    """
    if len(text) <= SHALLOW or text.count(b"[") + text.count(b"{") <= LEVELS:
        return False
    try:
        orjson.dumps([[[[value]]]])
    except TypeError:
        return True
    return False
