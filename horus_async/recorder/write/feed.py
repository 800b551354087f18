"""The lines of one file on their way to it: put by the thread that makes them, taken by the writer's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.clock.system import monotonic_ns, sleep_until_monotonic
from horus_async.recorder.tallies import Tallies, TopicTally

from .line_core import FeedCore, TallyCore
from .lines import Counts, Gap, gap_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Sent

    from .room import Room

BACKLOG_FULL = "more came than could be written in time"
NO_MEMORY = "there was no memory for it"
_PATIENCE_MS = 1000


class Feed(FeedCore):
    """Whole lines for one file, and what they hold. Its attributes belong to the thread that makes the lines."""

    def __init__(self) -> None:
        # One growing text, not a list of lines: thousands of small objects that are kept for a while cost the caches,
        # and with them the run, more than making them does.
        self.text = bytearray()
        self.put_line: Callable[[bytes], None] = self.text.extend
        """Takes a line, with its newline."""
        self.pending = []
        self.loose = []
        self.pending_bytes = 0
        self.lasting: Sent | None = None
        """The first of what is pending that waited when lines were made the last time."""
        self.last_loose_tick: int | None = None
        """The newest tick in which something was sent outside a callback, of all lines put so far."""
        self.ticks = self.inputs = self.outputs = 0
        self.refused = 0
        """What found no room. Counted by the thread that was refused."""
        self.unwritable = 0
        """What could not be made into lines."""
        self.lines = 0
        """Of the log."""
        self.problem: str | None = None
        """Why a line could not be made, if that ever happened."""
        self.topics = {}
        self.external = Tallies()
        """What lines of external messages hold."""
        self.rewound = False
        """Set when ticks went back, as they do while a repeated replay is recorded: no index then."""
        self.gap = None

    @property
    def counts(self) -> Counts:
        """What was put, and what was not."""
        return Counts(self.ticks, self.inputs, self.outputs, self.refused + self.unwritable, self.lines)

    def topic(self, topic: str) -> TallyCore:
        """The tally of a topic of the node."""
        tally = self.topics.get(topic)
        if tally is None:
            tally = self.topics[topic] = TallyCore()
        return tally

    def tallies(self) -> Tallies:
        """What the lines hold of all topics."""
        whole = Tallies()
        for topic, seen in self.topics.items():
            whole.add(TopicTally(topic, None, seen.count, seen.bytes, seen.first_tick, seen.last_tick))
        for tally in self.external.values():
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
        text = bytes(self.text)
        del self.text[: len(text)]
        return text


class LogFeed(Feed):
    """The lines of the log. They come from any thread, also from signal handlers and ``__del__`` amid anything.

    So nobody takes a lock here: whatever has to be one step is a line without a call. At the limit lines are refused
    until the writer has taken what there is, which puts a gap line where they would have stood; with ``block`` whoever
    logs waits for the writer.

    Args:
        limit: Bytes that may wait, and as much again that is being written.
        room: Of the messages: it tells when nothing can be written, and wakes the writer.
        block: Whether to wait.
    """

    def __init__(self, limit: int, room: Room, *, block: bool) -> None:
        super().__init__()
        self.begun = False
        """Whether anything was logged: without that there is no file."""
        self.closed = False
        """Set when nothing more is taken."""
        self._limit = limit
        self._room = room
        self._block = block
        self._put = self._taken = 0
        self._takes = 0
        self._full = False
        self._announced = 0
        self._first_refused = 0

    def put(self, line: bytes, tick: int) -> None:
        """Put a line that was logged in a scheduler tick, or count it as refused."""
        if self.closed:
            return
        size = len(line)
        if (self._full or self._put - self._taken + size > self._limit) and not self._comes_in(size):
            if self.refused == self._announced:
                self._first_refused = tick
            self.refused += 1
            self._full = True  # after the count: see `take`
            self.begun = True
            return
        self._put += size
        self.put_line(line)
        self.begun = True
        if self._put - self._taken > self._limit // 2:
            self._room.wake.set()

    def _comes_in(self, size: int) -> bool:
        """Whether the line may be put after all: where nothing waits, or once the writer has got on."""
        if self._block and self._waited(size):
            return True
        return not self._full and self._put == self._taken

    def _waited(self, size: int) -> bool:
        """Wait for the writer; False while nothing can be written.

        It does not wait for ever: a writer that gets nowhere may wait for the very thread that logs here, and rather
        too much is kept than that.
        """
        takes, patience = self._takes, _PATIENCE_MS
        while self._put != self._taken and self._put - self._taken + size > self._limit and patience:
            if self._room.refusing or self.closed:
                return False
            self._room.wake.set()
            sleep_until_monotonic(monotonic_ns() + 1_000_000)
            patience = patience - 1 if self._takes == takes else _PATIENCE_MS
            takes = self._takes
        return True

    def take(self) -> bytes:
        """All lines that wait, with a gap line behind them if some were refused after them."""
        missing = 0
        if self._full:
            first, missing, self._announced = self._first_refused, self.refused - self._announced, self.refused
            if missing:
                self.put_line(gap_line(first, missing, BACKLOG_FULL))
            # One that is refused meanwhile keeps it full, so that its gap line comes before what follows it.
            self._full = self.refused != self._announced
        text = super().take()
        self.lines += text.count(b"\n") - bool(missing)
        self._taken = self._put
        self._takes += 1
        return text
