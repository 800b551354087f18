"""Values as a trace keeps them, and back: images by the image mode, everything else whole.

What JSON lacks is written as in recordings: ``{"$ndarray": {"dtype", "shape", "data"}}`` (with ``"scalar": true`` for a
NumPy scalar), ``{"$bytes": base64}``, ``{"$dict": [[key, value], …]}`` where keys are bytes. An image that is not kept
is ``{"$image": hash}``, or ``{"$image": null}`` without its hash; in the middle of a text ``[image hash]`` or
``[image]``. A client's own key that begins with ``$`` gets another ``$`` in front.
"""

from __future__ import annotations

import base64
import binascii
import enum
import math
import re
from typing import TYPE_CHECKING, Any

from horus_async.errors import TraceError
from horus_async.hints.installed import install
from horus_async.policy.model.elements import has_old_letter, is_unicode
from horus_async.policy.model.hashes import image_hash
from horus_async.policy.model.images.hiding import WHOLE, Images, shown_key, whole_or_spans, without
from horus_async.policy.model.images.pixels import flat_numbers, packed, shape_of
from horus_async.policy.model.weight import MOST_VALUES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_SCALARS = frozenset({int, float, bool, type(None)})
_LONGEST_DTYPE, _SHOWN = 256, 80
_IN_TEXT = re.compile(r"\[image(?: ([0-9a-f]{16}))?\]")


class ImageMode(enum.Enum):
    """What a trace keeps of camera images: the images, their hashes, or nothing."""

    FULL = "full"
    HASH_ONLY = "hash_only"
    NONE = "none"


class Redaction:
    """Makes JSON values of requests and answers, at which ``images`` has looked."""

    def __init__(self, images: Images, mode: ImageMode, *, is_request: bool = True) -> None:
        self._images = images
        self._mode = mode
        self._is_request = is_request

    def kept(self, value: Any) -> Any:
        """What the trace keeps of ``value``."""
        if type(value) in _SCALARS:
            return value
        if isinstance(value, dict):
            return self._dict(value)
        if self._mode is not ImageMode.FULL and self._images.is_whole(value):
            return self._marker(value)
        return self.text(value) if isinstance(value, str) else self._whole(value)

    def _whole(self, value: Any) -> Any:
        if isinstance(value, bytes):
            return {"$bytes": base64.b64encode(value).decode()}
        if hasattr(value, "dtype"):
            return _array_fields(value)
        return list(value) if _SCALARS.issuperset(map(type, value)) else [self.kept(item) for item in value]

    def text(self, text: str) -> str:
        """A text by the image mode: with its images and pieces of others, or without."""
        if self._mode is ImageMode.FULL:
            return str(text)
        found = ((0, len(text)),) if self._images.is_whole(text) else self._images.spans(text)
        return without(text, found or (), self._in_text)

    def key(self, key: str) -> str:
        """A client's own key."""
        key = self.text(key)
        return f"${key}" if self._is_request and key.startswith("$") else key

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(isinstance(key, str) for key in value):
            kept = {self.key(key): self.kept(item) for key, item in value.items()}
            if len(kept) == len(value):
                return kept
        return {"$dict": [[self.kept(key), self.kept(item)] for key, item in value.items()]}

    def _marker(self, value: Any) -> dict[str, Any]:
        """What stands for an image that is not kept; of its form as much as it takes to put it there again."""
        if self._mode is ImageMode.NONE:
            return {"$image": None}
        if isinstance(value, str):
            return {"$image": image_hash(value)}
        if isinstance(value, bytes):
            return {"$image": image_hash(value), "size": len(value)}
        if hasattr(value, "dtype"):
            return {"$image": image_hash(value.tobytes()), "dtype": value.dtype.str, "shape": list(value.shape)}
        return {"$image": image_hash(packed(flat_numbers(value) or [])[1]), "shape": list(shape_of(value) or ())}

    def _in_text(self, piece: str) -> str:
        return f"[image {image_hash(piece)}]" if self._mode is ImageMode.HASH_ONLY else "[image]"


def _array_fields(value: Any) -> dict[str, Any]:
    import numpy

    data = base64.b64encode(value.tobytes()).decode()
    fields: dict[str, Any] = {"dtype": value.dtype.str, "shape": list(value.shape), "data": data}
    if isinstance(value, numpy.generic):
        fields["scalar"] = True
    return {"$ndarray": fields}


