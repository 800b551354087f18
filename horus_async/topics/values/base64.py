"""Bytes as text, for JSON."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64


def to_base64(data: bytes | memoryview) -> str:
    """Base64 (RFC 4648, section 4) on one line."""
    return b2a_base64(data, newline=False).decode()


def from_base64(text: str) -> bytes:
    """The bytes that ``to_base64`` encoded.

    Raises:
        ValueError: not base64.
    """
    return a2b_base64(text, strict_mode=True)
