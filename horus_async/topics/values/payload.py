"""The bytes of a message, and what their size and their beginning say about handling them."""

from __future__ import annotations

from typing import TypeAlias

Payload: TypeAlias = bytes | list[bytes | memoryview]
"""The bytes of one message, in one piece or, where it holds large buffers, in several."""

LARGE = 1 << 16
"""From this many bytes on memory is worth sparing: a payload with buffers is copied only once on its way out."""

WITH_BUFFERS = b"\0\1"
"""How a payload begins that holds buffers, which can be used where they lie; see ``codec``."""

MESSAGE_LIMIT = (256 << 20) // 2 - 48
"""Bytes of the largest payload that fits into any ring; see ``ring.layout``."""
