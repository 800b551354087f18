"""The scan of a black box at its edges: which byte is the last that counts, and which number the first that is missing.

Each test began as a change to the code that no other test noticed, or was found by a fuzzer.
"""

from __future__ import annotations

import struct
from zlib import adler32

import lz4.block
import pytest

from horus_async.blackbox import layout
from horus_async.blackbox.compact import MARK, RECORD_SIZE, Form, Shape, record_salt
from horus_async.blackbox.scan import (
    Line,
    SegmentImage,
    Source,
    find_sources,
    missing_ends,
    read_lines,
    read_piece,
    scan_lines,
)

FILE_SALT = 77
SALT = layout.line_salt(FILE_SALT, 1)
SEGMENT = 4096


def event(seq: int) -> bytes:
    """The JSON of an event."""
    return b'{"seq":%d,"run":"r"}' % seq


def lines_of(*seqs: int, salt: int = SALT) -> bytes:
    """The lines of these events."""
    return b"".join(layout.make_line(event(seq), salt) for seq in seqs)


def scanned(content: bytes, used: int, reach: int) -> tuple[list[int], list[str]]:
    """The numbers of the whole lines, and the notes."""
    notes: list[str] = []
    return [line.seq for line in scan_lines(content, used, reach, SALT, notes)], notes


WRONG = ["the length in its header is wrong"]


# -- lines -------------------------------------------------------------------------------------------------------------


def test_lines_up_to_the_used_word_and_one_more() -> None:
    """A writer that died had written one line of which the word did not tell yet; never two."""
    content = lines_of(1, 2, 3)
    one, two, three = (len(lines_of(*range(1, 1 + count))) for count in (1, 2, 3))
    for used, reach, notes in (
        (three, three, []), (two, two, []), (two, three, []), (one, two, []), (0, two, []), (0, one, WRONG),
        (one, one, WRONG), (one, three, []), (three + 1, three + 1, WRONG), (two + 1, three, WRONG), (0, 0, WRONG),
    ):  # fmt: skip
        assert scanned(content, used, reach) == ([1, 2, 3], notes), (used, reach)
    assert scanned(b"", 0, 0) == ([], [])
    assert scanned(b"", 5, 5) == ([], WRONG)
    assert scanned(bytes(100), 0, 0) == ([], [])


def test_damage_before_the_used_word_is_told_and_after_it_is_not() -> None:
    """The line that was being written when the process died is none."""
    whole, torn = lines_of(1), lines_of(2)[:-3] + b"\0\0\0"
    after = lines_of(3)
    assert scanned(whole + torn, len(whole), len(whole)) == ([1], [])
    assert scanned(whole + torn + after, len(whole), len(whole)) == ([1], [])
    everything = len(whole + torn + after)
    assert scanned(whole + torn + after, everything, everything) == ([1, 3], ["1 line fails its checksum"])
    assert scanned(torn + whole, len(torn), len(torn)) == ([1], ["1 line fails its checksum"])
    twice = torn + whole + torn + after
    assert scanned(twice, len(twice), len(twice)) == ([1, 3], ["2 lines fail their checksum"])
    assert scanned(torn + torn + after, everything, everything) == ([3], ["1 line fails its checksum"])
    assert scanned(b"x" + whole, 1 + len(whole), 1 + len(whole)) == ([1], ["1 line fails its checksum"])


@pytest.mark.parametrize(
    ("body", "seq"),
    [
        (b'{"seq":5,"run":"r"}', 5), (b'{"seq":%d,"run":"r"}' % ((1 << 64) - 1), (1 << 64) - 1), (b'{"seq":5}', 5),
        (b'{"seq":-5,"run":"r"}', None), (b'{"seq":,"run":"r"}', None), (b'{"sec":5,"run":"r"}', None), (b"", None),
        (b'{"seq":%s,"run":"r"}' % (b"9" * 21), None), (b'{"seq":%s,"run":"r"}' % (b"9" * 5000), None),
        (b'{"form":1}', None), (b'{"form":1,"run"', None), (b'{"form":[1],"run":"r","event":"E"}', None),
        (b'{"form":"1","run":"r","event":"E"}', None),
        (b'{"form":1,"run":"r","event":"E","a":null,"b":null,"c":null}', None),
    ],
)  # fmt: skip
def test_what_a_line_with_a_right_checksum_may_hold(body: bytes, seq: int | None) -> None:
    """Anybody may have made it: what is neither event nor form is damage."""
    found = read_piece(layout.make_line(body, SALT), 0, SALT, {})
    assert found == (None if seq is None else (len(body) + layout.LINE_OVERHEAD, Line(seq, body)))


