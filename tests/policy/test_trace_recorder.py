"""The recorder by itself: numbering, bounds, rotation, retention, and files that were written badly."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from horus_async.errors import ConfigurationError
from horus_async.policy import RecordingState, TraceOptions, TraceReader, TraceRecorder, from_object
from tests.policy.conftest import only_trace, reach, read_all, wait_until
from tests.policy.traces import exchange, record

if TYPE_CHECKING:
    from pathlib import Path

POLICY = from_object(reach, name="test:reach")


def test_no_request_makes_no_file(tmp_path: Path) -> None:
    """The file appears with the first request, so a session without any leaves none."""
    record_nothing = TraceRecorder(POLICY, TraceOptions(directory=tmp_path))
    record_nothing.close()
    record_nothing.close()
    assert list(tmp_path.iterdir()) == []
    assert record_nothing.stats().state is RecordingState.OFF


def test_several_threads_may_record(tmp_path: Path) -> None:
    """Records from several threads are numbered without gaps, in the order of the file."""
    with TraceRecorder(POLICY, TraceOptions(directory=tmp_path)) as recorder:
        threads = [
            threading.Thread(target=lambda: [recorder.record(exchange({"state": [1.0]})) for _ in range(50)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = read_all(only_trace(tmp_path)).lines  # type: ignore[attr-defined]
    assert [line["seq"] for line in lines] == list(range(200))


def test_a_writer_that_lags_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the memory bound requests are dropped and counted, numbering stays gapless, and the next line says so."""
    held, writing = threading.Event(), threading.Event()
    original = TraceRecorder._open_file

    def slow(self: TraceRecorder) -> object:
        writing.set()
        held.wait(300)
        return original(self)

    monkeypatch.setattr(TraceRecorder, "_open_file", slow)
    one = exchange({"state": [1.0], "note": "x " * 5_000})
    with TraceRecorder(POLICY, TraceOptions(directory=tmp_path, max_pending_mb=0.05)) as recorder:
        taken = [recorder.record(one) for _ in range(10)]
        assert writing.wait(300)
        assert taken == [0, 1, 2, 3, 4] + 5 * [None]
        held.set()
        wait_until(lambda: recorder.stats().records >= 5)
        assert recorder.record(one) == 5
    reader = read_all(only_trace(tmp_path))
    assert [line.get("dropped_before", 0) for line in reader.lines] == [0, 0, 0, 0, 0, 5]  # type: ignore[attr-defined]
    assert reader.footer is not None
    assert (reader.footer["total_requests"], reader.footer["dropped"]) == (6, 5)


def test_an_exchange_that_cannot_be_written_keeps_its_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One exchange that fails to encode becomes a line with an error; those around it are whole."""
    bad = evolve(exchange({"state": [1.0]}, request_id="bad"), body=b"{")
    path = record(tmp_path, [exchange({"state": [1.0]}), bad, exchange({"state": [2.0]})])
    lines = read_all(path).lines  # type: ignore[attr-defined]
    assert [line["seq"] for line in lines] == [0, 1, 2]
    assert lines[1]["error"]["slug"] == "record-line-failed"
    assert "record-line-failed" in caplog.text


def test_a_session_rotates_into_numbered_files(tmp_path: Path) -> None:
    """With rotate_mb a session goes on in further files, each with header and footer, numbered on."""
    options = TraceOptions(directory=tmp_path, compress=False, rotate_mb=0.01, keep_files=None)
    with TraceRecorder(POLICY, options) as recorder:
        for number in range(6):
            recorder.record(exchange({"state": [1.0], "note": "x " * 5_500}))
            wait_until(lambda wanted=number + 1: recorder.stats().records >= wanted)  # type: ignore[misc]
    readers = [read_all(path) for path in sorted(tmp_path.iterdir(), key=lambda path: (len(path.name), path.name))]
    assert [reader.header.get("part", 0) for reader in readers] == [0, 1, 2, 3, 4, 5]
    assert len({reader.header["session_id"] for reader in readers}) == 1
    assert [line["seq"] for reader in readers for line in reader.lines] == [0, 1, 2, 3, 4, 5]  # type: ignore[attr-defined]
    assert all(reader.notes == [] for reader in readers)


def test_old_traces_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    """keep_files deletes the oldest traces of other sessions, and never a file that is not a trace."""
    old = [f"2026010{day}-120000-0123456789abcdef-87cc760b-f9d4-4a39-afa2-f4148c5f9c99.jsonl.gz" for day in range(1, 5)]
    for name in (*old, "notes.jsonl.gz", "20260101-precious.txt"):
        (tmp_path / name).write_bytes(b"")
    with TraceRecorder(POLICY, TraceOptions(directory=tmp_path, keep_files=2)) as recorder:
        recorder.record(exchange({"state": [1.0]}))
    left = {path.name for path in tmp_path.iterdir()}
    assert {"notes.jsonl.gz", "20260101-precious.txt", old[3]} < left
    assert len(left) == 4


def test_a_trace_is_its_owners_alone(tmp_path: Path) -> None:
    """Trace files are readable by their owner only, for they show what the robot saw."""
    assert record(tmp_path, [exchange({"state": [1.0]})]).stat().st_mode & 0o777 == 0o600


def test_compressed_and_plain_hold_the_same(tmp_path: Path) -> None:
    """The gzip trace is the plain one, compressed."""
    exchanges = [exchange({"state": [float(number), 1 / 3]}) for number in range(20)]
    lines = [read_all(record(tmp_path / str(c), exchanges, compress=c)).lines for c in (True, False)]  # type: ignore[attr-defined]
    assert lines[0] == lines[1]


@pytest.mark.parametrize("options", [{"flush_interval": 0.5}, {"rotate_mb": 0}, {"keep_files": 0}])
def test_options_that_break_promises_are_refused(tmp_path: Path, options: dict[str, float]) -> None:
    """An interval over the promised 100 ms, or sizes of zero, are refused."""
    with pytest.raises(ValueError, match=next(iter(options))):
        TraceOptions(directory=tmp_path, **options)  # type: ignore[arg-type]


def test_the_image_mode_is_no_string(tmp_path: Path) -> None:
    """An image mode that is not an ImageMode is refused by name."""
    with pytest.raises(ConfigurationError, match="everything"):
        TraceOptions(directory=tmp_path, images="everything")  # type: ignore[arg-type]


def test_a_failed_disk_is_cut_back_to_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that ends in the middle is taken back, and the same lines are written once space returns."""
    real = os.pwrite
    calls: list[int] = []

    def torn_once(descriptor: int, data: bytes, offset: int) -> int:
        calls.append(len(data))
        if len(calls) == 3:
            return real(descriptor, data[: len(data) // 2], offset)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        return real(descriptor, data, offset)

    monkeypatch.setattr("horus_async.append_file.os.pwrite", torn_once)
    options = TraceOptions(directory=tmp_path, retry_interval=0.01)
    with TraceRecorder(POLICY, options) as recorder:
        recorder.record(exchange({"state": [1.0]}))
        wait_until(lambda: recorder.stats().records >= 1)
        recorder.record(exchange({"state": [2.0]}))
        wait_until(lambda: recorder.stats().records >= 2)
    reader = read_all(only_trace(tmp_path))
    assert [line["request"]["state"] for line in reader.lines] == [[1.0], [2.0]]  # type: ignore[attr-defined]
    assert reader.notes == []
    with TraceReader(only_trace(tmp_path)) as again:
        assert len(list(again.requests())) == 2
