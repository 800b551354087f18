"""What a node's class declares that it offers: its parameters, services and actions."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import frozen
from orjson import loads

from horus_async.errors import ConfigurationError
from horus_async.topics import check_topic_name
from horus_async.topics.typed import check_type

from .marks import OFFERS
from .params import Param, key_of
from .policies import Goals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")


@frozen
class Service:
    """A question that a node answers."""

    name: str
    request: type | None = None
    reply: type | None = None

    @property
    def described(self) -> dict[str, Any]:
        """What others are told of it."""
        return _described({"request": self.request, "reply": self.reply})


@frozen
class Action:
    """A task that a node carries out, which takes a while and can be given up."""

    name: str
    goal: type | None = None
    feedback: type | None = None
    result: type | None = None
    policy: Goals = Goals.REJECT

    @property
    def described(self) -> dict[str, Any]:
        """What others are told of it."""
        kinds = {"goal": self.goal, "feedback": self.feedback, "result": self.result}
        return {**_described(kinds), "policy": self.policy.value}


def service(name: str, *, request: type | None = None, reply: type | None = None) -> Callable[[F], F]:
    """Make a method answer a service: ``@service("arm.home", request=Home, reply=Done)``.

    It is called as ``method(self, request)`` between two ticks of the node, one request at a time, and gives the reply.
    What it raises goes to the caller as a `ServiceError`, and the node goes on.

    Args:
        name: As of a topic; requests travel on ``name/request``, replies on ``name/reply``.
        request: The class of requests; anything else is refused.
        reply: The class of replies.

    Raises:
        ConfigurationError: No service can be called that.
        TopicTypeError: What is given for a type is no class.
    """
    _check_classes(name, request, reply)
    return _marking(Service(_named("service", name), request, reply), "@service('arm.home')")


def action(
    name: str,
    *,
    goal: type | None = None,
    feedback: type | None = None,
    result: type | None = None,
    policy: Goals = Goals.REJECT,
) -> Callable[[F], F]:
    """Make an async method carry out an action: ``@action("arm.move", goal=Pose)``.

    It is called as ``await method(self, goal, handle)`` in a task beside the node's ticks, may say how it gets on with
    ``handle.feedback(value)``, and gives the result. Where the goal is given up, it is cancelled as any task.

    Args:
        name: As of a topic; goals travel on ``name/goal``, what is given up on ``name/cancel``, and what comes back
            on ``name/status``.
        goal: The class of goals; anything else is refused.
        feedback: The class of what ``handle.feedback`` takes.
        result: The class of results.
        policy: What becomes of a goal that comes while another one is being carried out.

    Raises:
        ConfigurationError: No action can be called that.
        TopicTypeError: What is given for a type is no class.
    """
    if not isinstance(policy, Goals):
        raise ConfigurationError(f"action {name!r}: policy={policy!r}; use Goals.REJECT, Goals.QUEUE or Goals.PREEMPT")
    _check_classes(name, goal, feedback, result)
    return _marking(Action(_named("action", name), goal, feedback, result, policy), "@action('arm.move')")


def _marking(mark: Service | Action, example: str) -> Callable[[F], F]:
    def make(function: F) -> F:
        if not callable(function):
            raise ConfigurationError(f"{example} goes above a method, not above {function!r:.60}")
        setattr(function, OFFERS, mark)
        return function

    return make


def _named(what: str, name: Any) -> str:
    if callable(name):
        raise ConfigurationError(f"@{what} needs a name: write @{what}('arm.home') above the method")
    return check_topic_name(name)


def _check_classes(name: str, *kinds: type | None) -> None:
    for kind in kinds:
        if kind is not None:
            check_type(name, kind)


def _described(kinds: dict[str, type | None]) -> dict[str, Any]:
    """The names of classes, and of those that have fields what these are."""
    said: dict[str, Any] = {name: _title(kind) for name, kind in kinds.items()}
    given = {name: kind for name, kind in kinds.items() if kind is not None and kind.__module__ != "builtins"}
    if given:
        from horus_async.topics.packed.describe import describe  # late, as most nodes do without
        from horus_async.topics.packed.schema import Schema

        records = {name: describe(kind) for name, kind in given.items()}
        schemas = {name: loads(Schema.of(record).text) for name, record in records.items() if record is not None}
        if schemas:
            said["schemas"] = schemas
    return said


def _title(kind: type | None) -> str | None:
    if kind is None:
        return None
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__  # a script that is not run itself
    return f"{module}.{kind.__qualname__}"


@frozen(eq=False)
class Offers:
    """What a node offers to others."""

    params: Mapping[str, Param[Any]]
    services: Mapping[str, tuple[Service, Callable[..., Any]]]
    """By its name: what it is, and what answers it: ``function(request)``."""
    actions: Mapping[str, tuple[Action, Callable[..., Any]]]
    """By its name: what it is, and what carries it out: ``function(goal, handle)``."""


def declared_offers(node: Any, root: type) -> Offers:
    """What a node offers, by what its class declares below ``root``.

    Raises:
        ConfigurationError: Two methods offer the same.
    """
    params: dict[str, Param[Any]] = {}
    services: dict[str, tuple[Service, Callable[..., Any]]] = {}
    actions: dict[str, tuple[Action, Callable[..., Any]]] = {}
    kind = type(node)
    names = dict.fromkeys(name for base in reversed(kind.__mro__) if not issubclass(root, base) for name in vars(base))
    for name in names:
        found = inspect.getattr_static(kind, name)
        mark = getattr(found, OFFERS, None)
        if isinstance(found, Param):
            params[name] = found
            vars(node).setdefault(key_of(name), found.default)
        elif isinstance(mark, Service):
            _put(services, mark, getattr(node, name), node.name)
        elif isinstance(mark, Action):
            if not inspect.iscoroutinefunction(found):
                raise ConfigurationError(
                    f"node {node.name!r}: {name}() carries out the action {mark.name!r} and so takes a while: write "
                    f"'async def {name}(self, goal, handle)'"
                )
            _put(actions, mark, getattr(node, name), node.name)
    return Offers(params, services, actions)


def _put(into: dict[str, Any], mark: Service | Action, function: Callable[..., Any], node: str) -> None:
    if mark.name in into:
        raise ConfigurationError(f"node {node!r} has two methods for {mark.name!r}: leave one out")
    into[mark.name] = mark, function


def made_of(
    kind: type,
    params: Mapping[str, Param[Any]],
    services: Mapping[str, Callable[..., Any]],
    actions: Mapping[str, Callable[..., Any]],
) -> type:
    """A class like ``kind`` that offers these as well, for a node that is made of functions.

    Raises:
        ConfigurationError: A parameter has the name of something else, or is no `Param`.
    """
    attributes: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    for name, value in params.items():
        _check_param(kind, name, value)
        attributes[name] = value.copy()
    for number, (name, function) in enumerate(services.items()):
        attributes[f"_service_{number}"] = service(name)(_method(function))
    for number, (name, function) in enumerate(actions.items()):
        attributes[f"_action_{number}"] = action(name)(_method(function))
    return type(kind)(kind.__name__, (kind,), attributes)


def _check_param(kind: type, name: str, value: Any) -> None:
    if not name.isidentifier():
        raise ConfigurationError(f"{name!r} cannot be the name of a parameter: it has to be one of Python")
    if hasattr(kind, name):
        raise ConfigurationError(f"{name!r} cannot be the name of a parameter: every node has something of that name")
    if not isinstance(value, Param):
        raise ConfigurationError(f"params={{{name!r}: {value!r:.60}}}: give a Param(...)")


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of its own to be marked, as the one that was given may serve several nodes."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def method(*arguments: Any) -> Any:
            return await function(*arguments)

        return method

    @functools.wraps(function)
    def plain_method(*arguments: Any) -> Any:
        return function(*arguments)

    return plain_method
