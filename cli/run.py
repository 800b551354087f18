"""``horus-async run``."""

from __future__ import annotations

import functools
import operator
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from horus_async.errors import AppError, ConfigurationError
from horus_async.hints.installed import command
from horus_async.launch.child import parent_is_gone, tell_when_up
from horus_async.realtime.options import HIGHEST_PRIORITY, LOWEST_PRIORITY, Realtime
from horus_async.recorder.triggers.anomaly import ANY, Anomaly
from horus_async.recorder.triggers.around import Around
from horus_async.recording_state import RecordingState
from horus_async.scheduler.in_force import overriding
from horus_async.scheduler.options import Gc
from horus_async.scheduler.overrides import Overrides
from horus_async.scheduler.signals import Interrupted

from .asking.params import given_params, param_options
from .support.errors import FOUND, fail, prints_no_data
from .support.load import load_scheduler, name_of, run_script, split_app
from .support.render import show_summary
from .terminal import completion
from .terminal.logs import show_node_logs
from .terminal.states import tell_states
from .terminal.text import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from horus_async import Scheduler

DEFAULT_BLACKBOX_MB = 16
_ANOMALIES = tuple(str(kind.name).lower().replace("_", "-") for kind in Anomaly)
_GC = tuple(policy.value.replace(" ", "-") for policy in Gc)


