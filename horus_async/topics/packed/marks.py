"""What packed messages are known by: the first bytes, and who reads them.

The part of ``packed`` that each message meets. The rest of that folder is imported with the first class that is sent
or comes in, as most programs send only dicts.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from horus_async.live_objects import LiveObjects

Pack: TypeAlias = Callable[[Any], bytes | None]
"""Returns the packed message of an object; None if only the general form can carry it."""

Read: TypeAlias = Callable[[bytes], Any]
"""Returns the object of a packed message; raises one of ``FAILURES`` if ``packed.to_value`` must handle it."""

FAILURES = (struct.error, ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What a damaged message, or an object that its class does not describe, can raise."""

MARK = b"\0$"
MARK_BYTES = 8

RAW = MARK + b"bytes\0"
"""The mark of a message that is a ``bytes`` object: the rest of the payload. It has no schema."""

_RAW_LIMIT = 1 << 15
"""Longer ``bytes`` travel as buffers, which are copied only once on their way out of a ring."""

readers: dict[bytes, Read] = {}
"""By mark, for the classes of this process. Hot: ``codec.decode`` looks here itself."""


exact: set[type] = set()
"""The classes of which an object that travels packed has in each field just what is annotated there."""


class SchemaSource(Protocol):
    """What has a table of schemas: a generation of a ring."""

    def schemas(self) -> list[Any]:
        """The `schema.Schema` objects in the table so far.

        Raises:
            TopicError: the table is damaged.
        """


sources: LiveObjects[SchemaSource] = LiveObjects()
"""Where to look for schemas: what this process has mapped of external rings."""


def pack_bytes(value: bytes) -> bytes | None:
    """The packed message of plain bytes; None if they are too long for one."""
    return RAW + value if len(value) <= _RAW_LIMIT else None


def is_packed(payload: bytes) -> bool:
    """Whether a payload is a packed message."""
    return payload[: len(MARK)] == MARK
