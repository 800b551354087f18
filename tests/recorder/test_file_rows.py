"""Files that follow each other while they are written, and what their footers say.

Each test began as a change to the code that no other test noticed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import orjson
import pytest

from horus_async.append_file import AppendFile
from horus_async.recorder.frames import pack
from horus_async.recorder.write import frame_file
from horus_async.recorder.write.feed import Feed
from horus_async.recorder.write.frame_file import FrameFile, Rotation
from horus_async.recorder.write.lines import Counts

from .frame_files import NEVER_FULL, full_disk, new_file, sends, texts, tick

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def row(file: FrameFile) -> list[list[dict[str, Any]]]:
    """The lines of each file of a row, headers too."""
    return [[orjson.loads(line) for text in texts(path) for line in text.splitlines()] for path in file.paths]


def test_the_files_of_a_row_name_each_other(tmp_path: Path) -> None:
    """By number in the header, by name in the footer, which counts what is in this file alone."""
    file = new_file(tmp_path, Rotation(1, None, sync=False))
    written = 0
    for number in range(3):
        file.write(tick(2 * number, 2, 1) + sends(2 * number + 1) + sends(None, 2 * number + 1))
        assert file.path == file.paths[-1]
        assert file.begun
        assert file.written == file.path.stat().st_size
        assert file.earlier_bytes + file.written == sum(path.stat().st_size for path in file.paths)
        assert file.earlier_bytes >= written
        written = file.earlier_bytes
    file.close()
    assert [path.name for path in file.paths] == ["n@1.jsonl.lz4", "n@1.1.jsonl.lz4", "n@1.2.jsonl.lz4"]
    files = row(file)
    assert [found[0].get("part") for found in files] == [None, 1, 2]
    assert all(found[0]["sealed"] is True for found in files)
    assert [found[-1].get("next") for found in files] == ["n@1.1.jsonl.lz4", "n@1.2.jsonl.lz4", None]
    for number, found in enumerate(files[:-1]):
        footer = found[-1]
        assert (footer["ticks"], footer["inputs"], footer["outputs"], footer["dropped"]) == (1, 1, 4, 0)
        assert (footer["sends"], footer["loose"]) == (2, 1)
        (tally,) = footer["topics"]
        assert (tally["count"], tally["first_tick"], tally["last_tick"]) == (4, 2 * number, 2 * number + 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in file.paths)


def test_the_last_file_of_a_row_counts_what_is_in_it(tmp_path: Path) -> None:
    """And not what is in those before it; the whole is that of the feed."""
    feed = Feed()
    file = new_file(tmp_path, Rotation(1, None, sync=False), feed=feed)
    for number in range(3):
        feed.ticks, feed.inputs, feed.outputs, feed.lines = number + 1, 2 * number + 2, 3 * number + 3, number + 1
        file.write(tick(number, 3, 2))
    feed.refused = 4
    assert file.counts == Counts(3, 6, 9, 4, 3)
    assert attrs.evolve(file.part_counts, lines=0) == Counts(1, 2, 3, 4)
    file.lose(tick(9, 2, 1), "why")
    assert attrs.evolve(file.counts, lines=0) == Counts(2, 5, 7, 6)
    assert attrs.evolve(file.part_counts, lines=0) == Counts(0, 1, 1, 6)
    file.close()


def test_the_files_of_a_log_count_their_own_lines(tmp_path: Path) -> None:
    """Those of the log, as other files count messages."""
    file = new_file(tmp_path, Rotation(1, None, sync=False), has_messages=False)
    for number, lines in enumerate((2, 3)):
        file.feed.lines += lines
        file.write(b'{"kind":"log","tick":%d}\n' % number * lines)
    assert (file.counts, file.part_counts) == (Counts(lines=5), Counts(lines=3))
    file.close()
    assert row(file)[0][-1]["lines"] == 2


def test_what_is_missing_is_missing_in_one_file_of_a_row(tmp_path: Path) -> None:
    """That with the gap line, and not in those behind it."""
    file = new_file(tmp_path, Rotation(1, None, sync=False))
    file.lose(tick(0, 3), "why")
    for number in (1, 2):
        file.write(tick(number))
    assert (file.counts.dropped, file.part_counts.dropped) == (3, 0)
    file.lose(tick(3, 2), "why")
    assert (file.counts.dropped, file.part_counts.dropped) == (5, 2)
    file.close()
    assert row(file)[0][-1]["dropped"] == 3


@pytest.mark.parametrize(("rotation", "files"), [(NEVER_FULL, 1), (Rotation(None, 3, sync=False), 3), (None, 1)])
def test_a_row_goes_on_in_a_new_file_when_one_is_old_enough(
    tmp_path: Path, rotation: Rotation | None, files: int
) -> None:
    """So many ticks after its first, counted from one file to the next."""
    file = new_file(tmp_path, rotation)
    for number in range(10, 17):
        file.write(tick(number))
    file.finish(b'{"kind":"footer","dropped":0}\n')
    file.close()
    found = [[line["tick"] for line in one if line["kind"] == "tick"] for one in row(file)]
    assert found == ([[10, 11, 12, 13], [14, 15, 16]] if files == 3 else [list(range(10, 17))])


def test_a_row_goes_on_in_a_new_file_when_one_is_large_enough(tmp_path: Path) -> None:
    """To the byte; a file with nothing but its header is never full, and a footer begins no other."""
    probe = new_file(tmp_path)
    probe.write(tick(1))
    size = probe.written
    probe.close()
    probe.path.unlink()
    for limit, files in ((size, [[1], [1]]), (size + 1, [[1, 1]]), (1, [[1], [1]])):
        folder = tmp_path / str(limit)
        folder.mkdir()
        file = new_file(folder, Rotation(limit, None, sync=False))
        file.write(tick(1))
        file.write(tick(1))
        file.finish(b'{"kind":"footer","dropped":0}\n')
        file.close()
        assert [[line["tick"] for line in one if line["kind"] == "tick"] for one in row(file)] == files


def test_a_text_of_many_frames_fills_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only between two writes is looked whether a file is full."""
    monkeypatch.setattr(frame_file, "FRAME_TEXT", 1)
    file = new_file(tmp_path, Rotation(1, None, sync=False))
    file.write(tick(0) + tick(1) + tick(2))
    file.close()
    assert [[line["tick"] for line in one if line["kind"] == "tick"] for one in row(file)] == [[0], [1], [2]]


