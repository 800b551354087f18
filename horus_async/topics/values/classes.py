"""attrs classes, dataclasses and enums in messages: their names, their contents, and how to find and build them.

A class is named ``module.Qualified.Name`` and looked up among the modules that are already imported; a message never
causes an import. Objects are built field by field without running ``__init__``, so that a value
comes back as it was, whatever converters and validators do; a field that a message lacks gets its default, and one
that the class lacks is left out.
"""

from __future__ import annotations

import dataclasses
import sys
import weakref
from enum import Enum, Flag
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import attrs

from horus_async.errors import MessageDecodeError, SchemaMismatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    Default = Callable[[Any], Any] | None
    """Returns the default of a field for an object that is being built; None for a field that must be present."""

_UNSET = object()

_CONTAINERS = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex)

_local: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
"""Classes that cannot be looked up in a module, such as those made inside a function, once sent from here."""


_plans: weakref.WeakKeyDictionary[type, tuple[str, dict[str, Default]]] = weakref.WeakKeyDictionary()


def to_fields(value: Any) -> tuple[str, Any] | None:
    """The name of a value's class and its content by field, for an enum its member's name; None for other values.

    Raises:
        ValueError: it is of such a class, but part of it would be lost.
    """
    kind = type(value)
    if not _is_known_kind(kind):
        return None
    name, defaults = plan(kind)
    if isinstance(value, Enum):
        return name, value.value if isinstance(value, Flag) else value.name
    if issubclass(kind, _CONTAINERS):
        raise ValueError(f"{name}, which is also a {kind.__mro__[-2].__name__}: its items would be lost")  # noqa: TRY004 - told apart from a bug
    fields = {field: getattr(value, field, _UNSET) for field in defaults}
    return name, {field: item for field, item in fields.items() if item is not _UNSET}


def is_public(kind: type) -> bool:
    """Whether messages may hold such objects, and any process can look the class up in a module."""
    if not _is_known_kind(kind) or (issubclass(kind, _CONTAINERS) and not issubclass(kind, Enum)):
        return False
    return _look_up(_name(kind)) is kind


_MOVED = {
    "horus_async.policies.Miss": "horus_async.nodes.failure_policies.Miss",
    "horus_async.stats.NodeStats": "horus_async.engine.stats.NodeStats",
    "horus_async.stats.SchedulerStats": "horus_async.scheduler.stats.SchedulerStats",
}
"""Classes of ours that stand in recordings under the modules where they were."""


def find(name: Any) -> type | None:
    """The class of that name, if it is imported and of a kind that messages may hold."""
    if not isinstance(name, str):
        return None
    name = _MOVED.get(name, name)
    kind = _look_up(name) or _local.get(name)
    return kind if kind is not None and _is_known_kind(kind) else None


def build(kind: type, content: Any) -> Any:
    """The object of class ``kind`` with this content.

    Raises:
        MessageDecodeError: the content does not fit the class.
        SchemaMismatchError: the content lacks a field that has no default.
    """
    if issubclass(kind, Enum):
        try:
            return kind(content) if issubclass(kind, Flag) else kind[content]
        except (LookupError, ValueError, TypeError):
            raise MessageDecodeError(f"{kind.__qualname__} has no member {content!r}") from None
    if not isinstance(content, dict):
        raise MessageDecodeError(f"the content of a {kind.__qualname__} is not a dict but {content!r:.60}")
    made = kind.__new__(kind)
    for field, default in plan(kind)[1].items():
        item = content.get(field, _UNSET)
        if item is _UNSET:
            if default is None:
                raise SchemaMismatchError(f"{kind.__qualname__} needs a field {field!r}, which the message lacks")
            item = default(made)
            if item is _UNSET:
                continue
        object.__setattr__(made, field, item)
    return made


def _is_known_kind(kind: type) -> bool:
    return issubclass(kind, Enum) or attrs.has(kind) or dataclasses.is_dataclass(kind)


def _name(kind: type) -> str:
    """The name of a class in messages.

    A class of the program itself belongs to ``__main__``, also where the program is imported instead of run: there
    multiprocessing, and loading a script without running it, call its module ``__mp_main__``.
    """
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return f"{module}.{kind.__qualname__}"


def _look_up(name: str) -> type | None:
    """The class of that name among the imported ones."""
    found = _follow(name)
    if found is None and name.startswith("__main__."):
        found = _follow(name.replace("__main__", "__mp_main__", 1))
    return found if found is not None and _name(found) == name else None


def _follow(name: str) -> type | None:
    """Follow a dotted name from the longest module that is imported."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:end]))
        if found is None:
            continue
        for part in parts[end:]:
            found = vars(found).get(part) if isinstance(found, (type, ModuleType)) else None
            if found is None:
                break
        if isinstance(found, type):
            return found
    return None


def plan(kind: type) -> tuple[str, dict[str, Default]]:
    """The name of a class, and its fields with their defaults."""
    known = _plans.get(kind)
    if known is None:
        name = _name(kind)
        if _look_up(name) is not kind:
            _local[name] = kind
        known = _plans[kind] = name, _defaults(kind)
    return known


def _defaults(kind: type) -> dict[str, Default]:
    if issubclass(kind, Enum):
        return {}
    if attrs.has(kind):
        return {attribute.name: _attrs_default(attribute) for attribute in attrs.fields(kind)}
    return {attribute.name: _dataclass_default(attribute) for attribute in dataclasses.fields(cast("Any", kind))}


def _attrs_default(attribute: attrs.Attribute[Any]) -> Default:
    default: Any = attribute.default
    if default is attrs.NOTHING:
        return None if attribute.init else lambda _: _UNSET
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        return default.factory if default.takes_self else lambda _: default.factory()
    return lambda _: default


def _dataclass_default(attribute: dataclasses.Field[Any]) -> Default:
    if attribute.default_factory is not dataclasses.MISSING:
        factory = attribute.default_factory
        return lambda _: factory()
    if attribute.default is not dataclasses.MISSING:
        return lambda _: attribute.default
    return None if attribute.init else lambda _: _UNSET
