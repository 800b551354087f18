"""Tracebacks that begin in the user's code: what stands between the shell, or pytest, and it is nobody's business."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from horus_async.errors import HorusError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_STANDARD = f"{Path(os.__file__).parent}/"
_AROUND = frozenset({"horus_async", "trio", "anyio", "outcome", "sniffio", "click", "_pytest", "pluggy", "pytest_trio"})
"""Packages that call the user's code, or are called by ours."""
_NO_LINE = -1
"""What Python itself notes in a traceback for an instruction of no line."""


def begin_with_the_users(error: BaseException) -> None:
    """Cut the traceback of an error, of those that it came from and of those in its group, to begin in the user's code.

    An error of ours, or a group, has no others than these: its text says what is wrong, not how we found out. One that
    came up in no code of the user's keeps all its frames; but not a group, nor a program that is no Python, whose text
    has the place.
    """
    for one in _related(error):
        frames = list(_frames(one.__traceback__))
        theirs = [frame for frame in frames if _is_the_users(frame)]
        if theirs:
            said = isinstance(one, (HorusError, BaseExceptionGroup))
            one.__traceback__ = _joined(theirs if said else frames[frames.index(theirs[0]) :])
        elif isinstance(one, SyntaxError):
            one.__traceback__ = None
        elif isinstance(one, BaseExceptionGroup):
            one.__traceback__ = _joined(frames[-1:]) if one is error else None


def last_place(error: BaseException) -> tuple[str, int | None] | None:
    """File and line of the user's code where an error came up; None if that was in no code of the user's."""
    theirs = [frame for frame in _frames(error.__traceback__) if _is_the_users(frame)]
    return (theirs[-1].tb_frame.f_code.co_filename, line_of(theirs[-1])) if theirs else None


def is_by_the_users(error: BaseException) -> bool:
    """Whether the call that raised it is in the user's code itself, and not further in."""
    frames = list(_frames(error.__traceback__))
    return bool(frames) and _is_the_users(frames[-1])


def line_of(at: TracebackType) -> int | None:
    """The line of a frame; None where a signal's handler raised at an instruction that belongs to no line."""
    line: int | None = at.tb_lineno  # typeshed knows of no None
    return line


def is_about_ours(error: BaseException) -> bool:
    """Whether it is an error of ours, or a group with one: some other may have passed through our code by accident."""
    return any(isinstance(one, HorusError) for one in _related(error))


def _related(error: BaseException) -> list[BaseException]:
    """The error, and all that a traceback shows with it."""
    found: dict[int, BaseException] = {}
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in found:
            continue
        found[id(one)] = one
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return list(found.values())


def _frames(at: TracebackType | None) -> Iterator[TracebackType]:
    while at is not None:
        yield at
        at = at.tb_next


def _joined(frames: Sequence[TracebackType]) -> TracebackType | None:
    joined = None
    for frame in reversed(frames):
        joined = TracebackType(joined, frame.tb_frame, frame.tb_lasti, line_of(frame) or _NO_LINE)
    return joined


def _is_the_users(at: TracebackType) -> bool:
    """Whether a frame is of the program or a library that it uses; not Python's, the event loop's or ours."""
    frame = at.tb_frame
    file = frame.f_code.co_filename
    if file.startswith("<frozen ") or str(frame.f_globals.get("__name__", "")).partition(".")[0] in _AROUND:
        return False
    return not file.startswith(_STANDARD) or "/site-packages/" in file or "/dist-packages/" in file
