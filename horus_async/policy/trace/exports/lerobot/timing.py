"""How many steps of each chunk became frames, and at which rate.

A client carries out the beginning of a chunk, then asks again. How much, it says itself (``executed`` of its next
request), or the time to its next request does, at a rate that is given. Where neither is known, each request is one
frame, with the first step of its chunk, at the rate of the requests.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.policy.trace.exports.exported import Exported

    from .asked import Asked, Episode

_SECOND = 1_000_000_000
_FAR = 0.2
"""By how much of itself a rate may be rounded."""


@frozen
class Timing:
    """Frames a second, and the steps of each chunk that are frames, by episode and request."""

    fps: float
    steps: list[list[int]]


def timing_of(episodes: list[Episode], fps: float | None, exported: Exported) -> Timing:
    """Find it out.

    Args:
        episodes: What was asked.
        fps: Frames a second, if they are given.
        exported: Takes the notes about it.

    Raises:
        TraceError: nothing says how many frames a second there are.
    """
    told = [(one.executed, _seconds(one, later)) for one, later in _pairs(episodes) if one.executed]
    by_steps = [steps / seconds for steps, seconds in told if seconds is not None]
    each_a_frame = fps is None and not told
    if fps is None:
        intervals = [seconds for one, later in _pairs(episodes) if (seconds := _seconds(one, later)) is not None]
        fps = _whole(median(by_steps) if by_steps else 1 / median(intervals) if intervals and not told else None)
        what = "the steps that clients carried out" if by_steps else "the requests, each of which is a frame"
        exported.notes.append(f"{fps} frames a second, the rate of {what}; --fps sets another")
    if each_a_frame and any(len(one.actions) > 1 for episode in episodes for one in episode.asked):
        exported.notes.append(
            "only the first step of each chunk is a frame, as nothing says that more was carried out; where it was, "
            "give --fps, the rate of the steps"
        )
    far = sum((one.executed or 0) > len(one.actions) for episode in episodes for one in episode.asked)
    if far:
        exported.notes.append(f"of {far} chunks more steps were executed, as clients say, than they have")
    known = [
        [_known(one, later, fps, each_a_frame=each_a_frame) for one, later in _neighbours(episode)]
        for episode in episodes
    ]
    return Timing(fps, _completed(episodes, known, exported))


def _whole(rate: float | None) -> int:
    """A rate as whole frames a second.

    Raises:
        TraceError: there is none near it.
    """
    if rate is None:
        raise TraceError("nothing in the trace says how many frames a second there are; say it with --fps")
    whole = max(1, round(rate))
    if abs(rate - whole) > _FAR * rate:
        raise TraceError(f"the requests make {rate:.3g} frames a second, which is no whole number; say --fps")
    return whole


def _neighbours(episode: Episode) -> Iterator[tuple[Asked, Asked | None]]:
    """Every request with the one after it."""
    yield from zip(episode.asked, [*episode.asked[1:], None], strict=True)


def _pairs(episodes: list[Episode]) -> Iterator[tuple[Asked, Asked]]:
    for episode in episodes:
        for one, later in _neighbours(episode):
            if later is not None:
                yield one, later


def _seconds(one: Asked, later: Asked) -> float | None:
    if one.at_ns is None or later.at_ns is None or later.at_ns <= one.at_ns:
        return None
    return (later.at_ns - one.at_ns) / _SECOND


def _known(one: Asked, later: Asked | None, fps: float, *, each_a_frame: bool) -> int | None:
    """How many steps of a chunk were carried out; None if nothing says so."""
    chunk = len(one.actions)
    if one.executed is not None:
        return min(one.executed, chunk)
    if each_a_frame or chunk == 1:
        return 1
    if later is None:
        return None
    seconds = _seconds(one, later)
    return None if seconds is None else max(1, min(chunk, round(seconds * fps)))


def _completed(episodes: list[Episode], known: list[list[int | None]], exported: Exported) -> list[list[int]]:
    """What is not known is like the rest: of its episode, else of all, else the whole chunk."""
    assumed = 0
    every = [steps for row in known for steps in row if steps is not None]
    completed = []
    for episode, row in zip(episodes, known, strict=True):
        said = [steps for steps in row if steps is not None] or every
        usual = round(median(said)) if said else None
        chunks = [len(one.actions) for one in episode.asked]
        completed.append(
            [
                steps if steps is not None else chunk if usual is None else max(1, min(chunk, usual))
                for steps, chunk in zip(row, chunks, strict=True)
            ]
        )
        assumed += sum(steps is None and chunk > 1 for steps, chunk in zip(row, chunks, strict=True))
    none = sum(steps == 0 for row in known for steps in row)
    if none:
        exported.notes.append(
            f"{none} requests have no frame: clients carried out nothing of their chunks (executed 0)"
        )
    if assumed:
        exported.notes.append(
            f"nothing says how much of {assumed} chunks was carried out (the last of each episode); "
            f"taken to be as much as of the others"
        )
    return completed
