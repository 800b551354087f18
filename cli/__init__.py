"""The command line: one module per command, imported when the command is called, so that ``--help`` stays fast."""

from __future__ import annotations

import importlib
from typing import Any

import click
from click.shell_completion import CompletionItem

from horus_async.errors import HorusError
from horus_async.limits.open_files import expect_files

from .support.errors import clear_errors, open_closed_streams
from .terminal.commands import Group

_COMMANDS = {
    "demo": "Record, replay and verify a simulated robot, start to finish.",
    "run": "Run a robot program.",
    "launch": "Run several programs as one robot.",
    "replay": "Replay a recorded session.",
    "check": "Check that a program does the same each time.",
    "record": "Work with recorded sessions.",
    "view": "Show sessions and black boxes on a page.",
    "blackbox": "Show the events in a black box.",
    "top": "See nodes, topics and processes as they go.",
    "log": "Show what nodes log, live or recorded.",
    "topic": "Watch, measure and publish topics.",
    "frames": "Show the tree of coordinate frames.",
    "foxglove": "Show robots and sessions to Foxglove.",
    "node": "See, pause and resume running nodes.",
    "param": "See and set parameters of running nodes.",
    "service": "See and call services of running nodes.",
    "action": "See actions of running nodes, and give them goals.",
    "doctor": "Check this machine.",
    "serve": "Serve a learned policy over HTTP.",
    "trace": "Work with request traces of a policy server.",
}

_HOMES = {name: f"asking.{name}" for name in ("node", "param", "service", "action")}
_HOMES |= {name: f"watching.{name}" for name in ("top", "log", "foxglove")}
_HOMES["view"] = "pages.view"
"""Of commands that share a folder."""


class _Commands(Group):
    """A group that imports its commands when they are called, and turns their errors into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        try:
            module = importlib.import_module(f"horus_async.cli.{_HOMES.get(cmd_name, cmd_name)}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("horus_async"):
                raise
            raise HorusError(f"{cmd_name} needs the package {error.name!r}, which is not installed") from error
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=text) for name, text in _COMMANDS.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        open_closed_streams()
        expect_files()
        with clear_errors():
            return super().invoke(ctx)


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="horus-async", prog_name="horus-async")
def main() -> None:
    """Run, record and replay robot programs, and find out why one stopped.

    Example: horus-async run --record night robot.py
    """
