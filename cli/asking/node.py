"""``horus-async node``: the nodes of running programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from horus_async.cli.support.in_order import OrderedGroup
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.table import fold, print_table
from horus_async.cli.terminal.text import tell, tell_lines
from horus_async.cli.watching.processes import look_at
from horus_async.clock.system import clock_face
from horus_async.remote.client import Client
from horus_async.remote.watching import number_of
from horus_async.spelling import printable

from .common import TIMEOUT, shown

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.group(cls=OrderedGroup)
def node() -> None:
    """See the nodes of running programs, what one does, pause one, and let it go on.

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
    names = ("node", "rate", "ticks", "errors", "deadline_misses", "state", "run", "pid")
    cells = [tuple("-" if row.get(name) is None else str(row[name]) for name in names) for row in rows]
    print_table(("node", "rate Hz", "ticks", "errors", "misses", "state", "run", "process"), cells)


@node.command()
@click.argument("name", shell_complete=completion.running_node)
@TIMEOUT
@NAMESPACE
@JSON
def info(name: str, *, timeout: float, namespace: str | None, as_json: bool) -> None:
    """One node: its program, rate and policy, what it sends, reads and offers, how it fares, and its last error.

    Exit code 2 if no such node runs.

    Example: horus-async node info arm
    """
    client = Client(namespace)
    found = client.info(name, timeout)
    offered = client.interfaces().get(name)
    offers = {
        part: {} if offered is None else dict(getattr(offered, part)) for part in ("params", "services", "actions")
    }
    said = [{**one, "program": _program(one.get("pid")), **offers} for one in found]
    if as_json:
        print_json(said)
        return
    for number, one in enumerate(said):
        if number:
            tell()
        tell_lines(line for title, text in _lines_of(one) for line in fold(f"{title:<11}{text}", indent=11))
        _tell_last_error(one.get("last_error"))


def _program(pid: Any) -> str:
    process = look_at(pid) if isinstance(pid, int) else None
    return "" if process is None else process.program


def _lines_of(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A node in lines; each a title and what there is to say."""
    rate = f"{one.get('rate')} Hz" if one.get("rate") else f"{one.get('tick_rate')} Hz, as its scheduler"
    on = _list(one.get("on"))
    yield "node", f"{one.get('node')}, {one.get('class')}: {one.get('state')}"
    yield "process", f"{one.get('pid')} {one.get('program')}, scheduler {one.get('run')}"
    yield "ticks", f"on messages of {on}" if on else f"at {rate}"
    limits = [f"{name} {one[name]} s" for name in ("budget", "deadline", "watchdog") if one.get(name) is not None]
    limits += [f"on a miss {one.get('on_miss')}"] if one.get("deadline") is not None else []
    yield "policy", ", ".join([str(one.get("failure_policy")), *limits])
    yield "sends", _list(one.get("sends")) or "nothing"
    yield "reads", _list(one.get("reads")) or "nothing"
    params = one.get("params")
    for name, param in params.items() if isinstance(params, dict) else ():
        value = shown(param.get("value"))
        yield "parameter", f"{name} = {value}" + (f": {param['doc']}" if param.get("doc") else "")
    for part in ("services", "actions"):
        if one.get(part):
            yield part, ", ".join(map(str, one[part]))
    times = [f"{name} {number_of(one.get(f'{name}_us')):.1f} µs" for name in ("mean", "p99", "max")]
    yield "times", f"{one.get('ticks')} ticks, {', '.join(times)}"
    names = {"deadline_misses": "misses", "budget_overruns": "overruns", "unmatched": "unmatched"}
    counts = ("errors", "deadline_misses", "budget_overruns", "restarts", "lost", "refused", "unmatched")
    yield "counts", ", ".join(f"{names.get(name, name)} {one.get(name)}" for name in counts)


def _list(names: Any) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else ""


def _tell_last_error(error: Any) -> None:
    if not isinstance(error, dict):
        return
    when = clock_face(int(number_of(error.get("now_ns"))))
    tell(f"{'last error':<11}{error.get('error')} (tick {error.get('tick')}, {when})")
    if isinstance(error.get("traceback"), str):
        tell_lines(f"    {line}" for line in error["traceback"].splitlines())


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
