"""Reading traces: whole, torn at any byte, foreign, and garbage."""

from __future__ import annotations

import gzip
import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async.errors import TraceError
from horus_async.policy import TraceReader
from horus_async.policy.model.jsontext import decode, encode
from tests.policy.conftest import read_all
from tests.policy.traces import exchange, foreign_lines, record, write_lines

if TYPE_CHECKING:
    from pathlib import Path

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.lz4")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_foreign_v1_traces_read(tmp_path: Path, suffix: str) -> None:
    """A v1 trace of another server reads, whatever its compression, unknown fields and kinds included."""
    reader = read_all(write_lines(tmp_path / f"trace{suffix}", foreign_lines()))
    assert reader.header["reflex_version"] == "0.11.2"
    assert [line["seq"] for line in reader.lines] == [0, 1, 2]  # type: ignore[attr-defined]
    assert reader.notes == []
    assert reader.footer is not None


def test_the_content_says_what_a_file_is(tmp_path: Path) -> None:
    """A plain trace named .gz reads: the first bytes decide, not the name."""
    path = write_lines(tmp_path / "trace.jsonl", foreign_lines()).rename(tmp_path / "trace.jsonl.gz")
    assert read_all(path).count == 3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_trace_torn_at_any_byte_reads_up_to_there(tmp_path: Path, suffix: str) -> None:
    """Cut at every byte, a trace gives a prefix of its requests and a note, or says that it has no header."""
    whole = write_lines(tmp_path / f"whole{suffix}", foreign_lines())
    data, complete = whole.read_bytes(), read_all(whole).lines  # type: ignore[attr-defined]
    torn = tmp_path / f"torn{suffix}"
    previous = 0
    for length in range(len(data)):
        torn.write_bytes(data[:length])
        try:
            reader = read_all(torn)
        except TraceError:
            assert previous == 0
            continue
        lines = reader.lines  # type: ignore[attr-defined]
        assert lines == complete[: len(lines)]
        assert len(lines) >= previous
        previous = len(lines)
        assert reader.footer is not None or reader.notes
    assert previous == 3


def test_a_trace_of_ours_torn_at_any_byte_reads_whole_batches(tmp_path: Path) -> None:
    """Our gzip files give back every line before the cut."""
    path = record(tmp_path / "a", [exchange({"state": [float(number)]}) for number in range(5)])
    data, torn, counts = path.read_bytes(), tmp_path / "torn.jsonl.gz", []
    for length in range(len(data)):
        torn.write_bytes(data[:length])
        try:
            counts.append(read_all(torn).count)
        except TraceError:
            assert not counts
    assert counts == sorted(counts)
    assert counts[-1] == 5


def test_zeros_at_the_end_are_a_torn_end(tmp_path: Path) -> None:
    """Zeros that a power cut leaves behind the last line do not spoil what is before them."""
    for suffix in (".jsonl", ".jsonl.gz"):
        path = write_lines(tmp_path / f"trace{suffix}", foreign_lines())
        path.write_bytes(path.read_bytes() + bytes(4096))
        assert read_all(path).count == 3


def test_a_malformed_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    """Damage before the end is an error with its line number, not a skipped line."""
    path = write_lines(tmp_path / "trace.jsonl", foreign_lines())
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b'{"kind":"req\n', *lines[2:]]))
    with pytest.raises(TraceError, match="line 3"):
        read_all(path)


def test_damaged_gzip_is_an_error(tmp_path: Path) -> None:
    """A flipped bit in compressed data is told, and never read as a request."""
    path = write_lines(tmp_path / "trace.jsonl.gz", foreign_lines())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(TraceError, match="damaged"):
        read_all(path)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"\n\n",
        b"not json\n",
        b"[1]\n",
        b"3\n",
        b'{"kind":"header","schema_version":2}\n',
        b'{"kind":"header"}\n',
        b'{"kind":"header","schema_version":true}\n',
        b'{"kind":"request","schema_version":1,"seq":0}\n',
        b'{"kind":"header","schema_version":1,"session":"s","node":"scheduler"}\n',
        b"\x1f\x8bgarbage that is no gzip",
        b"\x04\x22\x4d\x18garbage that is no lz4",
    ],
)
def test_what_is_no_v1_trace_is_an_error(tmp_path: Path, first: bytes) -> None:
    """An empty file, garbage, another version, and a scheduler's recording raise TraceError."""
    path = tmp_path / "trace.jsonl"
    path.write_bytes(first)
    with pytest.raises(TraceError):
        read_all(path)


