"""How observations and answers travel: as JSON, or as MessagePack with NumPy arrays.

The MessagePack form is that of openpi's clients (``openpi_client.msgpack_numpy``): an array is the map
``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [...]}``, a scalar ``{b"__npgeneric__": True,
b"data": value, b"dtype": "<f4"}``. Arrays of objects, of structures and of complex numbers are refused on both sides.
"""

from __future__ import annotations

import enum
import math
import re
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.errors import PolicyError
from horus_async.hints.installed import install

from .interface import ObservationError

if TYPE_CHECKING:
    import numpy

_KINDS = frozenset("biufSUmM")
"""NumPy's letters for the kinds of elements that travel: numbers, texts and times."""
_OLD = re.compile(r"[<>|=]?a")
"""An old letter for ``S``, of which NumPy 2 warns and later ones know nothing."""


class WireFormat(enum.Enum):
    """The form of a request's body."""

    JSON = "json"
    MSGPACK = "msgpack"


def decoded(body: bytes, form: WireFormat) -> Any:
    """What a body holds. Arrays share the body's memory and cannot be written to.

    Raises:
        ObservationError: the body is not of that form, or holds an array of a kind that does not travel.
    """
    return unpack(body) if form is WireFormat.MSGPACK else _read_json(body)


def _read_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ObservationError(f"the body is not JSON: {error}") from error


def pack(value: Any) -> bytes:
    """``value`` as MessagePack.

    Raises:
        PolicyError: it holds something that cannot travel.
    """
    msgpack = _library()
    try:
        packed: bytes = msgpack.packb(value, default=_array_as_map)
    # Integers beyond 64 bits are an OverflowError, nesting without end a ValueError, unknown objects a TypeError.
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise PolicyError(f"the value cannot be sent as MessagePack: {error}") from error
    return packed


def unpack(body: bytes) -> Any:
    """The value in a MessagePack body; its time stamps as seconds.

    Raises:
        ObservationError: not one whole MessagePack value, or an array in it is damaged or of a kind that does not
            travel.
    """
    msgpack = _library()
    try:
        return msgpack.unpackb(body, object_hook=_map_as_array, ext_hook=_refuse_extension, timestamp=1)
    except ObservationError:
        raise
    # The library raises ValueError, its own ExtraData and StackError, and what numpy makes of a wrong dtype or shape.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ObservationError(f"the body is not MessagePack: {reason[:200]}") from error


def _library() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise PolicyError(f"MessagePack needs the extra serve: {install('serve')}") from error
    return msgpack


def _array_as_map(value: Any) -> Any:
    import numpy

    if not isinstance(value, numpy.ndarray | numpy.generic):
        if hasattr(value, "tolist"):
            return value.tolist()
        raise TypeError(f"a {type(value).__name__} has no MessagePack form")
    if value.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {value.dtype} has no MessagePack form")
    if isinstance(value, numpy.ndarray):
        data = value.tobytes()
        return {b"__ndarray__": True, b"data": data, b"dtype": value.dtype.str, b"shape": list(value.shape)}
    return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}


def _map_as_array(value: dict[Any, Any]) -> Any:
    if b"__ndarray__" in value:
        return _array(value)
    if b"__npgeneric__" in value:
        return _scalar(value)
    return value


def _scalar(value: dict[Any, Any]) -> Any:
    dtype = _dtype(value)
    try:
        return dtype.type(value[b"data"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ObservationError(f"a number in the body is not a {dtype}: {error}") from error


def _array(value: dict[Any, Any]) -> numpy.ndarray:
    import numpy

    dtype = _dtype(value)
    data, shape = value.get(b"data"), value.get(b"shape")
    if not (isinstance(data, bytes) and isinstance(shape, list) and all(type(size) is int for size in shape)):
        raise ObservationError(f"an array in the body is damaged: no data, or the shape {str(shape)[:40]}")
    if min(shape, default=0) < 0 or len(data) != math.prod(shape) * dtype.itemsize:
        raise ObservationError(f"an array in the body is damaged: {len(data)} bytes are not {shape} of {dtype}")
    return numpy.ndarray(shape, dtype, data)


def _dtype(value: dict[Any, Any]) -> numpy.dtype[Any]:
    import numpy

    text = value.get(b"dtype")
    try:
        dtype = numpy.dtype(text) if isinstance(text, str) and len(text) <= 16 and not _OLD.match(text) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ObservationError(f"arrays of {str(text)[:40]!r} are not accepted: numbers, texts and times are")
    return dtype


def _refuse_extension(code: int, _: bytes) -> Any:
    raise ObservationError(f"the body holds MessagePack's extension {code}, which is not accepted")