@pytest.mark.parametrize("sync", [True, False])
def test_a_file_is_synced_before_it_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, sync: bool) -> None:
    """Where all of them are: with its footer and index in it."""
    synced: list[tuple[str, int]] = []
    monkeypatch.setattr(AppendFile, "sync", lambda file: synced.append((file.path.name, file.size)))
    file = new_file(tmp_path, Rotation(1, None, sync=sync))
    file.write(tick(0))
    file.write(tick(1))
    assert synced == ([("n@1.jsonl.lz4", file.paths[0].stat().st_size)] if sync else [])
    file.close()


def test_a_next_file_that_cannot_begin_costs_what_was_to_be_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current one stays as it is, nothing is left of the other, and it is tried again."""
    disk = full_disk(monkeypatch)
    file = new_file(tmp_path, Rotation(1, None, sync=False))
    file.write(tick(0))
    disk += [2]  # the next header
    with pytest.raises(OSError, match="No space"):
        file.write(tick(1))
    assert (file.lost, file.paths) == (1, [file.path])
    assert list(tmp_path.iterdir()) == [file.path]
    file.write(tick(2))
    file.close()
    assert [[(line["kind"], line.get("tick")) for line in one[1:]] for one in row(file)] == [
        [("tick", 0), ("footer", None)],
        [("gap", 1), ("tick", 2)],
    ]


def test_a_next_file_that_is_begun_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the footer that names it found no room: it is not begun a second time."""
    disk = full_disk(monkeypatch)
    file = new_file(tmp_path, Rotation(1, None, sync=False))
    file.write(tick(0))
    disk += [3]  # the footer
    with pytest.raises(OSError, match="No space"):
        file.write(tick(1))
    begun = (tmp_path / "n@1.1.jsonl.lz4").stat().st_ino
    file.write(tick(2))
    file.close()
    assert file.path.stat().st_ino == begun
    assert [[(line["kind"], line.get("tick")) for line in one[1:]] for one in row(file)] == [
        [("tick", 0), ("footer", None)],
        [("gap", 1), ("tick", 2)],
    ]


