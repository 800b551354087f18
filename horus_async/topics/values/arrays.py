"""NumPy arrays and scalars in messages: ``{"dtype", "shape", "data"}``, and ``"scalar": true`` for a scalar.

``dtype`` is NumPy's own text (``<f8``, ``|b1``, ``<M8[ns]``), or for a structured one ``{"names", "formats",
"offsets", "itemsize"}`` as ``numpy.dtype`` takes it, where the format of a sub-array is ``[format, shape]``. ``data``
is base64 of the elements in C order, or in a binary payload the number of a raw buffer. Arrays of Python objects (dtype
``|O``, and ``StringDType``) have a list of encoded values there, structured ones with objects among their fields a
list of arrays, one per field.

NumPy is never imported before a message needs it.
"""

from __future__ import annotations

import functools
import math
import re
import sys
from typing import TYPE_CHECKING, Any

from .base64 import to_base64
from .blocks import blank

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Tag = Callable[[Any], Any]
    Buffer = Callable[[memoryview], int | str]
    Claim = Callable[[int], None]
    Data = Callable[[Any], bytes | memoryview]
    Form = tuple[int, str, tuple[int, ...]]

_NUMBERS = "biufc"
"""Kinds of dtypes that are numbers or bools."""

_SIMPLE = re.compile(r"[<>|=]?[A-Zb-z?]\d*(\[\d*[A-Za-zμ]+(/\d+)?\])?")


def available() -> bool:
    """Whether NumPy is installed. Imports it."""
    try:
        import numpy as np
    except ImportError:
        return False
    return hasattr(np, "ndarray")


def is_array(value: Any) -> bool:
    """Whether it is a NumPy array or scalar. It cannot be one while NumPy is not imported."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def is_object_array(value: Any) -> bool:
    """Whether it is an array of Python objects."""
    return is_array(value) and value.dtype.kind == "O"


def form(value: Any) -> Form | None:
    """Everything about an array of numbers except its content; None for any other value, and for odd sizes.

    Messages that are nothing but arrays of one form have the same bytes before the data.
    """
    if is_array(value) and type(value).__name__ == "ndarray" and value.nbytes % 8 == 0 != value.nbytes:
        dtype = value.dtype
        if dtype.kind in _NUMBERS and value.flags.c_contiguous:
            return dtype.num, dtype.byteorder, value.shape
    return None


def to_fields(value: Any, tag: Tag, buffer: Buffer, claim: Claim) -> dict[str, Any]:
    """An array or scalar as a message holds it.

    Args:
        value: the array or scalar.
        tag: encodes an element that is a Python object.
        buffer: takes the raw bytes of an array and returns the number of their buffer.
        claim: is told how many bytes will be needed before anything is copied, and raises if they are too many.

    Raises:
        ValueError: a subclass of ``ndarray``, or a dtype that NumPy alone does not know.
    """
    import numpy as np

    kind = type(value)
    if isinstance(value, np.generic):
        dtype = _dtype_to_text(value.dtype)
        data = _scalar_bytes(value, tag)
        if kind not in (np.bytes_, np.str_) and kind is not type(np.zeros((), _dtype_from_text(dtype))[()]):
            raise ValueError(
                f"{kind.__module__}.{kind.__qualname__}, which would arrive as {value.dtype.type.__name__}"
            )
        return {"dtype": dtype, "shape": [], "data": data, "scalar": True}
    if kind is not np.ndarray:
        raise ValueError(f"{kind.__module__}.{kind.__qualname__}, a subclass of ndarray; send numpy.asarray() of it")
    return _array_fields(value, tag, buffer, claim)


def from_fields(fields: dict[str, Any], untag: Tag, data: Data, keep_from: float = math.inf) -> Any:
    """The array or scalar that ``to_fields`` described.

    Args:
        fields: as ``to_fields`` made them.
        untag: decodes an element.
        data: returns the bytes for base64 text or for the number of a buffer.
        keep_from: arrays of at least this many bytes stay in the memory that ``data`` returned; default none.

    Raises:
        ValueError, TypeError, LookupError: the fields contradict themselves.
    """
    import numpy as np

    dtype = _dtype_from_text(fields["dtype"])
    if fields.get("scalar") is True:
        if dtype.kind in "SU":
            raw = bytes(data(fields["data"]))
            return np.bytes_(raw) if dtype.kind == "S" else np.str_(raw.decode("utf-32-le"))
        return _build(dtype, (), fields["data"], untag, data, keep_from=math.inf)[()]
    shape = tuple(fields["shape"])
    if set(map(type, shape)) - {int} or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape!r:.60}")
    return _build(dtype, shape, fields["data"], untag, data, keep_from=keep_from)


def _array_fields(array: np.ndarray[Any, Any], tag: Tag, buffer: Buffer, claim: Claim) -> dict[str, Any]:
    dtype = array.dtype
    claim(array.size if dtype.hasobject else array.nbytes)  # as text, an object takes a byte at least
    data: Any
    if dtype.hasobject and dtype.names is not None:
        data = [_array_fields(array[name], tag, buffer, claim) for name in dtype.names]
    elif dtype.hasobject:
        data = [tag(item) for item in array.ravel().tolist()]
    elif array.nbytes == 0:
        data = ""
    else:
        data = buffer(bytes_of(array))
    return {"dtype": _dtype_to_text(dtype), "shape": list(array.shape), "data": data}


def bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    """The elements in C order, as a view of the array's own memory where possible."""
    import numpy as np

    padded = array.dtype.names is not None and _has_padding(array.dtype)
    if array.flags.c_contiguous and not padded:
        return array.reshape(-1).view(np.uint8).data
    memory = blank(array.nbytes)
    copy = np.ndarray(array.shape, array.dtype, memory)
    if padded:
        memory[:] = bytes(len(memory))
        _copy_fields(copy, array)
    else:
        np.copyto(copy, array)
    return memory


