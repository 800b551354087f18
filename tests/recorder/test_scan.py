"""Looking for frames at every edge: where a file ends, where a seal is wrong, where a frame could begin and does not.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.recorder.frames import Damage, Frame, Seal, build_index, pack, reader_of, scan

if TYPE_CHECKING:
    from horus_async.recorder.packing import Read

HEADER = b'{"kind":"header","sealed":true}\n'
TEXTS = [HEADER, *(b'{"tick":%d}\n{"tick":%d}\n' % (number, number) for number in range(4))]
MAGIC = b"\x04\x22\x4d\x18"
SEAL = 16
STEP = 1 << 12
"""Bytes that are searched at first for the next frame."""
STEPS = 1 << 20
"""And at a time later."""


def strict(data: bytes) -> Read:
    """Reads a file that refuses, as the system does, negative places and sizes."""

    def read(offset: int, size: int) -> bytes:
        assert min(offset, size) >= 0
        return data[offset : offset + size]

    return read


def scanned(data: bytes, key: int | None = None, start: int = 0) -> list[Frame | Damage]:
    """All that is found from an offset on."""
    return list(scan(strict(data), start, len(data), key))


def told(data: bytes, key: int | None = None, start: int = 0) -> list[tuple[Any, ...]]:
    """The same, short: offset, size, and the text, or why there is none and whether the file was cut there."""
    return [
        (one.offset, one.size, one.text) if isinstance(one, Frame) else (one.offset, one.size, one.reason, one.torn)
        for one in scanned(data, key, start)
    ]


def sealed(texts: list[bytes]) -> tuple[list[bytes], int]:
    """The frames of a file, each with its seal, and the file's key."""
    rows: list[bytes] = []
    key = 0
    for number, text in enumerate(texts):
        frame = pack(text, text.count(b"\n"))
        seal = Seal.of(frame, number, key)
        key = key or seal.checksum
        rows.append(frame + seal.pack())
    return rows, key


ROWS, KEY = sealed(TEXTS)
PLACES = [0, *itertools.accumulate(map(len, ROWS))]


def row_at(number: int) -> tuple[int, int, bytes]:
    """What is told of a frame of the file that is as it should be."""
    return PLACES[number], len(ROWS[number]), TEXTS[number]


# -- sealed files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [b"", build_index([])])
def test_a_sealed_file_is_a_row_of_frames(behind: bytes) -> None:
    """From its beginning, or from any frame on; each reaches to the next."""
    data = b"".join(ROWS)
    for first in range(len(ROWS)):
        expected = [row_at(number) for number in range(first, len(ROWS))]
        assert told(data, KEY, PLACES[first]) == expected
        if not behind or not first:
            assert list(scan(reader_of(data + behind), PLACES[first], len(data), KEY)) == scanned(
                data, KEY, PLACES[first]
            )


def test_every_end_of_a_sealed_file_is_told() -> None:
    """Frame and seal are one: what ends within either is cut off there, to the end, and nothing of it is read."""
    data = b"".join(ROWS)
    for length in range(len(data) + 1):
        whole = sum(place <= length for place in PLACES) - 1
        expected: list[tuple[Any, ...]] = [row_at(number) for number in range(whole)]
        if length > PLACES[whole]:
            expected.append((PLACES[whole], length - PLACES[whole], "the last frame is cut off", True))
        elif not length:
            expected = []
        found = told(data[:length], KEY)
        assert [(one[:2], one[-1]) for one in found] == [(one[:2], one[-1]) for one in expected], length


@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("behind", [None, b"\xff" * 100, bytes(100), b"x" + ROWS[1]])
def test_nothing_beyond_the_end_is_looked_at(key: int | None, behind: bytes | None) -> None:
    """Where an index begins, say: what is found does not depend on what stands there."""
    data = b"".join(ROWS) + b"junk" + bytes(40)
    for length in range(len(data) + 1):
        read = strict(data if behind is None else data[:length] + behind)
        assert list(scan(read, 0, length, key)) == scanned(data[:length], key), length


def test_every_end_in_zeros_of_a_sealed_file_is_a_cut() -> None:
    """A power cut leaves zeros where a frame, its seal, or the rest of it was to be."""
    data = b"".join(ROWS)
    seal = PLACES[-1] - SEAL
    for length in (seal, PLACES[-1], PLACES[-2]):
        for zeros in (1, 7, 8, SEAL - 1, SEAL, 100):
            found = told(data[:length] + bytes(zeros), KEY)
            if length == seal and zeros >= SEAL:  # enough for a seal: it is none
                assert found[:4] == [row_at(number) for number in range(4)]
                assert found[4] == (PLACES[-2], 0, "a frame without its seal", False)
                assert found[5][2] == TEXTS[-1]
                assert found[6][-1] is True
            else:
                begin = PLACES[-1] if length == PLACES[-1] else PLACES[-2]
                assert found[-1][:2] == (begin, length + zeros - begin)
                assert found[-1][-1] is True
                assert found[:-1] == [row_at(number) for number in range(PLACES.index(begin))]


