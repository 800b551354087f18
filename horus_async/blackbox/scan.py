"""Reading the bytes of a box: which lines are whole, in which order, and what is damaged.

Pure: it is given copies of segments. A line counts only if it passes its checksum. A failure beyond the ``used`` word
is the unfinished write of a process that was stopped; one before it is damage.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import lz4.block

from . import layout
from .compact import FORM_BEGINNING, MARK, RECORD_SIZE, Shape, open_record

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAYBE_NEXT = re.compile(rb"\x%02x|[0-9a-f]{8} \{" % MARK)
"""How records and lines begin."""

_MOST_DIGITS = 20
"""Of a number of 64 bits."""


class SegmentImage(NamedTuple):
    """A copy of one segment."""

    number: int
    header: bytes
    """As it was before ``content`` was copied."""
    content: bytes
    reach: int
    """The ``used`` word after ``content`` was copied: beyond that in ``header`` if the writer was at work."""


class Source(NamedTuple):
    """The content of one raw segment, raw, or one of the blocks that it was sealed into."""

    where: str
    generation: int
    first_seq: int
    content: bytes
    used: int
    reach: int
    unpacked: int
    """Bytes after unpacking; 0 for raw lines."""
    finished: bool
    """False for a block that its writer may have left half written."""


class Line(NamedTuple):
    """The JSON of one event."""

    seq: int
    body: bytes


def find_sources(images: list[SegmentImage], file_salt: int, damage: list[str]) -> list[Source]:
    """Everything in a box that holds lines, oldest first. Findings are added to ``damage``."""
    sources: list[Source] = []
    for image in images:
        where = f"segment {image.number}"
        try:
            header = layout.read_segment_header(image.header, file_salt)
        except ValueError as error:
            damage.append(f"{where}: {error}")
            continue
        if header is None:
            continue
        if header.kind == layout.RAW:
            used = header.used
            reach = max(used, image.reach)
            sources.append(Source(where, header.generation, header.first_seq, image.content, used, reach, 0, True))
        else:
            sources.extend(_blocks(image, header, where, file_salt, damage))
    return sorted(sources, key=lambda source: (source.first_seq, source.generation, source.unpacked))


def _blocks(
    image: SegmentImage, header: layout.SegmentHeader, where: str, file_salt: int, damage: list[str]
) -> Iterator[Source]:
    salt = layout.line_salt(file_salt, header.generation)
    content, used = image.content, header.used
    boundary_seen = used == 0
    broken = False
    late = offset = 0
    while offset >= 0:
        block = layout.read_block_header(content, offset, salt)
        if block is None:
            if offset >= used:
                break
            if not broken:
                damage.append(f"{where}: the block at byte {offset} fails its checksum")
            broken = True
            offset = content.find(layout.BLOCK_MAGIC, offset + 1)
            continue
        broken = False
        start, offset = offset + layout.BLOCK_HEADER, offset + layout.BLOCK_HEADER + block.packed
        late += offset > image.reach
        boundary_seen |= offset == used
        packed = content[start:offset]
        name = f"{where}, block at byte {start - layout.BLOCK_HEADER}"
        lines = block.unpacked
        if offset <= used and crc32(packed, salt) != block.content:
            damage.append(f"{name} fails its checksum")  # its lines have their own, so some may still be whole
        yield Source(name, block.generation, block.first_seq, packed, lines, lines, lines, offset <= used)
    if late > 1 or not (boundary_seen or broken):
        damage.append(f"{where}: the length in its header is wrong")


def missing_ends(sources: list[Source], oldest: int, newest: int) -> list[str]:
    """What is missing before the first source and after the last one.

    Args:
        sources: all of them.
        oldest: ``seq`` of the first event that has not been overwritten.
        newest: generation of the raw segment that was written last.
    """
    first = min((source.first_seq for source in sources if source.finished), default=oldest)
    notes = [_gap(oldest, first)] if first > oldest else []
    last = max((source.generation for source in sources), default=0)
    if newest > last or (newest == 0 and last > 1):  # 0 until the first segment has been taken
        notes.append("the newest events are missing")
    return notes


def read_lines(
    sources: list[Source], file_salt: int, segment_size: int, damage: list[str], after: int = -1
) -> Iterator[Line]:
    """All whole lines with a ``seq`` above ``after``, in order, each once. Gaps are added to ``damage``."""
    expected: int | None = None
    position = 0
    while position < len(sources):
        group = [sources[position]]
        position += 1
        while position < len(sources) and sources[position].generation == group[0].generation:
            group.append(sources[position])
            position += 1
        if position < len(sources) and sources[position].first_seq <= after + 1:
            continue
        for line in _merged(group, file_salt, segment_size, damage):
            if expected is not None and line.seq < expected:
                continue
            if line.seq > (group[0].first_seq if expected is None else expected):
                damage.append(_gap(group[0].first_seq if expected is None else expected, line.seq))
            expected = line.seq + 1
            if line.seq > after:
                yield line


def _gap(first: int, end: int) -> str:
    return f"event {first} is missing" if end == first + 1 else f"events {first} to {end - 1} are missing"


def _merged(group: list[Source], file_salt: int, segment_size: int, damage: list[str]) -> list[Line]:
    """The lines of a raw segment and of the blocks that it was sealed into."""
    lines: dict[int, Line] = {}
    for source in group:
        for line in _lines_of(source, file_salt, segment_size, damage):
            lines.setdefault(line.seq, line)
    return list(lines.values()) if len(group) == 1 else [lines[seq] for seq in sorted(lines)]


def _lines_of(source: Source, file_salt: int, segment_size: int, damage: list[str]) -> list[Line]:
    content = source.content
    if source.unpacked:
        try:
            if source.unpacked > layout.MOST_UNPACKED * segment_size:
                raise ValueError("it claims to be larger than a segment's events can be")
            content = lz4.block.decompress(content, uncompressed_size=source.unpacked)
        except (lz4.block.LZ4BlockError, ValueError, MemoryError) as error:
            if source.finished:
                damage.append(f"{source.where} cannot be unpacked: {error}")
            return []
    notes: list[str] = []
    lines = scan_lines(content, source.used, source.reach, layout.line_salt(file_salt, source.generation), notes)
    if source.finished:
        damage.extend(f"{source.where}: {note}" for note in notes)
    return lines


def scan_lines(content: bytes, used: int, reach: int, salt: int, notes: list[str]) -> list[Line]:
    """The whole lines in the content of a raw segment.

    Args:
        content: lines, followed by whatever was there before.
        used: lines before this byte should be whole.
        reach: of the lines that end after this byte, at most one can be whole.
        salt: what their checksums start from.
        notes: findings are added here.
    """
    lines: list[Line] = []
    shapes: dict[int, Shape] = {}
    boundary_seen = used == 0
    failed = late = start = 0
    while start < len(content):
        piece = read_piece(content, start, salt, shapes)
        if piece is None:
            if start >= used:
                break
            failed += 1
            start = _next_piece(content, start + 1, salt, shapes)
            continue
        start, line = piece
        if line is not None:
            lines.append(line)
        late += start > reach
        boundary_seen |= start == used
    if failed:
        notes.append(f"{failed} line{'s fail their' if failed > 1 else ' fails its'} checksum")
    elif late > 1 or not boundary_seen:
        notes.append("the length in its header is wrong")
    return lines


def read_piece(content: bytes, start: int, salt: int, shapes: dict[int, Shape]) -> tuple[int, Line | None] | None:
    """Where the thing at ``start`` of a raw segment ends, and its event, which is None for a form.

    Returns None when nothing there is whole, or it is a record whose form was not. A form is added to ``shapes``.
    """
    if content[start] == MARK:
        record = open_record(content, start, salt)
        shape = None if record is None else shapes.get(record.form)
        if record is None or shape is None:
            return None
        return start + RECORD_SIZE, Line(record.seq, shape.render(record))
    end = content.find(b"\n", start)
    body = layout.open_line(content[start:end], salt) if end >= 0 else None
    if body is None:
        return None
    if body.startswith(FORM_BEGINNING):
        try:
            shape = Shape.of(body)
        except ValueError:  # its checksum is right: somebody wrote it so
            return None
        shapes[shape.number] = shape
        return end + 1, None
    digits = body[7 : body.find(b",")]
    is_event = body.startswith(b'{"seq":') and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return (end + 1, Line(int(digits), body)) if is_event else None


def _next_piece(content: bytes, start: int, salt: int, shapes: dict[int, Shape]) -> int:
    """Where, after something damaged, the next whole thing begins; the end if there is none."""
    for found in _MAYBE_NEXT.finditer(content, start):
        if read_piece(content, found.start(), salt, shapes) is not None:
            return found.start()
    return len(content)
