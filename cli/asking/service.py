"""``horus-async service``: services of running nodes."""

from __future__ import annotations

from typing import Any

import click
import orjson

from horus_async.cli.support.errors import FOUND, fail
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.table import print_table
from horus_async.cli.terminal.text import tell
from horus_async.errors import ServiceError, ServiceTimeoutError
from horus_async.remote.client import Client
from horus_async.topics.codec import encode, to_json

from .common import JSON, NAMESPACE, TIMEOUT, AskingGroup, as_message, plain, shown


@click.group(cls=AskingGroup)
def service() -> None:
    """See and call the services of running nodes.

    Example: horus-async service call arm.home '{"speed": 0.1}'
    """


@service.command("list")
@NAMESPACE
@JSON
def list_(*, namespace: str | None, as_json: bool) -> None:
    """All services of the nodes that run.

    Example: horus-async service list
    """
    client = Client(namespace)
    rows = [
        {"service": name, "node": interface.node, "request": said.get("request"), "reply": said.get("reply")}
        for interface in client.interfaces().values()
        for name, said in interface.services.items()
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        tell(f"no node with services runs in namespace {client.namespace!r}", err=True)
    print_table(("service", "node", "request", "reply"), [tuple(plain(cell) for cell in row.values()) for row in rows])


@service.command(context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("name", shell_complete=completion.service)
@click.argument("request", metavar="[JSON]", required=False)
@click.option("--type", "kind", metavar="CLASS", help="Send an object of it: module.Class, or of horus_async.messages.")
@TIMEOUT
@NAMESPACE
@JSON
def call(
    name: str, request: str | None, *, kind: str | None, timeout: float, namespace: str | None, as_json: bool
) -> None:
    """Call a service, and print its reply. Exit code 1 if it failed, 2 if nobody answers.

    Example: horus-async service call arm.home '{"speed": 0.1}' --timeout 5
    """
    value: Any = as_message(request, kind)
    try:
        reply = Client(namespace).call(name, value, timeout)
    except ServiceTimeoutError:
        raise
    except ServiceError as error:
        fail(str(error), FOUND)
    said = orjson.loads(to_json(encode(reply)))
    if as_json:
        print_json(said)
    else:
        tell(shown(said))
