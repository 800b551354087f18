"""Bytes as text, for JSON."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGE = 1 << 16
"""Characters from which a faster decoder is worth its import."""


def to_base64(data: bytes | memoryview) -> str:
    """Base64 (RFC 4648, section 4) on one line."""
    return b2a_base64(data, newline=False).decode()


def from_base64(text: str) -> bytes:
    """The bytes that ``to_base64`` encoded.

    Raises:
        ValueError: not base64.
    """
    return _fast_decoder()(text) if len(text) >= _LARGE else a2b_base64(text, strict_mode=True)


@cache
def _fast_decoder() -> Callable[[str], bytes]:
    """``pybase64`` if it is installed, which takes a fiftieth of the time: images are nothing but base64."""
    try:
        return partial(import_module("pybase64").b64decode, validate=True)
    except ImportError:
        return partial(a2b_base64, strict_mode=True)