class Restoring:
    """Makes values of what a trace kept of them.

    ``find`` gives the image for a marker ``{"$image": …}``, or None. Afterwards ``images`` has the images by their
    paths, and ``missing`` the hashes, if they were kept, of those that were not found.
    """

    def __init__(self, cameras: Collection[str], find: Callable[[dict[str, Any]], Any]) -> None:
        self.images: dict[str, Any] = {}
        self.missing: dict[str, str | None] = {}
        self._cameras = frozenset(cameras)
        self._seen: set[str] = set()
        self._find = find

    def fields(self, kept: dict[str, Any]) -> dict[Any, Any]:
        """The fields of a request. Raises as ``value`` does."""
        fields = {self._of_key(key, ""): self.value(item, _place(key)) for key, item in kept.items() if key != "$dict"}
        return fields | (self._of_dict({"$dict": kept["$dict"]}, "") if "$dict" in kept else {})

    def value(self, kept: Any, path: str) -> Any:
        """The value of which ``kept`` was kept; None in place of an image that is missing.

        Raises:
            TraceError: a tag holds something else than it should, or NumPy is not installed.
        """
        if isinstance(kept, list):
            value: Any = (
                kept
                if _SCALARS.issuperset(map(type, kept))
                else [self.value(item, _path_of(path, str(number))) for number, item in enumerate(kept)]
            )
        elif isinstance(kept, dict):
            value = self._of_dict(kept, path)
        elif isinstance(kept, str):
            value = self._of_text(kept, path)
        else:
            return kept
        if path in self._cameras and path not in self.missing:
            self._seen.add(path)
            if isinstance(value, bytes | list) or hasattr(value, "dtype") or _is_alone(value):
                self.images[path] = value
        return value

    def lacks(self, name: str) -> None:
        """Note an image of which nothing was found so far; of text in the form of v1 mode ``none`` keeps nothing."""
        if name not in self._seen and name not in self.images:
            self.missing.setdefault(name, None)

    def camera(self, name: str, text: str | None, digest: str | None) -> str | None:
        """The text of an image in the v1 form."""
        found = text if text is not None else self._find({"$image": digest}) if digest else None
        if found is None:
            self.missing[name] = digest
        else:
            self.images[name] = found
        return found

    def _of_dict(self, kept: dict[str, Any], path: str) -> Any:
        if "$image" in kept:
            return self._found(kept, path)
        if "$ndarray" in kept:
            return _array(kept["$ndarray"])
        if "$bytes" in kept:
            return _bytes(kept["$bytes"])
        pairs = kept["$dict"] if "$dict" in kept else kept.items()
        try:
            return {self._of_key(key, path): self.value(item, _path_of(path, _place(key))) for key, item in pairs}
        except (TypeError, ValueError) as error:
            raise TraceError(f"{path or 'the request'}: a dict in the trace is damaged: {error}") from error

    def _of_key(self, key: Any, path: str) -> Any:
        if not isinstance(key, str):
            return self.value(key, _path_of(path, _place(key)))
        return self._of_text(key.removeprefix("$") if key.startswith("$") else key, _path_of(path, _place(key)))

    def _of_text(self, text: str, path: str) -> str:
        if path not in self._cameras or "[image" not in text:
            return text

        def found(match: re.Match[str]) -> str:
            image = self._found({"$image": match[1]}, path)
            return image if isinstance(image, str) else match[0]

        return _IN_TEXT.sub(found, text)

    def _found(self, marker: dict[str, Any], path: str) -> Any:
        digest = marker["$image"]
        value = self._find(marker) if isinstance(digest, str) else None
        if value is None:
            self.missing[path] = digest if isinstance(digest, str) else None
        return value


def _path_of(path: str, part: str) -> str:
    return f"{path}.{part}" if path else part


def _is_alone(value: Any) -> bool:
    return isinstance(value, str) and whole_or_spans(value) == WHOLE


def _place(key: Any) -> str:
    """A kept key as it stands in the paths of ``cameras``."""
    if isinstance(key, dict):
        key = _bytes(key["$bytes"]) if "$bytes" in key else "[image]"
    return _IN_TEXT.sub("[image]", shown_key(key.removeprefix("$") if isinstance(key, str) else key))


def _bytes(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise TraceError(f"bytes in the trace are damaged: {error}") from error


def _array(fields: Any) -> Any:
    try:
        import numpy
    except ImportError as error:
        raise TraceError(f"arrays in a trace need NumPy: {install('numpy')}") from error
    try:
        kind, shape, data = str(fields["dtype"]), fields["shape"], _bytes(fields["data"])
        if len(kind) > _LONGEST_DTYPE:
            raise TraceError(f"its elements are {kind[:_SHOWN]!r}…")
        if has_old_letter(kind):
            raise TraceError(f"its elements are {kind[:_SHOWN]!r}, an old name: 'S' is the letter for bytes")
        dtype = numpy.dtype(kind)
        wrong = dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data)
        # Nothing has any shape; one of a billion rows without a column would become a billion lists.
        if wrong or (not data and math.prod(size or 1 for size in shape) > MOST_VALUES):
            raise TraceError(f"{len(data)} bytes are not {str(shape)[:_SHOWN]} of {kind[:_SHOWN]}")
        array = numpy.frombuffer(data, dtype).reshape(shape)
        if dtype.kind == "U" and not is_unicode(array):
            raise TraceError("its text has characters beyond Unicode")
    except (TypeError, ValueError, KeyError, OverflowError, TraceError) as error:
        raise TraceError(f"an array in the trace is damaged: {error}") from error
    return array[()] if fields.get("scalar") is True and array.shape == () else array.copy()
