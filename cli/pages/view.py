"""``horus-async view``."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from horus_async.blackbox import default_blackbox_dir
from horus_async.cli.recording.spans import ticks_of
from horus_async.cli.support.errors import FOUND, USAGE, fail, prints_no_data
from horus_async.cli.support.in_order import ended_in_order
from horus_async.cli.support.load import load_scheduler, not_ended_by
from horus_async.cli.support.own_namespace import own_namespace
from horus_async.cli.support.render import print_json, progress, show_notes
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.states import say
from horus_async.cli.terminal.text import tell
from horus_async.errors import BlackBoxError, HorusError
from horus_async.hints.installed import command, install
from horus_async.recorder import open_session
from horus_async.recorder.exports.output import STDOUT, goes_to_stdout, writing
from horus_async.view.html import has_plots
from horus_async.view.making import PageMaker
from horus_async.view.reading.box import is_box
from horus_async.view.reading.trace import is_trace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from horus_async.recorder import Session

_ARGUMENTS = "horus_async.cli.pages.view.arguments"


class _WithArguments(click.Command):
    """Takes what follows ``--`` apart: it is the program's."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_ARGUMENTS] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)


@click.command(cls=_WithArguments)
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...", shell_complete=completion.session)
@click.option(
    "--app", metavar="APP", shell_complete=completion.app, help="Compare the nodes of APP with what was recorded."
)
@click.option("-o", "--output", metavar="F", help="Write the page into F, - for standard output; else it is served.")
@click.option("--ticks", metavar="N-M", help="Only these ticks, both included; N- to the end, -M from the start.")
@click.option("--time", "span", metavar="A-B", help="Only from A up to B: seconds since the start, or times of day.")
@click.option(
    "--tolerance", type=click.FloatRange(min=0), default=0.0, metavar="X", help="Numbers this far apart are equal."
)
@click.option("--no-open", is_flag=True, help="Open no browser.")
@click.option("--json", "as_json", is_flag=True, help="Print the data of the page instead.")
@click.pass_context
def view(
    ctx: click.Context,
    sessions: tuple[str, ...],
    *,
    app: str | None,
    output: str | None,
    ticks: str | None,
    span: str | None,
    tolerance: float,
    no_open: bool,
    as_json: bool,
) -> None:
    """Show sessions on a page of their own: time line, plots, log, messages and what led to them.

    SESSION is a session, a black box (a file or a folder of them, whose newest is shown) or the trace of a policy
    server. The black box of a session's run is found by itself where boxes are written. Two sessions are compared; with
    --app, what was recorded is compared with what the nodes of APP send when they are given the recorded inputs. What
    follows -- is for APP.

    The page is one file that needs nothing else: open it anywhere, attach it to a report. Without --output it is
    served to this machine alone, on a free port, until Ctrl-C. Of long sessions a part is there message by message,
    and the page says which; --ticks and --time make a page of a part.

    Exit code 1 when a comparison finds a difference, 2 when nothing could be compared.

    Example: horus-async view monday

    Example: horus-async view monday --app robot.py -o report.html
    """
    to_stdout = output == "-" or (output is not None and goes_to_stdout(Path(output)))
    prints_no_data(unless=as_json or output is None or to_stdout)
    if as_json and output is not None:
        raise click.UsageError("give --output or --json, not both")
    if ticks is not None and span is not None:
        raise click.UsageError("give --ticks or --time, not both")
    words = _Words.of(sessions)
    _check(words, app, ctx.meta.get(_ARGUMENTS, ()))
    with ended_in_order(), _bar() as report:
        maker = PageMaker(box_folder=_box_folder(), progress=report)
        for session in (opened for _, opened in words.opened[:1]):
            maker.start, maker.stop = ticks_of(session, ticks, span)
        code = _fill(maker, words, app, ctx.meta.get(_ARGUMENTS, ()), tolerance)
    for _, opened in words.opened:
        show_notes(opened)
    if as_json:
        print_json(maker.data(_line(sessions, app)))
    else:
        text = maker.html(_line(sessions, app), command("").strip()).encode()
        if not has_plots():
            tell(f"note: the page has no plots; they need the extra view: {install('view')}", err=True)
        _deliver(text, output, to_stdout=to_stdout, open_browser=not no_open)
    if code:
        raise SystemExit(code)


