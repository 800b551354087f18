"""Protobuf messages as dicts, by the descriptors that their file holds. Nothing is generated, and nothing imported.

A field that tells set from unset (a message, ``optional``, a member of a ``oneof``) is None while it is unset; any
other has its default then. So all messages of a type have the same keys. What the descriptors do not know is in
``unknown fields``, by the numbers of the fields.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from horus_async.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Callable

    Convert = Callable[[Any], Any]

_KNOWN = {
    f"google/protobuf/{name}.proto": f"google.protobuf.{name}_pb2"
    for name in ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers")
}
"""Files that every installation has, and writers sometimes leave out."""


def protobuf_decoder(name: str, descriptors: bytes) -> Callable[[bytes], Any]:
    """What makes dicts of the messages of a type.

    Args:
        name: The type's, with its package.
        descriptors: A serialised ``FileDescriptorSet`` with all that it stands on.

    Raises:
        Exception: The descriptors do not describe it; the library has many kinds of errors.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    files = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file}
    pool = descriptor_pool.DescriptorPool()
    _add_all(pool, files)
    kind: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName(name.lstrip(".")))
    converter = _Converter()
    return lambda data: converter.message(kind.FromString(data))


def _add_all(pool: Any, files: dict[str, Any]) -> None:
    """Add files, each behind those that it imports."""
    done: set[str] = set()

    def add(name: str, importers: tuple[str, ...] = ()) -> None:
        if name in done:
            return
        if name in importers:
            raise RecordingError(f"the file {name} imports itself")
        file = files.get(name) or _known_file(name)
        for imported in file.dependency:
            add(imported, (*importers, name))
        pool.Add(file)
        done.add(name)

    for name in files:
        add(name)


def _known_file(name: str) -> Any:
    from google.protobuf import descriptor_pb2

    if name not in _KNOWN:
        raise RecordingError(f"the file {name} is missing from its descriptors")
    file = descriptor_pb2.FileDescriptorProto()
    import_module(_KNOWN[name]).DESCRIPTOR.CopyToProto(file)
    return file


def _by_number(unknown: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in unknown:
        data = item.data
        is_plain = isinstance(data, int | bytes)
        found.setdefault(str(item.field_number), []).append(data if is_plain else _by_number(data))
    return found


class _Converter:
    """Makes dicts of messages; knows each type once."""

    def __init__(self) -> None:
        from google.protobuf.unknown_fields import UnknownFieldSet

        self._unknown: Callable[[Any], Any] = UnknownFieldSet
        self._types: dict[str, list[tuple[str, Any, bool, bool, Convert | None]]] = {}

    def message(self, message: Any) -> dict[str, Any]:
        """The fields of a message."""
        descriptor = message.DESCRIPTOR
        fields = self._types.get(descriptor.full_name)
        if fields is None:
            fields = self._types[descriptor.full_name] = [self._field(field) for field in descriptor.fields]
        found: dict[str, Any] = {}
        for name, is_map, is_list, has_presence, convert in fields:
            if has_presence and not message.HasField(name):
                found[name] = None
                continue
            value = getattr(message, name)
            if is_map is not None:
                found[name] = {key: value[key] if convert is None else convert(value[key]) for key in value}
            elif is_list:
                found[name] = list(value) if convert is None else [convert(item) for item in value]
            else:
                found[name] = value if convert is None else convert(value)
        unknown = self._unknown(message)
        if unknown:
            found["unknown fields"] = _by_number(unknown)
        return found

    def _field(self, field: Any) -> tuple[str, Any, bool, bool, Convert | None]:
        is_list = _is_repeated(field)
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return field.name, entry, True, False, self._convert(entry.fields_by_name["value"])
        return field.name, None, is_list, not is_list and field.has_presence, self._convert(field)

    def _convert(self, field: Any) -> Convert | None:
        """What makes a value of a field's; None where it is one."""
        if field.message_type is not None:
            return self.message
        if field.enum_type is not None:
            names = {value.number: value.name for value in reversed(field.enum_type.values)}
            return lambda number: names.get(number, number)
        return None


def _is_repeated(field: Any) -> bool:
    repeated = getattr(field, "is_repeated", None)  # from protobuf 6.31 on, where ``label`` is on its way out
    return bool(field.label == field.LABEL_REPEATED if repeated is None else repeated)
