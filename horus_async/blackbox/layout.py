"""The bytes of a ``.hbb`` file: where everything is and how it is checked. Numbers are little-endian.

The file is one page of 4096 bytes, followed by segments of equal size. The rest at the end, 60 KiB or more, is for the
text that ``faulthandler`` writes on a fatal signal, and zero until then.

Page: at 0 and again at 2048 the text ``HORUS-BLACKBOX 1``, a newline, and one line (see below, salt ``HEADER_SALT``)
whose JSON has ``schema_version, name, run, pid, started_at, started_ns, size, segment_size, salt``. At the end of the
page three 64-bit words that tell a reader where the events begin and end, and whether its copy is of one moment:

    4072   oldest   seq of the oldest event that has not been overwritten; set before older ones are
    4080   newest   generation of the newest raw segment; set once that has been taken
    4088   changes  incremented before a segment is taken or released: a reader that sees it change copies again

Segment: a header of 32 bytes, then its content.

    0   used        how many bytes of content are whole
    8   generation  counts the segments taken, from 1, with the top bit set; 0: the segment is empty
    16  first_seq   seq of its first event
    24  kind        32 bits: 1 raw, 2 sealed
    28  check       32 bits: crc32 of bytes 8 to 28, starting from the file's salt

A raw segment holds lines and compact records (see ``compact``), a sealed one blocks. A line is eight hex digits, a
space, the JSON of one event and a newline. The digits are the crc32 of the JSON, starting from the salt of its segment,
which is the crc32 of the generation (64 bits, without the top bit), starting from the file's salt: bytes left over from
an earlier use of the same space never pass, and neither do zeros. A block is a header of 36 bytes, followed by a piece
of a raw segment, LZ4-compressed: lines and compact records, with the forms of the latter:

    0   magic       "HBLK"
    4   packed      32 bits: bytes of the LZ4 block
    8   unpacked    32 bits: bytes of that piece
    12  check       32 bits: crc32 of the other 32 bytes, starting from the salt of the sealed segment
    16  generation  of the raw segment; determines the salt of the lines
    24  first_seq   seq of the first event of the piece
    32  content     32 bits: crc32 of the LZ4 block, starting from the salt of the sealed segment
"""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple
from zlib import crc32

import orjson
from attrs import asdict, fields, frozen

SCHEMA_VERSION = 1
PAGE = 4096
MAGIC = b"HORUS-BLACKBOX 1\n"
HEADER_COPIES = (0, 2048)
HEADER_ROOM = 2000
HEADER_SALT = 0x31424248
OLDEST_WORD, NEWEST_WORD, CHANGES_WORD = 4072, 4080, 4088

SEGMENT_HEADER = 32
USED, GENERATION, REST = 0, 8, 16
TAKEN = 1 << 63
RAW, SEALED = 1, 2

BLOCK_MAGIC = b"HBLK"
BLOCK_HEADER = 36

MOST_UNPACKED = 16
"""How many times the size of a segment the content of a block may have: earlier releases made lines of records."""

LINE_OVERHEAD = 10
"""Bytes of a line that are not its JSON."""

_CHECKED = Struct("<QQI")
_REST = Struct("<QII")
_SEGMENT = Struct("<QQQII")
_BLOCK_SIZES = Struct("<4sII")
_BLOCK_NAME = Struct("<QQI")
_BLOCK = Struct("<4sIIIQQI")


def line_salt(file_salt: int, generation: int) -> int:
    """What the checksums of a segment's lines start from."""
    return crc32(generation.to_bytes(8, "little"), file_salt)


def make_line(body: bytes, salt: int) -> bytes:
    """One line: its checksum, a space, the JSON, a newline."""
    return b"%08x %b\n" % (crc32(body, salt), body)


def open_line(line: bytes, salt: int) -> bytes | None:
    """The JSON of a line (given without its newline), or None when it fails its checksum."""
    # Compared as text: int() accepts "A" for "a", and would let a flipped bit pass.
    if line[8:9] == b" " and b"%08x" % crc32(body := line[9:], salt) == line[:8]:
        return body
    return None


class SegmentHeader(NamedTuple):
    """A segment's header, checked."""

    used: int
    generation: int
    first_seq: int
    kind: int


def segment_check(file_salt: int, generation: int, first_seq: int, kind: int) -> int:
    """The checksum in a segment's header."""
    return crc32(_CHECKED.pack(generation | TAKEN, first_seq, kind), file_salt)


