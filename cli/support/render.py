"""Tables, JSON and progress bars, the same in every command."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell, tell_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from horus_async import GcStats, Scheduler
    from horus_async.recorder import Session

_DECIMAL_BITS = 2048
"""As in recordings: Python refuses to write much larger integers in decimal."""


def print_json(value: Any, *, err: bool = False) -> None:
    """Print one JSON value on one line, as `json_line` has it."""
    tell_json(json_line(value), err=err)


def json_line(value: Any) -> str:
    """A value as JSON; integers in digits, those beyond 2048 bits as text in hexadecimal."""
    try:
        return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, or half a surrogate pair
        return json.dumps(_simple(value), ensure_ascii=False, separators=(",", ":"))


def _simple(value: Any) -> Any:
    """What is printed, as orjson would have it, in numbers, text, lists and dicts."""
    if isinstance(value, dict):
        return {str(_simple(key)): _simple(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(item) for item in value]
    if value is None or isinstance(value, bool | int):
        return value if value is None or value.bit_length() <= _DECIMAL_BITS else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value).encode(errors="backslashreplace").decode()


def show_notes(session: Session) -> None:
    """Say on standard error what is missing from a session, so that nobody takes the rest for everything."""
    from horus_async.recorder.read.info import session_notes

    for note in session_notes(session):
        tell(f"note: {session.path.name}: {note}", err=True)


def show_summary(schedulers: Sequence[Scheduler]) -> None:
    """Print what each node did, on standard error to keep the program's own output clean."""
    for scheduler in schedulers:
        stats = scheduler.stats()
        if not stats.nodes or stats.tick < 0:  # it did not come to its first tick: what kept it from that is said
            continue
        tell(err=True)
        tell(f"{scheduler.name}: to tick {stats.tick}", err=True)
        print_table(
            ("node", "ticks", "rate Hz", "mean µs", "p99 µs", "max µs", "overruns", "misses", "errors", "lost"),
            [
                (
                    name,
                    node.ticks,
                    node.rate,
                    node.mean_us,
                    node.p99_us,
                    node.max_us,
                    node.budget_overruns,
                    node.deadline_misses,
                    node.errors,
                    node.lost,
                )
                for name, node in stats.nodes.items()
            ],
            err=True,
        )
        if stats.gc is not None:
            tell(_collected(stats.gc), err=True)
        if stats.recording is not None and stats.recording.sessions is not None:
            _show_sessions(stats.recording.sessions)
        elif stats.recording is not None:
            files = scheduler.stop_recording()
            tell(
                f"recorded {stats.recording.messages} messages in {stats.recording.bytes} bytes, "
                f"{stats.recording.dropped} dropped: {Path(files[0]).parent if files else ''}",
                err=True,
            )


def _show_sessions(names: Sequence[str]) -> None:
    """What came of a recording around certain moments."""
    if names:
        tell(f"recorded around what happened: {', '.join(names)}", err=True)
    else:
        tell("nothing happened to record anything around: no session", err=True)


def _collected(stats: GcStats) -> str:
    """When garbage was collected, for a run that has a say in it."""
    if not stats.collects:
        return "garbage: not collected"
    young, middle, old = stats.collections
    count = young + middle + old
    counts = f"{count} collection{'' if count == 1 else 's'} ({old} of all), the longest took {stats.longest_us:.0f} µs"
    late = f"; {stats.without_time} with no time for it" if stats.without_time else ""
    return f"garbage: {counts}{late}"


def progress(label: str, total: int | None, *, printing: bool = False) -> Any:
    """A progress bar on standard error, only on a terminal; without a total it shows that something moves.

    Where there is ``printing`` meanwhile, that goes where it should; at a terminal the bar has to be stopped for it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        transient=True,
        redirect_stdout=not printing,
    )
    bar.add_task(label, total=total)
    return bar


def seldom(report: Callable[[int], None]) -> Callable[[int], None]:
    """Pass on the first of many small numbers and then every 64th: often enough to see it move, and cheap."""

    def count(done: int) -> None:
        if not done & 63:
            report(done)

    return count