def test_ticks_that_go_back_do_not_make_a_file_younger(tmp_path: Path) -> None:
    """Only the way forward counts, from wherever the ticks went back to."""
    file = new_file(tmp_path, Rotation(None, 3, sync=False))
    for number in (10, 9, 12, 13):
        file.write(tick(number))
    file.close()
    assert [[line["tick"] for line in one if line["kind"] == "tick"] for one in row(file)] == [[10, 9, 12], [13]]


@pytest.mark.parametrize("end", [FrameFile.close, lambda file: file.finish(b'{"kind":"footer","dropped":0}\n')])
def test_a_file_that_is_the_last_has_no_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Callable[[FrameFile], None]
) -> None:
    """One that was begun in vain is gone as soon as the last one is finished, or closed without an end."""
    disk = full_disk(monkeypatch)
    file = new_file(tmp_path, Rotation(1, None, sync=False))
    file.write(tick(0))
    disk += [3]  # the footer that would have named it
    with pytest.raises(OSError, match="No space"):
        file.write(tick(1))
    assert len(list(tmp_path.iterdir())) == 2
    end(file)
    assert list(tmp_path.iterdir()) == [file.path]
    file.close()


# -- what a footer says ------------------------------------------------------------------------------------------------


def _lost(file: FrameFile) -> None:
    file.lose(tick(9), "why")


def _rewound(file: FrameFile) -> None:
    file.feed.rewound = True


def _back(file: FrameFile) -> None:
    file.write(tick(0))


@pytest.mark.parametrize("change", [_lost, _rewound, _back])
def test_a_file_that_is_not_what_was_fed_does_not_say_what_it_holds(
    tmp_path: Path, change: Callable[[FrameFile], None]
) -> None:
    """Where lines are missing or ticks went back; else it says what its feed counted."""
    file = new_file(tmp_path)
    file.feed.topic("out").see(3, 5)
    file.write(tick(3))
    (tally,) = file.tallies or []
    assert (tally.topic, tally.count, tally.bytes) == ("out", 1, 5)
    change(file)
    assert file.tallies is None
    file.close()


def test_messages_apart_from_callbacks_are_counted(tmp_path: Path) -> None:
    """At the beginning of a frame as within it, and those that belong to no callback besides."""
    file = new_file(tmp_path)
    assert (file.sends, file.loose) == (0, 0)
    file.write(sends(1) + tick(2) + sends(3) + sends(None, 3))
    file.write(tick(4))
    assert (file.sends, file.loose) == (3, 1)
    file.write(sends(None, 5))
    assert (file.sends, file.loose) == (4, 2)
    file.close()


def test_a_file_without_messages_says_nothing_of_them(tmp_path: Path) -> None:
    """The scheduler's, and that of the log."""
    for rotation in (None, NEVER_FULL):
        file = new_file(tmp_path, rotation, has_messages=False)
        assert (file.tallies, file.sends, file.loose) == (None, None, None)
        file.write(b'{"kind":"tick","order":[],"tick":1}\n')
        assert (file.tallies, file.sends, file.loose) == (None, None, None)
        file.close()
        file.path.unlink()


@pytest.mark.parametrize(
    ("options", "thorough"), [({}, True), ({"thorough": True}, True), ({"thorough": False}, False)]
)
def test_a_search_is_made_where_it_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], *, thorough: bool
) -> None:
    """For the lines; the header has nothing in it to search for."""
    asked: list[object] = []

    def noted(text: bytes, count: int, **options: Any) -> bytes:
        asked.append((count, options.get("thorough")))
        return pack(text, count, **options)

    monkeypatch.setattr(frame_file, "pack", noted)
    file = new_file(tmp_path, **options)
    file.write(tick(1) + tick(2))
    file.close()
    assert asked == [(1, None), (2, thorough)]
