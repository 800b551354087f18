"""Frames of every shape: of other writers, torn in their blocks, made to lead nowhere, or to become too much.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

import os
import random
import struct
from typing import Any

import lz4.frame
import pytest

from horus_async.recorder import frames, limits
from horus_async.recorder.frames import Damage, Frame, pack, reader_of

from .test_scan import KEY, MAGIC, ROWS, row_at, scanned, told

OPTIONS: list[dict[str, Any]] = [
    {"content_checksum": True, "store_size": False, **more}
    for more in (
        dict[str, Any](),
        {"block_checksum": True},
        {"store_size": True},
        {"block_linked": False},
        {"block_checksum": True, "store_size": True, "block_linked": False},
        *({"block_size": size} for size in (4, 5, 6, 7)),
    )
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("size", [1, 1000, 1 << 16, 300_000])
def test_frames_of_other_writers_are_found(options: dict[str, Any], size: int) -> None:
    """Whatever the format leaves open: sizes of blocks, their checksums, the size of it all."""
    text = random.Random(size).randbytes(size).replace(b"\n", b"x") + b"\n"
    for content in (text, bytes(size).replace(b"\0", b"z") + b"\n"):
        frame = lz4.frame.compress(content, **options)
        data = frame + pack(b"{}\n", 1)
        assert [one[:2] for one in told(data)] == [(0, len(frame)), (len(frame), len(pack(b"{}\n", 1)))]
        assert scanned(data)[0].text == content  # type: ignore[union-attr]
        assert told(frame[:-1]) == [(0, len(frame) - 1, "the last frame is cut off", True)]


def test_a_frame_that_names_a_dictionary_is_found() -> None:
    """The format has room for its number; where it needs none it is read."""
    plain = pack(b"{}\n", 1)
    checks = range(256)  # the header's own checksum, which only LZ4 can make
    all_frames = [MAGIC + b"\x65\x60" + bytes(4) + bytes([check]) + plain[7:] for check in checks]
    assert [told(frame) == [(0, len(frame), b"{}\n")] for frame in all_frames].count(True) == 1


def test_what_cannot_be_decoded_says_why() -> None:
    """In the library's word for it."""
    frame = bytearray(pack(b"{}\n", 1))
    frame[-1] ^= 1
    assert told(bytes(frame)) == [
        (0, len(frame), "a frame that cannot be decoded (ERROR_contentChecksum_invalid)", False)
    ]


