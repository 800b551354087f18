"""Ctrl-C and SIGTERM while a command plays messages, sent to real processes."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns

from .sessions import robot
from .test_inject import app

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {
    "replay": ("replay", "s", "--loop"),
    "record replay": ("record", "replay", "s", "--loop", "--speed", "0.5"),
    "record inject": ("record", "inject", "s", "--nodes", "sensor", "--into", "app.py", "--duration", "1000"),
    "run": ("run", "app.py:build", "--no-blackbox"),
}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", COMMANDS.values(), ids=[*COMMANDS])
def test_a_signal_ends_a_command_with_its_exit_code(
    recordings_dir: Path, tmp_path: Path, command: tuple[str, ...], number: signal.Signals, code: int
) -> None:
    """J.1-43: what a command plays is seen by another process, and a signal ends it with 128 + its number, silently."""
    robot(recordings_dir, "s", ticks=20)
    app(tmp_path, deterministic=False)
    with Topic("sensor.reading") as topic:
        process = subprocess.Popen(
            [sys.executable, "-m", "horus_async", *command],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            deadline = monotonic_ns() + 300 * NANOSECONDS
            while topic.recv() is None:
                assert process.poll() is None
                assert monotonic_ns() < deadline
                threading.Event().wait(0.001)
            process.send_signal(number)
            _, complaints = process.communicate(timeout=300)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == code, complaints
    assert "Aborted" not in complaints
    assert "Traceback" not in complaints
