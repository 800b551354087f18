"""``python -m benchmarks.realtime`` runs, and prints a line a side. How late they are it leaves to its readers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import cyclic


def test_the_table() -> None:
    """A row for each side that was asked for; one that cannot run says why."""
    command = [sys.executable, "-m", "benchmarks.realtime", "--seconds", "0.3", "--load", "1"]
    done = subprocess.run(
        [*command, "--only", "ours", "ours-realtime", "c", "trio", "horus"],
        cwd=Path(__file__).parent.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]

    assert [row[0] for row in rows[1:]] == [
        "| horus-async",
        "| horus-async --realtime",
        f"| {cyclic.language()}, clock_nanosleep",
        "| trio.sleep_until",
        "| HORUS 0.4.1",
    ]
    assert len(rows[1]) == 6
    assert len(rows[4]) == 6
    refused = "real time is not permitted" in rows[2][1]
    assert done.returncode == (1 if refused else 0), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="clock_nanosleep is Linux's")
def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is Python's then, and says so."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert "ctypes" in cyclic.language()
    late = cyclic.lateness(0, 0.1)

    assert 1 <= len(late) <= 100
    assert min(late) == 0
