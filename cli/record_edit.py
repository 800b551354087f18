"""The commands of ``horus-async record`` that make a session of others: cut, merge."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
import click

from horus_async.recorder import open_session
from horus_async.recorder.view.moments import first_tick_from, parse_span, span_text

from .support.errors import FOUND, USAGE, fail, prints_no_data
from .support.in_order import ended_in_order
from .support.render import print_json, progress, show_notes
from .terminal import completion
from .terminal.text import tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.recorder import Session
    from horus_async.recorder.edit.cut import Edited

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_TICKS = re.compile(r"(\d*)(-?)(\d*)")


@click.command()
@click.argument("session", shell_complete=completion.session)
@click.option("--ticks", metavar="N-M", help="These ticks, both included; N- to the end, -M from the start.")
@click.option("--time", "span", metavar="A-B", help="From A up to B: seconds since the start, or times of day.")
@click.option("--name", required=True, metavar="NEW", help="The name of the part.")
@_JSON
def cut(session: str, *, ticks: str | None, span: str | None, name: str, as_json: bool) -> None:
    """Make a session NEW of a part of SESSION, which stays as it is.

    Ticks, sequence numbers, stamps, nodes and clock are the same in it. Times of day are ISO 8601, UTC without a zone;
    B itself is not in the part, so that 0-10 and 10-20 have no tick in common. Exit code 1 when something of the part
    could not be read.

    Example: horus-async record cut monday --ticks 500-999 --name fall

    Example: horus-async record cut monday --time 12.5-20 --name fall
    """
    from horus_async.recorder.edit.cut import cut_session

    if (ticks is None) is (span is None):
        raise click.UsageError("give --ticks N-M or --time A-B")
    prints_no_data(unless=as_json)
    opened = open_session(session)
    start, stop = _ticks(ticks) if ticks is not None else _ticks_of_time(opened, span or "")
    with _bar("cutting", [opened]) as report:
        made = cut_session(opened, name, start=start, stop=stop, progress=report)
    show_notes(opened)
    _show(made, as_json=as_json)


@contextmanager
def _bar(label: str, sessions: list[Session]) -> Iterator[Callable[[int], None]]:
    total = max((session.last_tick or 0) + 1 for session in sessions)
    with ended_in_order(), progress(label, total) as bar:
        yield lambda tick: bar.update(bar.task_ids[0], completed=tick)


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


def _show(made: Edited, *, as_json: bool) -> None:
    for note in made.notes:
        tell(f"note: {note}", err=True)
    if as_json:
        print_json(attrs.asdict(made))
    else:
        nodes = f"{len(made.nodes)} node{'' if len(made.nodes) == 1 else 's'}"
        ticks = f"ticks {made.first_tick} to {made.last_tick}"
        tell(f"{made.session}: {made.messages} messages of {nodes}, {ticks}: {made.path}")
    if not made.whole:
        raise SystemExit(FOUND)


@click.command()
@click.argument("sessions", nargs=-1, required=True, metavar="A B ...", shell_complete=completion.session)
@click.option("--name", required=True, metavar="NEW", help="The name of the merged session.")
@click.option("--prefix", is_flag=True, help="Put its session's name before each node's: A/node.")
@_JSON
def merge(sessions: tuple[str, ...], *, name: str, prefix: bool, as_json: bool) -> None:
    """Make one session NEW of several, which stay as they are.

    Sessions of several robots or processes are laid side by side by the time of day that they recorded; a message that
    one has from a node and another from outside is there once. Parts of one run, made by cut, are put together again.
    Nodes of the same name need --prefix. Exit code 1 when something could not be read.

    Example: horus-async record merge left right --name both --prefix
    """
    from horus_async.recorder.edit.merge import merge_sessions

    prints_no_data(unless=as_json)
    opened = [open_session(session) for session in sessions]
    with _bar("merging", opened) as report:
        made = merge_sessions(opened, name, prefix=prefix, progress=report)
    for session in opened:
        show_notes(session)
    _show(made, as_json=as_json)
