"""``horus-async launch``."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from horus_async.cli.support.errors import FOUND, USAGE, prints_no_data
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.errors import LaunchError
from horus_async.topics import check_namespace, default_namespace

if TYPE_CHECKING:
    from horus_async.launch.files.schema import LaunchFile
    from horus_async.launch.launch import Launch

    from .screen import Screen


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--record", "record", metavar="NAME", help="Record every program, all under this name.")
@click.option("--namespace", metavar="N", help="The namespace of programs that say none (default: HORUS_NAMESPACE).")
@click.option("--dry-run", is_flag=True, help="Check the file, and show what would be started.")
@click.option("--systemd", is_flag=True, help="Write systemd units in place of starting anything.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="With --systemd: where (here)."
)
@click.option("--json", "as_json", is_flag=True, help="Print events as JSON lines.")
def launch(
    file: Path,
    *,
    record: str | None,
    namespace: str | None,
    dry_run: bool,
    systemd: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run the programs of FILE, a TOML file, as one robot: docs/launch.md says what may stand in it.

    Each is started when what it waits for is there, and started again as the file says. Ctrl-C ends them all, in the
    reverse of that order; a second one kills them. Exit code 0 when all have ended well, 1 when one has failed or was
    given up, 2 when the file has errors, 130 after Ctrl-C.

    With --record, NAME stands for all of them: "record info NAME", "replay NAME", "record export NAME"; and NAME/arm
    for the program arm.

    Example: horus-async launch examples/fleet/robot.toml --record monday

    Example: horus-async launch robot.toml --dry-run

    Example: horus-async launch robot.toml --systemd --output ~/.config/systemd/user
    """
    if output is not None and not systemd:
        raise click.UsageError("--output DIR is for --systemd")
    if systemd and (record is not None or dry_run):
        raise click.UsageError("--systemd starts nothing: leave out --record and --dry-run")
    if namespace is not None:
        os.environ["HORUS_NAMESPACE"] = check_namespace(namespace)
    found = _read(file)
    if systemd:
        _write_units(found, output or Path(), namespace, as_json=as_json)
    elif dry_run:
        _show(found, as_json=as_json)
    else:
        prints_no_data(unless=as_json)
        sys.exit(_run(found, record, as_json=as_json))


def _read(file: Path) -> LaunchFile:
    from horus_async.launch.files.reading import read_launch_file

    try:
        return read_launch_file(file)
    except LaunchError as error:
        for problem in error.problems:
            tell(f"horus-async: {problem}", err=True)
        sys.exit(USAGE)


def _show(file: LaunchFile, *, as_json: bool) -> None:
    """What would be started, in order."""
    from horus_async.launch.files.commands import command_of
    from horus_async.launch.files.order import in_order

    rows = []
    for name in in_order(file):
        program = file.programs[name]
        waits = [*program.after, *(f"topic {topic}" for topic in program.after_topics)]
        command = command_of(name, program, python="python")
        rows.append({"program": name, "after": waits, "restart": program.restart.value, "command": command})
    if as_json:
        print_json({"file": str(file.path), "programs": rows})
        return
    table = [(row["program"], ", ".join(row["after"]), row["restart"], " ".join(row["command"][5:])) for row in rows]
    print_table(("program", "starts after", "restart", "horus-async run"), table)


def _write_units(file: LaunchFile, folder: Path, namespace: str | None, *, as_json: bool) -> None:
    from horus_async.launch.files.systemd import write_units

    written = write_units(file, folder.expanduser(), namespace=namespace)
    if as_json:
        print_json({"files": [str(path) for path in written.files], "notes": written.notes})
        return
    for path in written.files:
        tell(path)
    for note in written.notes:
        tell(f"note: {note}", err=True)
    tell(f"systemctl --user start {written.files[-1].name} starts them all; see docs/launch.md", err=True)


def _run(file: LaunchFile, record: str | None, *, as_json: bool) -> int:
    from horus_async.launch.once import only_once

    from .forms import JsonForm, LiveForm, PlainForm
    from .screen import Screen

    names = list(file.programs)
    live = sys.stdout.isatty() and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not as_json
    form = JsonForm() if as_json else LiveForm(names) if live else PlainForm(names)
    screen = Screen(form)
    with ExitStack() as held:
        held.enter_context(only_once(file.path, default_namespace()))
        if isinstance(form, LiveForm):
            held.callback(form.close)
        try:
            launched, code, lost = trio.run(_launch, file, record, screen)
        except BaseExceptionGroup as group:
            raise _first(group) from group
    if screen.unshown:
        tell(f"horus-async: {screen.unshown} lines could not be shown: nobody took them", err=True)
    _summary(launched, record, table=isinstance(form, PlainForm) and not live)
    return code or (FOUND if lost or screen.unshown else 0)


def _first(error: BaseException) -> BaseException:
    """What went wrong, out of the groups in which it comes."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _launch(file: LaunchFile, record: str | None, screen: Screen) -> tuple[Launch, int, int]:
    """The launch, its exit code, and the bytes that its programs printed and no log has."""
    from horus_async.launch.launch import Launch, namespace_of
    from horus_async.recorder.sets.writing import SetWriter

    with ExitStack() as held:
        records = None
        if record is not None:
            programs = {
                name: {"app": one.app, "args": list(one.args), "namespace": namespace_of(one)}
                for name, one in file.programs.items()
            }
            records = held.enter_context(SetWriter(record, programs, file=str(file.path), problem=screen.note))
        launched = Launch(file, screen, records)
        shown = trio.Event()

        async def show() -> None:
            try:
                await screen.show_all()
            finally:
                shown.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(show)
            nursery.start_soon(_hurry, launched, screen)
            code = await launched.run()
            await screen.end(shown)
            nursery.cancel_scope.cancel()
        lost = 0 if records is None else records.unwritten
    return launched, code, lost


async def _hurry(launched: Launch, screen: Screen) -> None:
    await launched.stopping.wait()
    screen.hurry()


def _summary(launched: Launch, record: str | None, *, table: bool) -> None:
    """How each program has ended, a line for each that has failed, and where the recording is."""
    if table:
        rows = [(one.name, one.state.value, one.restarts, one.why) for one in launched.statuses]
        print_table(("program", "state", "restarts", "why"), rows, err=True)
    for status in launched.statuses:
        if status.state.is_bad:
            tell(f"horus-async: {status.name} {status.state.value}: {status.why}", err=True)
    if record is not None:
        tell(f"recorded as {record}: horus-async record info {record}", err=True)
