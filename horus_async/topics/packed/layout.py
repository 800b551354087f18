"""The part of a packed message with a fixed length, and what can go wrong in reading one. See ``packed``."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from .schema import Struct, leaves

Pack: TypeAlias = Callable[[Any], bytes | None]
"""Returns the packed message of an object; None if only the general form can carry it."""

Read: TypeAlias = Callable[[bytes], Any]
"""Returns the object of a packed message; raises one of ``FAILURES`` if ``packed.to_value`` must handle it."""

FAILURES = (struct.error, ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What a damaged message, or an object that its class does not describe, can raise."""

_FORMATS = {"float": "d", "int": "q", "bool": "?", "str": "I", "strings": "I", "numbers": "BI"}


def layout_of(record: Struct, head: str) -> str:
    """The part with a fixed length as a ``struct`` format; ``head`` is the format of the mark before it."""
    return f"<{head}" + "".join(_FORMATS[leaf] if isinstance(leaf, str) else "q" for leaf in leaves(record))
