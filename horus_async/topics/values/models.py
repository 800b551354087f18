"""pydantic models in messages: what is in them, and how they are validated and built where they arrive.

A model is built by its class's own validation, validators included, so that no message makes an object that the class
does not allow; ``__init__`` does not run. What validation would not give back as it was is refused on sending: see
``codec.encoding``. pydantic is never imported here: a class of it is proof that it is there.
"""

from __future__ import annotations

import dataclasses
import sys
import weakref
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from horus_async.errors import MessageDecodeError, SchemaMismatchError
from horus_async.topics.kinds.message_kinds import MARK
from horus_async.value_diff import short

from . import keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_UNSET = object()
_LACKS = ("missing", "missing_argument", "missing_keyword_only_argument")
_FORBIDS = ("extra_forbidden", "unexpected_keyword_argument")
_LONGEST = 200
_KEYED = frozenset({"dict", "set", "frozenset"})
"""The types in pydantic's schemas whose values have keys."""


@frozen
class _Model:
    """What is to be known of a class."""

    fields: tuple[str, ...]
    keys: Mapping[str, str | None]
    """Fields that validation takes under another name, or, with None, not at all."""
    options: Mapping[str, Any]
    """For ``validate_python``."""
    is_dataclass: bool
    is_root: bool
    has_own_eq: bool
    has_keys: bool
    """Whether validation may make dicts or sets."""


_known: weakref.WeakKeyDictionary[type, _Model] = weakref.WeakKeyDictionary()


def is_model(kind: type) -> bool:
    """Whether it is a model, or a dataclass that ``pydantic.dataclasses`` made."""
    return MARK in kind.__dict__


def fields(kind: type) -> tuple[str, ...]:
    """The names of a model's fields, in order."""
    if dataclasses.is_dataclass(kind):
        return tuple(one.name for one in dataclasses.fields(kind))
    return tuple(_field_infos(kind))


def allows_extra(kind: type) -> bool:
    """Whether its objects may have more than its fields."""
    config = getattr(kind, "model_config", None)
    return isinstance(config, dict) and config.get("extra") == "allow"


def is_parametrised(kind: type) -> bool:
    """Whether it is a generic model with its types filled in, ``Box[int]``."""
    generic = getattr(kind, "__pydantic_generic_metadata__", None)
    return isinstance(generic, dict) and bool(generic.get("args"))


def contents(value: Any) -> dict[str, Any]:
    """The fields of a model that have a value, and its extras.

    Raises:
        ValueError: no message can hold it.
    """
    model = _model(type(value))
    if model.is_dataclass:
        found = {name: getattr(value, name, _UNSET) for name in model.fields}
        return {name: item for name, item in found.items() if item is not _UNSET}
    own = value.__dict__
    found = {name: own[name] for name in model.fields if name in own}
    extra = getattr(value, "__pydantic_extra__", None)
    if extra:
        for name in extra:
            if name in model.fields:
                raise ValueError(
                    f"{_title(type(value))} with an extra {name!r} that has the name of a field; rename it"
                )
        found.update(extra)
    return found


def unset(value: Any, content: dict[str, Any]) -> list[str]:
    """Which of a model's contents are no ``model_fields_set``: they have their defaults, and were not given."""
    given = getattr(value, "__pydantic_fields_set__", None)
    return [] if given is None or len(given) == len(content) else [name for name in content if name not in given]


def build(kind: type, content: dict[str, Any], unset: Any) -> Any:
    """The model with this content, validated.

    Args:
        kind: its class.
        content: fields, by their names.
        unset: as the function of that name returned; None for nothing.

    Raises:
        MessageDecodeError: the class does not accept it.
        SchemaMismatchError: it lacks a field that has no default, or has one that the class forbids.
    """
    try:
        model = _model(kind)
    except ValueError as error:
        raise MessageDecodeError(str(error)) from None
    try:
        known: Any = kind
        given = _given(model, content)
        made = known.__new__(known)
        made = known.__pydantic_validator__.validate_python(given, self_instance=made, **model.options)
    except Exception as error:  # noqa: BLE001 - validators are the program's own code
        if model.is_root and "root" not in content:
            raise _lacks(kind, "root") from None
        raise _not_accepted(kind, error) from None
    if type(made) is not kind:
        raise MessageDecodeError(f"the validation of {_title(kind)} made a {_title(type(made))}")
    if unset:
        if type(unset) is not list or not {str}.issuperset(map(type, unset)):
            raise MessageDecodeError(f"a damaged message: fields were expected, not {short(unset)}")
        if not model.is_dataclass:
            given = cast("Any", made).__pydantic_fields_set__
            object.__setattr__(made, "__pydantic_fields_set__", given.difference(unset))
    return made


def _given(model: _Model, content: dict[str, Any]) -> Any:
    """A model's content as its validation takes it.

    Raises:
        ValueError: it would make keys that collide.
    """
    if model.has_keys:
        keys.check_given(content)
    if model.is_root:
        return content["root"] if "root" in content else sys.modules["pydantic_core"].PydanticUndefined
    if model.keys:
        return {key: item for name, item in content.items() if (key := model.keys.get(name, name)) is not None}
    return content


