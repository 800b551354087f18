"""From a request to the arrays of a graph's inputs: which field, which dtype and shape, images, noise.

Nothing is converted in silence: text is no number, 1.5 is no integer, and what a dtype cannot hold is refused. No error
quotes a value, which might be an image.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.errors import PolicyError

from .noise import drawn, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy

    from .chain import Free
    from .scaling import Scaling

_CHANNELS = (1, 3, 4)
_MISSING = object()


class UnfitError(PolicyError, ValueError):
    """A request lacks a field that a graph needs, or has it in a form that the graph cannot use."""


@frozen
class Decoder:
    """What makes pixels, and encoded bytes, of a camera image in base64 text; they also get the name of the field."""

    pixels: Callable[[str, str], numpy.ndarray]
    content: Callable[[str, str], bytes]


@frozen
class Binding:
    """How one input is filled.

    ``shape`` is what arrays must have, None where any size will do; ``example`` is for a run without a request.
    ``noise`` counts the inputs that are filled with noise where the request does not have their field.
    """

    key: str
    name: str
    field: str
    dtype: str
    shape: tuple[int | None, ...]
    example: tuple[int, ...]
    is_open: bool = False
    scaling: Scaling | None = None
    noise: int | None = None

    @property
    def takes_images(self) -> bool:
        """Whether the input has the shape of pixels; three dimensions may be a batch of states as well."""
        if len(self.shape) == 3:
            return self.shape[0] == 3 or (self.shape[0] != 1 and self.shape[-1] in (3, 4))
        return len(self.shape) > 3 and (self.channels_first or self.shape[-1] in _CHANNELS or None in self.shape[-3:])

    @property
    def channels_first(self) -> bool:
        """Whether the pixels of an image go to the input as channels x height x width."""
        first, last = self.shape[-3], self.shape[-1]
        return first == 3 or (first in _CHANNELS and last not in _CHANNELS)


def binding_of(free: Free, noises: int) -> Binding:
    """How a free input of a chain is filled; ``noises`` inputs before it are filled with noise.

    Raises:
        PolicyError: what ``policy.json`` says of the input does not fit the graph.
    """
    port, said = free.port, free.said
    try:
        shape, declared = port.shape, said.shape
        if declared and (
            len(declared) != len(shape) or any(b and a != b for a, b in zip(declared, shape, strict=True))
        ):
            raise PolicyError(f"shape is {list(declared)}, the graph has {_wanted(shape)}")
        if said.scaling is not None:
            if not port.is_float:
                raise PolicyError(f"only floats can be normalised, this input is {port.kind}")
            said.scaling.check(declared or shape, port.dtype)
            if shape[-1] is None and not said.scaling.by_channel(shape):
                shape = (*shape[:-1], said.scaling.length)
        is_noise = said.noise or (said.noise is None and said.field is None and port.name == "noise" and port.is_float)
        if is_noise and not port.is_float:
            raise PolicyError(f"only a float input can be noise, this one is {port.kind}")
        if is_noise and not declared and None in shape[1:]:
            raise PolicyError(f"noise needs to know its shape, the graph has {_wanted(shape)}: give it as 'shape'")
    except PolicyError as error:
        raise PolicyError(f"the input {port.name!r}: {error}") from error
    if len(shape) > 1 and shape[0] is None:
        shape = (1, *shape[1:])
    return Binding(
        free.key,
        port.name,
        said.field or port.name,
        port.dtype,
        shape,
        declared or tuple(size or 1 for size in shape),
        None in shape and not declared,
        said.scaling,
        noises if is_noise else None,
    )


def filled(binding: Binding, request: Mapping[str, Any], images: Decoder) -> numpy.ndarray:
    """The array for one input.

    Raises:
        UnfitError: the field is missing, cannot be an array of the input's dtype, or has another shape.
    """
    value = _field(request, binding.field)
    if value is None and binding.noise is not None:
        try:
            return drawn(seed_of(request), binding.noise, binding.example, binding.dtype)
        except ValueError as error:
            raise UnfitError(str(error)) from error
    if value is None:
        raise UnfitError(f"the model input {binding.name!r} needs the request field {binding.field!r}")
    seen = _with_pixels(binding, value, images)
    if binding.takes_images and _is_narrow(seen) and seen.ndim >= 3 and not _fits(binding, seen):
        raise _misshapen(binding, (1,) * (len(binding.shape) - seen.ndim) + seen.shape)
    array = _converted(binding, seen)
    while (lacking := len(binding.shape) - array.ndim) > 0 and (
        lacking == 1 or binding.shape[lacking - 1] == 1 or binding.dtype == "object"
    ):
        array = array[None]
    wrong = array.ndim != len(binding.shape)
    if wrong or any(want not in (None, have) for have, want in zip(array.shape, binding.shape, strict=True)):
        raise _misshapen(binding, array.shape)
    return array if binding.scaling is None else binding.scaling.normalised(array)


def example(binding: Binding) -> numpy.ndarray:
    """An array to try the model with: zeros, empty texts, noise."""
    import numpy

    if binding.noise is not None:
        return drawn(0, binding.noise, binding.example, binding.dtype)
    return numpy.full(binding.example, "" if binding.dtype == "object" else 0, dtype=binding.dtype)


def _field(request: Mapping[str, Any], path: str) -> Any:
    """The field of that name, or the one that a dotted path leads to."""
    if path in request:
        return request[path]
    found: Any = request
    for part in path.split("."):
        found = found.get(part, _MISSING) if isinstance(found, dict) else _MISSING
    return None if found is _MISSING else found


def _wanted(shape: Sequence[int | None]) -> list[int | str]:
    return ["any" if size is None else size for size in shape]


def _misshapen(binding: Binding, shape: Sequence[int]) -> UnfitError:
    return UnfitError(
        f"request field {binding.field!r} has shape {list(shape)}, the model wants {_wanted(binding.shape)}"
    )


def _converted(binding: Binding, value: Any) -> numpy.ndarray:
    """``value`` in the input's dtype, if that holds all of it."""
    import numpy

    place = f"request field {binding.field!r}"
    try:
        array = numpy.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise UnfitError(f"{place} is not an array of {binding.dtype}: its rows differ in length") from error
    if binding.dtype == "object":
        if not all(isinstance(item, str) for item in array.reshape(-1).tolist()):
            raise UnfitError(f"{place} must be text or lists of texts")
        return array.astype(object)
    if array.dtype.kind not in "biuf":
        raise UnfitError(f"{place} is not an array of {binding.dtype}: it holds something other than numbers")
    if array.dtype == binding.dtype:
        return array
    with numpy.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(binding.dtype)
        if cast.dtype.kind == "f":
            lost = numpy.isinf(cast)
            if array.dtype.kind == "f" and lost.any():
                lost &= ~numpy.isinf(array)
        else:
            lost = cast != array
    if lost.any():
        raise UnfitError(f"{place} is not an array of {binding.dtype}: that cannot hold {array[lost][0]}")
    return cast