def _policy(value: str) -> Gc:
    """The policy that is meant: with hyphens, or with the blank as a program has it."""
    try:
        return Gc(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is none of {', '.join(_GC)}") from None


def _seconds(value: str) -> tuple[float, float]:
    """Seconds before and after a moment."""
    try:
        before, after = map(float, value.split(","))
        Around(before, after)
    except (ValueError, ConfigurationError):
        raise click.BadParameter(f"{value!r:.80} is not two numbers of seconds, as in 30,10") from None
    return before, after


def _name(value: str) -> str:
    """A name for a scheduler, which becomes one of files."""
    if re.fullmatch("[A-Za-z0-9_-]{1,80}", value) is None:
        raise click.BadParameter(f"{value!r:.80} cannot be used: it takes 1 to 80 of A-Z a-z 0-9 _ -")
    return value


@click.command()
@click.argument("app", shell_complete=completion.app)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--record", "record", metavar="NAME", help="Record the run as this session.")
@click.option(
    "--recordings-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --record: the folder of the session, whatever the program says.",
)
@click.option(
    "--around",
    type=_seconds,
    metavar="BEFORE,AFTER",
    help="With --record: keep only the last seconds, and make sessions NAME-1, … of what is around anomalies.",
)
@click.option(
    "--on",
    "kinds",
    multiple=True,
    type=click.Choice(_ANOMALIES),
    metavar="KIND",
    help=f"With --around: only this kind of anomaly: {', '.join(_ANOMALIES)}. May be repeated.",
)
@click.option(
    "--name", type=_name, metavar="N", help="Of a scheduler that the program did not name, and of its black box."
)
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds to run.")
@click.option("--deterministic", is_flag=True, help="Run in virtual time, one node at a time.")
@click.option("--seed", type=int, metavar="N", help="Seed of a deterministic run.")
@click.option(
    "--realtime", is_flag=True, help="Before all else on the machine: SCHED_FIFO, memory locked, garbage between ticks."
)
@click.option("--cpu", type=click.IntRange(min=0), metavar="N", help="With --realtime: the loop runs on this CPU.")
@click.option(
    "--priority",
    type=click.IntRange(LOWEST_PRIORITY, HIGHEST_PRIORITY),
    metavar="P",
    help=f"With --realtime: {LOWEST_PRIORITY} to {HIGHEST_PRIORITY} (default {Realtime().priority}).",
)
@click.option(
    "--gc", type=_policy, metavar="|".join(_GC), help="When garbage is collected (default: as the program says)."
)
@param_options
@click.option(
    "--asyncio", "in_asyncio", is_flag=True, help="Run under asyncio, not trio: for nodes that use its libraries."
)
@click.option("--blackbox-mb", type=click.IntRange(min=1), metavar="N", help="Size of the black box (default 16).")
@click.option("--no-blackbox", is_flag=True, help="Write no black box.")
def run(
    app: str,
    args: tuple[str, ...],
    *,
    record: str | None,
    recordings_dir: Path | None,
    around: tuple[float, float] | None,
    kinds: tuple[str, ...],
    name: str | None,
    duration: float | None,
    deterministic: bool,
    seed: int | None,
    realtime: bool,
    cpu: int | None,
    priority: int | None,
    gc: Gc | None,
    params: tuple[str, ...],
    params_file: Path | None,
    in_asyncio: bool,
    blackbox_mb: int | None,
    no_blackbox: bool,
) -> None:
    """Run APP: a script, or FILE.py:NAME or MODULE:NAME of a Scheduler or a function that returns one.

    Options given here override those in the program, for the scheduler that runs first. One that the program did not
    name has the program's name. A script that runs none has that of its build(args) or scheduler run. Everything after
    -- is passed to the program.

    With --realtime, a run that the system does not permit is refused before the program begins: docs/realtime.md.

    Example: horus-async run --deterministic --record mines examples/lidar_mapping.py -- drive.dat

    Example: horus-async run --record night --around 30,10 --on node-error --on emergency-stop robot.py

    Example: horus-async run --param arm.gain=0.5 --params tuned.toml robot.py

    Example: horus-async run --asyncio examples/hardware/http_gauge.py -- http://192.168.0.20

    Example: horus-async run --realtime --cpu 3 --priority 80 robot.py
    """
    if no_blackbox and blackbox_mb is not None:
        raise click.UsageError("--blackbox-mb and --no-blackbox contradict each other")
    _check_recording(record, around, kinds)
    _check_parent(record, recordings_dir)
    wanted = _realtime(realtime=realtime, cpu=cpu, priority=priority, deterministic=deterministic)
    if in_asyncio and deterministic:
        raise click.UsageError("--asyncio and --deterministic contradict each other: virtual time runs under trio")
    prints_no_data()
    made: list[Scheduler] = []

    def note(scheduler: Scheduler) -> None:
        made.append(scheduler)
        tell_states(scheduler)
        tell_when_up(scheduler)
        show_node_logs()  # now that the program has had time to set up logging itself

    overrides = Overrides(
        deterministic=deterministic or None,
        seed=seed,
        recording=record,
        recordings_dir=recordings_dir,
        around=None if around is None else Around(*around, on=_of_kinds(kinds)),
        duration=duration,
        realtime=wanted,
        gc=gc,
        asyncio=in_asyncio or None,
        params=given_params(params, params_file),
        blackbox_mb=0 if no_blackbox else blackbox_mb,
        blackbox_mb_by_default=DEFAULT_BLACKBOX_MB,
        name=name or name_of(app),
        on_made=note,
    )
    with overriding(overrides):
        try:
            if split_app(app)[1] is None:
                run_script(app, args, overrides=overrides)
            else:
                load_scheduler(app, args).run_sync()
        except Interrupted:
            raise
        except SystemExit as error:  # the script's own
            if error.code is not None and error.code != 0:
                raise
        finally:
            show_summary(made)
    if not overrides.used:
        _nothing_ran(app, record)
    _check_recordings(made)


def _check_recording(record: str | None, around: tuple[float, float] | None, kinds: Sequence[str]) -> None:
    if record is not None and record.startswith("-"):
        raise click.UsageError(f"--record needs a name, and {record!r} looks like an option")
    if (around is not None and record is None) or (kinds and around is None):
        raise click.UsageError("--around is for --record NAME, and --on for --around: give both, or neither")


def _of_kinds(kinds: Sequence[str]) -> Anomaly:
    chosen = [Anomaly[kind.upper().replace("-", "_")] for kind in kinds]
    return functools.reduce(operator.or_, chosen) if chosen else ANY


def _check_parent(record: str | None, recordings_dir: Path | None) -> None:
    """What is for programs that launch has started."""
    if recordings_dir is not None and record is None:
        raise click.UsageError("--recordings-dir is for --record NAME: give both, or neither")
    if parent_is_gone():
        fail("launch was killed before this program began: it is not run", FOUND)


def _realtime(*, realtime: bool, cpu: int | None, priority: int | None, deterministic: bool) -> Realtime | None:
    """What the options ask for, once it is known to be permitted: a program that begins may already move a robot."""
    if not realtime:
        if cpu is not None or priority is not None:
            raise click.UsageError(
                f"{'--priority' if cpu is None else '--cpu'} is for --realtime: give both, or neither"
            )
        return None
    if deterministic:
        raise click.UsageError("--realtime and --deterministic contradict each other")
    from horus_async.realtime.permission import check_permitted  # late: few runs need it

    wanted = Realtime(cpu=cpu) if priority is None else Realtime(cpu=cpu, priority=priority)
    check_permitted(wanted)
    return wanted


def _nothing_ran(app: str, record: str | None) -> None:
    """Say that a script did not do what somebody runs robots for."""
    said = f"{app} ran no scheduler in its own process, and has neither build(args) nor scheduler"
    if record is not None:
        raise AppError(f"{said}: nothing was recorded as {record!r}")
    tell(f"note: {said}", err=True)


def _check_recordings(schedulers: Sequence[Scheduler]) -> None:
    """Exit with 1, as `record check` does, where a robot did its job and its recording lacks something."""
    for scheduler in schedulers:
        recorder = scheduler._recorder  # noqa: SLF001 - to say why
        if recorder is None or recorder.path is None:
            continue
        stats, name = recorder.stats(), recorder.path.name
        if recorder.problems:
            fail(f"the run is over, and what was recorded of it is not all: {'; '.join(recorder.problems)}", FOUND)
        failed = recorder.failure if stats.state is RecordingState.FAILED else ""
        lost = f"{stats.dropped} messages or lines are missing" if stats.dropped else ""
        if failed or lost:
            why = "; ".join(filter(None, (failed, lost)))
            see = command(f"record check {name}")
            fail(f"the run is over, and its recording {name} is not whole: {why}; see {see}", FOUND)
