"""A node answers what others ask of it: one request after the other, between its ticks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from horus_async.errors import ParamError, ServiceError, TopicTypeError
from horus_async.spelling import did_you_mean
from horus_async.topics.typed import check_sent

from .carrying import Carrying
from .identity import PARAMS, Request, said_of
from .marks import ANNOUNCED
from .params import key_of, plain, values_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from horus_async.topics import Message

    from .declaring import Offers, Service


class Answering:
    """What a node offers, in one run."""

    def __init__(self, node: Any, offers: Offers) -> None:
        self._node = node
        self._offers = offers
        self._answers: dict[str, Callable[[Message], Awaitable[None]]] = {}
        self._actions: list[Carrying] = []
        self.publishes = [ANNOUNCED]
        """Topics."""
        if offers.params:
            self._add(PARAMS, self._set_params)
        for name, (service, function) in offers.services.items():
            self._add(name, _bound(self._serve, service, function))
        for name, (action, carry_out) in offers.actions.items():
            carrying = Carrying(node, action, carry_out)
            self._actions.append(carrying)
            self._answers[f"{name}/goal"] = carrying.take_goal
            self._answers[f"{name}/cancel"] = carrying.give_up
            self.publishes.append(f"{name}/status")

    def _add(self, name: str, answer: Callable[[Message], Awaitable[None]]) -> None:
        self._answers[f"{name}/request"] = answer
        self.publishes.append(f"{name}/reply")

    @property
    def topics(self) -> tuple[str, ...]:
        """Those on which requests come."""
        return tuple(self._answers)

    def begin(self, init: Callable[[], Any] | None) -> Any:
        """In place of the node's ``init``: say what it offers, and go on with that."""
        self._cut(f"node {self._node.name} began anew")
        self._announce()
        return None if init is None else init()

    def end(self, shutdown: Callable[[], Any] | None) -> Any:
        """In place of its ``shutdown``."""
        self._cut(f"the run of node {self._node.name} ended")
        return None if shutdown is None else shutdown()

    def _cut(self, why: str) -> None:
        for carrying in self._actions:
            carrying.cut(why)

    async def answer_next(self) -> None:
        """Answer the next request, if there is one."""
        for topic, answer in self._answers.items():
            message = self._node.recv_message(topic)
            if message is not None:
                await answer(message)
                return

    def _announce(self) -> None:
        node, offers = self._node, self._offers
        self._node.send(
            ANNOUNCED,
            {
                "node": node.name,
                "params": {name: param.described(getattr(node, name)) for name, param in offers.params.items()},
                "services": {name: service.described for name, (service, _) in offers.services.items()},
                "actions": {name: action.described for name, (action, _) in offers.actions.items()},
            },
        )

    # Services

    async def _serve(self, service: Service, function: Callable[[Any], Any], message: Message) -> None:
        topic, request = f"{service.name}/reply", Request.of(message)
        try:
            check_sent(f"{service.name}/request", service.request, message.value)
            value = function(message.value)
            if inspect.isawaitable(value):
                value = await value
            check_sent(topic, service.reply, value)
            self._node.send(topic, request.named(value=value))
        except Exception as error:  # noqa: BLE001 - it is the caller's answer, and the node goes on
            self._node.send(topic, request.named(error=self._failed(service.name, error)))

    def _failed(self, name: str, error: Exception) -> str:
        expected = isinstance(error, (ServiceError, TopicTypeError))
        self._node.log.warning("%s: a request failed: %s", name, said_of(error), exc_info=None if expected else error)
        return str(error) if isinstance(error, ServiceError) else said_of(error)

    # Parameters

    async def _set_params(self, message: Message) -> None:
        asked = message.value
        if not isinstance(asked, dict) or asked.get("node") != self._node.name:
            return  # of another node
        request, topic = Request.of(message), f"{PARAMS}/reply"
        try:
            self._change(self._checked(asked.get("set") or {}))
        except ParamError as error:
            self._node.log.warning("parameters not set, as asked by %s: %s", message.publisher, error)
            self._node.send(topic, request.named(node=self._node.name, error=str(error)))
        else:
            values = values_of(self._node, self._offers.params)
            self._node.send(topic, request.named(node=self._node.name, value=values))

    def _checked(self, values: Any) -> dict[str, Any]:
        """All of the values, as they are to be: all of them or none are set."""
        params, node = self._offers.params, self._node.name
        if not isinstance(values, dict):
            raise ParamError(f"'set' has to have values by the names of parameters, not {values!r:.100}")
        for name in values:
            if name not in params:
                raise ParamError(f"{node} has no parameter {name!r:.100}{did_you_mean(str(name), params)}")
        return {name: params[name].checked(node, value) for name, value in values.items()}

    def _change(self, values: dict[str, Any]) -> None:
        node = self._node
        for name, value in values.items():
            before, after = plain(getattr(node, name)), plain(value)
            vars(node)[key_of(name)] = value
            if before != after:
                about = {"node": node.name, "name": name, "from": before, "to": after}
                node._ports.note("param", f"{node.name}.{name}: {before!r} -> {after!r}", about)  # noqa: SLF001
        if values:
            self._announce()


def _bound(function: Callable[..., Awaitable[None]], *first: Any) -> Callable[[Message], Awaitable[None]]:
    def answer(message: Message) -> Awaitable[None]:
        return function(*first, message)

    return answer
