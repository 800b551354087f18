"""The description of the format is enough to read a recording: what it says is carried out here, byte by byte."""

from __future__ import annotations

import logging
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import orjson

from horus_async.observe import External, Logged, TickEnd
from horus_async.recorder import Redact

from . import independent
from .runs import execution, message, record, recorder, run_info, tell

DESCRIPTION = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


def everything(root: Path) -> list[Path]:
    """A recording with every kind of line and file."""
    observer = recorder(root, rotate_seconds=0.5, interval=60, exclude_topics=("out",), redact={"secret": Redact.HASH})
    observer.run_started(run_info())
    assert observer._writer is not None
    sensor = execution("sensor", 0)
    observer.executed(sensor._replace(kind="init"))
    for tick in range(200):
        sent = [message("sensor", topic, tick, {"n": tick}) for topic in ("sensor.reading", "secret", "out")]
        tell(observer, execution("sensor", tick), sent)
        observer.tick_ended(TickEnd(tick, 0, ["sensor"]))
        observer.received_external(External(tick, "in", "p", tick, 0, b"1" if tick != 90 else b"no JSON"))
        if tick % 20 == 19:
            for file in observer._writer.files:  # the writer's thread sleeps: its interval is a minute
                file.write(file.feed.take())
    observer.logged(logged("sensor", tick=None))
    observer.logged(logged(None, tick=199))
    observer.executed(sensor._replace(kind="safe_state", tick=199, error="ValueError: no"))
    observer.executed(sensor._replace(kind="shutdown", tick=199))
    observer.run_stopped("duration", 200)
    return observer.stop()


def logged(node: str | None, tick: int | None) -> Logged:
    """A line of the log with all fields."""
    record = logging.makeLogRecord(
        {"name": "horus_async", "levelname": "NOTICE", "levelno": 35, "stack_info": "Stack:"}
    )
    record.joint = 3
    record.exc_info = (ValueError, ValueError("no"), None)
    return Logged(node, tick, 199, 0, 35, "text", record, by_node=node is not None)


def test_every_kind_and_field_is_described(tmp_path: Path) -> None:
    """Each kind of line, and each field that stands in a line or the manifest, is named in the description."""
    kinds = set()
    fields = set(orjson.loads((everything(tmp_path)[0].parent / "session.json").read_bytes()))
    for path in (tmp_path / "session").glob("*.lz4"):
        for line in independent.lines(path.read_bytes()):
            kinds.add(line["kind"])
            line.pop("joint", None)  # the user's
            fields |= line.keys()
            if line["kind"] == "tick" and "outputs" in line:
                fields.update(*line["inputs"], *line["outputs"])
    assert kinds == {"header", "tick", "init", "shutdown", "safe_state", "message", "log", "gap", "footer"}
    assert {"part", "filter", "redacted", "next", "excluded", "topics", "files"} <= fields
    missing = {name for name in kinds | fields if not re.search(rf'[`"]{name}[`"]', DESCRIPTION)}
    assert missing - {"kind"} == set()


def test_the_index_is_as_described(tmp_path: Path) -> None:
    """Offsets, sizes, checksum and entries of the index frame are those of the tables."""
    for path in everything(tmp_path):
        data = path.read_bytes()
        assert data[-8:] == b"HORUSIXE"
        count, whole, checksum = struct.unpack("<III", data[-20:-8])
        frame = data[-whole:]
        assert struct.unpack_from("<II", frame) == (0x184D2A5E, 28 + 32 * count)
        assert frame[:4] == bytes.fromhex("5E2A4D18")
        assert whole == 36 + 32 * count == len(frame)
        assert frame[8:16] == b"HORUSIX1"
        assert zlib.crc32(frame[8 : 24 + 32 * count], 0x484F5255) == checksum
        found = list(independent.frames(data))
        end = found[1][0] if len(found) > 1 else None
        highest = -1
        total = 0
        for entry in range(count):
            offset, size, first, last, lines = struct.unpack_from("<QIqqI", frame, 16 + 32 * entry)
            assert offset == end
            end = offset + size
            inside = [orjson.loads(line) for at, text in found if offset <= at < end for line in text.splitlines()]
            ticks = [line.get("at_tick", line["tick"]) for line in inside if "tick" in line]
            if ticks:
                assert (first, max(highest, *ticks)) == (ticks[0], last)
            highest = last
            total += lines
            assert lines == len(inside)
        assert total in {len(independent.lines(data)) - 1, len(independent.lines(data)) - 2}


def test_the_reader_in_the_description_reads(tmp_path: Path) -> None:
    """The dozen lines of Python at its end give the lines of whole and of cut files."""
    (code,) = re.findall(r"```python\n(.*?)```", DESCRIPTION, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(code, scope)
    for path in [*record(tmp_path / "a", 300), *everything(tmp_path / "b")]:
        expected = independent.lines(path.read_bytes())
        assert list(scope["lines"](path)) == expected
        path.write_bytes(path.read_bytes()[:-1])
        assert list(scope["lines"](path)) == expected


def test_the_digest_is_as_described(tmp_path: Path) -> None:
    """The digest can be made from the lines of the nodes alone."""
    paths = record(tmp_path, 20)
    texts = {path.name.split("@")[0]: independent.lines(path.read_bytes()) for path in paths}
    for tick in range(20):
        digested = b""
        for node in ("sensor", "controller"):
            (line,) = [line for line in texts[node] if line["kind"] == "tick" and line["tick"] == tick]
            for sent in line["outputs"]:
                name, topic = orjson.dumps(node), orjson.dumps(sent["topic"])
                digested += b"%b %b %d %b " % (name, topic, sent["seq"], orjson.dumps(sent["data"]))
        (line,) = [line for line in texts["scheduler"] if line["kind"] == "tick" and line["tick"] == tick]
        assert line["digest"] == f"{zlib.crc32(digested) & 0xFFFFFF:06x}"