def _with_pixels(binding: Binding, value: Any, images: Decoder) -> Any:
    """``value``, with its encoded images and arrays of pixels in the form that the input has."""
    import numpy

    if binding.dtype == "object":
        return value
    if isinstance(value, str | bytes):
        return _image(binding, value, images)
    if isinstance(value, list) and value and all(isinstance(item, str | bytes) for item in value):
        stack = [_image(binding, item, images) for item in value]
        if len({image.shape for image in stack}) > 1:
            raise UnfitError(f"request field {binding.field!r} has images of different sizes")
        return numpy.stack(stack)
    if _is_narrow(value) and value.ndim >= 3:
        return _pixels(binding, value) if binding.takes_images else value
    return value


def _image(binding: Binding, encoded: str | bytes, images: Decoder) -> numpy.ndarray:
    """An encoded image: pixels if the input has room for them, else the encoded bytes as uint8."""
    import numpy

    text = base64.b64encode(encoded).decode() if isinstance(encoded, bytes) else encoded
    if binding.takes_images:
        return _pixels(binding, images.pixels(text, binding.field))
    if binding.dtype != "uint8":
        kind = "text" if isinstance(encoded, str) else "bytes"
        raise UnfitError(
            f"request field {binding.field!r} is {kind}, the model wants {binding.dtype} {_wanted(binding.shape)}"
        )
    return numpy.frombuffer(images.content(text, binding.field), dtype=numpy.uint8)


def _is_narrow(value: Any) -> bool:
    """Whether it is an array of integers as pixels are."""
    import numpy

    return isinstance(value, numpy.ndarray) and value.dtype in (numpy.uint8, numpy.uint16)


def _fits(binding: Binding, pixels: numpy.ndarray) -> bool:
    """Whether pixels have the channels, height and width that the input has."""
    sizes = zip(pixels.shape[-3:], binding.shape[-3:], strict=True)
    return all(want in (None, have) for have, want in sizes)


def _pixels(binding: Binding, pixels: numpy.ndarray) -> numpy.ndarray:
    """Pixels, (stacks of) height x width x channels, with the channels and the range that the input has."""
    import numpy

    if pixels.ndim == 2:
        pixels = pixels[..., None]
    first = binding.channels_first
    # Arrays may already be as the model has them; then only their range is left to do.
    if not (first and pixels.shape[-3] == binding.shape[-3] and pixels.shape[-1] not in _CHANNELS):
        wanted = binding.shape[-3] if first else binding.shape[-1]
        if wanted == 1 and pixels.shape[-1] == 3:
            if (pixels != pixels[..., :1]).any():
                raise UnfitError(f"request field {binding.field!r} is in colour, the model wants one channel")
            pixels = pixels[..., :1]
        pixels = numpy.moveaxis(pixels, -1, -3) if first else pixels
    # No floats, which are four times as large, are made of what will be refused for its size.
    if pixels.dtype.kind == "f" or not _fits(binding, pixels) or not binding.dtype.startswith("float"):
        return pixels
    # In float32 it is, to the last bit, what float64 rounds to, as whole numbers of 16 bits are exact in both.
    dtype = numpy.float32 if binding.dtype == "float32" and pixels.dtype.itemsize <= 2 else numpy.float64
    return numpy.asarray(numpy.divide(pixels, numpy.iinfo(pixels.dtype).max, dtype=dtype))