def same_bytes(a: bytes | memoryview, b: bytes | memoryview) -> bool:
    """Whether two buffers hold the same; of one array's own memory that takes no look."""
    if isinstance(a, bytes) and isinstance(b, bytes):
        return a == b
    import numpy as np

    left, right = np.frombuffer(a, np.uint8), np.frombuffer(b, np.uint8)
    is_one = left.__array_interface__["data"][0] == right.__array_interface__["data"][0]
    return len(left) == len(right) and (is_one or bool(np.array_equal(left, right)))


def _copy_fields(target: np.ndarray[Any, Any], source: np.ndarray[Any, Any]) -> None:
    """Copy the fields but not the padding between them, which is undefined and differs from run to run."""
    if source.dtype.names is None:
        target[...] = source
        return
    for name in source.dtype.names:
        _copy_fields(target[name], source[name])


@functools.lru_cache(256)
def _has_padding(dtype: np.dtype[Any]) -> bool:
    import numpy as np

    element = np.zeros((), dtype)
    _copy_fields(element, np.frombuffer(b"\xff" * dtype.itemsize, dtype, 1).reshape(()))
    return element.tobytes().count(0) > 0


def _scalar_bytes(value: Any, tag: Tag) -> Any:
    import numpy as np

    if isinstance(value, np.bytes_):  # not by way of an array, which would drop trailing zeros
        raw = memoryview(bytes(value))
    elif isinstance(value, np.str_):
        raw = memoryview(str.encode(value, "utf-32-le"))  # str(value) would drop trailing zeros
    elif value.dtype.hasobject:
        return _array_fields(np.asarray(value), tag, to_base64, lambda _: None)["data"]
    else:
        raw = bytes_of(np.asarray(value))
    return to_base64(raw)


