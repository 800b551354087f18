"""Ctrl-C while a driver waits for its device: the thread or the task ends, and so does the process."""

from __future__ import annotations

import os
import pty
import tty
from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING

import pytest

from tests.engine.programs import signalled_script
from tests.examples.programs import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from signal import Signals

TEXT = """
import runpy
from horus_async import Node
from horus_async.scheduler.in_force import overriding
from horus_async.scheduler.overrides import Overrides
def ready(node):
    print("ready", flush=True)
scheduler = runpy.run_path({program!r})["build"]({args!r}).add(Node("ready", tick=ready, rate=10))
with overriding(Overrides(asyncio={asyncio} or None)):
    scheduler.run_sync()
"""


@pytest.fixture
def port() -> Iterator[str]:
    """A serial line at which nobody says anything."""
    ends = pty.openpty()
    tty.setraw(ends[1])
    yield os.ttyname(ends[1])
    for end in ends:
        os.close(end)


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
@pytest.mark.parametrize(
    ("library", "example", "args"),
    [
        ("serial", "serial_imu.py", []),
        ("can", "can_motor.py", ["virtual", "nobody"]),
        ("paho.mqtt.client", "mqtt_robot.py", ["127.0.0.1", "1"]),
        ("aiohttp", "http_gauge.py", ["http://127.0.0.1:1/live"]),
    ],
)
def test_a_driver_that_waits_ends(library: str, example: str, args: list[str], number: Signals, port: str) -> None:
    """With the exit code of the signal, and without a trace."""
    pytest.importorskip(library)
    program = str(EXAMPLES / "hardware" / example)
    text = TEXT.format(program=program, args=args or [port], asyncio=library == "aiohttp")
    code, _, errors = signalled_script(text, number)
    assert code == 128 + number, errors
    assert "Traceback" not in errors
