"""The part of a packed message with a fixed length. See ``packed``."""

from __future__ import annotations

from .schema import Struct, leaves

_FORMATS = {"float": "d", "int": "q", "bool": "?", "str": "I", "strings": "I", "numbers": "BI"}


def layout_of(record: Struct, head: str) -> str:
    """The part with a fixed length as a ``struct`` format; ``head`` is the format of the mark before it."""
    return f"<{head}" + "".join(_FORMATS[leaf] if isinstance(leaf, str) else "q" for leaf in leaves(record))