def test_what_is_no_seal_at_the_end_is_no_cut() -> None:
    """Other bytes, too few for a seal: the lines are read, and both are told."""
    data = b"".join(ROWS)[:-SEAL]
    assert told(data + b"junk", KEY)[4:] == [
        (PLACES[-2], 0, "a frame without its seal", False),
        (PLACES[-2], len(ROWS[-1]) - SEAL, TEXTS[-1]),
        (PLACES[-1] - SEAL, 4, "no frame begins here", False),
    ]


@pytest.mark.parametrize("header", [0, 1])
def test_a_file_that_was_packed_again_is_read(header: int) -> None:
    """Where not one frame has a seal nothing was cut off: all lines are there, and each frame is told of."""
    rows = [row[:-SEAL] for row in ROWS[header:]]
    found = told(b"".join(rows), KEY)
    assert [one[2] for one in found if len(one) == 3] == TEXTS[header:]
    said = [one[2:] for one in found if len(one) == 4]
    assert said == [("a frame without its seal", False)] * len(rows)


def test_one_frame_of_a_header_without_its_seal_is_cut() -> None:
    """A first frame of one line, without a seal, is what a kill leaves; of several lines it is one packed again."""
    lone = pack(HEADER, 1)
    assert told(lone, KEY) == [(0, len(lone), "the last frame is cut off", True)]
    for text in (HEADER + b"{}\n", HEADER + TEXTS[1]):
        several = pack(text, 3)
        assert told(several, KEY) == [
            (0, 0, "a frame without its seal", False),
            (0, len(several), text),
        ]


def test_a_seal_without_its_frame_is_told() -> None:
    """With its place, and the frames around it are read; the frame that it was for is missed."""
    data = ROWS[0] + ROWS[1] + ROWS[2][-SEAL:] + ROWS[3]
    at = PLACES[2]
    assert told(data, KEY) == [
        row_at(0),
        row_at(1),
        (at, SEAL, "a seal without its frame", False),
        (at + SEAL, 0, "lines are missing here: 1 frame", False),
        (at + SEAL, len(ROWS[3]), TEXTS[3]),
    ]


@pytest.mark.parametrize(
    ("left", "missing"), [([0, 2, 3, 4], "1 frame"), ([0, 3, 4], "2 frames"), ([0, 1, 4], "2 frames")]
)
def test_missing_all_framesare_counted(left: list[int], missing: str) -> None:
    """Where they are missing, once."""
    data = b"".join(ROWS[number] for number in left)
    first = next(place for place, number in enumerate(left) if place != number)
    found = told(data, KEY)
    assert [one for one in found if len(one) == 4] == [(PLACES[first], 0, f"lines are missing here: {missing}", False)]
    assert [one[2] for one in found if len(one) == 3] == [TEXTS[number] for number in left]


def test_a_file_without_its_first_frame() -> None:
    """That is missed as any other."""
    assert told(b"".join(ROWS[1:]), KEY)[0] == (0, 0, "lines are missing here: 1 frame", False)


@pytest.mark.parametrize("again", [1, 2])
def test_a_frame_in_a_wrong_place_is_not_read(again: int) -> None:
    """A number that is not above that of the frame before; the row goes on where it was."""
    data = b"".join([*ROWS[:3], ROWS[again], *ROWS[3:]])
    assert told(data, KEY)[3:5] == [
        (PLACES[3], len(ROWS[again]), f"frame {again} stands in a wrong place, or a second time", False),
        (PLACES[3] + len(ROWS[again]), len(ROWS[3]), TEXTS[3]),
    ]


def test_behind_damage_nothing_is_missed() -> None:
    """How many frames it has cost is not known: the next whole one is read, and from there on all are counted."""
    other = pack(b'{"tick":"of another file"}\n', 1)
    strange = other + Seal.of(other, 2, KEY + 1).pack()
    for wrong, reason in (
        (strange, "a frame that is not the one that was written here"),
        (b"junk" * 9, "no frame begins here"),
    ):
        data = ROWS[0] + ROWS[1] + wrong + ROWS[4]
        assert told(data, KEY) == [
            row_at(0),
            row_at(1),
            (PLACES[2], len(wrong), reason, False),
            (PLACES[2] + len(wrong), len(ROWS[4]), TEXTS[4]),
        ]
    rows, key = sealed([*TEXTS, *TEXTS[1:]])
    found = told(rows[0] + b"junk" + rows[2] + rows[5], key)
    assert [one[2] for one in found if len(one) == 4] == ["no frame begins here", "lines are missing here: 2 frames"]


def test_a_frame_without_its_seal_is_no_reason_to_miss_others() -> None:
    """It is read, and the next number is its own or the one behind it."""
    data = b"".join([*ROWS[:2], ROWS[2][:-SEAL], *ROWS[3:]])
    assert [one[2:] for one in told(data, KEY) if len(one) == 4] == [("a frame without its seal", False)]
    assert [one[2] for one in told(data, KEY) if len(one) == 3] == TEXTS


