"""Makes one session of a window, in a process of its own: beside a robot's loop it would take the interpreter away.

Gets an `Order` as JSON on its standard input. Answers in lines: ``.`` now and then, at the end the JSON of what was
made, or ``{"error": …}``. If the robot is killed meanwhile it still ends by itself, with the session made.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress

import attrs

from horus_async.errors import HorusError

from .order import Order, make


def main() -> None:
    """Read what is to be made, make it, and say so."""
    for number in (signal.SIGINT, signal.SIGHUP):  # of a terminal: for the robot, which waits for this
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):
        os.nice(10)
    order = Order(**json.loads(sys.stdin.buffer.read()))
    try:
        answer = attrs.asdict(make(order, lambda _: _say(".")))
    except (HorusError, OSError, MemoryError) as error:
        answer = {"error": f"{error}" or type(error).__name__}
    _say(json.dumps(answer))


def _say(line: str) -> None:
    with suppress(BrokenPipeError):
        os.write(1, line.encode() + b"\n")
