"""What makes ``record info`` and seeking quick in a long session: most of it is not read. Counted, not timed."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async.recorder import Session, frames, open_session
from horus_async.recorder.read import reader as reader_module
from horus_async.recorder.read.info import session_info
from horus_async.recorder.records import parse_line

from .sessions import make

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder.frames import Read

TICKS = 120_000


@pytest.fixture(name="long")
def _long(recordings_dir: Path) -> Session:
    """Twenty minutes of one node at 100 Hz."""
    return make(recordings_dir, "long", {tick: [("n", "t", {"x": tick})] for tick in range(TICKS)}, ticks=TICKS)


@pytest.fixture(name="parsed")
def _parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes of lines were parsed, an entry a line."""
    lines: list[int] = []

    def counting(line: bytes) -> object:
        lines.append(len(line))
        return parse_line(line)

    monkeypatch.setattr(reader_module, "parse_line", counting)
    return lines


def test_info_and_seek_read_a_part(long: Session, parsed: list[int]) -> None:
    """``info`` of a closed session parses less than half of its lines, and a seek no more than a few frames'."""
    found = session_info(open_session(long.path))
    assert (found.messages, found.topics[0].first_tick, found.topics[0].last_tick) == (TICKS, 0, TICKS - 1)
    assert 0 < len(parsed) < TICKS  # of 2 * TICKS lines
    parsed.clear()
    line = next(iter(open_session(long.path).executions("n", 77_777)))
    assert line.tick == 77_777
    assert 0 < len(parsed) < TICKS // 6


def test_info_reads_each_end_once(recordings_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed file's footer and index are looked at many times, and read once."""
    path = make(recordings_dir, "s", {0: [("n", "t", 1)], 9: [("m", "u", 2)]}, ticks=10).path
    footers: list[int] = []
    indexes: list[int] = []
    read_index = frames.read_index

    def counting(line: bytes) -> object:
        footers.append(b'"footer"' in bytes(line))
        return parse_line(line)

    def counting_too(read: Read, size: int) -> object:
        indexes.append(size)
        return read_index(read, size)

    monkeypatch.setattr(reader_module, "parse_line", counting)
    monkeypatch.setattr(reader_module, "read_index", counting_too)
    session = open_session(path)
    files = len(session.all_files())
    assert files == 3
    opened = sum(footers)
    for _ in range(3):
        session_info(session)
    assert len(indexes) == files
    looked_up = 3 * 4  # types are looked up in the first and the last frames, which may hold the footer
    assert opened == files
    assert sum(footers) <= files + looked_up


def test_info_imports_what_it_needs() -> None:
    """Neither an event loop nor what runs and records: their import takes twice as long as all the rest."""
    program = (
        "import json, sys\n"
        "from horus_async.cli import main\n"
        "try: main(['record', 'info', 'none'], standalone_mode=False)\n"
        "except SystemExit as end: print(json.dumps([end.code, sorted(sys.modules)]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, modules = json.loads(done.stdout)
    assert code == 2, done.stderr
    for name in ("trio", "rich", "horus_async.scheduler.scheduler", "horus_async.engine.runtime"):
        assert name not in modules
    assert not [name for name in modules if name.startswith(("horus_async.recorder.write", "horus_async.replay"))]
