"""``horus-async run``."""

from __future__ import annotations

import click

from horus_async.options import Overrides, overriding

from ._load import load_scheduler, run_script, split_app
from ._render import show_summary


@click.command()
@click.argument("app")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--record", "record", metavar="NAME", help="Record the run as this session.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds to run.")
@click.option("--deterministic", is_flag=True, help="Virtual time, one node at a time.")
@click.option("--seed", type=int, metavar="N", help="Seed of a deterministic run.")
def run(  # noqa: PLR0913 - the options of a command
    app: str, args: tuple[str, ...], record: str | None, duration: float | None, deterministic: bool, seed: int | None
) -> None:
    """Run APP: a script, or FILE.py:NAME or MODULE:NAME of a Scheduler or a function that returns one.

    Options given here override what the program made its Scheduler with. What comes after -- goes to the program.

    Example: horus-async run --deterministic --record mines examples/lidar_mapping.py -- drive.dat
    """
    overrides = Overrides(
        deterministic=deterministic or None, seed=seed, recording=record, duration=duration
    )
    with overriding(overrides):
        try:
            if split_app(app)[1] is None:
                run_script(app, args)
            else:
                load_scheduler(app, args).run_sync()
        finally:
            show_summary(overrides.made)
