"""A session of what other programs publish, all of it external: the recorder is told what a run would tell it.

Its time axis is that of whoever records: a tick each millisecond since the beginning, by the monotonic clock, of which
those have a line in which a message was sent, and one a second besides. A message belongs to the tick of its stamp.
One whose stamp is no time of now, as in a run in virtual time, belongs to the tick in which it was read.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from operator import itemgetter
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.clock.wall import wall_shift_ns
from horus_async.observe import RunInfo, TickEnd
from horus_async.recorder.write.recorder import Recorder

from .listening import Listening

if TYPE_CHECKING:
    import os
    from pathlib import Path

    from horus_async.recorder.options import RecordingOptions

TICK_RATE = 1000.0
NAME = "record start"
"""As the name of a scheduler."""
_TICK_NS = round(NANOSECONDS / TICK_RATE)
_BEAT_TICKS = 1000
_tick = itemgetter(0)
_SHORTEST_PAUSE_NS, _LONGEST_PAUSE_NS = 1_000_000, 5_000_000
OVERWRITTEN = "overwritten before they could be read"


@frozen
class Heeded:
    """A recording of what runs, in numbers."""

    messages: int
    """Read so far."""
    bytes: int
    """Of its files."""
    lost: int
    """Overwritten before they were read."""
    dropped: int
    """Read, and not written: the disk or the processor was too slow, or it was no message."""
    topics: int
    """That are read."""
    seconds: float

    @property
    def whole(self) -> bool:
        """Whether nothing is missing."""
        return not (self.lost or self.dropped)


class RunningSession:
    """Records what the programs of a namespace publish, from now on. For one thread.

    Args:
        options: How. Its ``topics`` and ``exclude_topics`` say which topics are read at all.
        namespace: Of the topics.
        root: The folder for sessions; None for the usual one.

    Raises:
        SessionExistsError: There is a session of that name.
        RecordingError: It cannot be written.
        TopicError: The namespace's topics cannot be read.
    """

    def __init__(self, options: RecordingOptions, namespace: str, root: str | os.PathLike[str] | None = None) -> None:
        self._options = options
        self.lost: Counter[str] = Counter()
        """Messages that were overwritten before that, by topic."""
        self.unreadable: dict[str, str] = {}
        """The rings that could not be read: why, by their titles; known when it has finished."""
        self._tick, self._open = -1, False
        self._was_set = False
        self._pause_ns = _SHORTEST_PAUSE_NS
        self._recorder = Recorder(options, root, block=False, thorough=False, gives_way=False)
        self._listening = Listening(namespace, self._takes)
        try:
            self._listening.look()  # from here on nothing of what is sent is gone before it is read
            self._start_ns = monotonic_ns()
            self._shift_ns = wall_shift_ns()
            begins_ns = self._start_ns + self._shift_ns
            self._recorder.run_started(RunInfo(NAME, TICK_RATE, False, 0, begins_ns, begins_ns, namespace))
        except BaseException:
            self._listening.close()
            raise
        self._recorder.initialised()
        self._go_to(0)

    @property
    def path(self) -> Path:
        """The session's folder."""
        assert self._recorder.path is not None
        return self._recorder.path

    @property
    def failure(self) -> str:
        """Why it cannot write, or could not for a while."""
        return self._recorder.failure

    def figures(self) -> Heeded:
        """How it fares."""
        stats, lost, counts = self._recorder.stats(), self.lost.total(), self._listening.counts
        seconds = (monotonic_ns() - self._start_ns) / NANOSECONDS
        return Heeded(sum(counts.values()), stats.bytes, lost, stats.dropped - lost, len(counts), seconds)

    @property
    def by_topic(self) -> dict[str, int]:
        """The messages that were read, by topic."""
        return {topic: count for topic, count in sorted(self._listening.counts.items()) if count}

    def step(self) -> int:
        """Record what has come.

        Returns:
            How many nanoseconds one may wait before the next step.

        Raises:
            TopicError: the namespace's topics cannot be read.
        """
        heard = self._step()
        self._pause_ns = _SHORTEST_PAUSE_NS if heard else min(2 * self._pause_ns, _LONGEST_PAUSE_NS)
        return self._pause_ns

    def _step(self) -> bool:
        """Record what has come, or a part of it; whether anything has."""
        self._listening.look()
        now_tick = self._now()
        if self._open and now_tick > self._tick:
            self._end_tick()
        heard = self._hear(now_tick)
        self._note_lost(thorough=False)
        if not self._open and now_tick - self._tick >= _BEAT_TICKS:
            self._go_to(now_tick)
            self._note_lost(thorough=True)
        return heard

    def finish(self, reason: str) -> None:
        """Record what has come by now, and close the session. Idempotent."""
        try:
            self._listening.look(at_once=True)
            self.unreadable = self._listening.unreadable()
            behind = self._listening.behind()
            while self._step() and behind():
                pass
            self._note_lost(thorough=True)
            self._go_to(max(self._now(), self._tick))
            self._end_tick()
        finally:
            try:
                self._listening.close()
            finally:
                self._recorder.run_stopped(reason, self._tick + 1)

    def _takes(self, topic: str) -> bool:
        chosen = any(fnmatchcase(topic, pattern) for pattern in self._options.topics)
        return chosen and not any(fnmatchcase(topic, pattern) for pattern in self._options.exclude_topics)

    def _now(self) -> int:
        """The tick that goes on."""
        shift_ns = wall_shift_ns(self._shift_ns)
        if shift_ns != self._shift_ns:
            self._shift_ns, self._was_set = shift_ns, True
        return (monotonic_ns() - self._start_ns) // _TICK_NS

    def _hear(self, now_tick: int) -> bool:
        """Record what has come; whether anything has."""
        origin_ns = self._start_ns + self._shift_ns
        first = self._tick if self._open else self._tick + 1
        last = max(first, now_tick)

        def tick_of(stamp_ns: int) -> int:
            return max(first, min((stamp_ns - origin_ns) // _TICK_NS, last))

        heard = self._listening.heard(tick_of)
        heard.sort(key=_tick)  # of one topic, and of one tick, they stay in their order
        received = self._recorder.received_external
        going_on = self._tick if self._open else -1
        for message in heard:
            if message[0] != going_on:
                going_on = message[0]
                self._go_to(going_on)
            received(message)
        return bool(heard)

    def _note_lost(self, *, thorough: bool) -> None:
        for topic, count in self._listening.lost(thorough=thorough):
            self.lost[topic] += count
            self._recorder.missed_external(max(0, self._tick), count, f"messages of {topic} were {OVERWRITTEN}")

    def _go_to(self, tick: int) -> None:
        """Let a tick begin, perhaps the one that goes on."""
        if tick > self._tick:
            self._end_tick()
            self._tick = tick
        self._open = True

    def _end_tick(self) -> None:
        if not self._open:
            return
        self._open = False
        elapsed_ns = self._tick * _TICK_NS
        now_ns = self._start_ns + elapsed_ns + self._shift_ns
        self._recorder.tick_ended(TickEnd(self._tick, now_ns, [], elapsed_ns if self._was_set else None))
