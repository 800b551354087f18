"""Makes inputs and judges the reader, for so many inputs or so many seconds."""

from __future__ import annotations

import hashlib
import logging
import random
from contextlib import closing
from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.clock.system import NANOSECONDS, monotonic_ns

from .law import Law
from .target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .law import Broken
    from .target import Fuzzed

_HERITAGE = 0.3
"""Of the inputs are changed from what was changed before: one that a reader took."""
_KEPT = 64
_LONGEST = 1 << 20
"""Bytes of an input."""
_MOST_FAULTS = 20
"""Different ones, after which a run ends."""


@define
class Outcome:
    """What came of a run."""

    inputs: int = 0
    refused: int = 0
    longest: float = 0.0
    """Seconds of the processor's time for one input."""
    seconds: float = 0.0
    faults: dict[str, tuple[Broken, Path, int]] = field(factory=dict)
    """By their place: what it was, the input, and how often."""

    def note(self, broken: Broken, data: bytes, kept: Path, name: str) -> None:
        """Keep the input of a fault that is new, and say how to repeat it."""
        if broken.place in self.faults:
            known, path, count = self.faults[broken.place]
            self.faults[broken.place] = known, path, count + 1
            return
        path = kept / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
        path.write_bytes(data)
        self.faults[broken.place] = broken, path, 1
        print(f"  {broken.what}\n    at {broken.place}; again: {again(name, path)}", flush=True)

    def line(self) -> str:
        """For people."""
        rate = self.inputs / max(self.seconds, 1e-9)
        times = sum(count for _, _, count in self.faults.values())
        what = f"{len(self.faults)} faults, {times} times" if self.faults else "no fault"
        return (
            f"{self.inputs} inputs ({rate:.0f} a second), {self.refused} refused, the longest took "
            f"{self.longest * 1000:.0f} ms: {what}"
        )


def again(name: str, path: Path) -> str:
    """The command that repeats one input."""
    return f"python -m benchmarks.soak {name} --input {path}"


def quiet() -> None:
    """Let readers say nothing: they have much to say."""
    logging.getLogger("horus_async").setLevel(logging.CRITICAL)
    logging.getLogger("horus_async").propagate = False


def input_of(fuzzed: Fuzzed, seed: int, number: int, last: bytes | None = None) -> bytes:
    """The input of this number. It depends on ``last`` only if that is given: what the reader took before."""
    chance = random.Random(seed << 40 ^ number)
    begin = last if last is not None and chance.random() < _HERITAGE else chance.choice(fuzzed.seeds)
    return fuzzed.change(begin, fuzzed.seeds, chance)[:_LONGEST]


def fuzz(
    name: str, root: Path, kept: Path, seed: int, *, count: int | None = None, seconds: float | None = None,
    begun: Callable[[bytes], object] = len, hurried: bool = True,
) -> Outcome:  # fmt: skip
    """Change valid inputs at random.

    Args:
        name: Of the target.
        root: An empty folder, for the reader.
        kept: Where inputs go that break the law.
        seed: With it the inputs are the same again, as far as the readers do the same.
        count: Of inputs; None for any number.
        seconds: After which to end; None for never.
        begun: Told each input before it is read.
        hurried: Judge by time, too; otherwise only a reader that does not end breaks the law.
    """
    fuzzed = TARGETS[name].ready(root)
    outcome = Outcome()
    start_ns = monotonic_ns()
    end_ns = None if seconds is None else start_ns + int(seconds * NANOSECONDS)
    taken: list[bytes] = []
    with closing(fuzzed), Law(fuzzed.read, hurried=hurried) as law:
        for data in fuzzed.seeds:
            broken = law.judge(data)
            if broken is not None or law.refused:
                raise AssertionError(f"{name}: a valid input was refused: {broken or 'by an error of ours'}")
        law.longest = 0.0
        number = 0
        while (count is None or number < count) and len(outcome.faults) < _MOST_FAULTS:
            if end_ns is not None and number % 32 == 0 and monotonic_ns() >= end_ns:
                break
            data = input_of(fuzzed, seed, number, taken[number % len(taken)] if taken else None)
            begun(data)
            before = law.refused
            broken = law.judge(data)
            if broken is not None:
                outcome.note(broken, data, kept, name)
            elif law.refused == before and len(data) < 1 << 16:
                taken.append(data)
                if len(taken) > _KEPT:
                    del taken[number % _KEPT]
            number += 1
        outcome.inputs, outcome.refused, outcome.longest = number, law.refused, law.longest
    outcome.seconds = (monotonic_ns() - start_ns) / NANOSECONDS
    return outcome


def repeat(name: str, root: Path, data: bytes, *, hurried: bool = True) -> Broken | None:
    """Judge the reader of a target by one input."""
    fuzzed = TARGETS[name].ready(root)
    with closing(fuzzed), Law(fuzzed.read, hurried=hurried) as law:
        return law.judge(data)
