"""Parameters, services and the graph of the nodes that run, as viewers ask for them.

What viewers ask comes in threads of the SDK, and is answered there: nodes are asked by a `Client`, which waits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import foxglove
import orjson
import trio
from foxglove.websocket import MessageSchema, Parameter, ParameterType, Service, ServiceRequest, ServiceSchema

from horus_async.errors import HorusError
from horus_async.spelling import printable
from horus_async.topics.codec import encode, to_json
from horus_async.topics.inspection import survey

from .server import Listener

if TYPE_CHECKING:
    from collections.abc import Mapping

    from horus_async.remote.client import Client as Nodes
    from horus_async.remote.client import Interface

    from .server import Server

_LOOK_SECONDS = 1.0
"""How often the graph is looked at while somebody watches it, and services that come and go."""
_TIMEOUT = 2.0
"""Seconds for a node to answer."""
_ANY = MessageSchema(
    encoding="json",
    schema=foxglove.Schema(name="json", encoding="jsonschema", data=b'{"type":"object","properties":{}}'),
)


class LiveListener(Listener):
    """Answers what viewers ask of running nodes.

    Args:
        token: Of the event loop.
        nodes: Asks them.
    """

    def __init__(self, token: trio.lowlevel.TrioToken, nodes: Nodes) -> None:
        super().__init__(token)
        self._nodes = nodes
        self.graph_is_watched = False
        self.params_watched: set[str] = set()
        self.server: Server | None = None

    def on_get_parameters(self, client: Any, param_names: list[str], request_id: str | None = None) -> list[Parameter]:
        """The parameters of these names, ``node.parameter``; all if there are none."""
        del client, request_id
        try:
            values = values_of(self._nodes.interfaces())
        except HorusError as error:
            self._say(printable(str(error)), "params")
            return []
        return [_parameter(name, values[name]) for name in param_names or values if name in values]

    def on_set_parameters(
        self, client: Any, parameters: list[Parameter], request_id: str | None = None
    ) -> list[Parameter]:
        """Set parameters, those of a node together; what they are afterwards."""
        del client, request_id
        wanted: dict[str, dict[str, Any]] = {}
        for parameter in parameters:
            node, _, name = parameter.name.rpartition(".")
            wanted.setdefault(node, {})[name] = parameter.get_value()
        for node, values in wanted.items():
            try:
                self._nodes.set_params(node, values, _TIMEOUT)
            except HorusError as error:
                self._say(f"not set: {printable(str(error))}", f"param {node}")
        return self.on_get_parameters(None, [parameter.name for parameter in parameters])

    def on_connection_graph_subscribe(self) -> None:
        """Somebody looks at the graph."""
        self.graph_is_watched = True

    def on_connection_graph_unsubscribe(self) -> None:
        """Nobody does any more."""
        self.graph_is_watched = False

    def on_parameters_subscribe(self, param_names: list[str]) -> None:
        """Somebody wants to be told of changes."""
        self.params_watched |= set(param_names)

    def on_parameters_unsubscribe(self, param_names: list[str]) -> None:
        """Nobody does any more."""
        self.params_watched -= set(param_names)

    def _say(self, text: str, key: str) -> None:
        if self.server is not None:
            self.server.sdk.publish_status(text, foxglove.StatusLevel.Warning, key)


class Asking:
    """Keeps services and the graph as they are.

    Args:
        namespace: Of the nodes.
        nodes: Asks them.
        server: Where viewers are.
        listener: Says whether the graph is watched.
    """

    def __init__(self, namespace: str, nodes: Nodes, server: Server, listener: LiveListener) -> None:
        self._namespace = namespace
        self._nodes = nodes
        self._server = server
        self._listener = listener
        self._services: set[str] = set()
        self._values: dict[str, Any] = {}
        self._shown: object = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await trio.to_thread.run_sync(self._look, abandon_on_cancel=True)
            except HorusError as error:
                self._server.sdk.publish_status(printable(str(error)), foxglove.StatusLevel.Warning, "nodes")
            await trio.sleep(_LOOK_SECONDS)

    def _look(self) -> None:
        interfaces = self._nodes.interfaces()
        providers: dict[str, list[str]] = {}
        for node, interface in interfaces.items():
            for name in interface.services:
                providers.setdefault(name, []).append(node)
        self._offer(set(providers))
        self._tell(values_of(interfaces))
        if self._listener.graph_is_watched:
            self._draw(providers)

    def _offer(self, names: set[str]) -> None:
        gone, new = self._services - names, names - self._services
        if gone:
            self._server.sdk.remove_services(sorted(gone))
        if new:
            self._server.sdk.add_services([_service(name, self._nodes) for name in sorted(new)])
        self._services = names

    def _tell(self, values: dict[str, Any]) -> None:
        old, self._values = self._values, values
        watched = self._listener.params_watched
        changed = [name for name, value in values.items() if name in watched and old.get(name) != value]
        if changed:
            self._server.sdk.publish_parameter_values([_parameter(name, values[name]) for name in changed])

    def _draw(self, providers: dict[str, list[str]]) -> None:
        published: dict[str, set[str]] = {}
        for ring in survey(self._namespace)[0]:
            if ring.live:
                published.setdefault(ring.topic, set()).update(ring.publishers)
        read: dict[str, set[str]] = {}
        for row in self._nodes.uses(_TIMEOUT):
            topics = row.get("reads")
            for topic in topics if isinstance(topics, list) else ():
                read.setdefault(str(topic), set()).add(str(row["node"]))
        shown = published, read, providers
        if shown == self._shown:
            return
        self._shown = shown
        graph = foxglove.ConnectionGraph()
        outlets = self._server.outlets
        for topic, nodes in published.items():
            graph.set_published_topic(outlets.of(topic).name, sorted(nodes))
        for topic, nodes in read.items():
            graph.set_subscribed_topic(outlets.of(topic).name, sorted(nodes))
        for name, nodes_of in providers.items():
            graph.set_advertised_service(name, nodes_of)
        self._server.sdk.publish_connection_graph(graph)


def values_of(interfaces: Mapping[str, Interface]) -> dict[str, Any]:
    """The parameters of all nodes, by ``node.parameter``."""
    return {
        f"{node}.{name}": said.get("value")
        for node, interface in interfaces.items()
        for name, said in interface.params.items()
    }


def _service(name: str, nodes: Nodes) -> Service:
    schema = ServiceSchema(name=name, request=_ANY, response=_ANY)
    return Service(name, schema=schema, handler=partial(_call, name, nodes))


def _call(name: str, nodes: Nodes, request: ServiceRequest) -> bytes:
    """Ask the service, with an object if it takes one; the SDK tells the client of an exception."""
    value = orjson.loads(request.payload) if request.payload else None
    text = bytes(to_json(encode(nodes.call(name, nodes.request_of(name, value), _TIMEOUT))))
    return text if text.startswith(b"{") else b'{"value":%b}' % text


def _parameter(name: str, value: Any) -> Parameter:
    if isinstance(value, float):
        return Parameter(name, value=value, type=ParameterType.Float64)
    return Parameter(name, value=value)
