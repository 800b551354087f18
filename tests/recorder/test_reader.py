"""Reading files back: whole, cut off, damaged, and made of anything."""

from __future__ import annotations

import base64
import os
import random
import tracemalloc
from typing import TYPE_CHECKING

import lz4.frame
import pytest

from benchmarks import damage
from benchmarks.small import record_small
from horus_async.errors import DamagedRecordingError, SessionNotFoundError, UnsupportedVersionError
from horus_async.recorder import ExecutionRecord, GapRecord, RecordedFile, SchedulerTick, frames
from horus_async.recorder.frames import Frame, Packer, pack, reader_of, scan
from horus_async.recorder.records import Footer, Header
from horus_async.recorder.write.lines import header_line

from . import independent
from .runs import execution, message, play, record, recorder, run_info, tell

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder.frames import Damage


def recording(root: Path, flushes: int = 5, ticks: int = 20) -> Path:
    """A sensor's file with one frame for each flush, closed."""
    observer = recorder(root, interval=60)
    observer.run_started(run_info())
    assert observer._writer is not None
    for flush in range(flushes):
        play(observer, range(flush * ticks, (flush + 1) * ticks), random.Random(flush))
        for file in observer._writer.files:  # the writer's thread sleeps: its interval is a minute
            file.write(file.feed.take())
    observer.run_stopped("duration", flushes * ticks)
    return observer.stop()[1]


def ticks_of(file: RecordedFile, start: int | None = None, stop: int | None = None) -> list[int]:
    """The ticks of the executions."""
    return [line.tick for line in file.records(start, stop) if isinstance(line, ExecutionRecord)]


def test_a_closed_file_is_read_whole(tmp_path: Path) -> None:
    """Header, every line in order, footer; no cut, no damage."""
    file = RecordedFile(recording(tmp_path))
    assert file.header is not None
    assert file.header.node == "sensor"
    assert ticks_of(file) == list(range(100))
    assert file.footer is not None
    assert file.footer.ticks == 100
    assert (file.cut, file.damage, file.first_tick, file.last_tick) == (None, [], 0, 99)
    assert file.indexed
    assert file.survey() == []


def test_two_readers_agree(tmp_path: Path) -> None:
    """A reader written from the description alone finds the same lines."""
    for path in record(tmp_path, 300):
        mine = [line for line in RecordedFile(path).records() if not isinstance(line, Footer)]
        theirs = independent.lines(path.read_bytes())
        assert (theirs[0]["kind"], theirs[-1]["kind"]) == ("header", "footer")
        assert len(mine) == len(theirs) - 2 == 300
        for record_, line in zip(mine, theirs[1:-1], strict=True):
            assert isinstance(record_, ExecutionRecord | SchedulerTick)
            assert (record_.kind, record_.tick, record_.now_ns) == (line["kind"], line["tick"], line["now_ns"])
            if isinstance(record_, ExecutionRecord):
                assert [(o.topic, o.seq, o.stamp_ns, o.data) for o in record_.outputs] == [
                    (o["topic"], o["seq"], o["stamp_ns"], o["data"]) for o in line["outputs"]
                ]


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize(("start", "stop"), [(None, 7), (0, 0), (37, 41), (20, 39), (99, None), (100, None), (60, 5)])
def test_ranges_of_ticks(tmp_path: Path, index: bool, start: int | None, stop: int | None) -> None:
    """Both ends are included, with the index and without it."""
    path = recording(tmp_path)
    if not index:
        path.write_bytes(path.read_bytes()[:-1])
    file = RecordedFile(path)
    expected = [t for t in range(100) if (start is None or t >= start) and (stop is None or t <= stop)]
    assert ticks_of(file, start, stop) == expected
    assert file.indexed is index or start is None


