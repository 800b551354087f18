"""One file while it is written: its frames, what is lost and how that is told, its end.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.append_file import AppendFile
from horus_async.recorder.frames import read_index, reader_of, seal_in
from horus_async.recorder.write import frame_file
from horus_async.recorder.write.frame_file import Rotation
from horus_async.recorder.write.lines import Counts, gap_line

from .frame_files import HEADER, NEVER_FULL, always_full, full_disk, lines, new_file, texts, tick
from .runs import message

if TYPE_CHECKING:
    from pathlib import Path

# -- the beginning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "written"),
    [
        (HEADER, HEADER),
        (b'{"kind":"header"}\n', HEADER),
        (b'{"kind":"header","sealed":false}\n', b'{"kind":"header","sealed":false,"sealed":true}\n'),
    ],
)
def test_a_header_says_that_there_are_seals(tmp_path: Path, header: bytes, written: bytes) -> None:
    """Once, whatever it said before."""
    file = new_file(tmp_path, header=header)
    file.open()
    file.close()
    assert texts(file.path) == [written]


def test_a_file_has_its_name_when_its_header_is_in_it(tmp_path: Path) -> None:
    """Before there is nothing, and nothing is left beside it; bytes are counted from then on."""
    file = new_file(tmp_path)
    assert (file.written, file.begun) == (0, False)
    assert list(tmp_path.iterdir()) == []
    assert not file.write(b"")
    assert list(tmp_path.iterdir()) == [file.path]
    for number in range(3):
        assert file.written == file.path.stat().st_size > 0
        assert file.begun
        assert file.write(tick(number))
    assert file.written == file.path.stat().st_size
    assert texts(file.path) == [HEADER, tick(0), tick(1), tick(2)]
    file.close()


def test_what_has_the_name_of_a_beginning_is_not_used(tmp_path: Path) -> None:
    """A link that somebody put there is removed, and what it leads to stays as it is."""
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (tmp_path / ".n@1.jsonl.lz4.part").symlink_to(theirs)
    file = new_file(tmp_path)
    file.write(tick(0))
    file.close()
    assert theirs.read_bytes() == b"theirs"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n@1.jsonl.lz4", "theirs"]


def test_a_beginning_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the first lines that follow, and the header is in it once."""
    disk = full_disk(monkeypatch)
    disk += [0]
    file = new_file(tmp_path)
    with pytest.raises(OSError, match="No space"):
        file.write(tick(0))
    assert (file.written, file.begun) == (0, False)
    file.write(tick(1))
    file.close()
    assert [line["kind"] for line in lines(file.path)] == ["gap", "tick"]


def test_a_name_that_cannot_be_given_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The header stays where it is, once; nothing is counted as written before the file has its name."""
    file = new_file(tmp_path)
    with monkeypatch.context() as patch:

        def refuse(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr(os, "rename", refuse)
        with pytest.raises(OSError, match="Input"):
            file.write(tick(0))
    assert (file.written, file.begun) == (0, False)
    file.write(tick(1))
    file.close()
    assert [line["kind"] for line in lines(file.path)] == ["gap", "tick"]


def test_a_file_that_never_got_its_name_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is removed when it is closed, which may be done twice; one that got it stays."""
    always_full(monkeypatch)
    file = new_file(tmp_path)
    with pytest.raises(OSError, match="No space"):
        file.write(tick(0))
    assert [path.name for path in tmp_path.iterdir()] == [".n@1.jsonl.lz4.part"]
    for _ in range(2):
        file.close()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    other = new_file(tmp_path)
    other.write(tick(0))
    for _ in range(2):
        other.close()
    assert list(tmp_path.iterdir()) == [other.path]
    new_file(tmp_path).close()  # that was never begun


