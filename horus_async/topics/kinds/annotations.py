"""What the annotations of a class say, field by field."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator


def types_of(kind: type) -> tuple[dict[str, Any], dict[str, str]]:
    """The types of a class's fields as annotated, and why those cannot be told that are left out.

    Names that only type checkers know, and annotations that are no types, cost their own field alone.
    """
    with suppress(Exception):  # it evaluates annotations
        return typing.get_type_hints(kind, include_extras=True), {}
    found: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        module = sys.modules.get(base.__module__)
        for name, written in _written_in(base).items():
            unknown.pop(name, None)
            found.pop(name, None)
            holder: Any = type("holder", (), {"__annotations__": {name: written}})
            try:
                found |= typing.get_type_hints(holder, vars(module) if module else {}, dict(vars(base)), True)
            except Exception as error:  # noqa: BLE001 - as above
                unknown[name] = str(error)
    return found, unknown


def written(kind: type) -> dict[str, Any]:
    """The annotations as written in the class, which ``attrs.resolve_types``, and so cattrs, leaves alone."""
    if attrs.has(kind):
        found = {attribute.name: attribute.type for attribute in attrs.fields(kind)}
    else:
        found = {one.name: one.type for one in dataclasses.fields(cast("Any", kind))}
    for base in reversed(kind.__mro__):
        found.update(_written_in(base))
    return found


def _written_in(base: type) -> dict[str, Any]:
    with suppress(Exception):  # names that only type checkers know
        return inspect.get_annotations(base)
    if sys.version_info >= (3, 14):
        import annotationlib

        with suppress(Exception):
            return annotationlib.get_annotations(base, format=annotationlib.Format.FORWARDREF)
    return {}


def parts(hint: Any) -> Iterator[type]:
    """The classes that an annotation is made of."""
    left, seen = [hint], 0
    while left and seen < _MOST_PARTS:
        one = left.pop()
        seen += 1
        one = getattr(one, "__supertype__", one)  # of a NewType
        if isinstance(one, type) and not typing.get_args(one):
            yield one
        left.extend(typing.get_args(one))


_MOST_PARTS = 1000
