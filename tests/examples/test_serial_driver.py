"""``examples/serial_driver.py``: a driver with a thread and a background task, unplugged once, recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .programs import EXAMPLES, python

if TYPE_CHECKING:
    from pathlib import Path


def test_all_that_the_driver_sent_is_recorded(tmp_path: Path) -> None:
    """The device comes back by the failure policy, the run ends by itself, threads with it, and nothing is left."""
    done = python("-W", "error", EXAMPLES / "serial_driver.py", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "heard 200 readings, dropped 0, recorded at least as many: True",
        "unplugged after 100 of them, opened 4 times",
    ]
    assert [line for line in done.stderr.splitlines() if line.startswith("node 'driver'")] == [
        "node 'driver' failed in a thread: OSError: the device was unplugged",
        "node 'driver' failed in init: OSError: could not open the port: there is no device",
        "node 'driver' failed in init: OSError: could not open the port: there is no device",
    ]
    assert list(tmp_path.iterdir()) == []