# -- frames ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "frames"),
    [
        ([40, 60], [2]),
        ([40, 61], [1, 1]),
        ([40, 60, 1], [2, 1]),
        ([100, 100], [1, 1]),
        ([101, 20], [1, 1]),
        ([20, 101, 20], [1, 1, 1]),
        ([300, 300], [1, 1]),
        ([30, 30, 30, 30, 30], [3, 2]),
    ],
)
def test_a_frame_holds_as_many_whole_lines_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int], frames: list[int]
) -> None:
    """To the last byte, and at least one."""
    monkeypatch.setattr(frame_file, "FRAME_TEXT", 100)
    file = new_file(tmp_path)
    text = [b'"%b"\n' % (b"x" * (size - 3)) if size > 2 else b"\n" for size in sizes]
    written = b"".join(text)
    monkeypatch.setattr(frame_file, "line_tick", lambda _: None)
    file.write(written)
    file.close()
    found = texts(file.path)[1:]
    assert b"".join(found) == written
    assert [one.count(b"\n") for one in found] == frames


def test_the_index_is_that_of_the_frames(tmp_path: Path) -> None:
    """Their places, lines, first and last ticks; it is made with the footer, which is in it."""
    file = new_file(tmp_path)
    file.write(tick(3) + tick(4) + tick(4) + tick(7))
    begin = file.written
    file.finish(b'{"kind":"footer","dropped":0}\n')
    file.close()
    data = file.path.read_bytes()
    found = read_index(reader_of(data), len(data))
    assert found is not None
    at, (entry,) = found
    header = next(size for size in range(len(data)) if seal_in(data[size : size + 16]) is not None) + 16
    assert (entry.offset, entry.offset + entry.size) == (header, at)
    assert at > begin
    assert (entry.first_tick, entry.last_tick, entry.lines) == (3, 7, 5)


def test_the_index_of_a_log_goes_by_what_was_going_on(tmp_path: Path) -> None:
    """Its lines may have no tick of their own, and end in fields of the user's."""
    file = new_file(tmp_path, has_messages=False)
    for first, last in ((3, 4), (4, 6)):
        texts = [b'{"kind":"log","text":"a","tick":null,"at_tick":%d}\n' % number for number in (first, last)]
        file.write(b"".join(texts))
    file.write(b'{"kind":"log","tick":7,"joint":"of the user, and longer than a tick"}\n' * 2)
    file.finish(b'{"kind":"footer","dropped":0}\n')
    file.close()
    data = file.path.read_bytes()
    found = read_index(reader_of(data), len(data))
    assert found is not None
    assert [(entry.first_tick, entry.last_tick) for entry in found[1]] == [(3, 7)]


@pytest.mark.parametrize("how", ["rewound", "lines"])
def test_a_file_whose_ticks_go_back_once_has_no_index(tmp_path: Path, how: str) -> None:
    """Whether the run said so or its lines show it, whatever comes later."""
    file = new_file(tmp_path)
    file.write(tick(5))
    if how == "rewound":
        file.feed.rewound = True
    else:
        file.write(tick(4))
    file.write(tick(6) + tick(7))
    file.finish(b'{"kind":"footer","dropped":0}\n')
    file.close()
    data = file.path.read_bytes()
    assert read_index(reader_of(data), len(data)) is None
    assert lines(file.path)[-1]["kind"] == "footer"
    assert file.tallies is None


# -- what is lost ------------------------------------------------------------------------------------------------------


def test_what_is_lost_is_counted_and_told_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one gap line with the tick of the first of it: its messages, or 1 where a tick sent none."""
    disk = full_disk(monkeypatch)
    file = new_file(tmp_path)
    file.write(tick(0, 2))
    disk += [2, 3]
    for text in (tick(1, 3, 2) + tick(2, 0), tick(3, 1)):
        with pytest.raises(OSError, match="No space"):
            file.write(text)
    assert file.lost == 5
    assert file.unwritten == Counts(ticks=3, inputs=2, outputs=4)
    file.write(tick(4, 1))
    file.write(tick(5, 1))
    file.close()
    found = lines(file.path)
    assert [line["tick"] for line in found] == [0, 1, 4, 5]
    gap = found[1]
    assert (gap["kind"], gap["dropped"]) == ("gap", 5)
    assert gap["reason"].startswith("cannot write: ")
    assert "No space left on device" in gap["reason"]


def test_lost_lines_of_the_log_are_no_lines_of_it(tmp_path: Path) -> None:
    """They count as dropped, each as 1."""
    file = new_file(tmp_path, has_messages=False)
    file.feed.lines, file.feed.refused = 5, 2
    file.lose(b'{"kind":"log","tick":7}\n' * 3, "why")
    assert file.counts == Counts(dropped=2 + 3, lines=2)
    file.close()


def test_a_gap_line_that_is_lost_loses_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it told of is told by the next one; a footer that is lost is nothing that a run sent."""
    disk = full_disk(monkeypatch)
    file = new_file(tmp_path)
    disk += [1, 2]
    for text in (gap_line(3, 7, "of the feed"), b'{"kind":"footer","dropped":9}\n'):
        with pytest.raises(OSError, match="No space"):
            file.write(text)
    assert (file.lost, file.unwritten) == (0, Counts())
    file.write(tick(9))
    file.close()
    assert [(line["kind"], line["tick"], line.get("dropped")) for line in lines(file.path)] == [
        ("gap", 3, 7),
        ("tick", 9, None),
    ]


