"""A policy server in a process of its own, and what clients measure of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from .sampling import CannotMeasureError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SERVE = ("-c", "from horus_async.cli.serve import serve; serve()")
"""What makes Python ``horus-async serve``; its arguments come next."""

_ROOT = Path(__file__).parent.parent


def answers(ask: Callable[[int, int], Awaitable[list[float]]], requests: int, *arguments: str) -> list[float]:
    """Start ``python ARGUMENTS``, which prints an address that ends in its port, and ask it so many times.

    Returns what ``ask(port, requests)`` returns, a duration for each answer.

    Raises:
        CannotMeasureError: it did not start.
    """
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONUNBUFFERED": "1"}
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as server,
    ):
        try:
            assert server.stdout is not None
            _, _, port = server.stdout.readline().rpartition(":")
            if not port:
                server.wait()
                errors.seek(0)
                raise CannotMeasureError((errors.read().strip().splitlines() or ["the server printed nothing"])[-1])
            return trio.run(ask, int(port), requests)
        finally:
            server.terminate()
