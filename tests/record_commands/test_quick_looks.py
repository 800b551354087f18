"""What makes ``record info`` and seeking quick in a long session: most of it is not read. Counted, not timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from horus_async.recorder import Session, open_session
from horus_async.recorder.read import reader as reader_module
from horus_async.recorder.read.info import session_info
from horus_async.recorder.records import parse_line

from .sessions import make

if TYPE_CHECKING:
    from pathlib import Path

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
