"""The lines of one file on their way to it: put by the thread that makes them, taken by the writer's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define

from horus_async.recorder.tallies import Tallies, TopicTally

from .lines import Counts, gap_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Sent


@define
class Gap:
    """What is missing: the tick of the first of it, how much (`Counts.dropped`), and why."""

    tick: int
    dropped: int
    reason: str


class Feed:
    """Whole lines for one file, and what they hold. Its attributes belong to the thread that makes the lines."""

    def __init__(self) -> None:
        # One growing text, not a list of lines: thousands of small objects that are kept for a while cost the caches,
        # and with them the run, more than making them does.
        self._text = bytearray()
        self.put_line: Callable[[bytes], None] = self._text.extend
        """Takes a line, with its newline."""
        self.pending: list[Sent] = []
        """What a node's running callback has sent and no line holds yet, as text."""
        self.loose: list[Sent] = []
        """The same of what it sent outside its callbacks."""
        self.pending_bytes = 0
        """Of both."""
        self.last_loose_tick: int | None = None
        """The newest tick in which something was sent outside a callback, of all lines put so far."""
        self.ticks = self.inputs = self.outputs = 0
        self.refused = 0
        """What found no room. Counted by the thread that was refused."""
        self.unwritable = 0
        """What could not be made into lines."""
        self.problem: str | None = None
        """Why a line could not be made, if that ever happened."""
        self.topics: dict[str, TopicTally] = {}
        """What the lines of a node hold of each topic."""
        self.external = Tallies()
        """What lines of external messages hold."""
        self.rewound = False
        """Set when ticks went back, as they do while a repeated replay is recorded: no index then."""
        self.gap: Gap | None = None
        """What is missing and no gap line tells of yet."""

    @property
    def counts(self) -> Counts:
        """What was put, and what was not."""
        return Counts(self.ticks, self.inputs, self.outputs, self.refused + self.unwritable)

    def topic(self, topic: str) -> TopicTally:
        """The tally of a topic of the node."""
        tally = self.topics.get(topic)
        if tally is None:
            tally = self.topics[topic] = TopicTally(topic)
        return tally

    def tallies(self) -> Tallies:
        """What the lines hold of all topics."""
        whole = Tallies()
        for tally in (*self.topics.values(), *self.external.values()):
            whole.add(tally)
        return whole

    def refuse(self, tick: int, reason: str, count: int = 1) -> None:
        """A line of that tick, with so many messages, finds no room."""
        self.refused += count
        self._widen_gap(tick, reason, count)

    def give_up(self, tick: int, problem: str, count: int = 1) -> None:
        """A line of that tick, with so many messages, cannot be made."""
        self.unwritable += count
        self.problem = problem
        self._widen_gap(tick, f"cannot be written: {problem}", count)

    def _widen_gap(self, tick: int, reason: str, count: int) -> None:
        if self.gap is None:
            self.gap = Gap(tick, count, reason)
        else:
            self.gap.dropped += count

    def put_gap(self, gap: Gap | None = None) -> None:
        """Put a gap line where something is missing."""
        if gap is None:
            gap, self.gap = self.gap, None
        if gap is not None:
            self.put_line(gap_line(gap.tick, gap.dropped, gap.reason))

    def take(self) -> bytes:
        """All lines that wait, for the writer's thread.

        The other thread may go on filling it meanwhile, as each step here is one that it cannot interrupt.
        """
        text = bytes(self._text)
        del self._text[: len(text)]
        return text
