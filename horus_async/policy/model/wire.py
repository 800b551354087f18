"""How observations and answers travel: as JSON, or as MessagePack with NumPy arrays.

The MessagePack form is that of openpi's clients (``openpi_client.msgpack_numpy``): an array is the map
``{b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [...]}``, a scalar ``{b"__npgeneric__": True,
b"data": value, b"dtype": "<f4"}``. Arrays of objects, of structures and of complex numbers are refused on both sides.
"""

from __future__ import annotations

import enum
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.errors import PolicyError
from horus_async.hints.installed import install

from .elements import has_halves, has_old_letter, is_unicode
from .interface import ObservationError
from .weight import MOST_PARTS, MOST_VALUES, Weight, weight_of_json

if TYPE_CHECKING:
    import numpy

_KINDS = frozenset("biufSUmM")
"""NumPy's letters for the kinds of elements that travel: numbers, texts and times."""
_SCALARS: dict[str, tuple[type, ...]] = {
    "b": (bool, int),
    "i": (int,),
    "u": (int,),
    "f": (int, float),
    "S": (bytes,),
    "U": (str,),
    "m": (int, str),
    "M": (int, str),
}
"""What stands for one element of each kind in MessagePack."""
_LONGEST_TIME = 64


class WireFormat(enum.Enum):
    """The form of a request's body."""

    JSON = "json"
    MSGPACK = "msgpack"


def decoded(body: bytes, form: WireFormat) -> Any:
    """What a body holds. Arrays share the body's memory and cannot be written to.

    Raises:
        ObservationError: the body is not of that form, holds an array of a kind that does not travel, or more values
            than are read (`TooManyValuesError`).
    """
    return weighed(body, form)[0]


def weighed(body: bytes, form: WireFormat) -> tuple[Any, Weight]:
    """What a body holds, and what that weighs.

    Raises:
        ObservationError: as `decoded` does.
    """
    return _unpack(body) if form is WireFormat.MSGPACK else _read_json(body)


def _read_json(body: bytes) -> tuple[Any, Weight]:
    weight = weight_of_json(body)
    try:
        return orjson.loads(body), weight
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
            travel, or more values than are read.
    """
    return _unpack(body)[0]


def _unpack(body: bytes) -> tuple[Any, Weight]:
    msgpack, weight = _library(), Weight()
    try:
        value = msgpack.unpackb(
            body,
            object_hook=partial(_map_as_array, weight),
            list_hook=partial(_counted, weight),
            ext_hook=_refuse_extension,
            timestamp=1,
            max_array_len=MOST_VALUES,
            max_map_len=MOST_PARTS,
        )
    except ObservationError:
        raise
    # The library raises ValueError, its own ExtraData and StackError, and what numpy makes of a wrong dtype or shape.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ObservationError(f"the body is not MessagePack: {reason[:200]}") from error
    return value, weight


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


def _counted(weight: Weight, value: list[Any]) -> list[Any]:
    weight.add(len(value), 1)
    return value


def _map_as_array(weight: Weight, value: dict[Any, Any]) -> Any:
    weight.add(len(value), len(value) + 1)
    if b"__ndarray__" in value:
        return _array(value)
    if b"__npgeneric__" in value:
        return _scalar(value)
    return value


def _scalar(value: dict[Any, Any]) -> Any:
    dtype = _dtype(value)
    data = value.get(b"data")
    # Of a number, NumPy would make a text with as many bytes; and of a text of a million digits, a number.
    if not isinstance(data, _SCALARS[dtype.kind]):
        raise ObservationError(f"a number in the body is not a {dtype}: it is sent as {type(data).__name__}")
    if isinstance(data, str) and dtype.kind != "U" and len(data) > _LONGEST_TIME:
        raise ObservationError(f"a number in the body is not a {dtype}: a text of {len(data)} characters")
    try:
        return dtype.type(data)
    except (TypeError, ValueError, OverflowError) as error:
        raise ObservationError(f"a number in the body is not a {dtype}: {error}") from error


def _array(value: dict[Any, Any]) -> numpy.ndarray:
    import numpy

    dtype = _dtype(value)
    data, shape = value.get(b"data"), value.get(b"shape")
    if not (isinstance(data, bytes) and isinstance(shape, list) and all(type(size) is int for size in shape)):
        raise ObservationError(f"an array in the body is damaged: no data, or the shape {str(shape)[:40]}")
    if min(shape, default=0) < 0 or len(data) != math.prod(shape) * dtype.itemsize:
        raise ObservationError(
            f"an array in the body is damaged: {len(data)} bytes are not {str(shape)[:80]} of {dtype}"
        )
    if not data and math.prod(size or 1 for size in shape) > MOST_VALUES:
        raise ObservationError(f"an array in the body is damaged: nothing has the shape {str(shape)[:80]}")
    array: numpy.ndarray = numpy.ndarray(shape, dtype, data)
    if dtype.kind == "U" and (not is_unicode(array) or has_halves(array)):
        raise ObservationError(
            f"an array of {dtype} in the body holds what is no text (lone surrogates, or beyond U+10FFFF): send whole "
            "characters, or bytes"
        )
    return array


def _dtype(value: dict[Any, Any]) -> numpy.dtype[Any]:
    import numpy

    text = value.get(b"dtype")
    try:
        dtype = numpy.dtype(text) if isinstance(text, str) and len(text) <= 16 and not has_old_letter(text) else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in _KINDS or dtype.itemsize == 0:
        raise ObservationError(f"arrays of {str(text)[:40]!r} are not accepted: numbers, texts and times are")
    return dtype


def _refuse_extension(code: int, _: bytes) -> Any:
    raise ObservationError(f"the body holds MessagePack's extension {code}, which is not accepted")
