"""``horus-async blackbox``: what happened in the last minutes of a run, even one that crashed."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from horus_async.blackbox import ANOMALIES, Record, default_blackbox_dir, newest_box, open_blackbox
from horus_async.blackbox.events import Unquoted
from horus_async.blackbox.reader import BlackBoxReader, Filter, kind_name, node_of
from horus_async.clock.system import clock_face
from horus_async.errors import BlackBoxError
from horus_async.folders import open_to_everyone
from horus_async.spelling import did_you_mean, printable_json

from .support.errors import FOUND, clear_errors
from .terminal import completion
from .terminal.table import fold
from .terminal.text import styled, tell, tell_json, tell_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

POLL_SECONDS = 0.1
_TICKS = re.compile(r"(\d+)(?:-(\d+))?")


def _kind(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else kind_name(text)
    except BlackBoxError as error:
        raise click.BadParameter(str(error)) from None


def _ticks(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = _TICKS.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is neither a tick such as 120 nor a range such as 100-200")
    first = int(match[1])
    last = int(match[2]) if match[2] else first
    if last < first:
        raise click.BadParameter(f"{text!r} ends before it begins")
    return first, last


@click.command(
    epilog="Example: horus-async blackbox --anomalies --last 20 shows what went wrong last, "
    "and horus-async blackbox --follow what is happening now."
)
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--anomalies", is_flag=True, help="Only what went wrong. Exit code 1 if anything did.")
@click.option(
    "--follow", is_flag=True, help="Keep printing new events until Ctrl-C, even when the program is restarted."
)
@click.option("--node", metavar="N", shell_complete=completion.noted_node, help="Only events about this node.")
@click.option(
    "--event",
    "kind",
    metavar="E",
    callback=_kind,
    shell_complete=completion.event,
    help="Only this kind of event, such as DeadlineMiss.",
)
@click.option("--tick", "ticks", metavar="N|N-M", callback=_ticks, help="Only this tick, or this range, inclusive.")
@click.option("--last", metavar="N", type=click.IntRange(min=0), help="Only the last N of the matching events.")
@click.option("--utc", is_flag=True, help="Show times in UTC instead of local time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
def blackbox(
    *,
    path: Path | None,
    anomalies: bool,
    follow: bool,
    node: str | None,
    kind: str | None,
    ticks: tuple[int, int] | None,
    last: int | None,
    utc: bool,
    as_json: bool,
) -> None:
    """Show the events in a black box.

    PATH is a box (.hbb) or a folder of boxes, whose newest is shown; by default the folder where boxes are written.
    """
    with clear_errors(), ExitStack() as stack:
        wanted = Filter(_kinds(kind, anomalies=anomalies), node, ticks)
        box = _newest(path, stack, wait=follow)
        show = _show_json if as_json else lambda record: _show_text(record, utc=utc)
        shown = _print(_last(box.iterate(wanted), last), show)
        _print_notes(box, with_lost=not as_json)
        if node is not None and not shown and not follow:
            _check_node(box, node, answer=anomalies, quiet=as_json)
        if follow:
            _follow(box, wanted, show, stack)
        if anomalies and shown:
            sys.exit(FOUND)


def _kinds(kind: str | None, *, anomalies: bool) -> frozenset[str] | None:
    chosen = None if kind is None else frozenset({kind})
    if not anomalies:
        return chosen
    names = frozenset(anomaly.__name__ for anomaly in ANOMALIES)
    return names if chosen is None else names & chosen


def _newest(path: Path | None, stack: ExitStack, *, wait: bool) -> BlackBoxReader:
    folder = default_blackbox_dir() if path is None else path
    while True:
        try:
            if path is not None and not path.exists():
                raise BlackBoxError(f"there is no {path}")
            is_file = path is not None and not path.is_dir()
            return stack.enter_context(open_blackbox(folder if is_file else newest_box(folder)))
        except BlackBoxError:
            if not wait or folder.is_file():
                raise
        _pause()


def _last(records: Iterator[Record], last: int | None) -> Iterable[Record]:
    return records if last is None else deque(records, maxlen=last)


def _print(records: Iterable[Record], show: Callable[[Record], None]) -> int:
    count = 0
    for record in records:
        show(record)
        count += 1
    return count


def _check_node(box: BlackBoxReader, node: str, *, answer: bool, quiet: bool) -> None:
    """Say so if the box has nothing at all about a node, whose name may be misspelt.

    Raises:
        BlackBoxError: Where the exit code was to be the ``answer``.
    """
    nodes = {name for record in box.iterate(Filter()) if (name := node_of(record.event)) is not None}
    if node in nodes:
        return
    known = did_you_mean(node, nodes) or f"; it has events about {', '.join(sorted(nodes)) or 'none'}"
    text = f"{box.path} has no event about a node {node!r}{known}"
    if answer:
        raise BlackBoxError(text)
    if not quiet:
        tell(text, err=True)


def _print_notes(box: BlackBoxReader, *, with_lost: bool) -> None:
    """Print to standard error what a reader of the output must know, but a program that parses it need not."""
    for problem in filter(None, map(open_to_everyone, (box.path.parent, box.path))):
        tell(f"note: {problem}", err=True)
    for note in box.damage:
        tell(f"damaged: {note}", err=True)
    if with_lost and box.lost:
        tell(f"{box.lost} older events have been overwritten", err=True)


def _follow(box: BlackBoxReader, wanted: Filter, show: Callable[[Record], None], stack: ExitStack) -> None:
    """Print what is added, as ``tail -F`` does: a box that replaces this one is read from its start."""
    seen = box.newest_seq
    while True:
        sys.stdout.flush()
        _pause()
        # Looked for before the last look at the old box, so that everything its run wrote is there by then.
        successor = _successor(box)
        if box.refresh():
            _print(box.iterate(wanted, after=seen), show)
            seen = box.newest_seq
        if successor is not None:
            box.close()
            box, seen = stack.enter_context(successor), -1
            _print(box.iterate(wanted), show)
            seen = box.newest_seq


def _successor(box: BlackBoxReader) -> BlackBoxReader | None:
    try:
        found = open_blackbox(box.path)
    except BlackBoxError:
        return None  # between two runs, or removed; another one may come
    if found.header == box.header:
        found.close()
        return None
    return found


def _pause() -> None:
    threading.Event().wait(POLL_SECONDS)


def _show_json(record: Record) -> None:
    tell_json(record.to_json().decode())


def _show_text(record: Record, *, utc: bool) -> None:
    fields = ", ".join(f"{name}: {_value(value)}" for name, value in record.event.shown().items())
    first, *others = fold(f"[{clock_face(record.time_ns, utc=utc)}] {record.kind} {{ {fields} }}", indent=4)
    before, kind, after = first.partition(record.kind)
    tell(before, styled(kind, fg="red" if record.is_anomaly else "cyan", bold=record.is_anomaly), after)
    tell_lines(others)


def _value(value: object) -> str:
    if isinstance(value, Unquoted):
        return value
    return printable_json(json.dumps(value, ensure_ascii=False, default=str))
