"""How a program of a launch file is started: the one place that knows the command line of ``horus-async run``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import orjson

from horus_async.folders import expanded

if TYPE_CHECKING:
    from pathlib import Path

    from .schema import Program

PARENT = "HORUS_LAUNCHED_BY"
"""The environment variable with the process that started a program, and without which it is not to run."""

READY = "NOTIFY_SOCKET"
"""The environment variable with the socket on which a program says that it is up: systemd's, as it is its protocol."""


def command_of(
    name: str, program: Program, *, record: tuple[Path, str] | None = None, python: str | None = None
) -> list[str]:
    """What to run.

    Args:
        name: The program's, which its scheduler and black box get.
        program: What the file says of it.
        record: The folder of sessions, and the name of this one; None for no recording.
        python: The interpreter, by default this one.
    """
    # -P: what lies in the folder of the robot (select.py, queue.py) takes no module's place
    command = [python or sys.executable, "-P", "-m", "horus_async", "run"]
    if record is not None:
        command += ["--recordings-dir", str(record[0]), "--record", record[1]]
    command += ["--name", name, *(("--asyncio",) if program.asyncio else ()), *program.options]
    for param, value in program.params.items():
        command += ["--param", f"{param}={orjson.dumps(value).decode()}"]
    command.append(str(expanded(program.app)) if program.app.startswith("~") else program.app)
    return [*command, "--", *program.args] if program.args else command


def environment_of(program: Program, *, notify: str) -> dict[str, str]:
    """Its environment: that of launch, and on top what its table says."""
    found = {**os.environ, "PYTHONUNBUFFERED": "1", **program.env}
    if program.namespace is not None:
        found["HORUS_NAMESPACE"] = program.namespace
    return {**found, PARENT: str(os.getpid()), READY: notify}
