"""``horus-async service``: services of running nodes."""

from __future__ import annotations

from typing import Any

import click
import orjson

from horus_async.cli.support.errors import FOUND, fail
from horus_async.cli.support.in_order import OrderedGroup
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.text import tell
from horus_async.errors import ServiceError, ServiceTimeoutError
from horus_async.remote.client import Client
from horus_async.topics.codec import encode, to_json

from .common import TIMEOUT, TYPE, as_message, show_offered, shown


@click.group(cls=OrderedGroup)
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
    show_offered(rows, ("service", "node", "request", "reply"), client.namespace, as_json=as_json)


@service.command(context_settings={"ignore_unknown_options": True})  # -1 is a value
@click.argument("name", shell_complete=completion.service)
@click.argument("request", metavar="[JSON]", required=False)
@TYPE
@TIMEOUT
@NAMESPACE
@JSON
def call(
    name: str, request: str | None, *, kind: str | None, timeout: float, namespace: str | None, as_json: bool
) -> None:
    """Call a service, and print its reply. Exit code 1 if it failed, 2 if nobody answers.

    Example: horus-async service call arm.home '{"speed": 0.1}' --timeout 5
    """
    client = Client(namespace)
    value: Any = as_message(request, kind, client, name)
    try:
        reply = client.call(name, value, timeout)
    except ServiceTimeoutError:
        raise
    except ServiceError as error:
        fail(str(error), FOUND)
    said = orjson.loads(to_json(encode(reply)))
    if as_json:
        print_json(said)
    else:
        tell(shown(said))