def test_seeking_reads_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the index a seek decodes about a frame, not the file."""
    monkeypatch.setattr("horus_async.recorder.write.index.ENTRY_TEXT", 1)
    file = RecordedFile(recording(tmp_path, flushes=20))
    decoded: list[int] = []
    decode = frames._decode

    def counting(read: frames.Read, offset: int, size: int, most: int) -> Frame | Damage:
        decoded.append(offset)
        return decode(read, offset, size, most)

    monkeypatch.setattr(frames, "_decode", counting)
    assert ticks_of(file, 250, 250) == [250]
    assert len(decoded) <= 2


@pytest.mark.parametrize("index", [True, False])
def test_damage_in_the_middle_costs_one_frame(tmp_path: Path, index: bool) -> None:
    """A damaged frame is reported with its place; everything before and after it is read."""
    path = recording(tmp_path)
    data = bytearray(path.read_bytes())
    found = [piece for piece in scan(reader_of(bytes(data)), 0, len(data)) if isinstance(piece, Frame)]
    data[found[2].offset + found[2].size // 2] ^= 0x40
    path.write_bytes(data if index else data[:-1])
    file = RecordedFile(path)
    assert ticks_of(file) == [*range(20), *range(40, 100)]
    assert [(damage.offset, damage.size) for damage in file.damage] == [(found[2].offset, found[2].size)]
    assert f"damaged at byte {found[2].offset}" in str(file.damage[0])


def test_a_line_that_is_no_line_is_damage(tmp_path: Path) -> None:
    """A whole frame can still hold nonsense: it is noted, and the lines around it are read."""
    path = tmp_path / "x.jsonl.lz4"
    head = pack(header_line(run_info(), "s", "scheduler"), 1)
    good = b'{"kind":"gap","tick":1,"dropped":1,"reason":"r"}\n'
    path.write_bytes(head + pack(good + b"nonsense\n" + b'{"kind":"future"}\n' + good, 4))
    file = RecordedFile(path)
    assert list(file.records()) == [GapRecord(1, 1, "r")] * 2
    assert [damage.offset for damage in file.damage] == [len(head)]


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    """J.1-9: foreign, empty, missing and newer files are refused with a clear error that names the file."""
    path = tmp_path / "x.jsonl.lz4"
    with pytest.raises(SessionNotFoundError, match="there is no file"):
        RecordedFile(path)
    for content in (b"", b"foreign text", lz4.frame.compress(b"foreign text\n"), pack(b"[1]\n", 1)):
        path.write_bytes(content)
        with pytest.raises(DamagedRecordingError, match=r"x\.jsonl\.lz4"):
            RecordedFile(path)
    newer = header_line(run_info(), "s", "scheduler").replace(b'"schema_version":1', b'"schema_version":2')
    path.write_bytes(pack(newer, 1))
    with pytest.raises(UnsupportedVersionError, match=r"x\.jsonl\.lz4.*schema_version 2"):
        RecordedFile(path)
    with pytest.raises(DamagedRecordingError, match="not a file"):
        RecordedFile(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(DamagedRecordingError, match="not a file"):
        RecordedFile(tmp_path / "fifo")


def test_a_growing_file_can_be_read(tmp_path: Path) -> None:
    """A recording is readable while it is written, up to its last flush."""
    observer = recorder(tmp_path, interval=0.001)
    observer.run_started(run_info())
    path = observer._writer.files.paths()[1]  # type: ignore[union-attr]
    header = RecordedFile(path).header
    assert isinstance(header, Header)
    play(observer, range(5), random.Random(1))
    observer.run_stopped("duration", 5)
    assert ticks_of(RecordedFile(path)) == list(range(5))


def test_only_what_can_get_shorter_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are alike are packed thoroughly, those that are mostly base64 as fast as it goes."""
    levels: list[int] = []
    compress = lz4.frame.compress

    def counting(text: bytes, compression_level: int, **options: object) -> bytes:
        levels.append(compression_level)
        return bytes(compress(text, compression_level=compression_level, **options))

    monkeypatch.setattr(lz4.frame, "compress", counting)
    alike = b"".join(b'{"tick":%d,"value":0.5,"topic":"sensor"}\n' % number for number in range(1000))
    dense = b"".join(base64.b64encode(random.Random(number).randbytes(400)) + b"\n" for number in range(100))
    assert lz4.frame.decompress(pack(alike, 1000)) == alike
    assert max(levels) == 5
    levels.clear()
    assert lz4.frame.decompress(pack(dense, 100)) == dense
    assert levels == [0]
    levels.clear()
    packer = Packer(thorough=True)
    for text, lines in ((alike, 1000), (dense, 100), (dense, 100), (alike, 1000), (alike, 1000)):
        assert lz4.frame.decompress(packer.pack(text, lines)) == text
    assert levels == [5, 5, 0, 0, 5], "once for each frame, as the one before it was worth"


