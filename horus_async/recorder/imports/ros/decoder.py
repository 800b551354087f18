"""ROS messages as payloads: JSON text of dicts of their fields, lists, and NumPy arrays with the codec's tags.

Each definition has a reader of its own, so two definitions of one name do not meet. Reading a message makes what is
written, without a value that would be taken apart again; the tests hold the text against the codec's own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from horus_async.bounds.unpacking import TooMuchError, unpack_zstd
from horus_async.errors import RecordingError
from horus_async.recorder.exports.output import need

from .definitions import (
    PLACEHOLDER,
    UnreadableDefinitionError,
    as_text,
    closure,
    full_name,
    read_definition,
)
from .reading import MisfitError, make_decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .definitions import Types
    from .reading import Decode

_BIG = b"\0\0"
"""How a message in plain CDR begins that has the big end first."""
ZSTD = b"\x28\xb5\x2f\xfd"
"""How a message begins that was compressed by itself."""
_EMPTY_CDR = 8
"""Bytes of an empty CDR message at most: its head, one byte, and what fills up to 4."""


def ros_decoder(encoding: str, name: str, form: str, definition: str | bytes, *, md5: str = "") -> Decode:
    """A decoder for a ROS message type by its definition.

    Args:
        encoding: ``ros1`` or ``cdr``.
        name: The type's.
        form: How the definition is written: ``ros1msg``, ``ros2msg``, ``ros2idl``, ``omgidl``.
        definition: Its text, with those of the types it is made of; UTF-8 or Latin-1. Without it, a type of ROS's own
            is decoded by the definition that ROS has for it, in ROS 1 only if ``md5`` is that definition's.
        md5: The checksum of the definition that a ROS 1 connection names.

    Returns:
        A function that gives a message's payload. It raises `MisfitError` if the message does not fit.

    Raises:
        RecordingError: The definition cannot be read, is not complete, or ``rosbags`` is missing.
    """
    _need_rosbags()
    text = as_text(definition)
    if text.strip():
        return _defined(encoding, full_name(name), form, text)
    try:
        return known_decoder(encoding, name, md5=md5)
    except UnreadableDefinitionError:
        return _empty_cdr if encoding == "cdr" else _empty_ros1


def known_decoder(encoding: str, name: str, distro: str = "", *, md5: str = "") -> Decode:
    """A decoder for a type that the file does not define, by the definition that ROS has for it.

    Args:
        encoding: ``ros1`` or ``cdr``.
        name: The type's.
        distro: The ROS 2 distribution that wrote the file, as ``humble``. If it is not known, each definition of any
            distribution is tried on each message, beginning with the newest: an older one may fit by leaving out.
        md5: The checksum that a ROS 1 definition must have.

    Raises:
        RecordingError: It is no type of ROS's own, or ``rosbags`` is missing.
    """
    _need_rosbags()
    full = full_name(name)
    found = _known_of_ros1(full, md5) if encoding == "ros1" else _known_of_ros2(full, distro)
    first = next(found, None)
    if first is None:
        raise UnreadableDefinitionError(f"there is no definition of {name} in the file, and it is no type of ROS's own")
    decoders = [first]

    def decode(data: bytes) -> bytes:
        error: Exception | None = None
        for decoder in decoders:
            try:
                return decoder(data)
            except Exception as problem:  # noqa: BLE001 - whatever it is, another definition may fit
                error = error or problem
        for decoder in found:
            decoders.append(decoder)
            try:
                return decoder(data)
            except Exception as problem:  # noqa: BLE001
                error = error or problem
        assert error is not None
        raise error

    return decode


def _need_rosbags() -> None:
    try:
        import rosbags.typesys as _  # noqa: F401 - whether it is there
    except ImportError:
        raise need("rosbags", "bags", "decoding ROS messages") from None


@lru_cache(maxsize=4096)
def _defined(encoding: str, name: str, form: str, text: str) -> Decode:
    root, types = read_definition(name, form, text)
    try:
        complete = closure(root, types, _types_of("empty"))
    except UnreadableDefinitionError:
        complete = closure(root, types, _types_of("ros1_noetic" if encoding == "ros1" else _newest()))
    return _decoder(encoding, root, complete)


@lru_cache(maxsize=4096)
def _known(encoding: str, name: str, distro: str) -> Decode:
    return _decoder(encoding, name, closure(name, _types_of(distro)))


def _known_of_ros1(name: str, md5: str) -> Iterator[Decode]:
    from rosbags.typesys import Stores, TypesysError, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    try:
        is_it = store.generate_msgdef(name)[1] == md5
    except (TypesysError, KeyError):
        is_it = False
    if is_it:
        yield _known("ros1", name, "ros1_noetic")


def _known_of_ros2(name: str, distro: str) -> Iterator[Decode]:
    seen: list[Types] = []
    distros = _distros()
    wanted = f"ros2_{distro}"
    for candidate in [wanted] if wanted in distros else distros:
        if name not in _types_of(candidate):
            continue
        types = closure(name, _types_of(candidate))
        if types not in seen:
            seen.append(types)
            yield _known("cdr", name, candidate)


def _distros() -> list[str]:
    """The ROS 2 distributions that ``rosbags`` knows, the newest first."""
    from rosbags.typesys import Stores

    return [store.value for store in reversed(Stores) if store.value.startswith("ros2_")]


def _newest() -> str:
    return _distros()[0]


@lru_cache
def _types_of(distro: str) -> Types:
    from rosbags.typesys import Stores, get_typestore

    return {
        name: [field for field in fields if field[0] != PLACEHOLDER]
        for name, (_, fields) in get_typestore(Stores(distro)).fielddefs.items()
    }


def _decoder(encoding: str, root: str, types: Types) -> Decode:
    if encoding != "cdr":
        return make_decoder(root, types, cdr=False)
    big: list[Decode] = []

    def other(data: bytes) -> bytes:
        if data[:2] != _BIG:
            raise MisfitError(f"its encapsulation {data[:2].hex()!r} is not that of plain CDR")
        if not big:
            big.append(make_decoder(root, types, cdr=True, big_endian=True))
        return big[0](data)

    return make_decoder(root, types, cdr=True, other=other)


def unpacked(data: bytes) -> bytes:
    """A message that may have been compressed by itself, as ROS 2 does; CDR never begins like zstd.

    Raises:
        RecordingError: It is damaged.
    """
    if data[:4] != ZSTD:
        return data
    import zstandard

    try:
        return unpack_zstd(data)
    except TooMuchError as error:
        raise RecordingError(f"a compressed message: {error}") from error
    except (zstandard.ZstdError, ValueError) as error:
        raise RecordingError(f"a compressed message is damaged ({error})") from error


def _empty_cdr(data: bytes) -> bytes:
    if len(data) > _EMPTY_CDR or any(data[4:]):
        raise UnreadableDefinitionError("its definition in the file is empty, but the messages are not")
    return b"{}"


def _empty_ros1(data: bytes) -> bytes:
    if data:
        raise UnreadableDefinitionError("its definition in the file is empty, but the messages are not")
    return b"{}"
