"""The live program of a replay or a verification: what it is made by, and where its classes are."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any

from horus_async.errors import ConfigurationError
from horus_async.nodes.node import Node
from horus_async.topics.values.classes import use_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def made_by(factory: Callable[..., Any]) -> Any:
    """What a function makes: ``build(args)`` gets no arguments, one without parameters is called as it is.

    Raises:
        ConfigurationError: It is not a function.
    """
    if not callable(factory):
        raise ConfigurationError(f"app={factory!r}: give a Scheduler, or a function that makes one")
    parameters = inspect.signature(factory).parameters.values()
    by_place = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    takes = any(one.default is inspect.Parameter.empty and one.kind in by_place for one in parameters)
    return factory([]) if takes else factory()


def learn_classes(nodes: Iterable[Node]) -> None:
    """Let classes of a recording be found in the modules of these nodes, whatever they were called when it was made."""
    use_program(dict.fromkeys(module for node in nodes for module in _modules(node)))


def _modules(node: Node) -> Iterator[str]:
    if type(node) is not Node:
        yield type(node).__module__
    for function in node._functions.values():  # noqa: SLF001 - nobody else asks
        while isinstance(function, functools.partial):
            function = function.func  # noqa: PLW2901
        module = getattr(inspect.unwrap(function), "__module__", None)
        if isinstance(module, str):
            yield module
