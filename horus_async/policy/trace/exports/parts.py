"""A recorded request taken apart: its state and its actions, its images, and every other field. Pure.

Whatever a client sends is in one of them, so that an export loses none of it.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from attrs import Factory, define, frozen

from horus_async.policy.model.images.encoded import decoded
from horus_async.policy.model.images.signatures import has_signature
from horus_async.policy.model.interface import ObservationError
from horus_async.policy.model.observation import image_bytes

if TYPE_CHECKING:
    from collections.abc import Collection

    from horus_async.policy.trace.request import TraceRequest

_GONE = object()
_NUMBERS = (int, float)
_HEX = frozenset("0123456789abcdefABCDEF")


@define
class Parts:
    """One request."""

    state: list[float]
    """Empty where the request has none that is a row of numbers; such a one is among ``fields``."""
    actions: list[list[float]]
    """Steps × dimensions; empty where the answer's are not rows of numbers."""
    fields: dict[str, Any]
    """All else that has a value, by its name in the request; dicts and lists without the images in them."""
    images: dict[str, Any]
    """By camera: encoded bytes as they came (JPEG, PNG), or an array of pixels."""
    hashes: dict[str, str] = Factory(dict)
    """Of cameras whose images the trace did not keep."""
    lacking: list[str] = Factory(list)
    """Cameras of which the trace kept nothing."""


def parts_of(request: TraceRequest) -> Parts:
    """Take one request apart.

    Raises:
        TraceError: something in it is damaged, or an array is in it and NumPy is not installed.
    """
    observation, found = request.restored()
    images: dict[str, Any] = {}
    sent = {id(image): path for path, image in found.images.items()}
    fields: dict[str, Any] = {}
    for key, value in observation.items():
        rest = _without_images(value, plain_key(key), _Known(sent, found.missing, images))
        if rest is not _GONE and rest is not None:
            fields[plain_key(key)] = rest
    fields.pop("instruction", None)
    if fields.get("episode_id") == request.episode:
        fields.pop("episode_id", None)
    state = as_row(fields.get("state"))
    if state is not None:
        fields.pop("state")
    hashes = {path: digest for path, digest in found.missing.items() if digest is not None}
    return Parts(state or [], action_rows(request.actions), fields, images, hashes, request.lacking())


def as_row(value: Any) -> list[float] | None:
    """``value`` as a row of numbers; None if it is none."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, _NUMBERS) and not isinstance(item, bool) for item in items):
        return None
    try:
        return [float(item) for item in items]
    except OverflowError:
        return None


def action_rows(actions: list[Any]) -> list[list[float]]:
    """A chunk as rows of numbers of one length, a flat one as one row; empty if it is none."""
    if actions and not isinstance(actions[0], list):
        actions = [actions]
    rows = [as_row(row) if isinstance(row, list) else None for row in actions]
    found = [row for row in rows if row]
    return found if len(found) == len(rows) and len({len(row) for row in found}) == 1 else []


def plain(value: Any) -> Any:
    """A value as a table takes it: arrays of numbers as they are, other arrays as lists, bytes within as base64."""
    if hasattr(value, "dtype"):
        as_it_is = value.dtype.kind in "biuf" and value.ndim and value.dtype.itemsize <= 8
        return value if as_it_is else _listed(value.tolist())
    if isinstance(value, str):
        return writable(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {writable(plain_key(key)): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    """What NumPy makes of an array or scalar, which may be one of its own again: a number that Python does not have."""
    if isinstance(value, list):
        return [_listed(item) for item in value]
    if not hasattr(value, "dtype"):
        return plain(value)
    number = float(value) if value.dtype.kind == "f" else math.nan
    return number if number == value else str(value)


def writable(text: str) -> str:
    """``text`` with half characters (lone surrogates), which files of text cannot hold, written out."""
    return text.encode("utf-8", "backslashreplace").decode()


@frozen
class _Known:
    """What is known of the images of a request."""

    sent: dict[int, str]
    """Paths, by the identity of the image."""
    missing: Collection[str]
    """Paths where None stands for an image that was not kept."""
    images: dict[str, Any]
    """Takes those that were found."""


def _without_images(value: Any, path: str, known: _Known) -> Any:
    """``value`` without the images in it; `_GONE` if nothing else was there."""
    if id(value) in known.sent and (image := _image(value)) is not None:
        known.images[known.sent[id(value)]] = image
        return _GONE
    if value is None and path in known.missing:
        return _GONE
    if type(value) not in (dict, list) or not value:
        return value
    items = value.items() if isinstance(value, dict) else enumerate(value)
    rest = [(key, _without_images(item, f"{path}.{plain_key(key)}", known)) for key, item in items]
    if all(item is _GONE for _, item in rest):
        return _GONE
    if isinstance(value, dict):
        return {plain_key(key): item for key, item in rest if item is not _GONE}
    return [None if item is _GONE else item for _, item in rest]


def plain_key(key: Any) -> str:
    """A key of a dict as text; those of MessagePack may be bytes."""
    return key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(key)


def _image(value: Any) -> Any:
    """Encoded bytes, or an array; None if ``value`` is text that is no image, or not only one."""
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, bytes) or hasattr(value, "dtype"):
        return value
    return _from_numbers(value) if isinstance(value, list) else None


def _from_text(text: str) -> bytes | None:
    """The bytes of base64 text, of hexadecimal digits, or of what was taken for Latin-1."""
    url, _, data = text.partition(",") if text[:5].lower() == "data:" else ("", "", text)
    digits = "".join(data.split()).removeprefix("0x")
    readings = [decoded(data.strip()), data.encode("latin-1", "replace")]
    if len(digits) % 2 == 0 and not set(digits) - _HEX:
        readings.append(bytes.fromhex(digits))
    for reading in readings:
        if has_signature(reading):
            return reading
    try:
        return image_bytes(f"{url},{data}" if url else data)
    except ObservationError:
        return None


def _from_numbers(value: list[Any]) -> Any:
    """Bytes that were sent as numbers, or the array of rows of numbers."""
    import numpy

    try:
        return bytes(value)
    except (TypeError, ValueError):
        pass
    try:
        array = numpy.asarray(value)
    except ValueError:
        return None
    if array.dtype.kind not in "iuf" or array.ndim < 2:
        return None
    small = array.dtype.kind in "iu" and array.size > 0 and array.min() >= 0 and array.max() < 256
    return array.astype(numpy.uint8) if small else array
