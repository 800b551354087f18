"""``horus-async action``: actions of running nodes."""

from __future__ import annotations

import click
import orjson

from horus_async.cli.support.errors import FOUND, fail
from horus_async.cli.support.in_order import OrderedGroup
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.text import tell
from horus_async.remote.client import Client
from horus_async.topics.codec import encode, to_json

from .common import TIMEOUT, TYPE, as_message, show_offered, shown


@click.group(cls=OrderedGroup)
def action() -> None:
    """See the actions of running nodes, and give them goals.

    Example: horus-async action send arm.move '{"x": 1.0}'
    """


@action.command("list")
@NAMESPACE
@JSON
def list_(*, namespace: str | None, as_json: bool) -> None:
    """All actions of the nodes that run.

    Example: horus-async action list
    """
    client = Client(namespace)
    parts = ("goal", "feedback", "result", "policy")
    rows = [
        {"action": name, "node": interface.node, **{part: said.get(part) for part in parts}}
        for interface in client.interfaces().values()
        for name, said in interface.actions.items()
    ]
    show_offered(rows, ("action", "node", *parts), client.namespace, as_json=as_json)


@action.command(context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("name", shell_complete=completion.action)
@click.argument("goal", metavar="[JSON]", required=False)
@TYPE
@TIMEOUT
@NAMESPACE
@JSON
def send(
    name: str, goal: str | None, *, kind: str | None, timeout: float, namespace: str | None, as_json: bool
) -> None:
    """Give an action a goal, and print its feedback and its result; Ctrl-C gives it up.

    Exit code 1 if it did not succeed, 2 if nobody takes it up.

    Example: horus-async action send arm.move '{"x": 1.0}'
    """
    said = {}
    client = Client(namespace)
    states = client.goal(name, as_message(goal, kind, client, name), timeout)
    try:
        for said in states:
            line = {key: said[key] for key in ("state", "value", "error") if key in said}
            if "value" in line:
                line["value"] = orjson.loads(to_json(encode(line["value"])))
            if as_json:
                print_json(line)
            else:
                rest = line.get("error") or (shown(line["value"]) if "value" in line else "")
                tell(f"{line['state']}{': ' if rest else ''}{rest}")
    finally:
        states.close()  # type: ignore[attr-defined] # a generator: it gives up what has not ended
    if said.get("state") != "succeeded":
        fail(f"{name}: {said.get('error') or said.get('state')}", FOUND)
