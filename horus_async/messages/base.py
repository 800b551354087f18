"""What all messages share: how they compare, time stamps, and the types of arrays."""

from __future__ import annotations

import sys
from numbers import Real
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeAlias

import attrs
from attrs import define, field

from horus_async.validators import Fits


def _is_array(value: Any) -> bool:
    numpy = sys.modules.get("numpy")  # without it there is no array
    return numpy is not None and isinstance(value, numpy.ndarray)


def _is_numbers(value: Any) -> bool:
    if not isinstance(value, (list, tuple)):
        return _is_array(value)
    kinds = set(map(type, value))
    return kinds <= {float, int} or all(issubclass(kind, Real) and not issubclass(kind, bool) for kind in kinds)


def _is_data(value: Any) -> bool:
    return isinstance(value, bytes) or _is_array(value)


if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = list[float] | list[int] | tuple[float, ...] | NDArray[Any]
    Data: TypeAlias = bytes | NDArray[Any]
else:
    Array = Annotated[
        list[float] | list[int] | tuple[float, ...] | Any,
        Fits(_is_numbers, "a list, a tuple or a NumPy array of numbers"),
    ]
    """Numbers: a list, a tuple or a NumPy array. It arrives as the type that was sent."""
    Data = Annotated[Any, Fits(_is_data, "bytes or a NumPy array")]
    """``bytes``, or a NumPy array of any shape with the same bytes. It arrives as the type that was sent."""

_NANOSECONDS = 1_000_000_000


class ByContent:
    """Equal if of the same class with equal fields.

    NaN equals NaN, since it marks fields that were not measured. Arrays are equal if dtype, shape and elements are, and
    never equal a list. Messages are mutable, so they have no hash.
    """

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, name), getattr(other, name)) for name in _field_names(type(self)))

    __hash__ = None  # type: ignore[assignment]


@define(eq=False)
class Time(ByContent):
    """A point in time since 1970 or since the start of the simulation.

    Layout: builtin_interfaces/msg/Time.

    Attributes:
        sec: whole seconds.
        nanosec: the rest in nanoseconds, 0 to 999 999 999.
    """

    sec: int = 0
    nanosec: int = 0

    @classmethod
    def from_ns(cls, ns: int) -> Self:
        """From nanoseconds, as ``now_ns()`` gives them."""
        return cls(*divmod(ns, _NANOSECONDS))

    @property
    def ns(self) -> int:
        """The same in nanoseconds."""
        return self.sec * _NANOSECONDS + self.nanosec


@define(eq=False)
class Header(ByContent):
    """When, and in which coordinate frame, something was measured.

    Layout: std_msgs/msg/Header.

    Attributes:
        stamp: when it was measured; ``recv_message`` tells when it was sent.
        frame_id: the name of the coordinate frame, such as ``base_link``; axes x forward, y left, z up (REP 103).
    """

    stamp: Time = field(factory=Time)
    frame_id: str = ""


def matrix_3x3() -> list[float]:
    """Nine zeros, row by row."""
    return [0.0] * 9


def matrix_6x6() -> list[float]:
    """Thirty-six zeros, row by row."""
    return [0.0] * 36


def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(attribute.name for attribute in attrs.fields(kind))


def _same(left: Any, right: Any) -> bool:
    numpy = sys.modules.get("numpy")  # without it there is no array to compare
    if numpy is not None and (isinstance(left, numpy.ndarray) or isinstance(right, numpy.ndarray)):
        return isinstance(left, numpy.ndarray) and isinstance(right, numpy.ndarray) and _same_arrays(left, right)
    if type(left) is type(right) and isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right or (left != left and right != right))  # noqa: PLR0124 - NaN


def _same_arrays(left: NDArray[Any], right: NDArray[Any]) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    if left.dtype.kind in "fc":
        same: np.ndarray[Any, np.dtype[np.bool_]] = (left == right) | ((left != left) & (right != right))  # noqa: PLR0124 - NaN
        return bool(same.all())
    if left.dtype.hasobject:
        return _same(left.tolist(), right.tolist())
    return left.tobytes() == right.tobytes()
