"""Which functions can be a node's callbacks."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from horus_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

_TAKES = {"on_error": ("error",)}
"""What a callback gets beside its node."""


def check_callback(node: str, name: str, function: Any, *, bound: bool) -> None:
    """See whether the node of that name could call this.

    Args:
        node: Its name.
        name: Of the callback, such as ``tick``.
        function: What was given for it, or the method of that name.
        bound: It is such a method, which has its node already.

    Raises:
        ConfigurationError: It cannot be called, would do nothing, or takes other arguments.
    """
    if not callable(function):
        raise ConfigurationError(f"node {node!r}: {name}={function!r}; give a function, or write a method")
    if inspect.isasyncgenfunction(function) or _is_generator(function):
        raise ConfigurationError(
            f"node {node!r}: there is a 'yield' in its {name}, which makes a generator of it that nobody "
            f"would run; in a {name} send(), or await"
        )
    given = _TAKES.get(name, ()) if bound else ("node", *_TAKES.get(name, ()))
    wanted = ("self", *given) if bound else given
    plain = bound and inspect.ismethod(function)  # one without self has no signature but its function's
    try:
        signature = inspect.signature(function.__func__ if plain else function)
    except (TypeError, ValueError):  # one of a C library may not have any
        return
    try:
        signature.bind(*(wanted if plain else given))
    except TypeError as error:
        raise ConfigurationError(
            f"node {node!r}: its {name} cannot be called with ({', '.join(given)}): {error}; write 'def "
            f"{name}({', '.join(wanted)})'"
        ) from None


def _is_generator(function: Callable[..., Any]) -> bool:
    inner = inspect.unwrap(getattr(function, "func", function))
    flags = getattr(getattr(inner, "__code__", None), "co_flags", 0)
    return bool(flags & inspect.CO_GENERATOR and not flags & inspect.CO_ITERABLE_COROUTINE)