def test_a_form_gives_no_event_and_its_records_do() -> None:
    """A record without its form is none."""
    form = Form.make(3, b'"r"', {"event": "NodeTick", "name": "arm", "duration_us": None, "late_us": None})
    assert form is not None
    fields = struct.pack("<IQQQQq", form.word, 5000, 7000, 9, 4, -1)
    record = fields + struct.pack("<I", adler32(fields, record_salt(SALT)))
    assert (record[0], len(record)) == (MARK, RECORD_SIZE)
    line = layout.make_line(form.json, SALT)
    shapes: dict[int, Shape] = {}
    assert read_piece(record, 0, SALT, {}) is None
    assert read_piece(line, 0, SALT, shapes) == (len(line), None)
    expected = b'{"seq":9,"run":"r","tick":4,"time_ns":-1,"event":"NodeTick","name":"arm","duration_us":5,"late_us":7}'
    assert read_piece(record, 0, SALT, shapes) == (RECORD_SIZE, Line(9, expected))
    assert scanned(line + record, len(line + record), len(line + record)) == ([9], [])


# -- segments and blocks -----------------------------------------------------------------------------------------------


def segment(
    content: bytes, *, used: int | None = None, kind: int = layout.RAW, reach: int | None = None, **of: int
) -> SegmentImage:
    """A copy of a segment of generation 1, or of another one."""
    generation, first_seq = of.get("generation", 1), of.get("first_seq", 0)
    used = len(content) if used is None else used
    rest = layout.segment_rest(FILE_SALT, generation, first_seq, kind)
    header = struct.pack("<QQ", used, generation | layout.TAKEN) + rest
    return SegmentImage(of.get("number", 0), header, content, used if reach is None else reach)


def block(*seqs: int, generation: int = 1) -> bytes:
    """The block of a raw segment's lines, for a sealed segment of generation 9."""
    lines = lines_of(*seqs, salt=layout.line_salt(FILE_SALT, generation))
    packed = lz4.block.compress(lines, store_size=False)
    return layout.make_block(packed, len(lines), generation, seqs[0], layout.line_salt(FILE_SALT, 9))


def sealed(content: bytes | bytearray, **of: int) -> SegmentImage:
    """A sealed segment."""
    return segment(bytes(content), kind=layout.SEALED, generation=9, **of)


def read(*images: SegmentImage, after: int = -1) -> tuple[list[int], list[str]]:
    """The numbers of the events in segments, and what is wrong."""
    damage: list[str] = []
    sources = find_sources(list(images), FILE_SALT, damage)
    found = [line.seq for line in read_lines(sources, FILE_SALT, SEGMENT, damage, after)]
    return found, damage


def test_segments_are_read_in_the_order_of_their_events() -> None:
    """Empty ones hold nothing; one whose header is damaged is told."""
    old, new = (
        segment(lines_of(0, 1)),
        segment(lines_of(2, 3, salt=layout.line_salt(FILE_SALT, 2)), generation=2, first_seq=2, number=1),
    )
    empty = SegmentImage(2, bytes(32), b"", 0)
    odd = SegmentImage(3, old.header[:-1] + b"\1", old.content, 0)
    assert read(new, empty, old) == ([0, 1, 2, 3], [])
    assert read(old, odd) == ([0, 1], ["segment 3: its header fails its checksum"])
    assert read(odd, new, old) == ([0, 1, 2, 3], ["segment 3: its header fails its checksum"])
    assert read() == ([], [])


