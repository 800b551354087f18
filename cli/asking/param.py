"""``horus-async param``: parameters of running nodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from horus_async.cli.support.in_order import OrderedGroup
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.errors import ParamError
from horus_async.remote.client import Client
from horus_async.spelling import did_you_mean, printable

from .common import TIMEOUT, shown
from .params import as_toml, as_value

if TYPE_CHECKING:
    from horus_async.remote.client import Interface


@click.group(cls=OrderedGroup)
def param() -> None:
    """See and set the parameters of running nodes.

    Example: horus-async param set arm.gain 0.5
    """


@param.command("list")
@click.argument("node", required=False, shell_complete=completion.param_node)
@NAMESPACE
@JSON
def list_(node: str | None, *, namespace: str | None, as_json: bool) -> None:
    """All parameters of the nodes that run, or those of NODE.

    Example: horus-async param list
    """
    client = Client(namespace)
    found = {name: one for name, one in client.interfaces().items() if one.params}
    if node is not None:
        found = {node: _of(node, found, client.namespace)}
    if as_json:
        print_json({name: dict(one.params) for name, one in found.items()})
        return
    rows = [
        (f"{name}.{one}", shown(said.get("value")), str(said.get("type", "")), str(said.get("doc", "")))
        for name, interface in found.items()
        for one, said in interface.params.items()
    ]
    if not rows:
        tell(f"no node with parameters runs in namespace {client.namespace!r}", err=True)
    print_table(("parameter", "value", "type", "what it does"), rows)


@param.command()
@click.argument("name", metavar="NODE.NAME", shell_complete=completion.param)
@NAMESPACE
@JSON
def get(name: str, *, namespace: str | None, as_json: bool) -> None:
    """The value of one parameter.

    Example: horus-async param get arm.gain
    """
    client = Client(namespace)
    interface, one = _find(name, client)
    said = interface.params[one]
    if as_json:
        print_json({"node": interface.node, "name": one, **said})
    else:
        tell(shown(said.get("value")))


@param.command("set", context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("name", metavar="NODE.NAME", shell_complete=completion.param)
@click.argument("value", metavar="VALUE")
@TIMEOUT
@NAMESPACE
@JSON
def set_(name: str, value: str, *, timeout: float, namespace: str | None, as_json: bool) -> None:
    """Set a parameter between two ticks of its node. VALUE is JSON, or a text. Exit code 2 if it cannot be set.

    Example: horus-async param set arm.gain 0.5
    """
    client = Client(namespace)
    interface, one = _find(name, client)
    given = as_value(value)
    before = interface.params[one].get("value")
    if isinstance(before, str) and not isinstance(given, str):
        given = value  # a text that looks like a number
    after = client.set_params(interface.node, {one: given}, timeout).get(one)
    if as_json:
        print_json({"node": interface.node, "name": one, "from": before, "to": after})
    else:
        tell(f"{printable(name)}: {shown(before)} -> {shown(after)}")


@param.command()
@click.argument("nodes", nargs=-1, shell_complete=completion.param_node)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), help="The file; default: print it.")
@NAMESPACE
def save(nodes: tuple[str, ...], *, output: Path | None, namespace: str | None) -> None:
    """Write the parameters of all nodes that run, or of NODES, as TOML, for `run --params`.

    Example: horus-async param save -o tuned.toml
    """
    client = Client(namespace)
    found = {name: one for name, one in client.interfaces().items() if one.params}
    chosen = {name: _of(name, found, client.namespace) for name in nodes} if nodes else found
    if not chosen:
        raise ParamError(f"no node with parameters runs in namespace {client.namespace!r}: nothing to save")
    text = as_toml({name: {n: said.get("value") for n, said in one.params.items()} for name, one in chosen.items()})
    if output is None:
        tell(text.rstrip("\n"))
        return
    output.write_text(text, "utf-8")
    tell(f"{sum(len(one.params) for one in chosen.values())} parameters in {printable(str(output))}")


def _of(node: str, found: dict[str, Interface], namespace: str) -> Interface:
    if node not in found:
        raise ParamError(f"no node {node!r} with parameters runs in namespace {namespace!r}{did_you_mean(node, found)}")
    return found[node]


def _find(name: str, client: Client) -> tuple[Interface, str]:
    """Whose parameter it is, whatever dots the name of the node holds."""
    known: dict[str, Any] = {}
    for interface in client.interfaces().values():
        known.update({f"{interface.node}.{one}": (interface, one) for one in interface.params})
    if name not in known:
        raise ParamError(
            f"no node of namespace {client.namespace!r} that runs has a parameter {name!r}{did_you_mean(name, known)}"
        )
    found: tuple[Interface, str] = known[name]
    return found
