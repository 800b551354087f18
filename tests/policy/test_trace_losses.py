"""A trace says what it lacks, in every command that reads it, and in the exit codes."""

from __future__ import annotations

import hashlib
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.cli import main
from horus_async.limits import disk
from horus_async.policy import Filter, TraceOptions, TraceRecorder, from_object, matching
from tests.policy.conftest import reach, read_all, wait_until
from tests.policy.traces import exchange, foreign_lines, record, write_lines

SAME = f"{Path(__file__).parent / 'conftest.py'}:reach"


def run(*arguments: str | Path) -> Result:
    """``horus-async``."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def as_json(*arguments: str | Path) -> Any:
    """What a command prints as JSON."""
    return orjson.loads(run(*arguments, "--json").stdout)


def our_lines(count: int = 4, *, dropped: int = 0, **header: Any) -> list[dict[str, Any]]:
    """A trace of ours in which ``dropped`` requests could not be recorded, three quarters of them before line 2."""
    lines = [line for line in foreign_lines(count, horus_version="1", **header) if line["kind"] != "something_else"]
    before = dropped * 3 // 4
    if before:
        lines[2]["dropped_before"] = before
    lines[-1]["dropped"] = dropped
    return lines


@pytest.fixture
def with_drops(tmp_path: Path) -> Path:
    """A trace that lacks 12 requests."""
    (tmp_path / "drops").mkdir()
    return write_lines(tmp_path / "drops" / "trace.jsonl", our_lines(dropped=12))


def test_drops_are_counted_wherever_the_trace_tells_of_them(with_drops: Path) -> None:
    """Before lines and in the footer: once each."""
    assert read_all(with_drops).dropped == 12
    assert "12 requests were dropped" in read_all(with_drops).notes[0]


def test_check_says_drops_and_exits_with_1(with_drops: Path) -> None:
    """The file is intact, but it is not everything; ``record check`` and a folder do the same."""
    for words in (["trace", "check"], ["record", "check"]):
        command: list[str | Path] = [*words, with_drops]
        result = run(*command)
        assert result.exit_code == 1
        assert "12 requests were dropped" in result.stdout
        (row,) = as_json(*command)
        assert (row["verdict"], row["dropped"], row["requests"]) == ("incomplete", 12, 4)
    assert run("trace", "check", with_drops.parent).exit_code == 1


def test_list_has_a_column_of_drops(with_drops: Path) -> None:
    """And a note."""
    (row,) = as_json("trace", "list", with_drops.parent)
    assert row["dropped"] == 12
    header, line = run("trace", "list", with_drops.parent).stdout.splitlines()
    assert dict(zip(header.split("\t"), line.split("\t"), strict=True))["dropped"] == "12"


def test_replay_says_drops_and_fail_on_triggers(with_drops: Path) -> None:
    """What is there was compared and does not differ, but nobody may claim that of all requests."""
    result = run("trace", "replay", with_drops, "--model", SAME)
    assert result.exit_code == 0
    assert "dropped when the trace was recorded, so not compared: 12" in result.stdout
    assert as_json("trace", "replay", with_drops, "--model", SAME)["summary"]["n_dropped"] == 12
    result = run("trace", "replay", with_drops, "--model", SAME, "--fail-on", "actions")
    assert result.exit_code == 3
    assert "12 requests were dropped" in result.stderr
    assert "12 requests were dropped" in run("trace", "replay", with_drops, "--no-replay").stdout


def test_what_counts_or_exports_says_drops_beside_it(with_drops: Path, tmp_path: Path) -> None:
    """On standard error, so that the output stays data."""
    for command in (["query"], ["summary"], ["export", "--output", tmp_path / "x.npz"]):
        result = run("trace", *command, with_drops)
        assert "12 requests were dropped" in result.stderr


def test_lines_that_are_gone_are_missed(tmp_path: Path) -> None:
    """Numbers of ours have no gaps, so a line that somebody took out shows, at the start too."""
    for gone in (1, 2, 4):
        lines = our_lines()
        del lines[gone]
        path = write_lines(tmp_path / f"{gone}.jsonl", lines)
        result = run("trace", "check", path)
        assert result.exit_code == 1
        assert "the footer says 4 requests, the file holds 3" in result.stdout
        assert run("trace", "replay", path, "--model", SAME, "--fail-on", "actions").exit_code == 3


def test_samples_of_another_server_are_no_loss(tmp_path: Path) -> None:
    """Servers that record one request in three leave numbers out; it is one note, however many there are."""
    lines = foreign_lines(100)
    path = write_lines(tmp_path / "t.jsonl", [line for line in lines if line.get("seq", 0) % 3 == 0])
    assert run("trace", "check", path).exit_code == 0
    assert read_all(path).notes == ["after seq 0 comes 3, and 32 more such jumps"]


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["whole"], 0), (["whole", "cut"], 0), (["whole", "drops"], 1), (["damaged"], 1), (["none"], 2),
        (["none", "drops"], 1), (["none", "whole"], 2), ([], 2),
    ],
)  # fmt: skip
def test_check_of_a_folder_has_the_code_of_the_worst(tmp_path: Path, names: list[str], code: int) -> None:
    """Damage or drops are 1, what is no trace 2, so is a folder without one."""
    whole = b"".join(orjson.dumps(line) + b"\n" for line in our_lines())
    drops = b"".join(orjson.dumps(line) + b"\n" for line in our_lines(dropped=1))
    damaged = whole.replace(b"\n", b"\n}}\n", 3)
    kinds = {"whole": whole, "cut": whole[:-60], "drops": drops, "damaged": damaged, "none": b"nothing\n"}
    for name in names:
        (tmp_path / f"{name}.jsonl").write_bytes(kinds[name])
    result = run("trace", "check", tmp_path)
    assert result.exit_code == code
    assert ("cut off at its end" in result.stdout) is ("cut" in names)
    assert len(as_json("trace", "check", tmp_path) if names else []) == len(names)


def test_a_damaged_trace_in_a_folder_is_said_and_shows_in_the_exit_code(tmp_path: Path) -> None:
    """Its first part is counted, the rest is missing; a file that is no trace is passed over."""
    data = b"".join(orjson.dumps(line) + b"\n" for line in our_lines())
    lines = data.splitlines(keepends=True)
    (tmp_path / "damaged.jsonl").write_bytes(b"".join([*lines[:3], b"}}}\n", *lines[3:]]))
    (tmp_path / "other.jsonl").write_text("nothing\n")
    for command in ("query", "summary"):
        result = run("trace", command, tmp_path)
        assert result.exit_code == 1
        assert "damaged, and read up to there only" in result.stderr
        assert "passed over" in result.stderr
    named = run("trace", "query", tmp_path / "damaged.jsonl")
    assert named.exit_code == 2
    assert len(named.stdout.splitlines()) == 1 + 2
    (tmp_path / "damaged.jsonl").unlink()
    assert run("trace", "query", tmp_path).exit_code == 0


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_small_damaged_gzip_is_damaged_and_read_up_to_there(tmp_path: Path, place: float) -> None:
    """Although all of it is one piece to the decompressor, and the damage may be before the end of the header."""
    lines = our_lines(40)
    for line in lines[1:-1]:
        line["request"]["instruction"] = hashlib.sha256(str(line).encode()).hexdigest()
    data = bytearray(write_lines(tmp_path / "trace.jsonl.gz", lines).read_bytes())
    start = int(len(data) * place)
    data[start : start + 40] = hashlib.sha256(b"damage").digest()
    (tmp_path / "trace.jsonl.gz").write_bytes(data)
    assert run("trace", "check", tmp_path).exit_code == 1
    result = run("trace", "query", tmp_path)
    assert result.exit_code == 1
    assert "damaged, and read up to there only" in result.stderr
    assert place == 0.3 or len(result.stdout.splitlines()) > 5


def test_a_gzip_with_a_wrong_checksum_is_damaged(tmp_path: Path) -> None:
    """Nobody knows which of its lines are wrong, so none of the last piece is read."""
    data = bytearray(write_lines(tmp_path / "trace.jsonl.gz", our_lines()).read_bytes())
    data[-6] ^= 1
    (tmp_path / "trace.jsonl.gz").write_bytes(data)
    write_lines(tmp_path / "whole.jsonl.gz", our_lines())
    assert run("trace", "check", tmp_path).exit_code == 1
    assert as_json("trace", "check", tmp_path)[0]["verdict"] == "damaged"
    exported = run("trace", "export", tmp_path, "--output", tmp_path / "all.npz")
    assert exported.exit_code == 1
    assert "4 requests written" in exported.stdout


class _Stuck:
    """A disk that takes a while: what comes meanwhile finds the queue full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.go.set()
        write = TraceRecorder._write_pending
        monkeypatch.setattr(TraceRecorder, "_write_pending", lambda recorder: self.go.wait() and write(recorder))


