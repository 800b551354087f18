"""A robot in two processes: what the example proves, and its two programs run by hand."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async.errors import SessionNotFoundError
from horus_async.recorder import open_session
from horus_async.recorder.read.check import Verdict, check_session

from .programs import EXAMPLES, ROOT, horus, python

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder import Session

EXAMPLE = EXAMPLES / "two_processes.py"


def test_each_process_replays_without_the_other(tmp_path: Path) -> None:
    """Both are recorded, what one took is what the other sent, each verifies alone, and changed code is found out."""
    done = python(EXAMPLE, tmp_path / "recordings", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("external messages, each as") == 2
    assert done.stdout.count("replayed alone") == 2
    assert "controller with gain 5.0: tick" in done.stdout
    for name in ("robot", "controller"):
        session = open_session(name, tmp_path / "recordings")
        assert check_session(session).verdict is Verdict.WHOLE
        options = ("--speed", "max", "--verify", EXAMPLE, "--", name)
        again = horus("replay", name, *options, cwd=tmp_path, HORUS_RECORDINGS_DIR=str(tmp_path / "recordings"))
        assert again.returncode == 0, again.stderr
        rows = again.stderr.splitlines()[1:]  # a table: topic, compared, differing, largest difference
        assert rows
        assert all(row.split()[2] == "0" for row in rows), again.stderr
    wrong = horus(
        *("replay", "controller", "--speed", "max", "--verify", EXAMPLE, "--", "robot"),
        cwd=tmp_path,
        HORUS_RECORDINGS_DIR=str(tmp_path / "recordings"),
    )
    assert wrong.returncode == 2  # nothing was compared


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_seen_in_the_exit_code(sent: signal.Signals, tmp_path: Path) -> None:
    """``horus-async run`` ends with 130 after Ctrl-C and 143 after SIGTERM; the recording is whole, nothing is left."""
    command = [
        sys.executable,
        "-m",
        "horus_async",
        "run",
        str(EXAMPLE),
        "--no-blackbox",
        "--record",
        "s",
        "--",
        "robot",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment) as run:
        session = None
        while session is None or not session.files:
            session = _opened()
        run.send_signal(sent)
        _, errors = run.communicate(timeout=300)

    assert run.returncode == 128 + sent
    assert "Aborted" not in errors
    assert "Traceback" not in errors
    assert check_session(open_session("s")).verdict is Verdict.WHOLE


def _opened() -> Session | None:
    try:
        return open_session("s")
    except SessionNotFoundError:
        return None
