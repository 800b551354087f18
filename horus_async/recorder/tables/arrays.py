"""The form of arrays in tables, by their kind of elements. Pure.

Numbers and booleans stay arrays, in the machine's byte order (half precision as single precision, complex numbers as
pairs in a further dimension). Durations are arrays of seconds. All else are (nested) lists: dates and times as ISO 8601
text, whatever their unit; bytes as base64 text; text as it is; objects as they would be in a list; numbers that have no
64-bit form as text. A structured array is the dict of its fields, each an array.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from horus_async.topics.values import arrays
from horus_async.topics.values.base64 import from_base64, to_base64

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    Array = np.ndarray[Any, Any]

_EMPTY_LISTS = 1 << 20
"""Lists without elements that an array may consist of."""


def array_form(fields: dict[str, Any], plain: Callable[[Any], Any]) -> Any:
    """The cell for a recorded array: an array, nested lists, a single value, or a dict of such for its fields.

    Args:
        fields: The content of its tag.
        plain: Makes the cell of an object in it.

    Raises:
        ValueError, TypeError, LookupError: The fields contradict themselves.
    """
    if not arrays.available():
        return {"$ndarray": fields}
    dtype, shape, data = fields["dtype"], fields["shape"], fields["data"]
    if 0 in shape and prod(size for size in shape if size) > _EMPTY_LISTS:
        raise ValueError(f"an array of shape {shape}, which holds nothing in far too many lists")
    if type(data) is list and type(dtype) is dict:  # an array for each field, as some hold objects
        return {name: array_form(part, plain) for name, part in zip(dtype["names"], data, strict=True)}
    if type(data) is list:
        return _nested([plain(item) for item in data], shape)
    import numpy as np

    value = arrays.from_fields(fields, plain, from_base64, keep_from=0)
    if isinstance(value, bytes):  # a scalar, which an array would shorten by the zeros at its end
        return to_base64(value)
    return str(value) if isinstance(value, str) else _form(np.asarray(value))


def exact(array: Array) -> Array:
    """An array of numbers that is written as text with all digits of its elements."""
    return array.astype("f8") if array.dtype.kind == "f" and array.dtype.itemsize < 8 else array


def _form(array: Array) -> Any:
    if array.dtype.names is not None:
        return {name: _form(array[name]) for name in array.dtype.names}
    form = _FORMS[array.dtype.kind](array)
    if hasattr(form, "dtype"):
        return form.tolist() if form.ndim == 0 else form
    return form


def _number(array: Array) -> Any:
    import numpy as np

    dtype = array.dtype.newbyteorder("=")
    if dtype.itemsize > 8:
        return _listed(array, str)
    return np.ascontiguousarray(array, "f4" if dtype == "f2" else dtype).reshape(array.shape)


def _complex(array: Array) -> Any:
    import numpy as np

    if array.dtype.itemsize > 16:
        return _listed(array, str)
    pairs = np.stack((array.real, array.imag), axis=-1)
    return _number(pairs)


def _date(array: Array) -> Any:
    import numpy as np

    return _listed(np.asarray(np.datetime_as_string(array)), lambda text: None if text == "NaT" else str(text))


def _duration(array: Array) -> Any:
    import numpy as np

    unit = np.datetime_data(array.dtype)[0]
    if unit in {"generic", "Y", "M"}:  # of no fixed length
        return _listed(array.astype(str), lambda text: None if text == "NaT" else str(text))
    return np.asarray(array / np.timedelta64(1, "s"))


def _listed(array: Array, convert: Callable[[Any], Any]) -> Any:
    """Nested lists of the converted elements."""
    return _nested([convert(item) for item in array.reshape(-1)], array.shape)


def _nested(items: list[Any], shape: Any) -> Any:
    """The items of an array in C order as nested lists."""
    if not shape:
        (item,) = items
        return item
    if len(items) != prod(shape):
        raise ValueError(f"{len(items)} objects for an array of {shape}")
    for dimension in range(len(shape) - 1, 0, -1):
        size = shape[dimension]
        items = [items[index * size : (index + 1) * size] for index in range(prod(shape[:dimension]))]
    return items


_FORMS: dict[str, Callable[[Array], Any]] = {
    **dict.fromkeys("biuf", _number),
    "c": _complex,
    "M": _date,
    "m": _duration,
    **dict.fromkeys("SV", lambda array: _listed(array, lambda item: to_base64(item.tobytes()))),
    **dict.fromkeys("UT", lambda array: _listed(array, str)),
}
