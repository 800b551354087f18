"""Thousands of topics: opening them costs the same for each, and the limit of open files is named."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async.topics import Bus, discovery
from horus_async.topics.external.rings import list_folder

if TYPE_CHECKING:
    from pathlib import Path

TOPICS = 600

APP = """
import resource, sys
from horus_async.observe import Execution, External, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions
recorder = Recorder(RecordingOptions(name="s"), None, block=True)
recorder.run_started(RunInfo("scheduler", 10.0, True, 7, 1, 0, "default", (NodeInfo("n", None),)))
for number in range(200):
    if {outside}:
        recorder.received_external(External(0, f"t{{number}}", "p", 0, 1, b"1", 0))
    else:
        recorder.sent(Sent("n", f"t{{number}}", 0, 1, b"1", 0, 0))
recorder.executed(Execution("tick", "n", 0, 0, 1, 0, [], None))
recorder.tick_ended(TickEnd(0, 0, ["n"]))
recorder.run_stopped("duration", 1)
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
from horus_async.cli import main
sys.argv = ["horus-async", "replay", "s", "--speed", "max"]
main()
"""


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each listing of the folder, by the number of files in it."""
    found: list[int] = []

    def counting(namespace: str) -> tuple[tuple[int, int], list[str]] | None:
        listed = list_folder(namespace)
        found.append(0 if listed is None else len(listed[1]))
        return listed

    monkeypatch.setattr(discovery, "list_folder", counting)
    monkeypatch.setattr(discovery, "_LISTENERS_NS", 1 << 60)  # however slow the machine is
    return found


def test_not_every_ring_that_opens_or_closes_lists_the_folder(listings: list[int]) -> None:
    """What is listed grows with the number of topics, not with its square."""
    with Bus(isolated=True) as bus:
        for number in range(TOPICS):
            bus.publisher(f"t{number}", "n").publish(b"1", 1)
        assert len(listings) < TOPICS / 4
        assert sum(listings) < 20 * TOPICS
        listings.clear()
    assert sum(listings) < 20 * TOPICS


def test_few_rings_are_announced_to_whoever_listens_now(listings: list[int]) -> None:
    """With few topics every listing is fresh."""
    with Bus(isolated=True) as bus:
        for number in range(5):
            bus.publisher(f"t{number}", "n").publish(b"1", 1)
    assert len(listings) >= 5


@pytest.mark.parametrize("outside", [False, True], ids=["nodes", "outside"])
@pytest.mark.parametrize("limit", [40, 100, 180, 204, 208, 212, 220, 300])
def test_at_the_limit_of_open_files_one_line_names_it(tmp_path: Path, limit: int, *, outside: bool) -> None:
    """And the way out; no traceback, at whichever file it is reached."""
    app = tmp_path / "app.py"
    app.write_text(APP.format(limit=limit, outside=outside))
    done = subprocess.run([sys.executable, str(app)], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    if done.returncode == 0:
        assert limit > 220
        assert not lines
        return
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert f"this process may have {limit}" in lines[0]
    assert "ulimit -n" in lines[0]
    assert "--topic" in lines[0]
