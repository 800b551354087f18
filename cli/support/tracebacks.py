"""A program's own traceback: what it raised, from the first frame of its own on."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

import click

import horus_async

_PACKAGE = f"{Path(horus_async.__file__).resolve().parent}/"
_COMMANDS = f"{Path(__file__).resolve().parents[1]}/"
_STANDARD = f"{sysconfig.get_path('stdlib')}/"
_LOOPS = ("trio", "anyio", "outcome", "click", "sniffio")


def show_traceback(error: BaseException) -> None:
    """Print it on standard error, without what stands between the shell and the program."""
    shown = traceback.TracebackException.from_exception(error)
    _cut(shown, set())
    click.echo("".join(shown.format()).rstrip(), err=True)


def _cut(shown: traceback.TracebackException, seen: set[int]) -> None:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    first = next((number for number, frame in enumerate(shown.stack) if _is_theirs(frame.filename)), None)
    if first is not None:
        shown.stack = traceback.StackSummary.from_list(list(shown.stack)[first:])
    for other in (shown.__cause__, shown.__context__, *(shown.exceptions or ())):
        if other is not None:
            _cut(other, seen)


def _is_theirs(file: str) -> bool:
    """Whether a frame is the program's, not Python's, the event loop's or ours."""
    if file.startswith(("<frozen ", _PACKAGE, _COMMANDS)):
        return False
    if any(f"/site-packages/{name}/" in file for name in _LOOPS):
        return False
    return not file.startswith(_STANDARD) or "/site-packages/" in file