def test_an_event_in_two_places_counts_once() -> None:
    """A segment that is being sealed is there raw and in blocks."""
    raw = segment(lines_of(0, 1, 2), number=1)
    assert read(raw, sealed(block(0, 1))) == ([0, 1, 2], [])
    assert read(sealed(block(0, 1) + block(2))) == ([0, 1, 2], [])
    again = segment(lines_of(1, 2, 3, salt=layout.line_salt(FILE_SALT, 2)), generation=2, first_seq=1)
    assert read(raw, again) == ([0, 1, 2, 3], [])


def test_events_after_a_number() -> None:
    """Those that are wanted, also where they begin within a segment."""
    old, new = (
        segment(lines_of(0, 1)),
        segment(lines_of(2, 3, salt=layout.line_salt(FILE_SALT, 2)), generation=2, first_seq=2, number=1),
    )
    for after in range(-1, 4):
        assert read(old, new, after=after) == (list(range(after + 1, 4)), [])
    sources = find_sources([old, new], FILE_SALT, [])
    assert [line.seq for line in read_lines(sources, FILE_SALT, SEGMENT, [])] == [0, 1, 2, 3]


def test_what_is_not_asked_for_is_not_looked_at() -> None:
    """Damage before the events that are wanted is not told, and costs no time."""
    old = segment(lines_of(0, 1)[:-1] + b"x")
    new = segment(lines_of(2, 3, salt=layout.line_salt(FILE_SALT, 2)), generation=2, first_seq=2, number=1)
    damaged = "segment 0: 1 line fails its checksum"
    assert read(old, new, after=0) == ([2, 3], [damaged, "event 1 is missing"])
    assert read(old, new, after=1) == ([2, 3], [])


def test_an_event_that_is_damaged_in_one_place_comes_from_the_other() -> None:
    """In its order."""
    lines = [lines_of(number) for number in range(3)]
    raw = segment(lines[0] + lines[1][:-2] + b"x\n" + lines[2], number=1)
    assert read(raw, sealed(block(0, 1, 2))) == ([0, 1, 2], ["segment 1: 1 line fails its checksum"])


@pytest.mark.parametrize(
    ("seqs", "first", "gaps"),
    [
        ((5, 6), 5, []), ((5, 7), 5, ["event 6 is missing"]), ((5, 8), 5, ["events 6 to 7 are missing"]),
        ((6, 7), 5, ["event 5 is missing"]), ((8,), 5, ["events 5 to 7 are missing"]),
        ((5, 7, 9), 5, ["event 6 is missing", "event 8 is missing"]),
    ],
)  # fmt: skip
def test_gaps_are_named(seqs: tuple[int, ...], first: int, gaps: list[str]) -> None:
    """By the events that are not there."""
    assert read(segment(lines_of(*seqs), first_seq=first)) == (list(seqs), gaps)


def source(first_seq: int, generation: int, *, finished: bool = True) -> Source:
    """One that is only asked for its place."""
    return Source("", generation, first_seq, b"", 0, 0, 0, finished)


@pytest.mark.parametrize(
    ("sources", "oldest", "newest", "notes"),
    [
        ([], 0, 0, []), ([], 3, 0, []), ([source(3, 1)], 3, 1, []), ([source(4, 1)], 3, 1, ["event 3 is missing"]),
        ([source(5, 1)], 3, 1, ["events 3 to 4 are missing"]), ([source(2, 1)], 3, 1, []),
        ([source(3, 1, finished=False), source(5, 1)], 3, 1, ["events 3 to 4 are missing"]),
        ([source(0, 1)], 0, 2, ["the newest events are missing"]), ([source(0, 2)], 0, 2, []),
        ([source(0, 3)], 0, 2, []), ([source(0, 1)], 0, 0, []),
        ([source(0, 2)], 0, 0, ["the newest events are missing"]),
        ([], 0, 1, ["the newest events are missing"]),
    ],
)  # fmt: skip
def test_what_is_missing_at_both_ends(sources: list[Source], oldest: int, newest: int, notes: list[str]) -> None:
    """By what the first page says of them."""
    assert missing_ends(sources, oldest, newest) == notes


