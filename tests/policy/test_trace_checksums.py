"""Each line of a trace has a checksum: what was changed in a killed one is not taken for what was recorded."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import orjson
import pytest

from horus_async.errors import TraceError
from horus_async.policy.trace.checksum import has_checksum, with_checksum
from horus_async.policy.trace.reader import TraceReader

if TYPE_CHECKING:
    from pathlib import Path

HEADER = {"kind": "header", "schema_version": 1, "session_id": "s", "horus_version": "1"}


def line(fields: dict[str, object]) -> bytes:
    """A line of ours."""
    return with_checksum(orjson.dumps(fields)) + b"\n"


def request(seq: int) -> dict[str, object]:
    """A request that was answered."""
    response = {"actions": [[seq / 2, 1.0]], "num_actions": 1, "action_dim": 2}
    return {"kind": "request", "schema_version": 1, "seq": seq, "request": {}, "response": response, "latency": {}}


LINES = [line(HEADER), *(line(request(seq)) for seq in range(5))]


def read(path: Path, data: bytes) -> tuple[list[int], list[str]]:
    """The numbers of the requests in a trace, and what is said to be missing."""
    path.write_bytes(data)
    with TraceReader(path) as trace:
        return [one.seq for one in trace.requests()], trace.losses


def test_the_checksum_is_a_field_at_the_end(tmp_path: Path) -> None:
    """Any reader of v1 finds JSON; ours says nothing of a field that the server did not record."""
    fields = orjson.loads(LINES[1])
    assert list(fields)[-1] == "crc"
    assert int(fields["crc"], 16) == zlib.crc32(LINES[1][: LINES[1].rindex(b',"crc"')])
    (tmp_path / "t.jsonl").write_bytes(b"".join(LINES))
    with TraceReader(tmp_path / "t.jsonl") as trace:
        assert "crc" not in trace.header
        assert ["crc" in one.line for one in trace.requests()] == [False] * 5


def test_every_changed_byte_of_a_killed_trace_shows(tmp_path: Path) -> None:
    """Whichever byte it is: what is read was recorded, and a loss or an error tells of the rest."""
    data = b"".join(LINES)
    for at in range(len(data)):
        for flip in (1, 2, 16):
            changed = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            (tmp_path / "t.jsonl").write_bytes(changed)
            try:
                with TraceReader(tmp_path / "t.jsonl") as trace:
                    read_as = [one.line for one in trace.requests()]
                    told = trace.losses or any("torn" in note for note in trace.notes)
            except TraceError:
                continue
            assert all(one in [request(seq) for seq in range(5)] for one in read_as), (at, flip)
            assert told, (at, flip)


def test_a_changed_line_is_left_out(tmp_path: Path) -> None:
    """The others are read, and the line is named."""
    data = b"".join(LINES).replace(b"1.5,1.0", b"9.5,1.0")
    seqs, losses = read(tmp_path / "t.jsonl", data)
    assert seqs == [0, 1, 2, 4]
    assert losses[0] == "line 5 is left out: it is damaged, as its checksum says"


def test_a_line_without_a_checksum_among_others_is_damaged(tmp_path: Path) -> None:
    """Where the header has one, every line has."""
    seqs, losses = read(tmp_path / "t.jsonl", b"".join([*LINES[:2], orjson.dumps(request(1)) + b"\n", *LINES[3:]]))
    assert seqs == [0, 2, 3, 4]
    assert "line 3" in losses[0]
    with pytest.raises(TraceError, match="header line is damaged"):
        read(tmp_path / "t.jsonl", LINES[0].replace(b'"s"', b'"t"') + LINES[1])


def test_traces_from_before_are_read_as_ever(tmp_path: Path) -> None:
    """Without checksums, plain and compressed."""
    plain = b"".join(orjson.dumps(fields) + b"\n" for fields in (HEADER, *(request(seq) for seq in range(3))))
    for data in (plain, gzip.compress(plain)):
        assert read(tmp_path / "t", data) == ([0, 1, 2], [])


def test_only_its_own_checksum_fits() -> None:
    """One digit more or less, or another line's, is none."""
    text = with_checksum(b'{"a":1}')
    assert has_checksum(text)
    assert not has_checksum(text.replace(b"1,", b"2,"))
    assert not has_checksum(b'{"a":1}')
    assert not has_checksum(b"")