def difference(value: Any, arrived: Any) -> str | None:
    """How two models with the same contents differ nevertheless; None if they do not."""
    kind = type(value)
    if type(arrived) is not kind:
        return f"{_title(kind)}, which would arrive as {_title(type(arrived))}; send {how_to_send(kind)}"
    name = _title(kind)
    model = _model(kind)
    here: dict[str, Any]
    there: dict[str, Any]
    if not model.is_dataclass:
        here, there = (getattr(one, "__pydantic_private__", None) or {} for one in (value, arrived))
        for attribute in {**here, **there}:
            if not _is_equal(here.get(attribute, _UNSET), there.get(attribute, _UNSET)):
                return f"{name} with a private attribute {attribute!r} that would be lost; send value.model_dump()"
        given: set[Any] = getattr(value, "__pydantic_fields_set__", set())
        if given != arrived.__pydantic_fields_set__:
            strays = sorted(map(str, given ^ arrived.__pydantic_fields_set__))
            return f"{name} whose model_fields_set would not arrive: {short(strays)}; send value.model_dump()"
    if model.has_own_eq and not _is_equal(value, arrived):
        return f"{name}, which by its own __eq__ would not arrive equal; send {_dump(model)}"
    return None


def how_to_send(kind: type) -> str:
    """The expression for what can be sent in the place of a model."""
    return _dump(_model(kind))


def _dump(model: _Model) -> str:
    return "dataclasses.asdict(value)" if model.is_dataclass else "value.model_dump()"


def _is_equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    try:
        return bool(a == b)
    except Exception:  # noqa: BLE001 - it is the program's own code; arrays have no such answer
        return False


def _title(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _model(kind: type) -> _Model:
    """What is to be known of a class.

    Raises:
        ValueError: no message can hold its objects.
    """
    known = _known.get(kind)
    if known is not None:
        return known
    try:
        schema = cast("Any", kind).__pydantic_core_schema__
        imports = _imports_modules(schema)
    except Exception as error:
        raise ValueError(f"{_title(kind)}, which is not complete: {_line(error)}") from error
    if imports:
        raise ValueError(f"{_title(kind)}, whose ImportString imports what a message names; send the name as str")
    is_dataclass = dataclasses.is_dataclass(kind)
    by_name = _version() >= (2, 11)
    keys: dict[str, str | None] = {}
    if not by_name:
        for name, info in _field_infos(kind).items():
            alias = getattr(info, "validation_alias", None)
            if isinstance(alias, str) and alias != name:
                keys[name] = alias
    if is_dataclass:
        keys |= {one.name: None for one in dataclasses.fields(cast("Any", kind)) if not one.init}
        keys |= {name: None for name, info in _field_infos(kind).items() if getattr(info, "init", None) is False}
    known = _known[kind] = _Model(
        fields(kind),
        keys,
        {"by_alias": False, "by_name": True} if by_name else {},
        is_dataclass,
        bool(getattr(kind, "__pydantic_root_model__", False)),
        _has_own_eq(kind),
        not _KEYED.isdisjoint(part for part in _parts(schema) if isinstance(part, str)),
    )
    return known


def _field_infos(kind: type) -> dict[str, Any]:
    """Pydantic's own descriptions of a class's fields."""
    found = getattr(kind, "__pydantic_fields__", None)
    return cast("dict[str, Any]", getattr(kind, "model_fields", {}) if found is None else found)


def _version() -> tuple[int, int]:
    major, minor = sys.modules["pydantic"].VERSION.split(".")[:2]
    return int(major), int(minor)


def _has_own_eq(kind: type) -> bool:
    """Whether the program says itself what is equal."""
    definer = next(base for base in kind.__mro__ if "__eq__" in vars(base))
    if definer is object or definer.__module__.partition(".")[0] == "pydantic":
        return False
    code = getattr(vars(definer)["__eq__"], "__code__", None)
    return getattr(code, "co_filename", None) != "<string>"  # where dataclasses make theirs


def _imports_modules(schema: Any) -> bool:
    """Whether validation imports what a text names."""
    return any(getattr(part, "__name__", None) == "import_string" for part in _parts(schema))


def _parts(schema: Any) -> Iterator[Any]:
    """All that a schema is made of."""
    left, seen = [schema], set()
    while left:
        part = left.pop()
        if not isinstance(part, dict | list | tuple):
            yield part
        elif id(part) not in seen:
            seen.add(id(part))
            left.extend(part.values() if isinstance(part, dict) else part)


def _not_accepted(kind: type, error: Exception) -> MessageDecodeError:
    """The error for a content that a class does not accept."""
    title = _title(kind)
    try:
        first = cast("Any", error).errors(include_url=False)[0]
        where, given = _place(first["loc"]), short(first["input"])
        name, sort, reason = first["loc"][0] if len(first["loc"]) == 1 else None, first["type"], first["msg"]
    except Exception:  # noqa: BLE001 - not pydantic's error, or a value that cannot even be shown
        return MessageDecodeError(f"the validation of {title} failed: {type(error).__name__}: {_line(error)}")
    if sort in _LACKS and name is not None:
        return _lacks(kind, name)
    if sort in _FORBIDS and name is not None:
        return SchemaMismatchError(f"{title} has no field {name!r}, which the message has, and forbids others")
    what = f"{where} = {given}" if where else given
    return MessageDecodeError(f"{title} does not accept {what}: {_line(reason)}")


def _lacks(kind: type, field: int | str) -> SchemaMismatchError:
    return SchemaMismatchError(f"{_title(kind)} needs a field {field!r}, which the message lacks")


def _place(steps: tuple[int | str, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def _line(text: object) -> str:
    try:
        line = " ".join(str(text).split())
    except Exception:  # noqa: BLE001 - the program's own error class
        return "(no text)"
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
