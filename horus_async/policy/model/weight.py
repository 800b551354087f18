"""What a body becomes when it is read: how many values it holds, and the memory that they take.

Two bytes of JSON, ``[]``, become an object of 56 bytes, and to make many of them takes seconds in which nothing else
runs. So bodies are weighed before they are read (JSON), or while they are (MessagePack).
"""

from __future__ import annotations

from attrs import define

from .interface import ObservationError

MOST_VALUES = 4_000_000
"""Values in one body; a picture of 640 x 480 as lists of lists has 1.2 million."""
MOST_PARTS = 400_000
"""Lists, objects and fields among them; such a picture has 0.3 million lists."""
_VALUE_BYTES, _PART_BYTES = 32, 96
_NO_MARKS = bytes(set(range(256)) - set(b",:[{"))
"""Left out at once: to count each mark in all of an image would take longer than to read it."""


class TooManyValuesError(ObservationError):
    """A body holds more than may be read."""


@define
class Weight:
    """Of one body."""

    values: int = 0
    parts: int = 0

    @property
    def memory(self) -> int:
        """Bytes that the values take beside the body, at most."""
        return self.values * _VALUE_BYTES + self.parts * _PART_BYTES

    def add(self, values: int, parts: int) -> None:
        """Count values, and parts.

        Raises:
            TooManyValuesError: there are too many now.
        """
        self.values += values
        self.parts += parts
        for what, count, most in (
            ("values", self.values, MOST_VALUES),
            ("lists, objects and fields", self.parts, MOST_PARTS),
        ):
            if count > most:
                raise TooManyValuesError(
                    f"the body holds more than {most:,} {what}: send images as base64, or arrays as MessagePack"
                )


def weight_of_json(body: bytes) -> Weight:
    """The weight of a body of JSON, judged by its punctuation: texts that hold some make it heavier.

    Raises:
        TooManyValuesError: it is not to be read.
    """
    marks = body.translate(None, _NO_MARKS)
    weight, begun = Weight(), marks.count(b"[") + marks.count(b"{")
    weight.add(marks.count(b",") + begun + 1, begun + marks.count(b":"))
    return weight