def test_memory_stays_at_a_few_frames(tmp_path: Path) -> None:
    """J.1-12: reading takes the memory of a few frames, however long the file is."""
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    for tick in range(400):
        tell(observer, execution("sensor", tick), [message("sensor", "t", tick, "x" * 100_000)])
    observer.run_stopped("duration", 400)
    file = RecordedFile(observer.stop()[1])
    tracemalloc.start()
    try:
        count = sum(1 for _ in file.records(10))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 391
    assert peak < 20 << 20  # the text is 40 MB; the LZ4 library takes 9 to decode a frame of 1


# -- fuzzing, for longer by ``python -m benchmarks.soak reader cuts commands`` -----------------------------------------


def test_cuts_and_flipped_bits_of_any_small_file(tmp_path: Path) -> None:
    """J.1-7, J.1-9: cut at every byte, or with any bit of its first frame flipped, a file gives its whole frames."""
    assert damage.cut_everywhere(tmp_path, 7)["cuts"] > 500


def test_garbage_gives_data_or_an_error_of_ours(tmp_path: Path) -> None:
    """J.1-9: whatever happens to a file, reading gives recorded data or a HorusError, and nothing else."""
    assert damage.fuzz_reader(tmp_path, 0, rounds=1500)["refused"] > 0


def test_the_fuzzer_finds_a_planted_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reader that lets an error of the LZ4 library through, the fuzzer fails: it finds what it is there for."""

    def careless(read: frames.Read, offset: int, size: int, most: int) -> Frame:
        return Frame(offset, size, lz4.frame.decompress(read(offset, size)))

    monkeypatch.setattr(frames, "_decode", careless)
    with pytest.raises(RuntimeError, match="LZ4"):
        damage.fuzz_reader(tmp_path, 0, rounds=1500)


def test_the_fuzzer_finds_what_was_never_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reader that gives the lines of a damaged frame as far as it can, wrong data is found."""
    decode = frames._decode

    def careless(read: frames.Read, offset: int, size: int, most: int) -> Frame | Damage:
        found = decode(read, offset, size, most)
        if isinstance(found, Frame):
            return found
        text = decode(reader_of(whole), offset, size, most)  # as if nobody looked at checksums: a digit is another one
        return Frame(offset, size, text.text.replace(b"3", b"4")) if isinstance(text, Frame) else found

    whole = record_small(tmp_path / "whole", flushes=3, ticks=20)[1].read_bytes()
    monkeypatch.setattr(frames, "_decode", careless)
    with pytest.raises(AssertionError):
        damage.fuzz_reader(tmp_path, 0, rounds=1500)


def test_the_fuzzer_finds_a_reader_that_takes_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a reader that takes as much memory as a damaged length says, the fuzzer fails."""
    survey = RecordedFile.survey

    def careless(file: RecordedFile) -> list[Damage]:
        found = survey(file)
        assert len(bytearray(40 << 20)) > 0
        return found

    monkeypatch.setattr(RecordedFile, "survey", careless)
    with pytest.raises(AssertionError, match="bytes of memory"):
        damage.fuzz_reader(tmp_path, 0, rounds=10)


def test_every_command_on_damaged_sessions(tmp_path: Path) -> None:
    """J.1-9: exit code 0, 1 or 2 and with 2 one line, never a traceback, in a process with 1 GB of address space."""
    found = damage.fuzz_commands(tmp_path, 1)
    assert found["commands"] == found["exit 0"] + found["exit 1"] + found["exit 2"] > 400


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3)])
def test_the_command_fuzzer_finds_a_planted_bug(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that is none of ours, or another exit code, ends the fuzzing."""

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr("horus_async.recorder.read.info.session_info", broken)
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(tmp_path))
    with pytest.raises((KeyError, AssertionError), match=r"x|exit code 3"):
        damage.call_commands(tmp_path, 1, rounds=1)
