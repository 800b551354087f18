"""Whether a pydantic model would arrive as it is, found out without making its message twice.

This is the short way for models of numbers, texts, lists and the like, and of other such models. Where it finds no
certain yes, ``encoding`` makes what would arrive from the message itself, which takes several times as long and says
what is wrong.
"""

from __future__ import annotations

from typing import Any

from orjson import dumps

from horus_async.errors import MessageDecodeError
from horus_async.topics.values import models

from .plain import ATOMS

_all_atoms = ATOMS.issuperset


def survives(model: Any) -> bool:
    """Whether it certainly passes its validation and comes out of it as it is; no object of it is touched."""
    try:
        return _is_alike(model, _arrived(model))
    except (MessageDecodeError, _UncertainError, TypeError, ValueError, RecursionError):
        return False


class _UncertainError(Exception):
    """A value of a type that only the long way can judge."""


def _arrived(value: Any) -> Any:
    """What would arrive. Everything in it that can be changed is new: validators may change it."""
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind is list:
        return value[:] if _all_atoms(map(type, value)) else list(map(_arrived, value))
    if kind is tuple:
        return tuple(map(_arrived, value))
    if kind is dict:
        if not _all_atoms(map(type, value)):
            raise _UncertainError
        return {key: _arrived(item) for key, item in value.items()}
    if not models.is_model(kind):
        raise _UncertainError
    content = models.contents(value)
    unset = models.unset(value, content)
    return models.build(kind, {name: _arrived(item) for name, item in content.items()}, unset)


def _is_alike(a: Any, b: Any) -> bool:
    """Whether two values are the same to the last bit, and of the same types."""
    kind = type(a)
    if kind is not type(b):
        return False
    if kind in ATOMS:
        return a is b or dumps(a) == dumps(b)
    if kind is list or kind is tuple:
        return _are_alike(a, b)
    if kind is dict:
        return _are_alike(list(a), list(b)) and _are_alike(list(a.values()), list(b.values()))
    return _is_alike(models.contents(a), models.contents(b)) and models.difference(a, b) is None


def _are_alike(a: Any, b: Any) -> bool:
    """The same for the items of two rows; those of many numbers are compared at once."""
    kinds = list(map(type, a))
    if kinds != list(map(type, b)):
        return False
    if _all_atoms(kinds):  # their types are the same: null is NaN on both sides, or None on both
        return dumps(a) == dumps(b)
    return all(map(_is_alike, a, b))