def test_blocks_up_to_the_used_word_and_one_more() -> None:
    """As with lines: never two."""
    first, second, third = block(0, 1), block(2), block(3)
    content = first + second + third
    one, two = len(first), len(first + second)
    where = "segment 0: the length in its header is wrong"
    for used, reach, notes in (
        (len(content), len(content), []), (two, two, []), (one, two, []), (one, one, [where]), (0, one, [where]),
        (0, two, []), (two + 1, len(content), [where]),
    ):  # fmt: skip
        found, damage = read(sealed(content, used=used, reach=reach))
        assert found == [0, 1, 2, 3], (used, reach)
        assert damage == notes, (used, reach)
    assert read(sealed(b"", used=0)) == ([], [])


def test_a_damaged_block_costs_itself() -> None:
    """Its header, or what is in it: what comes behind is read, and the gap is named."""
    first, second, third = block(0, 1), block(2), block(3)
    for place in (0, 5, 13, 30):
        odd = bytearray(second)
        odd[place] ^= 1
        found, damage = read(sealed(first + odd + third))
        assert found == [0, 1, 3]
        assert damage == [
            f"segment 0: the block at byte {len(first)} fails its checksum", "event 2 is missing",
        ]  # fmt: skip
    odd = bytearray(first)
    odd[5] ^= 1
    again = layout.BLOCK_MAGIC + bytes(40)  # what looks like a block behind it is no further damage
    expected = ["segment 0: the block at byte 0 fails its checksum"]
    assert read(sealed(odd + second + third, first_seq=2)) == ([2, 3], expected)
    assert read(sealed(odd + again + second + third, first_seq=2)) == ([2, 3], expected)
    odd = bytearray(second)
    odd[-1] ^= 1
    found, damage = read(sealed(first + odd + third))
    assert found == [0, 1, 3]
    assert damage[0] == f"segment 0, block at byte {len(first)} fails its checksum"
    assert damage[-1] == "event 2 is missing"
    assert read(sealed(first + odd))[1][0] == f"segment 0, block at byte {len(first)} fails its checksum"
    unfinished = len(first)
    assert read(sealed(first + odd, used=unfinished)) == ([0, 1], [])  # it was being written


def test_each_damaged_block_is_told() -> None:
    """Also the last, and a byte that should not be there; what is missing begins with the first event of them."""
    first, second, third = block(0, 1), block(2), block(3)
    broken, last = bytearray(first), bytearray(third)
    broken[5] ^= 1
    last[5] ^= 1
    end = len(first + second)
    assert read(sealed(bytes(broken) + second + bytes(last), first_seq=2)) == (
        [2], [f"segment 0: the block at byte {place} fails its checksum" for place in (0, end)],
    )  # fmt: skip
    found, damage = read(sealed(b"x" + first + second))
    assert (found, damage) == ([0, 1, 2], ["segment 0: the block at byte 0 fails its checksum"])
    odd = first[: layout.BLOCK_HEADER] + b"\xff" * (len(first) - layout.BLOCK_HEADER)
    found, damage = read(sealed(odd + second))
    assert found == [2]
    assert damage[-1] == "events 0 to 1 are missing"


def test_a_block_that_claims_too_much_is_not_unpacked() -> None:
    """More than any segment's events can be."""
    lines = lines_of(0)
    packed = lz4.block.compress(lines, store_size=False)
    for claimed, reason in (
        (layout.MOST_UNPACKED * SEGMENT + 1, "it claims to be larger"),
        (len(lines) - 1, "Decompression failed"),
    ):
        made = layout.make_block(packed, claimed, 1, 0, layout.line_salt(FILE_SALT, 9))
        found, damage = read(sealed(made))
        assert found == []
        assert len(damage) == 1
        assert reason in damage[0]
        assert read(sealed(made, used=0, reach=len(made))) == ([], [])  # it was being written
    most = layout.make_block(packed, layout.MOST_UNPACKED * SEGMENT, 1, 0, layout.line_salt(FILE_SALT, 9))
    assert read(sealed(most)) == ([0], ["segment 0, block at byte 0: the length in its header is wrong"])
