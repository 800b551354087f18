"""Whether the fields of an object are what its class says, by its annotations. Compiled once a class.

What is accepted besides: an ``int`` for a ``float`` and both for a ``complex``, NumPy's numbers for Python's, a plain
number for an ``IntEnum`` and a plain text for a ``StrEnum``. A ``bool`` is no ``int`` here. What says nothing of values
(``Any``, type variables, protocols, callables) is not checked, nor what cannot be resolved, which is said once.
"""

from __future__ import annotations

import collections.abc
import logging
import sys
import types
import typing
import weakref
from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.validators import Fits

from .annotations import types_of
from .message_kinds import MARK, is_message_kind
from .wrong import Wrong, title

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_log = logging.getLogger("horus_async")


@frozen
class _Test:
    """What a place may hold."""

    find: Callable[[Any], Wrong | None]
    kinds: frozenset[type] = frozenset()
    """Objects of exactly these types need no look."""


_known: weakref.WeakKeyDictionary[type, Callable[[Any], Wrong | None]] = weakref.WeakKeyDictionary()


def first_wrong(value: Any) -> Wrong | None:
    """The first field of an object that is not what its class says; None if all are."""
    kind = type(value)
    find = _known.get(kind)
    if find is None:
        find = _known[kind] = _fields(kind)
    return find(value)


