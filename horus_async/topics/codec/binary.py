"""The head of a payload with buffers. See ``codec``."""

from __future__ import annotations

import struct

BINARY = struct.Struct("<BBxxIQ")
"""Head of a binary payload: 0, version, number of buffers, length of the JSON text."""

BINARY_VERSION = 1
BUFFER_ALIGNMENT = 8


def assembled(text: bytes, buffers: list[bytes | memoryview]) -> list[bytes | memoryview]:
    """A binary payload of JSON text and the buffers it refers to, in parts. The first is the head with the text."""
    lengths = [len(buffer) for buffer in buffers]
    head = BINARY.pack(0, BINARY_VERSION, len(lengths), len(text)) + struct.pack(f"<{len(lengths)}Q", *lengths) + text
    parts: list[bytes | memoryview] = [head + bytes(-len(head) % BUFFER_ALIGNMENT)]
    for buffer in buffers:
        parts.append(buffer)
        if len(buffer) % BUFFER_ALIGNMENT:
            parts.append(bytes(-len(buffer) % BUFFER_ALIGNMENT))
    return parts


FORMS = 256
"""How many forms of arrays the encoder and the decoder each remember, for messages that are one array of numbers."""