def test_what_lz4_tools_skip_is_no_way_to_hide_frames() -> None:
    """In a sealed file nothing but seals is skipped by its size: what it would hide is found."""
    cover = struct.pack("<II", 0x184D2A50, len(ROWS[3]))
    found = told(ROWS[0] + ROWS[1] + ROWS[2] + cover + ROWS[3] + ROWS[4], KEY)
    assert found[3] == (PLACES[3], 8, "an index that is not valid", False)
    assert [one[2] for one in found if len(one) == 3] == TEXTS
    unsealed = told(cover + ROWS[3] + ROWS[4])
    assert [one[2] for one in unsealed] == [TEXTS[4]]


# -- files without seals -----------------------------------------------------------------------------------------------


def test_a_seal_belongs_to_its_frame_also_where_nobody_checks() -> None:
    """Frames of a sealed file that is read without its key reach to the next frame, the last one to the end."""
    assert told(b"".join(ROWS)) == [row_at(number) for number in range(5)]
    cut = b"".join(ROWS)[:-1]
    assert told(cut)[4:] == [
        (PLACES[4], len(ROWS[4]) - SEAL, TEXTS[4]),
        (PLACES[5] - SEAL, SEAL - 1, "the index is cut off", True),
    ]


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_skippable_frame_reaches_to_its_end(size: int) -> None:
    """It may be the last of a file; with one byte less it is cut off."""
    for magic in (0x184D2A50, 0x184D2A5F):
        data = struct.pack("<II", magic, size) + bytes(size)
        assert told(data) == []
        assert told(data + pack(b"{}\n", 1)) == [(len(data), len(pack(b"{}\n", 1)), b"{}\n")]
        if size:
            assert told(data[:-1]) == [(0, len(data) - 1, "the index is cut off", True)]
    for magic in (0x184D2A4F, 0x184D2A60):
        assert told(struct.pack("<II", magic, size) + bytes(size))[0][2:] == ("no frame begins here", False)


@pytest.mark.parametrize("around", [STEP, STEP + 2 * STEP])
@pytest.mark.parametrize("shift", range(-6, 7))
def test_a_frame_behind_damage_is_found_wherever_it_begins(around: int, shift: int) -> None:
    """Also where its mark lies across the end of what is looked at in one go."""
    frame = pack(b"{}\n", 1)
    size = around + shift
    assert told(b"x" * size + frame) == [(0, size, "no frame begins here", False), (size, len(frame), b"{}\n")]


def test_marks_of_all_framesbefore_a_frame_do_not_hide_it() -> None:
    """Each is looked at, also two that stand side by side."""
    frame = pack(b"{}\n", 1)
    data = b"x" + MAGIC + MAGIC + b"y" + MAGIC + frame + b"z" + frame
    at = data.index(frame)
    assert [one[:3] for one in told(data)] == [
        (0, at, "no frame begins here"),
        (at, len(frame), b"{}\n"),
        (at + len(frame), 1, "no frame begins here"),
        (at + len(frame) + 1, len(frame), b"{}\n"),
    ]


@pytest.mark.parametrize("zeros", [1, 7, 8, 20, STEPS - 1, STEPS, STEPS + 1, 2 * STEPS])
def test_zeros_to_the_end_are_a_cut_however_many(zeros: int) -> None:
    """Behind a frame or behind nothing; one byte among them that is none makes it damage."""
    frame = pack(b"{}\n", 1)
    for before in (b"", frame):
        begin = len(before)
        assert told(before + bytes(zeros))[-1] == (begin, zeros, "no frame begins here", True)
        found = list(scan(reader_of(before + bytes(zeros) + b"index"), 0, begin + zeros))
        assert found[-1] == Damage(begin, zeros, "no frame begins here", torn=True)
    if zeros > 20:
        assert told(frame + bytes(zeros) + b"x")[-1] == (len(frame), zeros + 1, "no frame begins here", False)
        assert told(b"x" + bytes(zeros))[-1] == (0, zeros + 1, "no frame begins here", False)


@pytest.mark.parametrize("length", range(1, 8))
def test_the_beginning_of_a_mark_at_the_end_is_a_cut(length: int) -> None:
    """What could become a frame or an index; not what could not."""
    index = struct.pack("<II", 0x184D2A5E, 60)
    for mark in (MAGIC + b"\x64\x60\xa7", index):
        _, size, _, torn = told(ROWS[0] + mark[:length])[-1]
        assert (size, torn) == (length, True)
        assert told(ROWS[0] + b"x" + mark[: length - 1])[-1][-1] is False
    for mark in (MAGIC, index):
        assert told(ROWS[0] + mark[: min(length, 4) - 1] + b"x" * 4)[-1][-1] is False
