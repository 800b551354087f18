"""A check can be believed: it says whole only where every reader gives what was recorded."""

from __future__ import annotations

import logging
import shutil
import struct
from typing import TYPE_CHECKING

import lz4.frame
import orjson
import pytest

from benchmarks import mutations
from benchmarks.small import SmallRun
from horus_async.errors import RecordingError
from horus_async.observe import External, Logged, Received
from horus_async.recorder import ExecutionRecord, RecordedFile, RecordingOptions, limits, open_session
from horus_async.recorder.check import Verdict, check_session
from horus_async.recorder.frames import Damage, Frame, pack, reader_of, scan
from horus_async.recorder.read.info import session_notes
from horus_async.recorder.write.frame_file import FrameFile

from . import before_seals
from .runs import execution, message, recorder, run_info, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MAGIC = b"\x04\x22\x4d\x18"


def small(root: Path, *, killed: bool = False, rotated: bool = False, name: str = "s", flushes: int = 5) -> Path:
    """A session of several frames a file; of a killed one there are neither footers nor indexes."""
    run = SmallRun(root, name=name, **({"rotate_seconds": 0.1} if rotated else {}))  # type: ignore[arg-type]
    for _ in range(flushes):
        run.play(8)
        run.flush()
    if killed:
        shutil.copytree(root / name, root / "killed")
    run.close()
    return root / ("killed" if killed else name)


def found(folder: Path) -> tuple[Verdict, str]:
    """The verdict of a check, and all its problems."""
    check = check_session(open_session(folder))
    return check.verdict, "; ".join([*check.problems, *(problem for file in check.files for problem in file.problems)])


def pieces(path: Path) -> tuple[list[bytes], bytes]:
    """The frames of a file with their seals, and what is behind them."""
    data = path.read_bytes()
    whole = [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)]
    end = whole[-1].offset + whole[-1].size
    return [data[piece.offset : piece.offset + piece.size] for piece in whole], data[end:]


def swapped(rows: list[bytes], _: list[bytes]) -> list[bytes]:
    """Two frames change places."""
    return [rows[0], rows[2], rows[1], *rows[3:]]


def doubled(rows: list[bytes], _: list[bytes]) -> list[bytes]:
    """One is there twice."""
    return [*rows[:3], *rows[2:]]


def removed(rows: list[bytes], _: list[bytes]) -> list[bytes]:
    """One is gone."""
    return [*rows[:2], *rows[3:]]


def foreign(rows: list[bytes], others: list[bytes]) -> list[bytes]:
    """One is from the same place of the same node's file in another session."""
    return [*rows[:2], others[2], *rows[3:]]


def edited(rows: list[bytes], _: list[bytes]) -> list[bytes]:
    """A value in one is another, and it is packed again; its seal stays."""
    text = lz4.frame.decompress(rows[2][:-16])
    changed = text.replace(b'"kind"', b'"other":1,"kind"', 1)
    assert changed != text
    return [*rows[:2], pack(changed, changed.count(b"\n")) + rows[2][-16:], *rows[3:]]


def unsealed(rows: list[bytes], _: list[bytes]) -> list[bytes]:
    """Its seal is gone."""
    return [*rows[:2], rows[2][:-16], *rows[3:]]


def other_header(rows: list[bytes], _: list[bytes]) -> list[bytes]:
    """The header says something else."""
    text = lz4.frame.decompress(rows[0][:-16]).replace(b'"tick_rate":100.0', b'"tick_rate":200.0')
    return [pack(text, 1) + rows[0][-16:], *rows[1:]]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("role", ["scheduler", "sensor", "external"])
@pytest.mark.parametrize("change", [swapped, doubled, removed, foreign, edited, unsealed, other_header])
def test_no_frame_can_be_changed_in_silence(
    tmp_path: Path, role: str, change: Callable[[list[bytes], list[bytes]], list[bytes]], *, killed: bool
) -> None:
    """Frames that are exchanged, doubled, gone, changed or from elsewhere are damage, and readers say so."""
    folder = small(tmp_path / "a", killed=killed)
    other = small(tmp_path / "b", name="t")
    assert found(folder)[0] is (Verdict.CUT if killed else Verdict.WHOLE)
    (path,), (theirs,) = folder.glob(f"{role}@*"), other.glob(f"{role}@*")
    rows, end = pieces(path)
    path.write_bytes(b"".join(change(rows, pieces(theirs)[0])) + end)
    verdict, problems = found(folder)
    assert verdict is Verdict.DAMAGED
    assert path.name in problems or "byte" in problems
    session = open_session(folder)
    mutations._content(session)
    assert any("damaged" in note or "cannot be read" in note for note in session_notes(session))


