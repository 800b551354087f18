"""Objects of message classes from what a user types."""

from __future__ import annotations

import importlib
import json
from functools import partial
from operator import eq
from typing import Any

import attrs

from horus_async.errors import TopicError
from horus_async.topics.values import models

_MESSAGES = "horus_async.messages"


class _UnfitError(ValueError):
    """A value that its field cannot hold."""


def parse_message(text: str, kind: str | None) -> Any:
    """The value of JSON, as an object of that class if one is given.

    Raises:
        TopicError: It is not JSON; and what `structure` raises.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise TopicError(f"{text!r:.60} is not JSON: {error}; text needs quotes: '\"text\"'") from None
    return value if kind is None else structure(kind, value)


def structure(name: str, fields: Any) -> Any:
    """An object of an attrs class or pydantic model from JSON: fields by name, nested as there, with its defaults.

    Args:
        name: ``module.Class``, or the name alone of a class in ``horus_async.messages``.
        fields: what ``json.loads`` returned.

    Raises:
        TopicError: there is no such class, or the fields do not fit it; says which field, and why.
    """
    import cattrs

    from horus_async.messages import Array

    kind = _find(name)
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
