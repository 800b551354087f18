"""Asking nodes of running programs, from a program that is no node."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

from attrs import frozen

from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic, wall_ns
from horus_async.errors import ActionError, ParamError, ServiceError, ServiceTimeoutError
from horus_async.nodes.interface.identity import ENDS, PARAMS, Request
from horus_async.nodes.interface.marks import ANNOUNCED, CONTROL
from horus_async.spelling import did_you_mean
from horus_async.topics import Topic, check_namespace, check_topic_name, default_namespace
from horus_async.topics.inspection import rings

from .announced import OfClass, as_announced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOOK_NS = 2_000_000


@frozen
class Interface:
    """What a node of a running program offers."""

    node: str
    params: Mapping[str, Mapping[str, Any]]
    """By name: its ``value``, ``default``, ``type``, and what else is said of it."""
    services: Mapping[str, Mapping[str, Any]]
    """By name: the classes of ``request`` and ``reply``, None for any, and in ``schemas`` the fields of these."""
    actions: Mapping[str, Mapping[str, Any]]
    """By name: the classes of ``goal``, ``feedback`` and ``result``, and its ``policy``; ``schemas`` as above."""


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

    def request_of(self, name: str, value: Any) -> Any:
        """The JSON value of a request as the service or action of that name takes it; as it is where none is there.

        Its class need not be known here: the node that offers it has announced its fields.

        Raises:
            TopicTypeError: It is something else; names the field.
        """
        for interface in self.interfaces().values():
            for part, offered in (("request", interface.services), ("goal", interface.actions)):
                if name in offered:
                    return as_announced(offered[name], part, value)
        return value

    def call(self, service: str, request: Any = None, timeout: float | None = 1.0) -> Any:
        """Ask a service; its reply.

        Raises:
            ServiceError: It failed; a `ServiceTimeoutError` if nobody answered within ``timeout`` seconds.
        """
        with _Conversation(self.namespace, service, "request", "reply") as talk:
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
        with _Conversation(self.namespace, PARAMS, "request", "reply") as talk:
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
            _Conversation(self.namespace, action, "goal", "status") as talk,
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
        with _Conversation(self.namespace, CONTROL, "request", "reply") as talk:
            asked = talk.ask({"do": "list"})
            while (reply := talk.next_of(asked, timeout)) is not None:
                found = reply.get("value")
                rows += [row for row in (found if isinstance(found, list) else ()) if _is_row(row)]
                timeout = min(timeout, _AFTER_THE_FIRST)
        return sorted(rows, key=lambda row: str(row["node"]))

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
        with _Conversation(self.namespace, CONTROL, "request", "reply") as talk:
            reply = talk.next_of(talk.ask({"do": do, "node": node}), timeout)
        value = None if reply is None else reply.get("value")
        if isinstance(value, dict):
            return value
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


_AFTER_THE_FIRST = 0.3
"""Seconds within which the answers of other programs come after that of the first."""

_DEAF = "its node is busy, or is in a deterministic run or a replay, which take no messages from outside"


class _Conversation:
    """Requests on one topic, and what comes back for them on another."""

    def __init__(self, namespace: str, name: str, asks: str, answers: str) -> None:
        check_topic_name(name)
        self._answers = Topic(f"{name}/{answers}", namespace=namespace)
        try:
            self._asks = Topic(f"{name}/{asks}", namespace=namespace)
        except BaseException:
            self._answers.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._asks.close()
        self._answers.close()

    def ask(self, value: Any) -> Request:
        publisher = self._asks._publisher  # noqa: SLF001 - a handle does not say what number its message got
        assert publisher is not None
        if isinstance(value, OfClass):
            publisher.publish(value.payload, wall_ns(), None, monotonic_ns())
        else:
            self._asks.send(value)
        return Request(f"topic-{os.getpid()}", publisher.next_seq - 1, None)

    def next_of(self, asked: Request, timeout: float | None) -> dict[str, Any] | None:
        """What came back next; None if nothing did in time."""
        until_ns = None if timeout is None else monotonic_ns() + round(timeout * NANOSECONDS)
        while True:
            message = self._answers.recv_message()
            if message is None:
                now_ns = monotonic_ns()
                if until_ns is not None and now_ns >= until_ns:
                    return None
                sleep_until_monotonic(now_ns + _LOOK_NS)
                continue
            named = Request.named_in(message.value)
            if named is not None and asked.is_meant_by(named):
                said: dict[str, Any] = message.value
                return said


def _tables(said: Any) -> dict[str, dict[str, Any]]:
    """What somebody says of several things, as far as it is what it should be."""
    if not isinstance(said, dict):
        return {}
    return {name: one for name, one in said.items() if isinstance(name, str) and isinstance(one, dict)}