@pytest.mark.parametrize("row", ["scheduler", "sensor", "external"])
def test_a_missing_last_part_of_a_killed_recording(tmp_path: Path, row: str) -> None:
    """The footer before it names it; nobody takes what is left for all there was."""
    folder = small(tmp_path, killed=True, rotated=True)
    assert found(folder)[0] is Verdict.CUT
    last = max(folder.glob(f"{row}@*.?.jsonl.lz4"))
    last.unlink()
    verdict, problems = found(folder)
    assert verdict is Verdict.DAMAGED
    assert f"{last.name} is missing" in problems
    assert any(last.name in note for note in session_notes(open_session(folder)))


def test_a_part_in_the_middle_that_lost_its_end(tmp_path: Path) -> None:
    """Merely cut is what is cut at the end of a recording, not amid it."""
    folder = small(tmp_path, killed=True, rotated=True)
    path = next(folder.glob("sensor@????????.jsonl.lz4"))
    rows, _ = pieces(path)
    path.write_bytes(b"".join(rows[:2]))
    verdict, problems = found(folder)
    assert verdict is Verdict.DAMAGED
    assert "has lost its end" in problems


def test_a_kill_between_two_parts_is_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next part is begun before the footer names it, so no moment of a live recording looks damaged."""
    seen: list[Verdict] = []
    whole = FrameFile._append_frame

    def look() -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "s", copy)
        seen.append(check_session(open_session(copy)).verdict)

    def watched(file: FrameFile, frame: bytes, behind: bytes = b"") -> int:
        look()
        size = whole(file, frame, behind)
        look()
        return size

    monkeypatch.setattr(FrameFile, "_append_frame", watched)
    run = SmallRun(tmp_path, name="s", rotate_seconds=0.1)
    for _ in range(3):
        run.play(8)
        run.flush()
    assert len(seen) > 20
    assert set(seen) == {Verdict.CUT}
    run.close()


def test_a_file_of_another_session_is_not_read(tmp_path: Path) -> None:
    """Its node is missing then, which a replay refuses: it does not play what another run did."""
    folder, other = small(tmp_path / "a"), small(tmp_path / "b", name="t")
    (path,), (theirs,) = folder.glob("sensor@*"), other.glob("sensor@*")
    path.write_bytes(theirs.read_bytes())
    session = open_session(folder)
    assert "sensor" in session.missing_nodes
    verdict, problems = found(folder)
    assert verdict is Verdict.DAMAGED
    assert "of another session: of 't'" in problems


def test_a_copy_beside_a_file_is_told(tmp_path: Path) -> None:
    """One of two files that say the same of themselves is read, and the other one named."""
    folder = small(tmp_path)
    (path,) = folder.glob("sensor@*")
    shutil.copy(path, folder / "zz.jsonl.lz4")
    assert found(folder) == (
        Verdict.DAMAGED,
        f"{folder / 'zz.jsonl.lz4'} is the same part of the same recording as {path.name}",
    )


def test_a_file_of_outside_messages_that_is_gone(tmp_path: Path) -> None:
    """Those who read them name them, also where a kill left no manifest that would name the file."""
    observer = recorder(tmp_path, "s", interval=60)
    observer.run_started(run_info())
    observer.received_external(External(0, "cmd", "pilot", 3, 0, b"1"))
    tell(observer, execution("sensor", 0, [Received("cmd", "pilot", 3)]), [message("sensor", "a", 0, 1)])
    assert observer._writer is not None
    observer._writer.flush()
    shutil.copytree(tmp_path / "s", tmp_path / "killed")
    observer.stop()
    assert found(tmp_path / "killed")[0] is Verdict.CUT
    next((tmp_path / "killed").glob("external@*")).unlink()
    manifest = tmp_path / "killed" / "session.json"  # as it was before files that come later are named in it
    manifest.write_bytes(orjson.dumps({**orjson.loads(manifest.read_bytes()), "external": None}))
    verdict, problems = found(tmp_path / "killed")
    assert verdict is Verdict.DAMAGED
    assert "cmd of pilot" in problems


@pytest.mark.parametrize(("name", "verdict"), [("closed", Verdict.WHOLE), ("killed", Verdict.CUT)])
def test_sessions_from_before_there_were_seals(tmp_path: Path, name: str, verdict: Verdict) -> None:
    """They are read and judged as ever; what an index, a footer and ticks say of them holds, too."""
    folder = before_seals.unpack(tmp_path, name)
    assert found(folder)[0] is verdict
    assert [line.tick for line in open_session(folder).scheduler_ticks()] == list(range(24))
    path = next(folder.glob("sensor@????????.jsonl.lz4"))
    for change in (swapped, doubled):
        rows, end = pieces(path)
        if len(rows) < 4:
            rows = [*rows[:1], *rows[1:2], *rows[1:2], *rows[2:]]
        data = path.read_bytes()
        path.write_bytes(b"".join(change(rows, [])) + end)
        assert found(folder)[0] is Verdict.DAMAGED
        path.write_bytes(data)


def test_random_mutations(tmp_path: Path) -> None:
    """A few of those that ``python -m benchmarks.soak mutations`` makes for hours."""
    counts = mutations.check_mutations(tmp_path, 5, rounds=150)
    assert min(counts["cut"], counts["damaged"]) > 0


# -- limits ------------------------------------------------------------------------------------------------------------


def expanding(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all texts that are unpacked from now on."""
    sizes: list[int] = []
    unpack = lz4.frame.decompress

    def counted(data: bytes, *, return_bytes_read: bool) -> tuple[bytes, int]:
        text, used = unpack(data, return_bytes_read=return_bytes_read)
        sizes.append(len(text))
        return text, used

    monkeypatch.setattr("lz4.frame.decompress", counted)
    return sizes


