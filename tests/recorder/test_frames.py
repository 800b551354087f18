"""Packing frames, finding them again, and the index, without any file."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from typing import TYPE_CHECKING

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.recorder.frames import (
    Damage,
    Frame,
    IndexEntry,
    build_index,
    pack,
    read_index,
    reader_of,
    scan,
)
from horus_async.recorder.write.frame_file import FrameFile
from horus_async.recorder.write.index import IndexBuilder
from horus_async.recorder.write.lines import header_line

from .runs import NODES, run_info

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = [b'{"a":1}\n{"a":2}\n', b'{"b":"' + b"x" * 500 + b'"}\n', b'{"c":3}\n']
ENTRIES = [IndexEntry(0, 40, 0, 1, 2), IndexEntry(40, 60, 2, 9, 100)]


def whole(data: bytes) -> list[bytes]:
    """The texts of the frames found."""
    return [piece.text for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)]


def damage(data: bytes) -> list[Damage]:
    """The damage found."""
    return [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Damage)]


def test_frames_come_back_in_order_with_their_places() -> None:
    """A row of frames is found frame by frame, and no byte lies between them."""
    packed = [pack(text, text.count(b"\n")) for text in TEXTS]
    data = b"".join(packed)
    found = list(scan(reader_of(data), 0, len(data)))
    assert [frame.text for frame in found if isinstance(frame, Frame)] == TEXTS
    assert [(frame.offset, frame.size) for frame in found] == list(
        zip(itertools.accumulate([0, *map(len, packed[:-1])]), map(len, packed), strict=True)
    )


def test_a_thorough_search_can_be_left_out() -> None:
    """Then a text that is worth one is packed at the quickest level, and read as ever."""
    text = b"".join(b'{"tick":%d,"value":%d}\n' % (number, number * number) for number in range(2000))
    quick, thorough = pack(text, 2000, thorough=False), pack(text, 2000)
    assert len(thorough) < len(quick) < len(text) / 2
    assert whole(quick) == whole(thorough) == [text]


def test_standard_tools_read_a_file_with_its_index(tmp_path: Path) -> None:
    """What is not ours reads frames and passes over the index: the Python library and the lz4 command."""
    path = tmp_path / "file.lz4"
    path.write_bytes(b"".join(pack(text, 1) for text in TEXTS) + build_index(ENTRIES))
    with lz4.frame.open(path) as file:
        assert file.read() == b"".join(TEXTS)
    command = shutil.which("lz4")
    if command is not None:
        result = subprocess.run([command, "-dc", path], capture_output=True, check=True)
        assert result.stdout == b"".join(TEXTS)


def test_every_truncation_keeps_all_whole_frames_and_reports_the_cut() -> None:
    """J.1-7: wherever a file ends, the frames before are read and the torn one is reported as torn, never as damage."""
    packed = [pack(text, text.count(b"\n")) for text in TEXTS]
    ends = list(itertools.accumulate(map(len, packed)))
    data = b"".join(packed)
    for length in range(len(data) + 1):
        complete = sum(end <= length for end in ends)
        last_end = ends[complete - 1] if complete else 0
        assert whole(data[:length]) == TEXTS[:complete]
        expected = [] if length in {0, *ends} else [(last_end, length - last_end, True)]
        assert [(d.offset, d.size, d.torn) for d in damage(data[:length])] == expected


def test_every_flipped_bit_is_noticed_and_costs_one_frame() -> None:
    """No flipped bit goes unnoticed, and the frames around the damaged one are still found."""
    # A text without repetitions: in a long row of the same character another distance to copy from is no damage.
    texts_in = [TEXTS[0], bytes(range(32, 127)) + b"\n", TEXTS[2]]
    packed = [pack(text, text.count(b"\n")) for text in texts_in]
    data = b"".join(packed)
    begin, end = len(packed[0]), len(packed[0]) + len(packed[1])
    for position, bit in itertools.product(range(begin, end), range(8)):
        broken = bytearray(data)
        broken[position] ^= 1 << bit
        texts = whole(bytes(broken))
        assert texts in ([TEXTS[0], TEXTS[2]], texts_in), (position, bit)
        if texts == texts_in:  # a bit of the header that means nothing for the content: independent or linked blocks
            assert position < begin + 7
        else:
            assert [(d.offset, d.size, d.torn) for d in damage(bytes(broken))] == [(begin, end - begin, False)]


def test_zeros_at_the_end_are_a_cut() -> None:
    """A file that a power cut left longer than it was written ends in zeros: torn, not damaged."""
    data = pack(TEXTS[0], 2) + bytes(3000)
    assert [d.torn for d in damage(data)] == [True]


def test_index_survives_a_round_trip() -> None:
    """The entries come back, and so does the place where the index begins."""
    data = b"frames" + build_index(ENTRIES)
    assert read_index(reader_of(data), len(data)) == (6, ENTRIES)
    empty = build_index([])
    assert read_index(reader_of(empty), len(empty)) == (0, [])


def test_an_index_with_any_flipped_bit_is_not_believed() -> None:
    """Each bit of the index is covered by its checksum or by a check."""
    index = build_index(ENTRIES)
    for position, bit in itertools.product(range(len(index)), range(8)):
        broken = bytearray(index)
        broken[position] ^= 1 << bit
        assert read_index(reader_of(bytes(broken)), len(broken)) is None, (position, bit)


def test_zeros_are_no_index() -> None:
    """The checksum is salted: a row of zeros is not a valid index."""
    assert read_index(reader_of(bytes(4096)), 4096) is None


@given(st.binary(max_size=400), st.integers(0, 3))
def test_any_bytes_give_frames_or_damage_that_cover_them(noise: bytes, repeat: int) -> None:
    """Garbage between frames never hides them, and what is reported accounts for every byte."""
    data = noise + pack(TEXTS[0], 2) * repeat + noise
    pieces = list(scan(reader_of(data), 0, len(data)))
    assert sum(isinstance(piece, Frame) for piece in pieces) >= (repeat if not noise else 0)
    position = 0
    for piece in pieces:
        assert piece.offset >= position
        position = piece.offset + piece.size
    assert position <= len(data)


def test_a_frame_that_would_not_fit_in_memory_is_refused() -> None:
    """Blocks that claim to hold more than a reader takes are damage; nothing is allocated for them."""
    block = (0xFFFFFF).to_bytes(4, "little") + bytes(0xFFFFFF)
    bomb = b"\x04\x22\x4d\x18\x64\x70\x00" + block
    assert [d.reason for d in damage(bomb)] == ["a block of an impossible size"]


@pytest.mark.parametrize("size", [1, 100, 5000, 300_000])
def test_long_and_short_lines_survive(size: int) -> None:
    """Both compressions, the thorough and the fast one, give the text back."""
    text = (b"y" * size + b"\n") * 3
    assert whole(pack(text, 3)) == [text]


def _frame_of(index: IndexBuilder, first: int | None, last: int | None) -> None:
    index.add(0, 10, text=10, lines=1, first=first, last=last, loose=None)


@pytest.mark.parametrize("second", [(4, 8), (3, 4), (None, 4), (6, 4)])
def test_an_index_knows_that_ticks_went_back(second: tuple[int | None, int]) -> None:
    """What is not in order cannot be searched. Equal ticks are in order."""
    index = IndexBuilder()
    _frame_of(index, 2, 5)
    _frame_of(index, 5, 5)
    assert not index.went_back
    _frame_of(index, *second)
    assert index.went_back


def test_a_file_whose_ticks_went_back_has_no_index(tmp_path: Path) -> None:
    """Its readers read it from the beginning instead of looking in the wrong place."""
    header = header_line(run_info(), "s", "node", NODES[0], {})
    file = FrameFile(tmp_path / "n@1.jsonl.lz4", header)
    for tick in (5, 6, 2, 3):
        file.write(b'{"kind":"tick","now_ns":0,"tick":%d}\n' % tick)
    assert file._index() == b""
    file.close()