@settings(deadline=None, max_examples=25)
@given(bursts=st.lists(st.integers(0, 6), min_size=1, max_size=6), rotate=st.booleans())
def test_the_files_of_a_session_add_up_to_what_was_dropped(
    bursts: list[int], rotate: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """However recording goes on in further files, each drop is told once."""
    folder = tmp_path_factory.mktemp("t")
    options = TraceOptions(directory=folder, rotate_mb=1e-6 if rotate else None, max_pending_mb=1e-9)
    with pytest.MonkeyPatch.context() as monkeypatch:
        stuck = _Stuck(monkeypatch)
        with TraceRecorder(from_object(reach, name="test:reach"), options) as recorder:
            recorded = 0
            for burst in bursts:
                stuck.go.clear()
                taken = [recorder.record(exchange({"state": [1.0]})) for _ in range(burst + 1)]
                recorded += sum(seq is not None for seq in taken)
                stuck.go.set()
                wait_until(partial(_has_written, recorder, recorded))
    readers = [read_all(path) for path in folder.iterdir()]
    assert sum(reader.count for reader in readers) == recorded
    assert sum(reader.dropped for reader in readers) == sum(bursts) + len(bursts) - recorded


def _has_written(recorder: TraceRecorder, count: int) -> bool:
    return recorder.stats().records == count


def test_a_part_does_not_tell_again_what_earlier_ones_told(tmp_path: Path) -> None:
    """A footer counts from the start of the session, the header of a later file says how many came before."""
    lines = our_lines(dropped=12, part=1)
    assert read_all(write_lines(tmp_path / "unknown.part1.jsonl", lines)).dropped == 9
    lines[0]["dropped"] = 2
    assert read_all(write_lines(tmp_path / "known.part1.jsonl", lines)).dropped == 10


def parts_of_a_session(folder: Path, count: int, *, without: int | None = None) -> Path:
    """A session of ``count`` parts of 4 requests each."""
    folder.mkdir()
    for part in range(count):
        lines = our_lines(4, part=part)
        for line in lines[1:-1]:
            line["seq"] += 4 * part
        if part != without:
            write_lines(folder / f"trace{f'.part{part}' if part else ''}.jsonl", lines)
    return folder


def test_a_part_of_a_session_that_is_not_there_is_missed(tmp_path: Path) -> None:
    """Each file is whole, and yet requests are gone from the middle."""
    pytest.importorskip("numpy")
    whole = parts_of_a_session(tmp_path / "whole", 12)
    assert run("trace", "check", whole).exit_code == 0
    assert [row["seq"] for row in as_json("trace", "query", whole)] == list(range(48))
    assert run("trace", "export", whole, "--output", tmp_path / "all.npz").exit_code == 0
    holed = parts_of_a_session(tmp_path / "holed", 12, without=10)
    result = run("trace", "check", holed)
    assert result.exit_code == 1
    assert "seq 40 to 43 are missing: the part before this one is not there" in result.stdout
    assert "seq 40 to 43 are missing" in run("trace", "summary", holed).stderr
    exported = run("trace", "export", holed, "--output", tmp_path / "all.npz")
    assert exported.exit_code == 1
    assert "4 requests of parts that are not there" in exported.stderr


def test_a_trace_of_the_recorder_is_whole(tmp_path: Path) -> None:
    """Nothing is missed where nothing is missing."""
    path = record(tmp_path, [exchange({"state": [1.0, 2.0]})] * 3)
    assert run("trace", "check", path).exit_code == 0
    assert as_json("trace", "check", path)[0]["verdict"] == "whole"


def test_a_program_is_told_what_was_left_out(tmp_path: Path) -> None:
    """By the function that it gives."""
    (tmp_path / "other.jsonl").write_text("nothing\n")
    said: list[str] = []
    assert list(matching([tmp_path], Filter(), said.append)) == []
    assert len(said) == 1
    assert list(matching([tmp_path], Filter())) == []


def test_the_server_does_not_wait_for_a_disk_that_stands_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends, and what the disk did not take counts as dropped, which is said."""
    goes_on, reached = threading.Event(), threading.Event()
    real = os.pwrite

    def stuck(*arguments: Any) -> int:
        reached.set()
        assert goes_on.wait(300)
        return real(*arguments)

    monkeypatch.setattr(os, "pwrite", stuck)
    monkeypatch.setattr(disk, "END_PATIENCE", 0.1)
    recorder = TraceRecorder(from_object(reach, name="test:reach"), TraceOptions(directory=tmp_path))
    try:
        assert recorder.record(exchange({"state": [1.0]})) == 0
        assert reached.wait(300)
        recorder.close()
        assert recorder.stats().dropped == 1
        assert "record-incomplete: 1 requests could not be written within 0.1 s" in caplog.text
    finally:
        goes_on.set()
        recorder._thread.join(300)
        disk.calm()