def test_only_what_is_not_in_the_file_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of lines that make several frames, those before the one that failed are there."""
    disk = full_disk(monkeypatch)
    monkeypatch.setattr(frame_file, "FRAME_TEXT", 1)
    file = new_file(tmp_path)
    disk += [3]
    with pytest.raises(OSError, match="No space"):
        file.write(b"".join(map(tick, range(5))))
    assert (file.lost, file.unwritten.ticks) == (3, 3)
    file.write(tick(5))
    file.close()
    assert [(line["kind"], line["tick"]) for line in lines(file.path)] == [
        ("tick", 0),
        ("tick", 1),
        ("gap", 2),
        ("tick", 5),
    ]


def test_lines_lost_for_want_of_memory_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of the system; where there is none even for counting what is in them, each counts as 1."""
    file = new_file(tmp_path)
    file.write(tick(0))

    def refuse(*_: object, **__: object) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(frame_file, "pack", refuse)
        with pytest.raises(OSError, match="memory") as raised:
            file.write(tick(1, 2))
        assert isinstance(raised.value.__cause__, MemoryError)
        assert file.lost == 2
    file.write(tick(2))
    with monkeypatch.context() as patch:
        patch.setattr(frame_file, "count_line", refuse)
        file.lose(tick(3, 2) + tick(4, 2), "why")
    assert file.lost == 4
    file.write(tick(5))
    file.close()
    assert [(line["kind"], line["tick"], line.get("dropped")) for line in lines(file.path)] == [
        ("tick", 0, None),
        ("gap", 1, 2),
        ("tick", 2, None),
        ("gap", 0, 2),  # no tick is remembered where no file rotates: the earliest that it can be
        ("tick", 5, None),
    ]


def test_what_a_gap_line_tells_is_not_lost_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor counted again, where it finds no room and there is no memory to look into it."""
    disk = full_disk(monkeypatch)
    file = new_file(tmp_path)
    file.write(tick(0))
    disk += [2, 3]
    with pytest.raises(OSError, match="No space"):
        file.write(tick(1, 5))

    def refuse(*_: object, **__: object) -> Any:
        raise MemoryError

    for name, match in (("count_line", "No space"), ("gap_line", "memory")):
        with monkeypatch.context() as patch:
            patch.setattr(frame_file, name, refuse)
            with pytest.raises(OSError, match=match):
                file.write(tick(2))
    assert file.lost == 5 + 1 + 1
    file.write(tick(3))
    file.close()
    assert [(line["kind"], line["tick"], line.get("dropped")) for line in lines(file.path)] == [
        ("tick", 0, None),
        ("gap", 1, 7),
        ("tick", 3, None),
    ]


def test_a_gap_without_memory_for_its_tick_begins_with_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That was written, where one is remembered."""
    file = new_file(tmp_path, NEVER_FULL)
    file.write(tick(7))

    def refuse(*_: object, **__: object) -> Any:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(frame_file, "count_line", refuse)
        file.lose(tick(8), "why")
    file.write(tick(9))
    file.close()
    assert [(line["kind"], line["tick"]) for line in lines(file.path)] == [("tick", 7), ("gap", 7), ("tick", 9)]