def segment_rest(file_salt: int, generation: int, first_seq: int, kind: int) -> bytes:
    """Bytes 16 to 32 of a segment's header."""
    return _REST.pack(first_seq, kind, segment_check(file_salt, generation, first_seq, kind))


def read_segment_header(data: bytes, file_salt: int) -> SegmentHeader | None:
    """The header of a segment; None for an empty one.

    Raises:
        ValueError: it fails its checksum.
    """
    used, word, first_seq, kind, check = _SEGMENT.unpack_from(data)
    if word == 0:
        return None
    generation = word & ~TAKEN
    if not word & TAKEN or check != segment_check(file_salt, generation, first_seq, kind) or kind not in (RAW, SEALED):
        raise ValueError("its header fails its checksum")
    return SegmentHeader(used, generation, first_seq, kind)


class BlockHeader(NamedTuple):
    """The header of a block, checked."""

    packed: int
    unpacked: int
    generation: int
    first_seq: int
    content: int


def make_block(packed: bytes, unpacked: int, generation: int, first_seq: int, salt: int) -> bytes:
    """A block, header included. ``salt`` is that of the sealed segment it goes into."""
    sizes = _BLOCK_SIZES.pack(BLOCK_MAGIC, len(packed), unpacked)
    name = _BLOCK_NAME.pack(generation, first_seq, crc32(packed, salt))
    return sizes + crc32(sizes + name, salt).to_bytes(4, "little") + name + packed


def read_block_header(data: bytes, offset: int, salt: int) -> BlockHeader | None:
    """The block header at an offset, or None when none there passes its checksum."""
    if len(data) - offset < BLOCK_HEADER:
        return None
    magic, packed, unpacked, check, generation, first_seq, content = _BLOCK.unpack_from(data, offset)
    checked = data[offset : offset + 12] + data[offset + 16 : offset + BLOCK_HEADER]
    if magic != BLOCK_MAGIC or check != crc32(checked, salt):
        return None
    return BlockHeader(packed, unpacked, generation, first_seq, content)


@frozen(kw_only=True)
class FileHeader:
    """What a box says about itself."""

    name: str
    run: str
    pid: int
    started_at: str
    """ISO 8601, UTC."""
    started_ns: int
    size: int
    """Bytes of the whole file."""
    segment_size: int
    salt: int
    schema_version: int = SCHEMA_VERSION

    @property
    def segments(self) -> int:
        """How many segments the file has room for."""
        return (self.size - PAGE) // self.segment_size

    @property
    def rest(self) -> int:
        """Where the segments end and the space for the text of a fatal signal begins."""
        return PAGE + self.segments * self.segment_size

    def to_bytes(self) -> bytes:
        """One copy of the header."""
        body = orjson.dumps(asdict(self))
        return MAGIC + make_line(body, HEADER_SALT)


def read_file_header(page: bytes) -> tuple[FileHeader, list[str]]:
    """The header of a box and what is wrong with its copies.

    Raises:
        ValueError: no copy is whole, or the file was written by an unknown version.
    """
    damage = []
    for offset in HEADER_COPIES:
        start = offset + len(MAGIC)
        end = page.find(b"\n", start)
        body = open_line(page[start:end], HEADER_SALT) if page[offset:start] == MAGIC and end > 0 else None
        if body is None:
            damage.append(f"the header at byte {offset} fails its checksum")
            continue
        return _file_header(orjson.loads(body)), damage
    raise ValueError("it has no readable header")


def _file_header(data: object) -> FileHeader:
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        version = data.get("schema_version") if isinstance(data, dict) else None
        raise ValueError(f"its schema_version is {version!r}, this release reads {SCHEMA_VERSION}")
    try:
        header = FileHeader(**{field.name: data[field.name] for field in fields(FileHeader)})
        numbers = (header.pid, header.started_ns, header.size, header.segment_size, header.salt)
    except KeyError as error:
        raise ValueError(f"its header has no {error}") from None
    sane = all(isinstance(number, int) for number in numbers) and all(
        isinstance(text, str) for text in (header.name, header.run, header.started_at)
    )
    if not sane or header.segment_size <= SEGMENT_HEADER or not 0 <= header.salt < 2**32:
        raise ValueError("its header makes no sense")
    return header


def segment_size_for(size: int) -> int:
    """Bytes of a segment in a box of ``size`` bytes: a 64th of it, and never less than 64 KiB.

    It bounds the longest event and what a single damaged spot can cost; the newest three or four are not compressed.
    """
    return max(64 * 1024, size // 64 // PAGE * PAGE)
