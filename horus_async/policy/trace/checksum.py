"""The checksum that ends each line of a trace: the field ``crc``, which readers of v1 pass over.

Eight hexadecimal digits: the CRC-32 (as in zlib) of the line up to the comma before the field. A killed trace has no
checksum of its own, so without this a flipped bit in a number would be taken for what a policy answered.
"""

from __future__ import annotations

import re
import zlib

_FIELD = b',"crc":"%08x"}'
_END = re.compile(rb',"crc":"[0-9a-f]{8}"}\Z')
_LENGTH = len(_FIELD % 0)


def with_checksum(line: bytes) -> bytes:
    """A line of JSON, an object with fields, with its checksum; without a newline."""
    return line[:-1] + _FIELD % zlib.crc32(line[:-1])


def ends_in_checksum(line: bytes) -> bool:
    """Whether a line ends as one with a checksum does, be it the right one."""
    return _END.search(line[-_LENGTH:]) is not None


def has_checksum(line: bytes) -> bool:
    """Whether a line ends in a checksum that is its own."""
    return line[-_LENGTH:] == _FIELD % zlib.crc32(line[:-_LENGTH])