def packed_zeros(size: int) -> bytes:
    """A frame that claims to hold so many bytes of text, in few."""
    block = lz4.frame.compress(b"0," * (1 << 19), content_checksum=True, block_size=lz4.frame.BLOCKSIZE_MAX1MB)
    first = 7
    (length,) = struct.unpack_from("<I", block, first)
    again: bytes = block[first : first + 4 + length] * (size >> 20)
    return MAGIC + b"\x64\x60\x00" + again + bytes(8)


def test_a_frame_beyond_the_limit_is_never_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kB that say they are a GB cost nothing, and the error names the limit, the file and the place."""
    folder = small(tmp_path)
    (path,) = folder.glob("sensor@*")
    rows, _ = pieces(path)
    path.write_bytes(rows[0] + packed_zeros(1 << 30))
    sizes = expanding(monkeypatch)
    verdict, problems = found(folder)
    assert verdict is Verdict.DAMAGED
    assert f"at byte {len(rows[0])}" in problems
    assert f"more than {limits.FRAME_LIMIT} bytes of text" in problems
    assert sum(sizes) < 1 << 20


def test_a_line_of_too_many_values_is_never_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text that JSON would make a hundred times as large stays text."""
    folder = small(tmp_path)
    (path,) = folder.glob("sensor@*")
    rows, _ = pieces(path)
    text = b'{"kind":"tick","x":[' + b"[]," * (limits.VALUES_LIMIT // 2) + b"0]}\n"
    path.write_bytes(rows[0] + pack(text, 1))
    longest: list[int] = []
    loads = orjson.loads

    def noted(line: bytes) -> object:
        longest.append(len(line))
        return loads(line)

    for module in ("records", "read.reader"):
        monkeypatch.setattr(f"horus_async.recorder.{module}.orjson.loads", noted)
    assert f"more than {limits.VALUES_LIMIT} values" in found(folder)[1]
    assert max(longest) < 10_000


def test_what_readers_refuse_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message beyond the limit is counted as missing, with the limit as the reason, and the rest is whole."""
    monkeypatch.setattr("horus_async.recorder.limits.VALUES_LIMIT", 1000)
    monkeypatch.setattr("horus_async.recorder.limits.OBJECTS_LIMIT", 1000)
    monkeypatch.setattr("horus_async.recorder.write.line_maker.OBJECTS_LIMIT", 1000)
    observer = recorder(tmp_path, "s")
    observer.run_started(run_info())
    for tick, size in enumerate((3, 5000, 3)):
        tell(observer, execution("sensor", tick), [message("sensor", "a", tick, [0] * size)])
    observer.stop()
    check = check_session(open_session("s", tmp_path))
    assert check.verdict is Verdict.WHOLE
    assert check.dropped == 1
    gaps = list(open_session("s", tmp_path).files["sensor"].gaps())
    assert "more than 1000 values" in gaps[0].reason


def test_a_large_array_is_recorded_and_read(tmp_path: Path) -> None:
    """An image of 110 MB is within the limits."""
    text = b'"' + b"A" * (147 << 20) + b'"'
    observer = recorder(tmp_path, "s", memory_mb=1000)
    observer.run_started(run_info())
    tell(observer, execution("sensor", 0), [message("sensor", "a", 0, 0)._replace(payload=text)])
    observer.stop()
    session = open_session("s", tmp_path)
    assert check_session(session).verdict is Verdict.WHOLE
    assert [len(sent.data) for sent in session.outputs("sensor")] == [147 << 20]


HEAD = pack(b"\n", 1)[:7]
_BLOCK = struct.pack("<I", 0x80000000 | 12)
HOSTILE: dict[str, Callable[[int], bytes]] = {
    "walks to the end": lambda n: HEAD + (_BLOCK + HEAD + b"\1\0\0\x80\0") * n,
    "walks to a frame's end": lambda n: HEAD + (_BLOCK + HEAD + b"\1\0\0\x80\0") * n + bytes(8),
    "packed blocks": lambda n: HEAD + (b"\x0c\0\0\0" + HEAD + b"\1\0\0\0\0") * n,
    "junk and frames": lambda n: (b"x" + pack(b"{}\n", 1)) * n,
    "zeros and frames": lambda n: (bytes(8) + pack(b"{}\n", 1)) * n,
    "false beginnings": lambda n: (HEAD + struct.pack("<I", 0x80000000 | 40000) + pack(b"{}\n", 1)) * n,
}


@pytest.mark.parametrize("shape", HOSTILE)
@pytest.mark.parametrize("key", [None, 1])
def test_finding_frames_is_linear(shape: str, key: int | None) -> None:
    """Four times the bytes take about four times the reads, whatever they are made to look like."""

    def reads(size: int) -> int:
        data, count = HOSTILE[shape](size), 0

        def read(offset: int, length: int) -> bytes:
            nonlocal count
            piece = data[offset : offset + length]
            count += 20 + len(piece)
            return piece

        list(scan(read, 0, len(data), key))
        return count

    assert reads(4000) < 6 * reads(1000)


def test_frames_behind_a_hostile_stretch_are_found() -> None:
    """What is false is passed over, not the rest of the file."""
    data = HOSTILE["walks to the end"](1000) + pack(b'{"a":1}\n', 1)
    last = list(scan(reader_of(data), 0, len(data)))[-1]
    assert isinstance(last, Frame)
    assert last.text == b'{"a":1}\n'


def test_a_cut_within_a_seal_is_a_cut(tmp_path: Path) -> None:
    """Frame and seal are one: what ends within either is torn, and nothing of it is read."""
    (path,) = small(tmp_path, killed=True).glob("sensor@*")
    data = path.read_bytes()
    for length in range(len(data) - 17, len(data)):
        path.write_bytes(data[:length])
        file = RecordedFile(path)
        assert len([record for record in file.records() if isinstance(record, ExecutionRecord)]) == 32
        assert file.damage == []
        assert file.cut is not None
        assert isinstance(file.cut, Damage)


def test_a_huge_manifest_is_refused(tmp_path: Path) -> None:
    """The limit is named."""
    folder = small(tmp_path)
    (folder / "session.json").write_bytes(b" " * (limits.JSON_FILE_LIMIT + 1))
    assert f"more than {limits.JSON_FILE_LIMIT} bytes" in open_session(folder).unreadable["session.json"]
    with pytest.raises(RecordingError):
        RecordingOptions(name="a\u202eb")


@pytest.mark.parametrize("row", ["external", "log"])
def test_a_file_that_came_later_is_missed(tmp_path: Path, row: str) -> None:
    """The manifest names it as soon as it is there: a killed recording cannot lose it unnoticed."""
    run = SmallRun(tmp_path, name="s")
    run.play(3)
    record = logging.makeLogRecord({"name": "robot", "levelname": "INFO"})
    run.recorder.logged(Logged("sensor", 2, 2, 0, 20, "text", record, by_node=True))
    run.flush()
    shutil.copytree(tmp_path / "s", tmp_path / "killed")
    run.close()
    assert found(tmp_path / "killed")[0] is Verdict.CUT
    (path,) = (tmp_path / "killed").glob(f"{row}@*")
    path.unlink()
    verdict, problems = found(tmp_path / "killed")
    assert verdict is Verdict.DAMAGED
    assert f"{path.name} is missing" in problems


def test_a_live_recording_is_not_damaged(tmp_path: Path) -> None:
    """Its files grow and rotate while they are read; those that are closed when it is opened are not all there are."""
    run = SmallRun(tmp_path, name="s", rotate_seconds=0.1)
    for _ in range(3):
        run.play(8)
        run.flush()
    opened = open_session(tmp_path / "s")
    for _ in range(3):
        run.play(8)
        run.flush()
    assert check_session(opened).verdict is Verdict.CUT
    run.close()
    assert check_session(opened).verdict is not Verdict.DAMAGED
    assert found(tmp_path / "s")[0] is Verdict.WHOLE


def test_a_closed_file_that_ends_after_a_frame_is_told(tmp_path: Path) -> None:
    """It is cut off, which nothing in it shows; the manifest says that the recording was closed."""
    folder = small(tmp_path)
    (path,) = folder.glob("external@*")
    path.write_bytes(b"".join(pieces(path)[0][:2]))
    assert found(folder)[0] is Verdict.CUT
    assert [f"{path.name} has lost its end" in note for note in session_notes(open_session(folder))] == [True]