class _Words:
    """What was named on the command line, told apart."""

    def __init__(self) -> None:
        self.opened: list[tuple[str, Session]] = []
        self.boxes: list[Path] = []
        self.traces: list[str] = []

    @classmethod
    def of(cls, words: Sequence[str]) -> _Words:
        """Open them.

        Raises:
            HorusError: One of them is nothing that can be shown.
        """
        found = cls()
        for word in words:
            if is_box(word):
                found.boxes.append(Path(word))
            elif is_trace_file(word):
                found.traces.append(word)
            elif (box := _newest_box(word)) is not None:
                found.boxes.append(box)
            else:
                found.opened.append((word, open_session(word)))
        return found


def _newest_box(word: str) -> Path | None:
    """The newest box of a folder of boxes; None if it is none."""
    from horus_async.blackbox import newest_box

    folder = Path(word)
    try:
        return newest_box(folder) if folder.is_dir() and any(folder.glob("*.hbb")) else None
    except (BlackBoxError, OSError):
        return None


def _check(words: _Words, app: str | None, arguments: Sequence[str]) -> None:
    if app is not None and (len(words.opened) != 1 or words.traces):
        raise click.UsageError("--app takes one session, which it is compared with")
    if arguments and app is None:
        raise click.UsageError("arguments after -- belong to --app APP")


def _box_folder() -> Path | None:
    try:
        return default_blackbox_dir()
    except HorusError:
        return None  # no home folder: then there are none


def _fill(maker: PageMaker, words: _Words, app: str | None, arguments: Sequence[str], tolerance: float) -> int:
    """Read all of it; returns the exit code."""
    if app is not None:
        ((ref, session),) = words.opened
        say(f"started: the nodes of {app} on what {session.name} holds; Ctrl-C ends it")
        with own_namespace("view"), not_ended_by(app):
            scheduler = load_scheduler(app, list(arguments))
            maker.verification(ref, session, scheduler.nodes, app, words.boxes, tolerance=tolerance)
    else:
        maker.sessions(words.opened, words.boxes, tolerance=tolerance)
    for trace in words.traces:
        maker.trace(trace)
    found = maker.comparison
    if found is None:
        return 0
    if not found["compared"]:
        tell(f"nothing could be compared of {found['a']} and {found['b']}", err=True)
        return USAGE
    return FOUND if found["differences"] else 0


def _line(sessions: Sequence[str], app: str | None) -> str:
    """The command that makes this page, for those who have it before them."""
    return f"horus-async view {shlex.join(sessions)}{f' --app {shlex.quote(app)}' if app is not None else ''}"


@contextmanager
def _bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A progress bar, whatever is read."""
    with progress("reading", None) as bar:

        def report(what: str, done: int, total: int | None) -> None:
            bar.update(bar.task_ids[0], description=what, completed=done, total=total)

        yield report


def _deliver(text: bytes, output: str | None, *, to_stdout: bool, open_browser: bool) -> None:
    if output is None:
        from .serving import serve

        serve(text, open_browser=open_browser)
        return
    path = STDOUT if output == "-" else Path(output).expanduser()
    if not to_stdout and path.suffix not in {".html", ".htm"} and not path.exists():
        tell(f"note: {path} is a page, and a browser may not know it without .html at its end", err=True)
    try:
        with writing(path) as file:
            file.write(text)
    except BrokenPipeError:
        fail(f"nobody reads {path} any more", FOUND)
    tell(f"wrote {'the page' if to_stdout else path}: {len(text) / 1e6:.1f} MB", err=to_stdout)
