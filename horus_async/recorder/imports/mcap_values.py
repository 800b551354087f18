"""The messages of an MCAP file as values, by their channels' encodings and schemas."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NoReturn

import orjson

from horus_async.bounds.unpacking import unpack_zstd
from horus_async.errors import HorusError, RecordingError
from horus_async.recorder.exports.mcap_export import PUBLISHERS, WRAPPED
from horus_async.recorder.exports.output import need
from horus_async.recorder.limits import too_much
from horus_async.topics.codec import decode

from .json_values import json_value
from .protobuf import protobuf_decoder
from .ros import ZSTD, ros_decoder
from .source import Packed

if TYPE_CHECKING:
    from collections.abc import Callable

    Decode = Callable[[Any], Any]


def decoder_of(schema: Any, channel: Any, made: dict[Any, Decode]) -> Decode:
    """What makes values of the messages of a channel, by its own schema.

    Args:
        schema: The channel's; None if it has none.
        channel: The library's record.
        made: Decoders that were made for this file, by what they depend on.

    Raises:
        RecordingError: A package is missing.
    """
    encoding, metadata = channel.message_encoding, channel.metadata
    if encoding == "json":
        if PUBLISHERS in metadata:  # ours: with the codec's tags
            return _tagged_decoder(metadata.get(WRAPPED))
        return _maybe_packed(_json_value)
    key = (encoding, None) if schema is None else (encoding, schema.name, schema.encoding, schema.data)
    if key not in made:
        made[key] = _schema_decoder(encoding, schema)
    return made[key]


def _schema_decoder(encoding: str, schema: Any) -> Decode:
    make: Callable[[str, Any], Decode]
    if encoding in {"cdr", "ros1"} and schema is not None:
        _ask_for("rosbags", "bags", "decoding ROS messages")
        make = _ros_decoder
    elif encoding == "protobuf" and schema is not None and schema.encoding == "protobuf":
        _ask_for("google.protobuf", "protobuf", "decoding protobuf messages")
        make = _protobuf_decoder
    else:
        reason = f"{encoding or 'their encoding, which is not named,'} is not decoded"
        if encoding in {"cdr", "ros1", "protobuf"}:
            reason = f"{encoding} without a schema that describes them"
        return _refusing(RecordingError(reason))
    try:
        return make(encoding, schema)
    except HorusError as error:  # says what it is
        return _refusing(error)
    except Exception as error:  # noqa: BLE001 - a definition of anybody's: it costs its messages, and no others
        return _refusing(RecordingError(f"the definition of {schema.name} cannot be read: {_text_of(error)}"))


def _ros_decoder(encoding: str, schema: Any) -> Decode:
    payload_of = ros_decoder(encoding, schema.name, schema.encoding, schema.data)

    def of_cdr(data: bytes) -> Packed:
        return Packed(payload_of(_unpacked(data) if data[:4] == ZSTD else data))

    return of_cdr if encoding == "cdr" else lambda data: Packed(payload_of(data))


def _protobuf_decoder(_: str, schema: Any) -> Decode:
    return protobuf_decoder(schema.name, schema.data)


def _maybe_packed(plain: Decode) -> Decode:
    """Also for messages that were compressed one by one, as ROS 2 bags have them; neither JSON nor CDR begins so."""

    def decoder(data: bytes) -> Any:
        return plain(_unpacked(data) if data[:4] == ZSTD else data)

    return decoder


def _unpacked(data: bytes) -> bytes:
    return unpack_zstd(data)


def _json_value(data: bytes) -> Any:
    if (what := too_much(data)) is not None:
        raise RecordingError(f"it has {what}")
    return json_value(data)


def _tagged_decoder(key: str | None) -> Decode:
    def decoder(data: bytes) -> Packed:
        if (what := too_much(data)) is not None:
            raise RecordingError(f"it has {what}")
        value = orjson.loads(data)
        payload = orjson.dumps(value if key is None else value[key])
        decode(payload)  # whether a reader will understand it
        return Packed(payload)

    return decoder


def _refusing(error: HorusError) -> Decode:
    def refuse(_: Any) -> NoReturn:
        raise error

    return refuse


def _ask_for(module: str, extra: str, what: str) -> None:
    try:
        there = find_spec(module) is not None
    except ImportError:  # not even the package that it is in
        there = False
    if not there:
        raise need(module.rpartition(".")[2], extra, what)


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
