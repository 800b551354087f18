"""Asking nodes of running programs, from a program that is no node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from attrs import frozen

from horus_async.errors import ActionError, ParamError, ServiceError, ServiceTimeoutError
from horus_async.nodes.interface.identity import ENDS, PARAMS
from horus_async.nodes.interface.marks import ANNOUNCED, CONTROL
from horus_async.spelling import did_you_mean
from horus_async.topics import Topic, check_namespace, default_namespace
from horus_async.topics.inspection import rings

from .conversation import Conversation
from .typed import as_announced
from .watching import QUIET, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@frozen
class Interface:
    """What a node of a running program offers."""

    node: str
    params: Mapping[str, Mapping[str, Any]]
    """By name: its ``value``, ``default``, ``type``, and what else is said of it."""
    services: Mapping[str, Mapping[str, Any]]
    """By name: the classes of ``request`` and ``reply``, None for any."""
    actions: Mapping[str, Mapping[str, Any]]
    """By name: the classes of ``goal``, ``feedback`` and ``result``, and its ``policy``."""


class Client:
    """Asks nodes of the programs that run in a namespace. Each call waits, and needs no event loop.

    Args:
        namespace: By default ``HORUS_NAMESPACE``, else ``default``.
    """

    def __init__(self, namespace: str | None = None) -> None:
        self.namespace = check_namespace(default_namespace() if namespace is None else namespace)

    def interfaces(self) -> dict[str, Interface]:
        """By node, what those that run offer; nodes that offer nothing are not among them."""
        live = {
            publisher
            for ring in rings(self.namespace)
            if ring.topic == ANNOUNCED and ring.live
            for publisher in ring.publishers
        }
        found: dict[str, Interface] = {}
        with Topic(ANNOUNCED, namespace=self.namespace) as announced:
            while (message := announced.recv_message()) is not None:
                said = message.value
                if message.publisher in live and isinstance(said, dict) and said.get("node") == message.publisher:
                    parts = (_tables(said.get(part)) for part in ("params", "services", "actions"))
                    found[message.publisher] = Interface(message.publisher, *parts)
        return dict(sorted(found.items()))

    def request_of(self, service: str, value: Any) -> Any:
        """What to ask a service, made of the value of JSON: an object of the common messages, if it takes one.

        Raises:
            TopicError: The value does not fit the class that its node announces, or that is another one.
        """
        kinds = [one.services[service].get("request") for one in self.interfaces().values() if service in one.services]
        return as_announced(service, kinds, value)

    def goal_of(self, action: str, value: Any) -> Any:
        """What to give an action as a goal, made of the value of JSON; as `request_of`."""
        kinds = [one.actions[action].get("goal") for one in self.interfaces().values() if action in one.actions]
        return as_announced(action, kinds, value)

    def call(self, service: str, request: Any = None, timeout: float | None = 1.0) -> Any:
        """Ask a service; its reply.

        Raises:
            ServiceError: It failed; a `ServiceTimeoutError` if nobody answered within ``timeout`` seconds.
        """
        with Conversation(self.namespace, service, "request", "reply") as talk:
            asked = talk.ask(request)
            reply = talk.next_of(asked, timeout)
        if reply is None:
            raise ServiceTimeoutError(self._nobody(service, timeout, "services"))
        if "error" in reply:
            raise ServiceError(f"{service}: {reply['error']}")
        return reply.get("value")

    def set_params(self, node: str, values: Mapping[str, Any], timeout: float | None = 1.0) -> dict[str, Any]:
        """Set parameters of a node, all of them or none; the values of all that it has.

        Raises:
            ParamError: One cannot be set, or the node does not answer.
        """
        with Conversation(self.namespace, PARAMS, "request", "reply") as talk:
            reply = talk.next_of(talk.ask({"node": node, "set": dict(values)}), timeout)
        if reply is None:
            known = self.interfaces()
            if node in known:
                raise ParamError(f"node {node!r} does not answer within {timeout:g} s: {_DEAF}")
            raise ParamError(
                f"no node {node!r} with parameters runs in namespace {self.namespace!r}{did_you_mean(node, known)}"
            )
        if "error" in reply:
            raise ParamError(str(reply["error"]))
        value = reply.get("value")
        return value if isinstance(value, dict) else {}

    def goal(self, action: str, goal: Any = None, timeout: float | None = 1.0) -> Iterator[dict[str, Any]]:
        """Give an action a goal, and give what it says of it: dicts with ``state`` and perhaps ``value`` or ``error``.

        The last one has the state ``succeeded``, ``failed``, ``rejected``, ``cancelled`` or ``preempted``. Closing the
        iterator before that gives the goal up.

        Args:
            action: Its name.
            goal: What it takes.
            timeout: Seconds until somebody takes it up.

        Raises:
            ActionError: Nobody has.
        """
        with (
            Conversation(self.namespace, action, "goal", "status") as talk,
            Topic(f"{action}/cancel", namespace=self.namespace) as cancel,
        ):
            asked, state = talk.ask(goal), "asked"
            try:
                while state not in ENDS:
                    said = talk.next_of(asked, timeout if state == "asked" else None)
                    if said is None:
                        error = ActionError(self._nobody(action, timeout, "actions"))
                        error.state = "lost"
                        raise error
                    state = str(said.get("state"))
                    yield said
            finally:
                if state not in ENDS:
                    cancel.send(asked.named())

    def nodes(self, timeout: float = 1.0) -> list[dict[str, Any]]:
        """The nodes of the programs that run in real time: name, rate, ticks, errors, deadline misses and state.

        Args:
            timeout: Seconds to wait for the answers of all of them.
        """
        rows: list[dict[str, Any]] = []
        for found in self._of_all_runs({"do": "list"}, timeout):
            rows += [row for row in (found if isinstance(found, list) else ()) if _is_row(row)]
        return sorted(rows, key=lambda row: str(row["node"]))

    def info(self, node: str, timeout: float = 1.0) -> list[dict[str, Any]]:
        """All that is to be said of the running nodes of that name, mostly one; see `facts.whole`.

        Raises:
            ServiceTimeoutError: No such node runs, or its program does not answer.
        """
        answers = self._of_all_runs({"do": "info", "node": node}, timeout)
        return [value for value in answers if _is_row(value)] or self._no_node(node)

    def _of_all_runs(self, asked: dict[str, Any], timeout: float) -> Iterator[Any]:
        """What the runs answer that do: once one has, the others are waited for a little longer."""
        with Conversation(self.namespace, CONTROL, "request", "reply") as talk:
            request = talk.ask(asked)
            while (reply := talk.next_of(request, timeout)) is not None:
                yield reply.get("value")
                timeout = min(timeout, QUIET)

    def uses(self, timeout: float = 1.0) -> list[dict[str, Any]]:
        """The topics of the nodes of programs that run in real time: ``node``, ``sends``, ``reads``, ``run``, ``pid``.

        Args:
            timeout: Seconds to wait for the answers of all of them.
        """
        with Watch(self.namespace) as watch:
            watch.ask("uses")
            watch.wait(timeout)
            answers = watch.answers("uses").values()
            return [{**row, "run": answer.run, "pid": answer.pid} for answer in answers for row in answer.rows.values()]

    def pause(self, node: str, timeout: float = 1.0) -> dict[str, Any]:
        """Have a node enter its safe state and tick no more: ``node``, ``paused``, and whether that has ``changed``.

        Raises:
            ServiceTimeoutError: No such node runs, or its program does not answer.
        """
        return self._control("pause", node, timeout)

    def resume(self, node: str, timeout: float = 1.0) -> dict[str, Any]:
        """Let a paused node tick again; as `pause`."""
        return self._control("resume", node, timeout)

    def _control(self, do: str, node: str, timeout: float) -> dict[str, Any]:
        with Conversation(self.namespace, CONTROL, "request", "reply") as talk:
            reply = talk.next_of(talk.ask({"do": do, "node": node}), timeout)
        value = None if reply is None else reply.get("value")
        if isinstance(value, dict):
            return value
        return self._no_node(node)

    def _no_node(self, node: str) -> NoReturn:
        known = [str(row["node"]) for row in self.nodes()]
        raise ServiceTimeoutError(
            f"no node {node!r} answers in namespace {self.namespace!r}{did_you_mean(node, known)}"
            f"{'' if known else ': no program runs there in real time'}"
        )

    def _nobody(self, name: str, timeout: float | None, part: str) -> str:
        known = {one for interface in self.interfaces().values() for one in getattr(interface, part)}
        if name in known:
            return f"{name!r} does not answer within {timeout:g} s: {_DEAF}"
        verb = "provides a service" if part == "services" else "carries out an action"
        return f"nobody {verb} {name!r} in namespace {self.namespace!r}{did_you_mean(name, known)}"


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("node"), str)


_DEAF = "its node is busy, or is in a deterministic run or a replay, which take no messages from outside"


def _tables(said: Any) -> dict[str, dict[str, Any]]:
    """What somebody says of several things, as far as it is what it should be."""
    if not isinstance(said, dict):
        return {}
    return {name: one for name, one in said.items() if isinstance(name, str) and isinstance(one, dict)}
