"""``examples/serial_driver.py``: a driver with a thread and a background task, recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .programs import EXAMPLES, python

if TYPE_CHECKING:
    from pathlib import Path


def test_all_that_the_driver_sent_is_recorded(tmp_path: Path) -> None:
    """It ends by itself, its thread with it, and leaves nothing behind."""
    done = python("-W", "error", EXAMPLES / "serial_driver.py", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "heard 200 readings, dropped 0, recorded at least as many: True\n"
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
