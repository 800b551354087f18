"""``horus-async node``: the nodes of running programs."""

from __future__ import annotations

from typing import Any

import click

from horus_async.cli.support.in_order import OrderedGroup
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.remote.client import Client
from horus_async.spelling import printable

from .common import TIMEOUT


@click.group(cls=OrderedGroup)
def node() -> None:
    """See the nodes of running programs, pause one, and let it go on.

    Example: horus-async node pause arm
    """


@node.command("list")
@NAMESPACE
@JSON
def list_(*, namespace: str | None, as_json: bool) -> None:
    """All nodes of the programs that run in real time.

    Example: horus-async node list
    """
    client = Client(namespace)
    rows = client.nodes()
    if as_json:
        print_json(rows)
        return
    if not rows:
        tell(f"no program that answers runs in namespace {client.namespace!r}", err=True)
    names = ("node", "rate", "ticks", "errors", "deadline_misses", "state")
    cells = [tuple("-" if row.get(name) is None else str(row[name]) for name in names) for row in rows]
    print_table(("node", "rate Hz", "ticks", "errors", "misses", "state"), cells)


@node.command()
@click.argument("name", shell_complete=completion.running_node)
@TIMEOUT
@NAMESPACE
@JSON
def pause(name: str, *, timeout: float, namespace: str | None, as_json: bool) -> None:
    """Have a node enter its safe state and tick no more. Exit code 2 if no such node runs.

    Example: horus-async node pause arm
    """
    _show(Client(namespace).pause(name, timeout), as_json=as_json)


@node.command()
@click.argument("name", shell_complete=completion.running_node)
@TIMEOUT
@NAMESPACE
@JSON
def resume(name: str, *, timeout: float, namespace: str | None, as_json: bool) -> None:
    """Let a paused node tick again. Exit code 2 if no such node runs.

    Example: horus-async node resume arm
    """
    _show(Client(namespace).resume(name, timeout), as_json=as_json)


def _show(said: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    state = "paused" if said.get("paused") else "running"
    before = "" if said.get("changed") else ", as it was"
    tell(f"{printable(str(said.get('node')))}: {state}{before}")
