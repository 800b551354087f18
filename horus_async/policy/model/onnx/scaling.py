"""Normalisations: from the values of a robot to those that a model was trained on, and back.

    mean, std      (x - mean) / std                           back: y * std + mean
    min, max       2 * (x - min) / (max - min) - 1            back: (y + 1) / 2 * (max - min) + min
    q01, q99       2 * (x - q01) / (q99 - q01 + 1e-6) - 1     back: (y + 1) / 2 * (q99 - q01 + 1e-6) + q01

The second is LeRobot's ``MIN_MAX`` (``processor/normalize_processor.py``), the third openpi's ``use_quantile_norm``
(``transforms.py``), its 1e-6 included. The first adds no epsilon to ``std``: openpi (1e-6) and LeRobot (1e-8) do.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.errors import PolicyError

if TYPE_CHECKING:
    import numpy

_QUANTILE_MARGIN = 1e-6
_IMAGE_CHANNELS = (1, 3, 4)


class Method(enum.Enum):
    """A normalisation, by the names of its two statistics."""

    MEAN_STD = ("mean", "std")
    MIN_MAX = ("min", "max")
    QUANTILES = ("q01", "q99")


STATISTICS = tuple(name for method in Method for name in method.value)
"""Every key of a normalisation."""


@frozen
class Scaling:
    """A normalisation with its statistics: one number for each value of the last dimension, or for each channel."""

    method: Method
    first: tuple[float, ...]
    second: tuple[float, ...]

    def __attrs_post_init__(self) -> None:
        """Refuse statistics that scale by zero or turn the axis round."""
        low, high = self.method.value
        if len(self.first) != len(self.second):
            raise PolicyError(f"{low} has {len(self.first)} numbers and {high} has {len(self.second)}")
        for at, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            if self.method is Method.MEAN_STD and second <= 0:
                raise PolicyError(f"std[{at}] must be above 0, not {second:g}: nothing can be divided by it")
            if self.method is Method.MIN_MAX and first >= second:
                raise PolicyError(
                    f"min[{at}] is {first:g}, max[{at}] {second:g}: max must be larger (for a value that never "
                    "changes, any larger max gives the model the -1 that it was trained with)"
                )
            if self.method is Method.QUANTILES and first > second:
                raise PolicyError(f"q01[{at}] is {first:g}, q99[{at}] {second:g}: q99 must not be smaller")

    @property
    def length(self) -> int:
        """How many values are scaled."""
        return len(self.first)

    def normalised(self, values: numpy.ndarray) -> numpy.ndarray:
        """What the model sees, in the dtype of ``values`` (a float; float16 is computed in float32)."""
        import numpy

        start, width = self._statistics(values.shape, values.dtype)
        with numpy.errstate(over="ignore", invalid="ignore"):
            scaled: numpy.ndarray = (values.astype(start.dtype, copy=False) - start) / width
            if self.method is not Method.MEAN_STD:
                scaled = 2 * scaled - 1
            return scaled.astype(values.dtype, copy=False)

    def restored(self, values: numpy.ndarray) -> numpy.ndarray:
        """What the robot gets: float32 from float16 and float32, else float64."""
        import numpy

        start, width = self._statistics(values.shape, values.dtype)
        with numpy.errstate(over="ignore", invalid="ignore"):
            scaled: numpy.ndarray = values.astype(start.dtype, copy=False)
            if self.method is not Method.MEAN_STD:
                scaled = (scaled + 1) / 2
            restored: numpy.ndarray = scaled * width + start
        return restored

    def check(self, shape: tuple[int | None, ...], dtype: str) -> None:
        """Refuse a normalisation that does not fit values of this shape (None: open) and dtype.

        Raises:
            PolicyError: wrong length, or the dtype has no room for it.
        """
        import numpy

        if not shape:
            raise PolicyError("a single number without dimensions cannot be normalised by a list")
        if shape[-1] is not None and self.length != shape[-1] and not self.by_channel(shape):
            raise PolicyError(f"{self.method.value[0]} has {self.length} numbers, the last dimension has {shape[-1]}")
        if numpy.dtype(dtype).kind == "f":
            start, width = self._statistics((self.length,), numpy.dtype(dtype))
            fits = numpy.isfinite(start) & numpy.isfinite(width) & (width > 0)
            if self.method is Method.MIN_MAX:
                fits &= start + width > start
            if not fits.all():
                raise PolicyError(f"{' and '.join(self.method.value)} are too large, or too close, for {start.dtype}")

    def by_channel(self, shape: tuple[int | None, ...]) -> bool:
        """Images with their channels first are scaled by channel, everything else along its last dimension."""
        return (
            len(shape) >= 4 and shape[-1] != self.length and shape[-3] == self.length and self.length in _IMAGE_CHANNELS
        )

    def _statistics(self, shape: tuple[int, ...], dtype: numpy.dtype) -> tuple[numpy.ndarray, numpy.ndarray]:
        """What is subtracted, and what it is divided by, in the dtype that is computed in."""
        import numpy

        start, width = numpy.asarray([self.first, self.second], dtype=numpy.float64)
        if self.method is not Method.MEAN_STD:
            width = width - start + (_QUANTILE_MARGIN if self.method is Method.QUANTILES else 0)
        exact = numpy.float32 if dtype in (numpy.float16, numpy.float32) else numpy.float64
        with numpy.errstate(over="ignore"):
            start, width = start.astype(exact), width.astype(exact)
        if self.by_channel(shape):
            return start[:, None, None], width[:, None, None]
        return start, width
