"""Parts of a session, as people name them: ``--ticks N-M`` and ``--time A-B``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from horus_async.cli.support.errors import USAGE, fail
from horus_async.recorder.view.moments import first_tick_from, parse_span, span_text

if TYPE_CHECKING:
    from horus_async.recorder import Session

_TICKS = re.compile(r"(\d*)(-?)(\d*)")


def ticks_of(session: Session, ticks: str | None, span: str | None) -> tuple[int | None, int | None]:
    """The first tick and the last; None where the part is open at that end.

    Raises:
        click.UsageError: A range of ticks cannot be read.
        RecordingError: A range of times cannot be.
    """
    if ticks is not None:
        return _ticks(ticks)
    return (None, None) if span is None else _ticks_of_time(session, span)


def _ticks(text: str) -> tuple[int | None, int | None]:
    match = _TICKS.fullmatch(text.strip())
    if match is None or not (match[1] or match[3]):
        raise click.UsageError(f"--ticks {text!r}: give N-M, N-, -M or N")
    start = int(match[1]) if match[1] else None
    stop = int(match[3]) if match[3] else None if match[2] else start
    return start, stop


def _ticks_of_time(session: Session, text: str) -> tuple[int | None, int | None]:
    begin, end = parse_span(text)
    start = None if begin is None else first_tick_from(session, begin)
    after = None if end is None else first_tick_from(session, end)
    stop = None if after is None else after - 1
    if (begin is not None and start is None) or (after is not None and after <= (start or session.first_tick or 0)):
        fail(f"--time {text!r}: session {session.name!r} has no tick there; it has {span_text(session)}", USAGE)
    return start, stop