def _build(
    dtype: np.dtype[Any], shape: tuple[int, ...], content: Any, untag: Tag, data: Data, *, keep_from: float
) -> np.ndarray[Any, Any]:
    import numpy as np

    size = math.prod(shape)
    if not dtype.hasobject:
        raw = data(content)
        if len(raw) != size * dtype.itemsize:
            raise ValueError(f"{len(raw)} bytes for an array of {size} elements of {dtype.itemsize}")
        if not len(raw):
            return np.ndarray(shape, dtype)
        array = np.frombuffer(raw, dtype, size).reshape(shape)
        if dtype.kind not in _NUMBERS:
            _check_text(array)
        return array if len(raw) >= keep_from and array.flags.aligned else array.copy()
    if dtype.names is not None:
        parts = [from_fields(part, untag, data) for part in content]
        if len(parts) != len(dtype.names) or any(part.shape[: len(shape)] != shape for part in parts):
            raise ValueError("the fields of an array do not fit together")
        structured = np.empty(shape, dtype)
        for name, part in zip(dtype.names, parts, strict=True):
            structured[name] = part
        return structured
    if len(content) != size:
        raise ValueError(f"{len(content)} objects for an array of {size}")
    array = np.empty(shape, dtype)
    flat = array.reshape(-1)
    for index, item in enumerate(content):
        flat[index] = untag(item)
    return array


def _check_text(array: np.ndarray[Any, Any]) -> None:
    """Refuse texts with numbers beyond all characters, which NumPy takes and nobody can look at."""
    import numpy as np

    for name in array.dtype.names or ():
        _check_text(array[name])
    if array.dtype.kind == "U" and array.nbytes:
        code = np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)
        most = int(np.ascontiguousarray(array).reshape(-1).view(code).max())
        if most > sys.maxunicode:
            raise ValueError(f"text with {most:#x} in it, which is no character")


def _dtype_to_text(dtype: np.dtype[Any]) -> Any:
    if dtype.kind in _NUMBERS:
        key = dtype.num, dtype.byteorder
        known = _numeric.get(key)
        if known is None:
            known = _numeric[key] = _described(dtype)
        return known
    return _described(dtype)


_numeric: dict[tuple[int, str], Any] = {}
"""The texts of the numeric dtypes met so far. NumPy's type number tells even equal dtypes apart."""


def _described(dtype: np.dtype[Any]) -> Any:
    text: Any
    if dtype.kind == "T":
        text = "StringDType"
    elif dtype.names is not None:
        assert dtype.fields is not None
        fields = [dtype.fields[name] for name in dtype.names]
        text = {
            "names": list(dtype.names),
            "formats": [_format_to_text(field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "itemsize": dtype.itemsize,
        }
        if any(len(field) > 2 for field in fields):
            text["titles"] = [field[2] if len(field) > 2 else None for field in fields]
        if dtype.isalignedstruct:
            text["aligned"] = True
    else:
        text = dtype.str
        if dtype.kind in "iu" and _dtype_from_text(text).char != dtype.char:  # such as long long beside long
            text = dtype.str[0] + dtype.char
    try:
        if _dtype_from_text(text) == dtype:
            return text
    except (TypeError, ValueError):
        pass
    raise ValueError(f"an array of dtype {dtype}, which NumPy alone does not know")


def _format_to_text(dtype: np.dtype[Any]) -> Any:
    if dtype.subdtype is None:
        return _dtype_to_text(dtype)
    base, shape = dtype.subdtype
    return [_dtype_to_text(base), list(shape)]


def _dtype_from_text(text: Any) -> np.dtype[Any]:
    if type(text) is str and text != "StringDType":
        return _simple_dtype(text)
    import numpy as np

    if text == "StringDType":
        return np.dtypes.StringDType()
    if isinstance(text, dict):
        known = {key: text[key] for key in ("names", "offsets", "itemsize", "titles") if key in text}
        formats = [_format_from_text(item) for item in text["formats"]]
        description: Any = {**known, "formats": formats}
        structured: np.dtype[Any] = np.dtype(description, align=text.get("aligned") is True)
        return structured
    raise ValueError(f"not a dtype: {text!r:.60}")


@functools.lru_cache(256)
def _simple_dtype(text: str) -> np.dtype[Any]:
    import numpy as np

    if not _SIMPLE.fullmatch(text):
        raise ValueError(f"not a dtype: {text!r:.60}")
    return np.dtype(text)


def _format_from_text(text: Any) -> Any:
    if isinstance(text, list):
        base, shape = text
        return (_dtype_from_text(base), tuple(shape))
    return _dtype_from_text(text)
