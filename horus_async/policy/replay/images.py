"""Camera images of which a trace kept only the hash, found again among files."""

from __future__ import annotations

import base64
import io
import math
from typing import TYPE_CHECKING, Any

from horus_async.errors import PolicyError
from horus_async.policy.model.hashes import image_hash
from horus_async.policy.model.interface import ObservationError
from horus_async.policy.model.observation import image_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_KINDS = {b"\xff\xd8": "jpeg", b"\x89P": "png", b"GI": "gif", b"RI": "webp", b"BM": "bmp", b"II": "tiff", b"MM": "tiff"}


class ImageFolder:
    """Image files by the hashes that a trace kept of them.

    A file is found by the hash of its bytes, or of any usual form of its base64: either alphabet, with or without
    padding, in lines of 76 characters, in a ``data:`` URL; and, as base64, by its name, if that is the hash. Arrays
    are found among the pixels of image files (height × width × channels or channels first) and ``.npy`` files.

    Raises (constructor):
        PolicyError: the folder cannot be read, or is empty.
    """

    def __init__(self, folder: Path) -> None:
        self._by_hash: dict[str, tuple[Path, Callable[[bytes], Any]]] = {}
        self._arrays: dict[str, tuple[Path, int]] | None = None
        self._files: list[Path] = []
        try:
            self._files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
            for path in self._files:
                self._add(path)
        except OSError as error:
            raise PolicyError(f"cannot read the images in {str(folder)!r}: {error}") from error
        if not self._files:
            raise PolicyError(f"no image files in {str(folder)!r}")

    def find(self, marker: dict[str, Any]) -> Any:
        """The image for what a trace has in its place, ``{"$image": hash, …}``, or None."""
        digest, shape = marker["$image"], marker.get("shape")
        path, form = self._by_hash.get(digest, (None, bytes))
        if path is not None and shape is None:
            # Only bytes have a size beside their hash; a file that is named after the hash may be either.
            return path.read_bytes() if "size" in marker else form(path.read_bytes())
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            return None
        if path is not None and form is bytes and len(shape) == 1 and "dtype" not in marker:
            return list(path.read_bytes())
        return self._array(digest, marker.get("dtype"), shape)

    def _add(self, path: Path) -> None:
        data = path.read_bytes()
        self._by_hash.setdefault(path.stem, (path, _base64))
        self._by_hash[image_hash(data)] = (path, bytes)
        for form in _FORMS:
            self._by_hash[image_hash(form(data))] = (path, form)

    def _array(self, digest: str, dtype: str | None, shape: list[int]) -> Any:
        if self._arrays is None:
            self._arrays = {
                image_hash(array.tobytes()): (path, number)
                for path in self._files
                for number, array in enumerate(_arrays_in(path))
            }
        path, number = self._arrays.get(digest, (None, 0))
        if path is None:
            return None
        array = list(_arrays_in(path))[number]
        if array.size != math.prod(shape) or (dtype is not None and array.dtype.str != dtype):
            return None
        return array.reshape(shape) if dtype is not None else array.reshape(shape).tolist()


def _arrays_in(path: Path) -> Iterator[Any]:
    """The pixels of a file, in the orders in which they may have been sent."""
    try:
        import numpy
    except ImportError:
        return
    try:
        if path.suffix == ".npy":
            yield _saved_array(path.read_bytes())
            return
        pixels = image_array(_base64(path.read_bytes()))
    except (
        ObservationError,
        ValueError,
        KeyError,
        EOFError,
        OSError,
        MemoryError,
    ):  # the last: a shape that nothing fills
        return
    yield pixels
    if pixels.ndim == 3:
        yield numpy.ascontiguousarray(pixels.transpose(2, 0, 1))


def _saved_array(data: bytes) -> Any:
    """The array in a ``.npy`` file. Memory is taken only for what the file holds, whatever its header says."""
    import numpy
    from numpy.lib import format as npy

    file = io.BytesIO(data)
    read_head = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
    shape, by_columns, dtype = read_head(file)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(data) - file.tell():
        raise ValueError(f"the file does not hold {shape} of {dtype}")
    return numpy.frombuffer(data, dtype, -1, file.tell()).reshape(shape, order="F" if by_columns else "C")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bare(data: bytes) -> str:
    return _base64(data).rstrip("=")


def _url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()


def _url_safe_bare(data: bytes) -> str:
    return _url_safe(data).rstrip("=")


def _mime(data: bytes) -> str:
    return base64.encodebytes(data).decode()


def _mime_bare(data: bytes) -> str:
    return _mime(data).rstrip("\n")


def _mime_crlf(data: bytes) -> str:
    return _mime(data).replace("\n", "\r\n")


def _mime_crlf_bare(data: bytes) -> str:
    return _mime_crlf(data).rstrip("\r\n")


def _data_url(data: bytes) -> str:
    return f"data:image/{_KINDS.get(data[:2], 'jpeg')};base64,{_base64(data)}"


_FORMS = (_bare, _url_safe, _url_safe_bare, _mime, _mime_bare, _mime_crlf, _mime_crlf_bare, _data_url, _base64)
