"""attrs classes, dataclasses, models, named tuples and enums in messages: names, contents, how to find and build them.

A class is named ``module.Qualified.Name`` and looked up among the modules that are already imported; a message never
causes an import. Which are found is said in ``kinds.admission``. Objects are built field by field without running
``__init__``, so that a value comes back as it was, whatever converters and validators do; a field that a message lacks
gets its default, and one that the class lacks is left out. Those of pydantic are validated: see ``models``.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from enum import Enum, Flag
from typing import TYPE_CHECKING, Any, cast

import attrs

from horus_async.errors import MessageDecodeError, SchemaMismatchError
from horus_async.topics.kinds.admission import enums_in, may_be_made
from horus_async.topics.kinds.finding import find, find_inside, keep_local, look_up, look_up_local, name_of, use_program
from horus_async.topics.kinds.message_kinds import MARK, is_message_kind, is_named_tuple

from . import models
from .flags import flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Default = Callable[[Any], Any] | None
    """Returns the default of a field for an object that is being built; None for a field that must be present."""

__all__ = [
    "build",
    "canonical",
    "find",
    "find_inside",
    "flag",
    "is_outdated",
    "is_public",
    "plan",
    "to_fields",
    "use_program",
]

_UNSET = object()

_CONTAINERS = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, complex)

_plans: weakref.WeakKeyDictionary[type, tuple[str, dict[str, Default]]] = weakref.WeakKeyDictionary()


def to_fields(value: Any) -> tuple[str, Any, bool] | None:
    """The name of a value's class, its content by field (for an enum its member's name), and whether it is a model.

    None for other values.

    Raises:
        ValueError: it is of such a class, but part of it would be lost.
    """
    kind = type(value)
    if MARK in kind.__dict__:
        name, defaults = plan(kind)
        return name, _model_fields(value, name, defaults), True
    if not is_message_kind(kind):
        return None
    name, defaults = plan(kind)
    if isinstance(value, Enum):
        return name, value.value if isinstance(value, Flag) else value.name, False
    if is_named_tuple(kind):
        if len(value) != len(defaults):
            raise ValueError(f"{name} with {len(value)} items for its {len(defaults)} fields")
        fields = dict(zip(defaults, value, strict=True))
        _refuse_strays(value, name, {})
        return name, fields, False
    if issubclass(kind, _CONTAINERS):
        raise ValueError(f"{name}, which is also a {kind.__mro__[-2].__name__}: its items would be lost")  # noqa: TRY004 - told apart from a bug
    _refuse_strays(value, name, defaults)
    fields = {field: getattr(value, field, _UNSET) for field in defaults}
    return name, {field: item for field, item in fields.items() if item is not _UNSET}, False


def _model_fields(value: Any, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    kind, known = type(value), look_up(name)
    if known is None and models.is_parametrised(kind):
        raise ValueError(f"{name}, which no other process finds; make it a class of its own: class …({name}): pass")
    if (known or look_up_local(name)) is not kind:
        raise ValueError(f"{name} of an older definition of that class; make it anew")
    _refuse_strays(value, name, fields)
    return models.contents(value)


def _refuse_strays(value: Any, name: str, fields: Mapping[str, Any]) -> None:
    """Refuse an object with attributes that are no fields, and so would not arrive; cached properties are no loss.

    Raises:
        ValueError: it has such an attribute.
    """
    own = getattr(value, "__dict__", None)
    if not own or own.keys() <= fields.keys():
        return
    kind = type(value)
    for stray in own:
        if stray not in fields and not isinstance(_in_class(kind, stray), functools.cached_property):
            raise ValueError(
                f"{name} with an attribute {stray!r} that is no field of the class and would be lost; "
                "declare it in the class, or delete it before sending"
            )


def _in_class(kind: type, attribute: str) -> Any:
    return next((vars(base)[attribute] for base in kind.__mro__ if attribute in vars(base)), None)


def is_outdated(kind: type) -> bool:
    """Whether the class was defined anew since: its module has another one of its name now."""
    now = look_up(name_of(kind))
    return now is not None and now is not kind


def is_public(kind: type, inside: type | None = None) -> bool:
    """Whether messages may hold such objects field by field, and any process can look the class up in a module.

    Args:
        kind: the class.
        inside: the class that has a field annotated with it, if it is for that.
    """
    if not is_message_kind(kind) or models.is_model(kind):
        return False
    if issubclass(kind, _CONTAINERS) and not issubclass(kind, Enum):
        return False
    may_be = may_be_made(kind) or (inside is not None and kind in enums_in(inside))
    return may_be and look_up(name_of(kind)) is kind


def canonical(name: Any) -> str:
    """The name that messages sent from here give to the class of that name; the name itself if there is no such."""
    kind = find(name)
    return str(name) if kind is None else plan(kind)[0]


def build(kind: type, content: Any, unset: Any = None) -> Any:
    """The object of class ``kind`` with this content.

    Args:
        kind: as ``find`` returned it.
        content: as ``to_fields`` returned it.
        unset: of a model, the fields that were not given but have their defaults; see ``models``.

    Raises:
        MessageDecodeError: the content does not fit the class, or a model's own validation refuses it.
        SchemaMismatchError: the content lacks a field that has no default.
    """
    if MARK in kind.__dict__:
        if not isinstance(content, dict):
            raise _no_fields(kind, content)
        return models.build(kind, content, unset)
    if issubclass(kind, Enum):
        try:
            return flag(kind, content) if issubclass(kind, Flag) else kind[content]
        except (LookupError, TypeError):
            raise MessageDecodeError(f"{kind.__qualname__} has no member {content!r:.60}") from None
    if not isinstance(content, dict):
        raise _no_fields(kind, content)
    if is_named_tuple(kind):
        return tuple.__new__(cast("Any", kind), [item for _, item in _contents(kind, content, None)])
    made = kind.__new__(kind)
    for field, item in _contents(kind, content, made):
        object.__setattr__(made, field, item)
    return made


def _no_fields(kind: type, content: Any) -> MessageDecodeError:
    return MessageDecodeError(f"the content of a {kind.__qualname__} is not a dict but {content!r:.60}")


def _contents(kind: type, content: dict[str, Any], made: Any) -> Iterator[tuple[str, Any]]:
    """Each field with what it gets, by the message or by default; one that has neither, and need not, is left out."""
    for field, default in plan(kind)[1].items():
        item = content.get(field, _UNSET)
        if item is _UNSET:
            if default is None:
                raise SchemaMismatchError(f"{kind.__qualname__} needs a field {field!r}, which the message lacks")
            item = default(made)
            if item is _UNSET:
                continue
        yield field, item


def plan(kind: type) -> tuple[str, dict[str, Default]]:
    """The name of a class, and its fields with their defaults."""
    known = _plans.get(kind)
    if known is None:
        name = name_of(kind)
        if look_up(name) is not kind:
            keep_local(name, kind)
        known = _plans[kind] = name, _defaults(kind)
    return known


def _defaults(kind: type) -> dict[str, Default]:
    if issubclass(kind, Enum):
        return {}
    if models.is_model(kind):
        return dict.fromkeys(models.fields(kind))
    if attrs.has(kind):
        return {attribute.name: _attrs_default(attribute) for attribute in attrs.fields(kind)}
    if is_named_tuple(kind):
        row = cast("Any", kind)
        known = row._field_defaults
        return {field: _always(known[field]) if field in known else None for field in row._fields}
    return {attribute.name: _dataclass_default(attribute) for attribute in dataclasses.fields(cast("Any", kind))}


def _always(value: Any) -> Default:
    return lambda _: value


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
