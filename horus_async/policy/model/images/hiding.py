"""The images in a value, and texts and numbers without any piece of them.

What stands elsewhere than the image itself (a slice of it that a policy put into an error, an answer that repeats a row
of pixels) is found by comparing, `pieces`.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from .encoded import is_cut_text, is_image_bytes, runs, runs_in_lines, spans
from .pieces import NUMBERS, SHOWN_BYTES, Pieces, is_base64
from .pixels import is_image_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHOLE: tuple[tuple[int, int], ...] = ()
"""Stands for the spans of a value that is an image as a whole."""

_SCALARS = frozenset({int, float, bool, type(None)})
_LONGEST_TEXT = 4000


class Images:
    """The images in a request, wherever they are.

    ``paths`` are dotted: ``image``, ``images.0``, ``observation.image``. The protocol's own field, ``image``, is an
    image whatever text it holds.
    """

    def __init__(self, value: Any) -> None:
        self.paths: list[str] = []
        self.pieces = Pieces()
        self._spans: dict[int, tuple[tuple[int, int], ...]] = {}
        self._looked_at: list[Any] = []
        if isinstance(value, dict) and isinstance(value.get("image"), str) and value["image"]:
            self.paths.append("image")
            self.pieces.add(value["image"])
        self.look_at(value, "")

    def __bool__(self) -> bool:
        return bool(self.pieces)

    def look_at(self, value: Any, path: str | None = None) -> None:
        """Find the images of ``value``, too. It is kept, and must not change: what is found goes by identity."""
        self._looked_at.append(value)
        self._look(value, path)
        if self.pieces:
            self._look_for_pieces(value, path)

    def spans(self, value: Any) -> tuple[tuple[int, int], ...] | None:
        """Where images are in a part of a value that was looked at: `WHOLE`, spans of a text, or None."""
        return self._spans.get(id(value))

    def is_whole(self, value: Any) -> bool:
        """Whether a part of a value that was looked at is nothing but an image."""
        return self._spans.get(id(value)) == WHOLE

    def _note(self, value: Any, found: tuple[tuple[int, int], ...], path: str | None) -> None:
        if self._spans.get(id(value)) != found:
            self._spans[id(value)] = found
            for piece in [value[start:end] for start, end in found] or [value]:
                self.pieces.add(piece)
        if path is not None and path not in self.paths:
            self.paths.append(path)

    def _look(self, value: Any, path: str | None) -> None:
        if isinstance(value, str):
            if (found := whole_or_spans(value)) is not None:
                self._note(value, found, path)
        elif is_image(value):
            self._note(value, WHOLE, path)
        else:
            for item, place in parts_of(value, path):
                self._look(item, place)

    def _look_for_pieces(self, value: Any, path: str | None) -> bool:
        """Note what repeats a part of an image elsewhere in the value; whether there is an image or a part of one."""
        if self.is_whole(value):
            return True
        if isinstance(value, str):
            if found := self.pieces.hidden_in(value):
                self._note(value, tuple(found), path)
            return bool(found)
        inside = [self._look_for_pieces(item, place) for item, place in parts_of(value, path)]
        # Only together may short rows be as much as a part of an image.
        if not any(inside) and not isinstance(value, dict | bytes) and self.pieces.are_in(value):
            self._note(value, WHOLE, path)
            return True
        return any(inside)


def is_image(value: Any) -> bool:
    """Whether bytes, an array or a list is an image."""
    if isinstance(value, bytes):
        return is_image_bytes(value)
    if getattr(getattr(value, "dtype", None), "kind", "") in ("S", "U"):
        return any(is_image_bytes(item) if isinstance(item, bytes) else bool(spans(item)) for item in value.flat)
    if isinstance(value, list | tuple) and is_cut_text(value):
        return True
    return (hasattr(value, "dtype") or isinstance(value, list | tuple)) and is_image_numbers(value)


def parts_of(value: Any, path: str | None) -> Iterator[tuple[Any, str | None]]:
    """What is in a dict or a list, with its path; of numbers nothing."""
    if isinstance(value, dict):
        for key, item in value.items():
            place = path_of(path, shown_key(key))
            yield key, place
            yield item, place
    elif isinstance(value, list | tuple) and not _SCALARS.issuperset(map(type, value)):
        for number, item in enumerate(value):
            yield item, path_of(path, str(number))


def shown_key(key: Any) -> str:
    """A key as it stands in a path."""
    if isinstance(key, bytes):
        return "[image]" if is_image_bytes(key) else key.decode(errors="replace")
    return without(key, spans(key), lambda _: "[image]")


def path_of(path: str | None, part: str) -> str | None:
    """The dotted path of a part of what is at ``path``; None stays None."""
    return f"{path}.{part}" if path else part if path is not None else None


def whole_or_spans(text: str) -> tuple[tuple[int, int], ...] | None:
    """Where a text holds images: `WHOLE` if there is nothing else in it, None without any."""
    found = spans(text)
    if not found:
        return None
    (start, _), (_, end) = found[0], found[-1]
    return WHOLE if len(found) == 1 and not text[:start].strip() and not text[end:].strip() else tuple(found)


def without(text: str, found: list[tuple[int, int]] | tuple[tuple[int, int], ...], shown: Callable[[str], str]) -> str:
    """``text`` with what ``shown`` makes of them in place of the spans."""
    parts, place = [], 0
    for start, end in found:
        parts += [text[place:start], shown(text[start:end])]
        place = end
    return "".join([*parts, text[place:]])


def _may_show(text: str, observation: Any) -> bool:
    """Whether a text may hold a piece of an image: few errors may, and for others no image needs to be looked for."""
    image = observation.get("image") if isinstance(observation, dict) else None
    return (
        next(runs(text), None) is not None
        or next(runs_in_lines(text), None) is not None
        or not text.isascii()
        or SHOWN_BYTES.search(text) is not None
        or NUMBERS.search(text) is not None
        or (isinstance(image, str) and not is_base64(image))
    )


def without_images(text: str, observation: Any) -> str:
    """An error text that holds nothing of the images in ``observation``, nor of any other; at most 4000 characters.

    Pieces of images are replaced by ``[image]`` and, where the observation has an image, rows of 16 and more numbers,
    which may be pixels, by ``[numbers]``.

    Args:
        text: Words, perhaps with values in them, as a policy's exception has them.
        observation: The request as it was sent, or its `Images`.
    """
    if len(text) > _LONGEST_TEXT:
        half = _LONGEST_TEXT // 2
        text = f"{text[:half]} [… {len(text) - 2 * half} characters …] {text[-half:]}"
    images = (
        observation
        if isinstance(observation, Images)
        else Images(observation if _may_show(text, observation) else None)
    )
    text = without(text, images.pieces.hidden_in(text, is_error=True), lambda _: "[image]")
    return NUMBERS.sub("[numbers]", text) if images else text


def traceback_without_images(error: BaseException, observation: Any) -> str:
    """An error's traceback for a log, as `without_images` has it. What no log could write in UTF-8 is escaped."""
    shown = "".join(traceback.format_exception(error))
    return without_images(shown, observation).encode(errors="backslashreplace").decode()
