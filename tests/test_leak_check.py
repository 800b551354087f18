"""The leak check that every test stands under: it has to catch what it is there for."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LEAKING = """
import os, threading
from pathlib import Path

def test_clean(namespace):
    pass

def test_file():
    os.open("/dev/null", os.O_RDONLY)

def test_thread():
    threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()

def test_memory(namespace):
    folder = Path("/dev/shm") / f"horus_{namespace}"
    folder.mkdir()
    (folder / "ring").touch()
    print(f"made {folder}", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="descriptors and shared memory are looked up as Linux shows them")
def test_what_a_test_leaves_behind_fails_it(tmp_path: Path) -> None:
    """A descriptor, a thread and shared memory left behind are errors that name them; a clean test passes."""
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_leaking.py").write_text(LEAKING)
    options = ["-q", "-s", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(tmp_path / "temp")]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if "made /dev/shm/" in line:
            shutil.rmtree(line.split("made ")[1])

    assert "4 passed, 3 errors" in done.stdout
    assert "file descriptor" in done.stdout
    assert "-> /dev/null" in done.stdout
    assert "thread forgotten" in done.stdout
    assert "shared memory /dev/shm/horus_test" in done.stdout
