"""Writes a launch file as systemd units: a service for each program, and a target for all.

What systemd does not have is written into the unit as a remark, and given back, so that nobody takes it for done.
"""

from __future__ import annotations

import math
import os
import re
import sys
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.errors import LaunchError

from .commands import command_of
from .schema import Restart

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .schema import LaunchFile, Program

MARK = "# Written by horus-async launch --systemd"
"""What our units begin with: only such a file is written anew."""

_RESTARTS = {Restart.NEVER: "no", Restart.ON_FAILURE: "on-failure", Restart.ALWAYS: "always"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:,=@+-]+")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "%": "%%"}


@frozen
class Units:
    """What was written."""

    files: list[Path]
    """The target is the last."""
    notes: list[str]
    """What of the launch file systemd does not do."""


def write_units(file: LaunchFile, folder: Path, *, namespace: str | None = None) -> Units:
    """Write the units of a launch file into a folder, which is made if it is missing.

    Raises:
        LaunchError: One cannot be written, or another file has its name.
    """
    title = re.sub(r"[^A-Za-z0-9_.-]", "_", file.path.stem) or "robot"
    units = {service(title, name): "\n".join(_service(file, title, name, namespace)) for name in file.programs}
    units[f"{title}.target"] = "\n".join(_target(file, title))
    for name in units:
        _check_free(file, folder / name)
    notes = [f"{name} is required: systemd does not end the others with it" for name in _required(file)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in units.items():
            partial = folder / f".{name}.part"
            partial.write_text(f"{text}\n", encoding="utf-8")
            partial.replace(folder / name)
    except (OSError, UnicodeEncodeError) as error:
        raise LaunchError(f"cannot write units into {folder}: {error}") from error
    return Units([folder / name for name in units], notes)


def service(title: str, program: str) -> str:
    """The name of a program's unit."""
    return f"{title}-{program}.service"


def _required(file: LaunchFile) -> Iterator[str]:
    return (name for name, program in file.programs.items() if program.required)


def _check_free(file: LaunchFile, path: Path) -> None:
    try:
        with path.open(encoding="utf-8", errors="replace") as there:
            ours = there.readline().startswith(MARK)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LaunchError(f"{path}: {error.strerror or error}") from None
    if not ours:
        raise LaunchError(f"{path} is there and not of launch: move it, or give another --output for {file.path.name}")


def _service(file: LaunchFile, title: str, name: str, namespace: str | None) -> Iterator[str]:
    program = file.programs[name]
    others = [service(title, other) for other in program.after]
    yield f"{MARK} {file.path.name}"
    yield "[Unit]"
    yield f"Description={_text(f'{name} of {file.path.name}')}"
    yield f"PartOf={title}.target"
    if others:
        yield f"After={' '.join(others)}"
        yield f"Wants={' '.join(others)}"
    if program.restart is not Restart.NEVER:
        yield f"StartLimitIntervalSec={program.restart_window:g}"
        yield f"StartLimitBurst={program.max_restarts + 1}"
    if program.required:
        yield "# required = true: systemd does not end the others with it"
    yield ""
    yield "[Service]"
    yield "Type=notify"
    yield f"WorkingDirectory={_path(file.folder)}"
    for key, value in {**_environment(program, namespace), "PYTHONUNBUFFERED": "1"}.items():
        yield f"Environment={quoted(f'{key}={value}', dollar=False)}"
    for topic in program.after_topics:
        yield f"ExecStartPre={_line([sys.executable, '-P', '-m', 'horus_async', 'topic', 'echo', '-n', '1', topic])}"
    yield f"ExecStart={_line(command_of(name, program))}"
    yield f"TimeoutStartSec={program.wait_timeout * (1 + len(program.after_topics)):g}"
    yield f"TimeoutStopSec={program.grace:g}"
    yield "KillMode=mixed"
    yield "SuccessExitStatus=143"
    yield f"Restart={_RESTARTS[program.restart]}"
    if program.restart is not Restart.NEVER:
        yield f"RestartSec={program.backoff:g}"
        if program.backoff_limit > program.backoff:
            yield f"RestartMaxDelaySec={program.backoff_limit:g}"
            yield f"RestartSteps={math.ceil(math.log2(program.backoff_limit / program.backoff))}"
    yield ""
    yield "[Install]"
    yield f"WantedBy={title}.target"


def _target(file: LaunchFile, title: str) -> Iterator[str]:
    yield f"{MARK} {file.path.name}"
    yield "[Unit]"
    yield f"Description={_text(f'the programs of {file.path.name}')}"
    yield f"Wants={' '.join(service(title, name) for name in file.programs)}"
    yield ""
    yield "[Install]"
    yield "WantedBy=default.target"


def _environment(program: Program, namespace: str | None) -> dict[str, str]:
    """What its table says, and the namespace, which units have from nobody else."""
    wanted = program.namespace or namespace or os.environ.get("HORUS_NAMESPACE")
    return {**program.env, **({"HORUS_NAMESPACE": wanted} if wanted else {})}


def _line(words: Iterable[str]) -> str:
    return " ".join(map(quoted, words))


def quoted(word: str, *, dollar: bool = True) -> str:
    """A word as systemd reads it back unchanged.

    Args:
        word: Any text without NUL.
        dollar: Whether ``$`` begins a variable where it is to stand, as in command lines.
    """
    text = word.replace("$", "$$") if dollar else word
    if _PLAIN.fullmatch(text):
        return text
    return (
        '"'
        + "".join(
            _ESCAPES.get(letter, letter) if letter.isprintable() or letter in _ESCAPES else _hex(letter)
            for letter in text
        )
        + '"'
    )


def _hex(letter: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in letter.encode())


def _text(text: str) -> str:
    """Text for people: specifiers and controls are none."""
    return "".join(letter if letter.isprintable() else " " for letter in text).replace("%", "%%").rstrip("\\")


def _path(path: Path) -> str:
    text = str(path)
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise LaunchError(f"folder {text!r} cannot stand in a unit: move the launch file to another")
    return text.replace("%", "%%")