def test_who_gives_up_counts_what_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in hand, what waits as lines, and what is no line yet: each once. Nothing is written any more."""
    monkeypatch.setattr(frame_file, "FRAME_TEXT", 1)
    file = new_file(tmp_path)
    file.write(tick(0))
    file.feed.put_line(tick(4, 2))
    file.feed.pending += [message("n", "out", 5, 1), message("n", "out", 5, 2)]
    file.feed.loose += [message("n", "out", 5, 3)]
    append = AppendFile.append
    pieces: list[bytes] = []

    def hangs(one: AppendFile, data: bytes) -> None:
        pieces.append(data)
        if len(pieces) == 2:
            file.give_up("took too long")
            raise OSError(errno.EIO, "Input/output error")
        append(one, data)

    monkeypatch.setattr(AppendFile, "append", hangs)
    with pytest.raises(OSError, match="Input"):
        file.write(tick(1) + tick(2, 3) + tick(3))
    assert file.lost == 3 + 1 + 2 + 3
    with pytest.raises(OSError, match=os.strerror(errno.ETIMEDOUT)) as raised:
        file.write(b"")  # the gap line
    assert raised.value.errno == errno.ETIMEDOUT
    assert (file.lost, len(pieces)) == (9, 2)
    file.close()
    assert [line["tick"] for line in lines(file.path)] == [0, 1]


def test_what_was_lost_is_not_lost_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives up after a write that failed counts what waits, and not what that write has counted."""
    disk = full_disk(monkeypatch)
    file = new_file(tmp_path)
    file.write(tick(0))
    disk += [2]
    with pytest.raises(OSError, match="No space"):
        file.write(tick(1, 3))
    file.feed.put_line(tick(2, 2))
    file.give_up("took too long")
    assert file.lost == 3 + 2
    file.close()


def test_who_gives_up_before_anything_was_written_counts_what_waits(tmp_path: Path) -> None:
    """A file that never began has lost all that was for it."""
    file = new_file(tmp_path)
    file.feed.put_line(tick(0, 2))
    file.give_up("took too long")
    assert file.lost == 2
    file.close()


def test_nothing_is_in_hand_after_a_write(tmp_path: Path) -> None:
    """Who gives up between two writes loses what waits, and nothing of what is in the file."""
    file = new_file(tmp_path)
    file.write(tick(0) + tick(1))
    file.give_up("took too long")
    assert file.lost == 0
    file.close()


def test_what_a_failed_write_left_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On demand, where it could not be at once; without any file there is nothing to cut."""
    file = new_file(tmp_path)
    file.cut_back()
    file.write(tick(0))
    size = file.written

    def torn(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > 5:
            return real(descriptor, data[:5], offset)
        raise OSError(errno.ENOSPC, "No space left on device")

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    real = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: torn(fd, data, at) if at == size else refuse())
        patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(OSError, match="Input"):
            file.write(tick(1))
        assert file.path.stat().st_size == size + 5
        with pytest.raises(OSError, match="Input"):
            file.cut_back()
    file.cut_back()
    assert file.path.stat().st_size == size == file.written
    file.close()


# -- syncing, letting go -----------------------------------------------------------------------------------------------


def test_a_file_and_once_its_name_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written each time; without any file there is nothing to sync."""
    synced: list[str] = []
    monkeypatch.setattr(AppendFile, "sync", lambda file: synced.append(file.path.name))
    monkeypatch.setattr(frame_file, "sync_folder", lambda folder: synced.append(folder.name))
    file = new_file(tmp_path)
    file.sync()
    assert synced == []
    for number in range(2):
        file.write(tick(number))
        file.sync()
    file.close()
    assert synced == [file.path.name, tmp_path.name, file.path.name]


def test_a_forked_child_lets_go_of_files_that_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of the next one that is begun: their descriptors are closed, and nothing is removed."""
    disk = full_disk(monkeypatch)
    new_file(tmp_path).let_go()
    file = new_file(tmp_path, Rotation(1, None, sync=False))
    file.write(tick(0))
    disk += [3]  # the footer
    with pytest.raises(OSError, match="No space"):
        file.write(tick(1))
    there = sorted(path.name for path in tmp_path.iterdir())
    assert len(there) == 2
    parts = [part.file for part in (file._part, file._next) if part is not None]
    file.let_go()
    assert [part is not None and part.is_open for part in parts] == [False, False]
    file.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == there
