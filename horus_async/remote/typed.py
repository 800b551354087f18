"""Objects of message classes from JSON: of a class that a user names, or that a node has announced."""

from __future__ import annotations

import importlib
from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Any

import attrs

from horus_async.errors import TopicError
from horus_async.topics.values import models

if TYPE_CHECKING:
    from collections.abc import Iterable

_MESSAGES = "horus_async.messages"


class _UnfitError(ValueError):
    """A value that its field cannot hold."""


def as_announced(name: str, kinds: Iterable[Any], value: Any) -> Any:
    """The value of JSON as a service or an action takes it: an object, where it takes one of the common messages.

    Nothing is imported because somebody announces it.

    Args:
        name: Of the service or action.
        kinds: What its nodes announce to take: ``module.Class`` each, None for anything.
        value: What ``json.loads`` returned; None for nothing, of a class the object with all its defaults.

    Raises:
        TopicError: The fields do not fit the class; says which, and why. Or it is an object of another class.
    """
    announced = sorted({kind for kind in kinds if isinstance(kind, str)})
    if len(announced) != 1 or announced == ["builtins.float"]:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        return _number(value, float) if announced == ["builtins.float"] and is_whole else value
    module, _, last = announced[0].rpartition(".")
    if module == "builtins":
        return value
    kind = _common(last) if module == _MESSAGES else None
    if kind is None:
        raise TopicError(
            f"{name!r} takes objects of {announced[0]!a:.200}, which is none of the common messages: name it as "
            "module.Class (on the command line with --type), where it can be imported"
        )
    return _structured(kind, {} if value is None else value)


def _common(name: str) -> type | None:
    """The common message of that name."""
    from horus_async import messages

    kind = getattr(messages, name, None) if name in messages.__all__ else None
    return kind if isinstance(kind, type) and attrs.has(kind) else None


def structure(name: str, fields: Any) -> Any:
    """An object of an attrs class or pydantic model from JSON: fields by name, nested as there, with its defaults.

    Args:
        name: ``module.Class``, or the name alone of a class in ``horus_async.messages``.
        fields: what ``json.loads`` returned.

    Raises:
        TopicError: there is no such class, or the fields do not fit it; says which field, and why.
    """
    return _structured(_find(name), fields)


def _structured(kind: type, fields: Any) -> Any:
    import cattrs

    from horus_async.messages import Array

    if models.is_model(kind):
        return _validate(kind, fields)
    converter = cattrs.Converter(forbid_extra_keys=True)
    # By default cattrs makes numbers of strings, and strings of anything.
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(int, _whole)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook_func(partial(eq, Array), _row)
    try:
        if not isinstance(fields, dict):
            raise TopicError(f"not a {kind.__name__}: its fields must be a JSON object, not {fields!r:.40}")
        return converter.structure(fields, kind)
    except cattrs.BaseValidationError as error:
        reasons = cattrs.transform_error(error, path=kind.__name__, format_exception=_explain)
        raise TopicError(f"not a {kind.__name__}: {'; '.join(reasons)}") from None


def _validate(kind: type, fields: Any) -> Any:
    """A model of what its own validation accepts; no name may be mistyped, unless the class takes any."""
    if not isinstance(fields, dict):
        raise TopicError(f"not a {kind.__name__}: its fields must be a JSON object, not {fields!r:.40}")
    unknown = [name for name in fields if name not in models.fields(kind)]
    if unknown and not models.allows_extra(kind):
        raise TopicError(
            f"not a {kind.__name__}: it has no field {unknown[0]!r}; it has {', '.join(models.fields(kind))}"
        )
    return models.build(kind, fields, None)


def _find(name: str) -> type:
    module, _, last = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module or _MESSAGES), last, None)
    except (ImportError, ValueError) as error:
        raise TopicError(f"cannot import the module of --type {name}: {error}") from None
    if not isinstance(kind, type) or not (attrs.has(kind) or models.is_model(kind)):
        raise TopicError(
            f"--type {name} is not an attrs class in {module or _MESSAGES}, nor a pydantic model; say module.Class"
        )
    return kind


def _explain(error: BaseException, kind: type | None) -> str:
    from cattrs.v import format_exception

    return str(error) if isinstance(error, _UnfitError) else format_exception(error, kind)


def _row(value: Any, _: Any) -> list[float]:
    if not isinstance(value, list):
        raise _UnfitError(f"expected a list of numbers, not {value!r:.40}")
    return [_number(item, float) for item in value]


def _number(value: Any, kind: type[float]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _UnfitError(f"expected a number, not {value!r:.40}")
    return kind(value)


def _whole(value: Any, kind: type[int]) -> int:
    """Also for enums whose values are integers."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise _UnfitError(f"expected an integer, not {value!r:.40}")
    return kind(value)


def _text(value: Any, kind: type[str]) -> str:
    if not isinstance(value, str):
        raise _UnfitError(f"expected a string, not {value!r:.40}")
    return kind(value)
