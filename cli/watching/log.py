"""``horus-async log``: what nodes log, of running programs or of a session."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import attrs
import click

from horus_async.cli.support.errors import FOUND, clear_errors
from horus_async.cli.support.in_order import ended_in_order
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.text import styled, tell, tell_lines
from horus_async.clock.system import NANOSECONDS, clock_face, monotonic_ns, sleep_until_monotonic
from horus_async.remote.watching import LogWatch, number_of
from horus_async.topics import check_namespace, default_namespace

if TYPE_CHECKING:
    from horus_async.recorder.log_lines import LogLine

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_LOOK_NS, _ASK_NS = 20_000_000, NANOSECONDS
_ASKED_SECONDS = 3.0
"""For so long runs pass on their log after each time that they are asked."""
_ANSWER_NS = NANOSECONDS
_SESSION_NS = 100_000_000
_COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}


@click.command()
@click.argument("session", required=False, shell_complete=completion.session)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is logged from now on, until Ctrl-C.")
@click.option("--node", metavar="N", help="Only what this node logs, and what is logged about it.")
@click.option(
    "--level",
    type=click.Choice(LEVELS, case_sensitive=False),
    help="Only from this level on. Default: INFO with --follow, else all there is.",
)
@NAMESPACE
@JSON
def log(
    session: str | None, *, follow: bool, node: str | None, level: str | None, namespace: str | None, as_json: bool
) -> None:
    """Show what nodes log: in a session, or without one in the programs that run in real time.

    Running programs keep their newest warnings and errors; with --follow they send what they log for as long as
    somebody follows. A session that is being recorded can be followed, too.

    Example: horus-async log --follow --node arm
    """
    with clear_errors(), ended_in_order():
        if session is not None and namespace is not None:
            raise click.UsageError("--namespace is for running programs, and SESSION for what was recorded")
        shown = _Shown(node, as_json=as_json)
        if session is None:
            name = check_namespace(default_namespace() if namespace is None else namespace)
            _live(name, shown, logging.INFO if level is None else _number(level), follow=follow)
        else:
            _recorded(session, shown, 0 if level is None else _number(level), follow=follow)


def _number(level: str) -> int:
    number = logging.getLevelName(level.upper())
    assert isinstance(number, int)
    return number


@attrs.define
class _Shown:
    """Prints lines."""

    node: str | None
    as_json: bool
    last: dict[Any, int] = attrs.field(factory=dict)
    """Of each run, the number of the last line that was looked at."""

    def live(self, line: dict[str, Any], level: int) -> None:
        """A line of a run, unless it was shown."""
        key = line["run"], line["pid"], line["began_ns"]
        if line["seq"] <= self.last.get(key, -1):
            return
        self.last[key] = line["seq"]
        if number_of(line.get("levelno")) < level or (self.node is not None and line.get("node") != self.node):
            return
        if self.as_json:
            print_json(line)
            return
        _tell(
            int(number_of(line.get("now_ns"))),
            str(line.get("node") or line["run"]),
            str(line.get("level")),
            line["message"],
            line.get("exception"),
        )

    def recorded(self, line: LogLine) -> None:
        """A line of a session."""
        if self.as_json:
            print_json({name: value for name, value in attrs.asdict(line).items() if name != "kind"})
        else:
            _tell(line.now_ns, line.node or "-", line.level, line.message, line.exception)


def _tell(now_ns: int, node: str, level: str, message: str, exception: Any) -> None:
    head = "" if level == "INFO" else f"{level}: "
    first, *rest = message.split("\n")
    face = styled(f"[{clock_face(now_ns)}]", fg="cyan")
    tell(face, f" [{node}] ", styled(f"{head}{first}", fg=_COLOURS.get(level)))
    rest += exception.splitlines() if isinstance(exception, str) else []
    tell_lines(f"    {line}" for line in rest)


# Running programs


def _live(namespace: str, shown: _Shown, level: int, *, follow: bool) -> None:
    with LogWatch(namespace) as watch:
        watch.ask(level, _ASKED_SECONDS if follow else None)
        asked_ns = began_ns = monotonic_ns()
        missed = 0
        while follow or monotonic_ns() - began_ns < _ANSWER_NS:
            for line in watch.kept():
                shown.live(line, level)
            for line in watch.lines():
                shown.live(line, level)
            if watch.missed > missed:
                tell(f"{watch.missed - missed} lines missed: they came too fast", err=True)
                missed = watch.missed
            now_ns = monotonic_ns()
            if follow and now_ns - asked_ns >= _ASK_NS:
                watch.ask(level, _ASKED_SECONDS)
                asked_ns = now_ns
            sleep_until_monotonic(now_ns + _LOOK_NS)
        if not watch.answered:
            why = "deterministic runs and replays do not"
            tell(f"no program that answers runs in namespace {namespace!r}: {why}", err=True)


# Sessions


def _recorded(name: str, shown: _Shown, level: int, *, follow: bool) -> None:
    from horus_async.recorder import open_session
    from horus_async.recorder.read.tail import LogTail

    session = open_session(name)
    if not follow:
        for line in session.log.select(node=shown.node, level=level):
            shown.recorded(line)
        file = session.log_file
        if file is not None:
            _note_missing(damaged=bool(file.damage), dropped=sum(gap.dropped for gap in file.gaps()))
        return
    tail = LogTail(session.path)
    while True:
        for line in tail.new():
            if line.levelno >= level and shown.node in (None, line.node):
                shown.recorded(line)
        if tail.ended:
            break
        sleep_until_monotonic(monotonic_ns() + _SESSION_NS)
    _note_missing(damaged=bool(tail.damaged), dropped=tail.dropped)


def _note_missing(*, damaged: bool, dropped: int) -> None:
    """Lines are missing that were logged: then this is not all of it."""
    if damaged:
        tell("note: a part of the log is damaged and left out; see record check", err=True)
    if dropped:
        tell(f"note: {dropped} lines of the log were dropped as it was recorded", err=True)
    if damaged or dropped:
        sys.exit(FOUND)
