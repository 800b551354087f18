"""What a dataset says of each feature: least, greatest, mean, standard deviation, count and five quantiles.

As LeRobot has them: those of an episode are of its frames, those of pictures of a sample of these (channels apart, 0 to
1, every other pixel or fewer of large ones). Those of the dataset are the episodes' together; its quantiles are the
mean of theirs, weighted by frames.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from .pictures import pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy

    from .pictures import Picture

    Stats = dict[str, numpy.ndarray[Any, Any]]

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_LARGE, _SMALL = 300, 150
"""Pixels: a picture that is larger than the one is thinned out to about the other."""


def of_values(values: numpy.ndarray[Any, Any]) -> Stats:
    """Statistics over the first dimension, and of arrays over all but the last."""
    import numpy

    count = len(values)
    rows = values.reshape(-1, values.shape[-1])
    wide = rows.astype(numpy.float64)
    stats = {"min": rows.min(axis=0), "max": rows.max(axis=0), "mean": wide.mean(axis=0), "std": wide.std(axis=0)}
    quantiles = {name: numpy.quantile(wide, share, axis=0, method="inverted_cdf") for name, share in QUANTILES.items()}
    return {**stats, "count": numpy.array([count]), **quantiles}


def of_pictures(pictures: Sequence[Picture], read: Callable[[Picture], bytes]) -> Stats:
    """Statistics of a sample of an episode's pictures, each channel as an array of one pixel (3 × 1 × 1)."""
    import numpy

    chosen = Counter(pictures[index] for index in _sample(len(pictures)))
    seen = numpy.zeros((3, 256), numpy.int64)
    for picture, times in chosen.items():
        image = pixels(read(picture))
        longest = max(image.shape[:2])
        step = 1 if longest < _LARGE else longest // _SMALL
        for channel in range(3):
            found = numpy.bincount(image[::step, ::step, channel].reshape(-1), minlength=256)
            seen[channel] += found * times
    levels = numpy.arange(256) / 255
    total = seen.sum(axis=1)
    mean = seen @ levels / total
    square = numpy.array([row @ (levels - middle) ** 2 for row, middle in zip(seen, mean, strict=True)]) / total
    stats = {
        "min": numpy.array([levels[row.nonzero()[0][0]] for row in seen]),
        "max": numpy.array([levels[row.nonzero()[0][-1]] for row in seen]),
        "mean": mean,
        "std": numpy.sqrt(square),
    }
    ranks = seen.cumsum(axis=1)
    for name, share in QUANTILES.items():
        stats[name] = numpy.array([levels[numpy.searchsorted(row, share * row[-1])] for row in ranks])
    shaped = {name: value.reshape(3, 1, 1) for name, value in stats.items()}
    return {**shaped, "count": numpy.array([chosen.total()])}


def together(episodes: Sequence[Stats]) -> Stats:
    """The statistics of all frames from those of the episodes."""
    import numpy

    counts = numpy.stack([one["count"] for one in episodes])
    weights = counts.reshape(-1, *[1] * episodes[0]["mean"].ndim) / counts.sum()
    means = numpy.stack([one["mean"] for one in episodes])
    mean = (means * weights).sum(axis=0)
    spread = numpy.stack([one["std"] for one in episodes]) ** 2 + (means - mean) ** 2
    return {
        "min": numpy.stack([one["min"] for one in episodes]).min(axis=0),
        "max": numpy.stack([one["max"] for one in episodes]).max(axis=0),
        "mean": mean,
        "std": numpy.sqrt((spread * weights).sum(axis=0)),
        "count": counts.sum(axis=0),
        **{name: (numpy.stack([one[name] for one in episodes]) * weights).sum(axis=0) for name in QUANTILES},
    }


def _sample(count: int) -> list[int]:
    """Which frames of an episode stand for all: all of 100, 177 of 1,000, 1,000 of 10,000."""
    import numpy

    chosen = max(min(100, count), min(int(count**0.75), 10_000))
    return [int(index) for index in numpy.linspace(0, count - 1, chosen).round()]