def takes_any_row(hint: Any) -> bool:
    """Whether a place with this annotation may hold numbers as a list, a tuple or an array alike."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in {typing.Union, types.UnionType} else ()
    return typing.Any in parts or any(isinstance(extra, Fits) for extra in getattr(hint, "__metadata__", ()))


def _fields(kind: type) -> Callable[[Any], Wrong | None]:
    """What finds the first wrong field of objects of a class."""
    if MARK in kind.__dict__ or issubclass(kind, Enum) or not is_message_kind(kind):
        return lambda _: None  # a model has its own validation
    hints, unknown = types_of(kind)
    if unknown:
        reasons = "; ".join(f"{name} ({reason})" for name, reason in unknown.items())
        _log.warning("fields of %s are not checked, as their annotations cannot be told: %s", title(kind), reasons)
    tests = [(name, test) for name, hint in hints.items() if (test := _test(hint, kind)) is not None]

    def find(value: Any) -> Wrong | None:
        for name, test in tests:
            item = getattr(value, name, _UNSET)
            if type(item) not in test.kinds and item is not _UNSET:
                wrong = test.find(item)
                if wrong is not None:
                    return wrong._replace(path=f".{name}{wrong.path}")
        return None

    return find


_UNSET = object()


def _test(hint: Any, owner: type) -> _Test | None:
    """What a place with this annotation may hold; None for anything."""
    given = next((extra for extra in getattr(hint, "__metadata__", ()) if isinstance(extra, Fits)), None)
    if given is not None:
        fits = given.fits
        return _Test(lambda value: None if fits(value) else Wrong("", given, value))
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in _WRAPPERS:
        return _test(parts[0], owner)
    if hasattr(hint, "__supertype__"):  # a NewType
        return _test(hint.__supertype__, owner)
    if hasattr(hint, "__value__"):  # a type alias, which may hold itself
        return _later(hint, owner)
    if origin in _GENERIC:
        return _GENERIC[origin](hint, parts, owner)
    return _test_class(hint, owner) if origin is None else _test_generic(hint, origin, parts, owner)


_WRAPPERS = tuple(
    found
    for name in ("Annotated", "Final", "ClassVar", "Required", "NotRequired", "ReadOnly")
    if (found := getattr(typing, name, None)) is not None
)


def _scalar(hint: Any, accepted: tuple[type, ...], numpys: tuple[str, ...]) -> _Test:
    def find(value: Any) -> Wrong | None:
        fits = isinstance(value, accepted) and (not isinstance(value, bool) or bool in accepted)
        if fits or (numpys and _is_of_numpy(value, numpys)):
            return None
        return Wrong("", hint, value)

    return _Test(find, frozenset(accepted))


def _is_of_numpy(value: Any, names: Iterable[str]) -> bool:
    numpy = sys.modules.get("numpy")  # without it there is no such value
    return numpy is not None and isinstance(value, tuple(getattr(numpy, name) for name in names))


_SCALARS: dict[Any, _Test] = {
    float: _scalar(float, (float, int), ("floating", "integer")),
    int: _scalar(int, (int,), ("integer",)),
    bool: _scalar(bool, (bool,), ("bool_",)),
    complex: _scalar(complex, (complex, float, int), ("number",)),
    str: _scalar(str, (str,), ()),
    bytes: _scalar(bytes, (bytes,), ()),
}


def _test_class(hint: Any, owner: type) -> _Test | None:
    kind = owner if hint is typing.Self else hint
    if kind in _ANYTHING or not isinstance(kind, type) or getattr(kind, "_is_protocol", False):
        return None
    if kind in _SCALARS:
        return _SCALARS[kind]
    if typing.is_typeddict(kind):
        return _test_typed_dict(kind)
    plain: Any = next((base for base in (int, str) if issubclass(kind, base) and issubclass(kind, Enum)), None)

    def find(value: Any) -> Wrong | None:
        if isinstance(value, kind):
            return first_wrong(value)
        return None if plain is not None and type(value) is plain else Wrong("", kind, value)

    return _Test(find, frozenset({type(None)} if kind is type(None) else ()))


_ANYTHING = (typing.Any, object)


def _later(hint: Any, owner: type) -> _Test:
    made: list[_Test | None] = []

    def find(value: Any) -> Wrong | None:
        if not made:
            made.append(_test(_meaning(hint), owner))
        return None if made[0] is None else made[0].find(value)

    return _Test(find)


def _meaning(alias: Any) -> Any:
    """What a type alias stands for, with its types filled in."""
    value = alias.__value__
    given = dict(zip(getattr(alias, "__type_params__", ()), typing.get_args(alias), strict=False))
    wanted = getattr(value, "__parameters__", ())
    return value[tuple(given[one] for one in wanted)] if wanted and given.keys() >= set(wanted) else value


def _test_literal(hint: Any, parts: tuple[Any, ...], _: type) -> _Test:
    def find(value: Any) -> Wrong | None:
        if any(type(value) is type(part) and value == part for part in parts):
            return None
        return Wrong("", hint, value)

    return _Test(find)


def _test_union(hint: Any, parts: tuple[Any, ...], owner: type) -> _Test | None:
    tests = [_test(part, owner) for part in parts]
    known = [test for test in tests if test is not None]
    if len(known) < len(tests):
        return None
    others = [test for part, test in zip(parts, known, strict=True) if part is not type(None)]

    def find(value: Any) -> Wrong | None:
        wrong = [test.find(value) for test in known]
        if None in wrong:
            return None
        inner = others[0].find(value) if len(others) == 1 else None
        return inner if inner is not None and inner.path else Wrong("", hint, value)

    return _Test(find, frozenset().union(*(test.kinds for test in known)))


def _test_tuple(hint: Any, parts: tuple[Any, ...], owner: type) -> _Test:
    if len(parts) == 2 and parts[1] is Ellipsis:
        return _row(hint, tuple, _test(parts[0], owner))
    tests = [_test(part, owner) for part in parts]

    def find(value: Any) -> Wrong | None:
        if not isinstance(value, tuple) or len(value) != len(tests):
            return Wrong("", hint, value)
        for index, (test, item) in enumerate(zip(tests, value, strict=True)):
            wrong = None if test is None else test.find(item)
            if wrong is not None:
                return wrong._replace(path=f"[{index}]{wrong.path}")
        return None

    return _Test(find)


def _row(hint: Any, origin: Any, test: _Test | None) -> _Test:
    """Many items of one kind."""

    def find(value: Any) -> Wrong | None:
        if not isinstance(value, origin):
            return Wrong("", hint, value)
        if test is None or not isinstance(value, _ROWS) or test.kinds.issuperset(map(type, value)):
            return None
        for index, item in enumerate(value):
            wrong = test.find(item)
            if wrong is not None:
                return wrong._replace(path=f"[{index}]{wrong.path}")
        return None

    return _Test(find)


_ROWS = (list, tuple, set, frozenset)


def _table(hint: Any, origin: Any, key: _Test | None, item: _Test | None) -> _Test:
    def find(value: Any) -> Wrong | None:
        if not isinstance(value, origin):
            return Wrong("", hint, value)
        if key is not None and not key.kinds.issuperset(map(type, value)):
            wrong = next((wrong for name in value if (wrong := key.find(name)) is not None), None)
            if wrong is not None:
                return wrong._replace(path=f" key {wrong.value!r:.40}{wrong.path}")
        if item is not None and not item.kinds.issuperset(map(type, value.values())):
            for name, held in value.items():
                wrong = item.find(held)
                if wrong is not None:
                    return wrong._replace(path=f"[{name!r:.40}]{wrong.path}")
        return None

    return _Test(find)


def _test_typed_dict(hint: Any) -> _Test:
    hints, _ = types_of(hint)
    needed = {name for name in hint.__required_keys__ if typing.get_origin(hints.get(name)) is not typing.NotRequired}
    made: dict[str, _Test | None] = {}

    def find(value: Any) -> Wrong | None:
        if not isinstance(value, dict) or not needed <= value.keys() <= hints.keys():
            return Wrong("", hint, value)
        for name, held in value.items():
            if name not in made:
                made[name] = _test(hints[name], hint)  # late: it may hold itself
            test = made[name]
            wrong = None if test is None else test.find(held)
            if wrong is not None:
                return wrong._replace(path=f"[{name!r}]{wrong.path}")
        return None

    return _Test(find)


def _test_generic(hint: Any, origin: Any, parts: tuple[Any, ...], owner: type) -> _Test | None:
    """A class with its types filled in."""
    if not isinstance(origin, type):
        return None
    if issubclass(origin, collections.abc.Mapping) and len(parts) == 2:
        return _table(hint, origin, _test(parts[0], owner), _test(parts[1], owner))
    if issubclass(origin, collections.abc.Iterable) and len(parts) == 1 and not is_message_kind(origin):
        return _row(hint, origin, _test(parts[0], owner))
    numpy = sys.modules.get("numpy")
    if numpy is not None and origin is numpy.ndarray:
        return _test_array(hint, numpy, parts[-1])
    return _test_class(origin, owner)


def _test_array(hint: Any, numpy: Any, dtype: Any) -> _Test:
    named = next(iter(typing.get_args(dtype)), None)
    choices = typing.get_args(named) if typing.get_origin(named) in {typing.Union, types.UnionType} else (named,)
    wanted = [typing.get_origin(choice) or choice for choice in choices]  # of floating[Any] it is floating
    checked = all(isinstance(one, type) and issubclass(one, numpy.generic) for one in wanted)

    def find(value: Any) -> Wrong | None:
        fits = isinstance(value, numpy.ndarray)
        if fits and (not checked or any(numpy.issubdtype(value.dtype, one) for one in wanted)):
            return None
        return Wrong("", hint, value)

    return _Test(find)


_GENERIC: dict[Any, Callable[[Any, tuple[Any, ...], type], _Test | None]] = {
    typing.Literal: _test_literal,
    typing.Union: _test_union,
    types.UnionType: _test_union,
    tuple: _test_tuple,
    collections.abc.Callable: lambda *_: None,
    type: lambda *_: None,
}