@pytest.mark.parametrize("large", [False, True])
def test_a_frame_for_which_there_is_no_memory_says_so(monkeypatch: pytest.MonkeyPatch, *, large: bool) -> None:
    """It is passed over as what cannot be decoded is, and nobody takes it for damaged by its reason."""

    def refuse(*_: object, **__: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(frames, "_SMALL", 0 if large else 1 << 24)
    monkeypatch.setattr("lz4.frame.LZ4FrameDecompressor" if large else "lz4.frame.decompress", refuse)
    ((_, _, reason, _),) = told(pack(b"{}\n", 1))
    assert reason.startswith("a frame that cannot be decoded (there is no memory left")


def test_damage_is_told_in_one_line() -> None:
    """Where, how much, why, and whether it is what a kill leaves."""
    assert str(Damage(3, 5, "why")) == "damaged at byte 3, 5 bytes: why"
    assert str(Damage(3, 5, "why", torn=True)) == "cut off at byte 3, 5 bytes: why"


@pytest.mark.parametrize("remembered", [1, 1 << 30])
@pytest.mark.parametrize(
    ("end", "reason", "torn"),
    [(b"", "the last frame is cut off", True), (b"\xff" * 40, "a block of an impossible size", False)],
    ids=["torn", "wrong"],
)
def test_where_two_walks_meet_both_tell_the_same(
    monkeypatch: pytest.MonkeyPatch, remembered: int, end: bytes, reason: str, *, torn: bool
) -> None:
    """What the first one found out of the rest of the file is known to the second, which begins behind a good frame."""
    monkeypatch.setattr(frames, "_REMEMBERED", remembered)
    head, good = MAGIC + b"\x64\x60\xa7", pack(b"{}\n", 1)
    second = head + struct.pack("<I", 1 << 31 | 4) + b"abcd"
    rest = (struct.pack("<I", 1 << 31 | 1) + b"x") * 9 + end
    data = head + struct.pack("<I", 1 << 31 | len(good + second)) + good + second + rest
    at = data.index(good)
    assert told(data) == [
        (0, at, reason, False),
        (at, len(good), b"{}\n"),
        (at + len(good), len(second + rest), reason, torn),
    ]


def test_little_is_remembered_of_a_search() -> None:
    """One place of many, so that a file made to lead nowhere does not fill the memory."""
    data = MAGIC + b"\x64\x60\xa7" + (struct.pack("<I", 1 << 31 | 1) + b"x") * 64_000
    search = frames._Search(reader_of(data), len(data))
    assert isinstance(search.frame_at(0), Damage)
    assert 500 <= sum(map(len, search._dead.values())) <= 2000


@pytest.mark.parametrize("seed", range(40))
def test_what_is_remembered_of_a_search_changes_nothing(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Places that led nowhere are passed over for speed: the same is found, and told, as if each were walked again."""
    noise = random.Random(seed)
    heads = [MAGIC + bytes([flags, kind, 0]) for flags in (0x64, 0x74) for kind in (0x40, 0x60)]
    blocks = [struct.pack("<I", 1 << 31 | size) for size in (3, 20, 31, 1 << 16, (1 << 16) + 1, 1 << 20, 1 << 30)]
    pieces = [*heads, *heads, *blocks, *blocks[:3], bytes(8), b"x", pack(b"{}\n", 1)]
    data = b"".join(noise.choices(pieces, k=300))
    found = []
    for remembered in (1, 2, 1 << 30):
        monkeypatch.setattr(frames, "_REMEMBERED", remembered)
        found.append(told(data) + told(data, 1))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("kind", "size"), [(4, 1 << 16), (5, 1 << 18), (6, 1 << 20), (7, 1 << 22)])
def test_blocks_of_each_size_are_found(kind: int, size: int) -> None:
    """Filled to the last byte; one more is impossible, packed or not."""
    text = random.Random(kind).randbytes(size).replace(b"\n", b"x") + b"\n"
    frame = lz4.frame.compress(text, content_checksum=True, block_size=kind, store_size=False)
    assert frame[5] >> 4 == kind
    assert scanned(frame) == [Frame(0, len(frame), text)]
    for word, block in ((1 << 31 | size + 1, size + 1), (size + 1, size + 1), (1 << 30 | 1, 1)):
        larger = frame[:7] + struct.pack("<I", word) + b"x" * block + bytes(8)
        for end in (len(larger), 11):  # where the file ends with the size it is told as well
            assert told(larger[:end])[0][2:] == ("a block of an impossible size", False)


def test_much_damage_does_not_hide_what_is_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """How much may be decoded in vain grows with the file: each of its bytes may be damaged once."""
    monkeypatch.setattr(frames, "FRAME_LIMIT", 0)
    broken = bytearray(pack(b"x" * 2000 + b"\n", 1))
    broken[-1] ^= 1
    last = pack(b"{}\n", 1)
    found = scanned(bytes(broken) * 50 + last)
    assert found[-1] == Frame(50 * len(broken), len(last), b"{}\n")
    assert len(found) == 2


def test_a_full_block_that_could_not_be_packed_is_no_damage() -> None:
    """It has as many bytes as its kind may have."""
    text = os.urandom((1 << 16) - 1).replace(b"\n", b"x") + b"\n"
    frame = lz4.frame.compress(text, content_checksum=True, block_size=4, store_size=False)
    assert struct.unpack_from("<I", frame, 7) == (1 << 31 | 1 << 16,)
    assert told(frame) == [(0, len(frame), text)]


@pytest.mark.parametrize(("flags", "kind"), [(0x60, 0x60), (0x24, 0x60), (0xA4, 0x60), (0x64, 0x30), (0x64, 0x00)])
def test_a_header_that_makes_no_sense(flags: int, kind: int) -> None:
    """Without a checksum of the content, of another version, or with blocks of no known size."""
    data = MAGIC + bytes([flags, kind]) + bytes(30)
    assert told(data)[0] == (0, len(data), "a frame header that makes no sense", False)
    assert told(data[:7]) == [(0, 7, "a frame header that makes no sense", False)]
    assert told(data[:6]) == [(0, 6, "the last frame is cut off", True)]


@pytest.mark.parametrize("text", [b"", b"no end", b"one\nno end"])
def test_a_frame_that_holds_no_whole_lines(text: bytes) -> None:
    """It is not ours."""
    frame = lz4.frame.compress(text, content_checksum=True, store_size=False)
    assert told(frame) == [(0, len(frame), "a frame that does not hold whole lines", False)]


# -- frames that may become large --------------------------------------------------------------------------------------


@pytest.fixture
def looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every frame is looked through in pieces before it is kept, as only those are that may become large."""
    monkeypatch.setattr(frames, "_SMALL", 0)
    monkeypatch.setattr(frames, "_PIECE", 100)


@pytest.mark.usefixtures("looked_through")
def test_what_may_become_large_is_read_as_ever() -> None:
    """The same lines, ends, and errors."""
    data = b"".join(ROWS)
    assert told(data, KEY) == [row_at(number) for number in range(5)]
    assert told(data) == [row_at(number) for number in range(5)]
    long = b"".join(b'{"tick":%d}\n' % number for number in range(1000))
    frame = pack(long, 1000)
    assert told(frame) == [(0, len(frame), long)]
    for position in (*range(7, len(frame), 29), *range(len(frame) - 12, len(frame))):
        broken = bytearray(frame)
        broken[position] ^= 1
        texts = [one.text for one in scanned(bytes(broken)) if isinstance(one, Frame)]
        assert texts in ([], [long])  # another distance to copy the same from is no damage
    no_lines = lz4.frame.compress(b"no end", content_checksum=True, store_size=False)
    assert told(no_lines)[0][2] == "a frame that does not hold whole lines"


@pytest.mark.usefixtures("looked_through")
@pytest.mark.parametrize(("limit", "what"), [("VALUES_LIMIT", "values"), ("OBJECTS_LIMIT", "objects")])
def test_what_may_become_large_is_counted_as_a_whole(monkeypatch: pytest.MonkeyPatch, limit: str, what: str) -> None:
    """As many as one frame may hold, over all its pieces, and not one more."""
    monkeypatch.setattr(limits, "VALUES_LIMIT", 1 << 30)
    monkeypatch.setattr(limits, "OBJECTS_LIMIT", 1 << 30)
    for size, is_read in ((500, True), (501, False)):
        text = b"{}" * size if what == "objects" else b"," * (size - 1)
        text += b"\n"
        monkeypatch.setattr(limits, limit, 500)
        frame = pack(text, 1)
        (one,) = told(frame)
        assert one == (
            (0, len(frame), text)
            if is_read
            else (0, len(frame), f"more than 500 {what}, the most that a frame may hold", False)
        )


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_what_is_just_small_is_counted_too(monkeypatch: pytest.MonkeyPatch, more: int) -> None:
    """There is no size that neither way counts."""
    monkeypatch.setattr(limits, "VALUES_LIMIT", 500)
    frame = pack(b"," * 500 + b"\n", 1)
    (block,) = struct.unpack_from("<I", frame, 7)
    monkeypatch.setattr(frames, "_SMALL", 255 * block + more)
    assert told(frame)[0][2] == "more than 500 values, the most that a frame may hold"


@pytest.mark.parametrize("large", [False, True])
def test_a_frame_may_hold_as_much_as_the_limit_says(monkeypatch: pytest.MonkeyPatch, *, large: bool) -> None:
    """To the byte, whichever way it is read."""
    monkeypatch.setattr(frames, "_SMALL", 0 if large else 1 << 30)
    monkeypatch.setattr(frames, "FRAME_LIMIT", 5000)
    monkeypatch.setattr(limits, "FRAME_LIMIT", 5000)
    for size, is_read in ((5000, True), (5001, False)):
        text = b"x" * (size - 1) + b"\n"
        frame = pack(text, 1)
        (one,) = told(frame)
        assert one[:3] == (
            0,
            len(frame),
            text if is_read else "more than 5000 bytes of text, the most that a frame may hold",
        )