def test_a_seq_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    """``true`` neither, which Python takes for 1, and Parquet for nothing."""
    lines = foreign_lines()
    lines[2]["seq"] = True
    with pytest.raises(TraceError, match="line 3: a request without a seq"):
        read_all(write_lines(tmp_path / "trace.jsonl", lines))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"seq": 2**63}, "line 3: a seq beyond 64 bits"),
        ({"latency": {"total_ms": 10**400}}, "line 3: actions or latency of the wrong type"),
    ],
    ids=["seq", "latency"],
)
def test_numbers_that_no_machine_has_are_errors(tmp_path: Path, wrong: dict[str, object], said: str) -> None:
    """Replay, summary and export could do nothing with them but raise OverflowError."""
    lines = foreign_lines()
    lines[2] |= wrong
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(TraceError, match=said):
        read_all(path)


def test_a_missing_file_and_a_folder_are_errors(tmp_path: Path) -> None:
    """What cannot be opened raises TraceError."""
    for path in (tmp_path / "nothing.jsonl", tmp_path):
        with pytest.raises(TraceError):
            TraceReader(path)


def test_bare_and_tagged_nan_read_alike(tmp_path: Path) -> None:
    """Bare NaN and Infinity of other servers, and our tagged ones, are the floats they stand for."""
    assert encode([math.inf, 1.0, None]) == b'[{"$float":"inf"},1.0,null]'
    for text in (b"[NaN,Infinity,-Infinity]", b'[{"$float":"nan"},{"$float":"inf"},{"$float":"-inf"}]'):
        first, second, third = decode(text)
        assert math.isnan(first)
        assert (second, third) == (math.inf, -math.inf)


def test_gaps_and_wrong_counts_are_noted(tmp_path: Path) -> None:
    """A missing number, and a footer of ours that counts otherwise, are notes."""
    lines = foreign_lines(horus_version="0.1.0")
    del lines[2]
    notes = read_all(write_lines(tmp_path / "trace.jsonl", lines)).notes
    assert any("after seq 0 comes 2" in note for note in notes)
    assert any("footer says 3" in note for note in notes)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    ["seq", "request", "response", "latency", "error", "cameras", "cache", "timestamp", "status", "kind"]
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(_KEYS, _VALUES, max_size=6), st.sampled_from(["request", "footer", "header", "x"]))
def test_lines_of_any_shape_give_data_or_a_trace_error(tmp_path: Path, fields: dict[str, object], kind: str) -> None:
    """Whatever is in a line, reading it gives data or TraceError, and every part of the data can be asked for."""
    path = tmp_path / "trace.jsonl"
    write_lines(path, foreign_lines(1))
    line = json.dumps({"kind": kind, "schema_version": 1, **fields})
    path.write_text(path.read_text() + line + "\n" + json.dumps({"kind": "footer", "schema_version": 1}) + "\n")
    with suppress(TraceError), TraceReader(path) as reader:
        for request in reader.requests():
            assert isinstance(request.observation(), dict)
            assert isinstance(request.instruction, str)
            assert request.cache_status is None or isinstance(request.cache_status, str)
            assert request.timestamp_ns is None or isinstance(request.timestamp_ns, int)
            assert isinstance(request.cameras(), dict)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(SUFFIXES), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4))
def test_flipped_bytes_give_data_or_a_trace_error(tmp_path: Path, suffix: str, flips: list[tuple[float, int]]) -> None:
    """A trace with bytes overwritten anywhere reads or raises TraceError, and nothing else."""
    path = write_lines(tmp_path / f"trace{suffix}", foreign_lines())
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[int(place * len(data))] = value
    path.write_bytes(data)
    with suppress(TraceError):
        assert read_all(path).count <= 4


@pytest.mark.parametrize("value", [b"0,", b"[],", b'{"":0},'], ids=["numbers", "lists", "objects"])
def test_a_line_that_would_become_gigabytes_is_not_read(tmp_path: Path, value: bytes) -> None:
    """Some kilobytes of gzip can be a line of a hundred million numbers; its values are counted before it is read."""
    path = tmp_path / "trace.jsonl.gz"
    header, *_ = foreign_lines(0)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(json.dumps(header).encode() + b'\n{"kind":"request","schema_version":1,"seq":0,"x":[')
        for _ in range(161):
            file.write(value * 100_000)
        file.write(b"0]}\n")
    with TraceReader(path) as reader, pytest.raises(TraceError, match=r"line (2: a line )?of more than"):
        list(reader.requests())
