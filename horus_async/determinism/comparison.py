"""Does a program do the same each time? The frames of its runs, compared side by side.

The digests are compared first, and the messages are looked into only where they differ.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field, frozen

from horus_async.errors import HorusError
from horus_async.topics.codec import decode
from horus_async.value_diff import first_difference

from .findings import GuardFinding
from .frames import BEGIN, END, FOUND, End, Frame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .variants import Variant

NO_MESSAGE = "(no message)"
"""Stands in for a message that only one of two runs sent."""


@frozen
class Divergence:
    """The first place where two runs differ."""

    tick: int
    node: str
    topic: str
    field: str
    """The path inside the message; empty for the whole value."""
    expected: Any
    """What run 1 did."""
    found: Any
    """What the other run did."""
    run: str
    """The other run, and its conditions."""

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("tick", self.tick), ("node", self.node), ("topic", self.topic), ("field", self.field))
            if value != ""  # a tick may be 0
        )
        return f"{where}: {self.expected!r} in run 1, {self.found!r} in {self.run}"


@define
class Comparison:
    """Reads the frames of all runs side by side.

    Args:
        runs: The conditions of each run.
    """

    runs: Sequence[Variant]
    seed: int = 0
    tick_rate: float = 0.0
    ticks: int = 0
    """Number of ticks in which all runs did the same."""
    messages: int = 0
    """Number of messages that run 1 sent in them."""
    first: int | None = None
    last: int | None = None
    digests: dict[int, str] = field(factory=dict)
    difference: Divergence | None = None
    findings: dict[tuple[str, int, str], GuardFinding] = field(factory=dict)
    ends: list[End] = field(factory=list)
    """How each run ended; empty if the end was not reached."""

    def read(self, sources: Sequence[Iterable[bytes]]) -> Iterator[int]:
        """Compare tick by tick, up to the first difference or the end; yields each tick that is the same in all runs.

        Raises:
            RunDiedError: A run ended without a last frame.
        """
        readers = [iter(source) for source in sources]
        while self.difference is None:
            frames = [self._next(number, reader) for number, reader in enumerate(readers)]
            self.difference = self._compare(frames)
            expected = frames[0]
            if self.difference is not None:
                return
            if isinstance(expected, End):
                self.ends = [frame for frame in frames if isinstance(frame, End)]
                return
            self._same(expected)
            yield expected.tick

    def _next(self, number: int, lines: Iterator[bytes]) -> Frame | End:
        for line in lines:
            head, _, rest = line.partition(b" ")
            if not line.endswith(b"\n"):
                break
            if head == BEGIN:
                fields = json.loads(rest)
                self.seed, self.tick_rate = fields["seed"], fields["tick_rate"]
            elif head == FOUND:
                finding = GuardFinding(**orjson.loads(rest))
                self.findings.setdefault((finding.file, finding.line, finding.call), finding)
            elif head == END:
                return End(**orjson.loads(rest))
            else:
                digest, count, body = rest.split(b" ", 2)
                return Frame(int(head), digest.decode(), int(count), body)
        raise RunDiedError(number)

    def _same(self, frame: Frame) -> None:
        if self.first is None:
            self.first = frame.tick
        elif self.last is not None and self.ticks not in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000):
            self.digests.pop(self.last, None)
        self.last = frame.tick
        self.digests[frame.tick] = frame.digest
        self.ticks += 1
        self.messages += frame.count

    def _compare(self, frames: Sequence[Frame | End]) -> Divergence | None:
        expected = frames[0]
        for frame, run in zip(frames[1:], self.runs[1:], strict=True):
            if isinstance(expected, Frame) and isinstance(frame, Frame):
                if (frame.tick, frame.digest) != (expected.tick, expected.digest):
                    return _diverging_frames(expected, frame, run)
            elif _how(expected) != _how(frame):
                tick = 0 if self.last is None else self.last + 1
                return Divergence(tick, "", "", "", _how(expected), _how(frame), str(run))
        return None


class RunDiedError(HorusError):
    """A run of a check ended without a last frame; ``number`` counts from 0."""

    def __init__(self, number: int) -> None:
        super().__init__(f"run {number + 1} of the check died")
        self.number = number


def _how(frame: Frame | End) -> str:
    return "the run goes on" if isinstance(frame, Frame) else f"the run ended ({frame.reason})"


def _diverging_frames(expected: Frame, found: Frame, run: Variant) -> Divergence:
    if expected.tick != found.tick:
        return Divergence(expected.tick, "", "", "", f"tick {expected.tick}", f"tick {found.tick}", str(run))
    sides = expected.messages(), found.messages()
    for node in dict.fromkeys([*sides[0], *sides[1]]):
        for a, b in itertools.zip_longest(sides[0].get(node, ()), sides[1].get(node, ())):
            if a != b:
                topic, path, left, right = _diverging_messages(a, b)
                return Divergence(expected.tick, node, topic, path, left, right, str(run))
    errors = expected.errors(), found.errors()
    node = min(set(errors[0]) ^ set(errors[1]), default=("",))[0]
    raised = [next((error for name, _, error in side if name == node), "none") for side in errors]
    return Divergence(expected.tick, node, "", "(exception)", raised[0], raised[1], str(run))


def _diverging_messages(
    a: tuple[str, int, int, bytes] | None, b: tuple[str, int, int, bytes] | None
) -> tuple[str, str, Any, Any]:
    if a is None or b is None:
        present = a or b
        assert present is not None
        value = decode(present[3])
        return present[0], "", NO_MESSAGE if a is None else value, NO_MESSAGE if b is None else value
    if a[0] != b[0]:
        return a[0], "", f"sent on {a[0]}", f"sent on {b[0]}"
    if a[3] != b[3]:
        return a[0], *first_difference(decode(a[3]), decode(b[3]))
    index, name = (1, "(seq)") if a[1] != b[1] else (2, "(stamp_ns)")
    return a[0], name, a[index], b[index]
