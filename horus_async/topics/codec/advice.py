"""What to send in the place of a value that no topic can carry."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_BASES: tuple[type, ...] = (
    datetime,
    date,
    *(bool, int, float, complex, str, bytes, bytearray),
    *(list, tuple, dict, set, frozenset),
)


def advice(value: Any) -> str:
    """The type of a value that is refused, why, and what can be sent instead."""
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if kind.__name__ in ("coroutine", "async_generator"):
        return f"{name}, which was not awaited; send (await value)"
    for base in _BASES:
        if isinstance(value, base):
            how = f"{base.__name__}(value)"
            if issubclass(base, date):
                how = "value.to_pydatetime()" if hasattr(kind, "to_pydatetime") else "value.isoformat()"
            return f"{name}, a subclass of {base.__name__}: it would arrive as {base.__name__}; send {how}"
    instead = next(text for fits, text in _INSTEAD if fits(value, kind))
    return f"{name}, which no topic can carry; {instead}"


def _has(*methods: str) -> Callable[[Any, type], bool]:
    return lambda _, kind: all(hasattr(kind, method) for method in methods)


def _is(base: type) -> Callable[[Any, type], bool]:
    return lambda value, _: isinstance(value, base)


def _is_short(value: Any, kind: type) -> bool:
    """Whether it is of one of the many small types whose text says all."""
    return getattr(kind, "__str__") is not object.__str__ and not hasattr(value, "__dict__")  # noqa: B009 - for mypy


_INSTEAD: tuple[tuple[Callable[[Any, type], bool], str], ...] = (
    (_is(type), "send its name"),
    (_has("model_dump"), "send value.model_dump()"),  # like pydantic
    (_has("get_secret_value"), "send value.get_secret_value()"),  # pydantic's, which are not to be shown by accident
    (_has("unicode_string"), "send str(value)"),  # pydantic's URLs
    (_has("__fields__", "dict"), "send value.dict()"),  # pydantic before 2
    (_has("to_numpy"), "send value.to_numpy()"),  # tables
    (_has("__array__"), "send numpy.asarray(value)"),
    (lambda _, kind: kind.__module__ == "array", "send numpy.asarray(value)"),
    (_is(memoryview), "send bytes(value)"),
    (_is(BaseException), "send repr(value)"),
    (_has("keys", "__getitem__"), "send dict(value)"),
    (_has("__iter__"), "send list(value)"),
    (lambda value, _: callable(value), "a function exists only in its own process"),
    (_is_short, "send str(value)"),
    (lambda *_: True, "send its parts, or make it an attrs class or a dataclass"),
)
