"""The head of a payload with buffers. See ``codec``."""

from __future__ import annotations

import struct

BINARY = struct.Struct("<BBxxIQ")
"""Head of a binary payload: 0, version, number of buffers, length of the JSON text."""

BINARY_VERSION = 1
BUFFER_ALIGNMENT = 8

FORMS = 256
"""How many forms of arrays the encoder and the decoder each remember, for messages that are one array of numbers."""
