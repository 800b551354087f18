"""The event loop's side of a recording: what happened waits here, within a limit, for the writer's thread."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.native import core
from horus_async.observe import Execution, External, Resumed, Sent, TickEnd

from .feed import BACKLOG_FULL, NO_MEMORY
from .line_core import IntakeCore
from .lines import Gap

if TYPE_CHECKING:
    from collections.abc import Callable

    from .feed import Feed
    from .line_maker import LineMaker
    from .room import Room

PAUSE_AFTER = 32 if core is None else 64
"""Records that are made into lines at a stretch: some 40 µs, in which no other thread runs."""

_RECORD_COST = 1000
_PART_BYTES = 1 << 20
"""Of what waits, so much is written before lines are made of the rest: what came first is to be safe first."""


@frozen
class _Missing:
    """Stands among the records where lines of a file are missing."""

    feed: Feed
    gap: Gap


class _Initialised:
    """Stands among the records where the first tick begins."""

    tick = 0


class EagerIntake:
    """Makes lines at once, for runs that go as fast as they can.

    There the whole work counts, whoever does it, and a line costs less than carrying its record to another thread: a
    text holds no objects that the garbage collector has to visit, and leaves nothing in the caches.
    """

    has_unfinished = False
    """What they have sent goes by the run's own time."""

    def __init__(self, maker: LineMaker, room: Room) -> None:
        self.room = room
        self._maker = maker
        self.initialised = maker.initialised
        self.missed = maker.missed
        self.resumed = maker.resumed
        self.sent = maker.sent
        self.executed = maker.executed
        self.tick_ended = maker.tick_ended
        self.lone = maker.lone
        self.external = maker.external
        self.end = maker.end

    def miss_external(self, tick: int, count: int, reason: str) -> None:
        """So many external messages were never taken."""
        maker = self._maker
        feed = maker.external_feed()
        feed.refused += count
        feed.put_gap()
        feed.put_gap(Gap(tick, count, reason))

    def make_lines(self, pause: Callable[[], None]) -> bool:  # noqa: ARG002 - there is nothing to make
        """They are made already."""
        return False

    def give_up(self) -> int:
        """Nothing waits here."""
        return 0

    def written(self, text_bytes: int) -> None:
        """So many bytes of lines are written or lost."""
        self.room.free(text_bytes)


class Intake(IntakeCore):
    """Takes records in a fraction of a microsecond each; the writer's thread has the lines made.

    When more waits than the room allows, messages and lines are left out until half of it is free again: counted, and
    announced where they would have stood.
    """

    room: Room

    def __init__(self, maker: LineMaker, room: Room, scheduler: Feed, node_feed: Callable[[str], Feed]) -> None:
        self.room = room
        self._inbox: deque[Any] = deque()
        self.append = self._inbox.append
        self._scheduler = scheduler
        self._node_feed = node_feed
        self._maker = maker
        self._make: dict[type, tuple[Callable[[Any], None], int, int | None]] = {
            Sent: (maker.sent, _RECORD_COST, Sent._fields.index("payload")),
            Execution: (maker.executed, _RECORD_COST, None),
            TickEnd: (maker.tick_ended, _RECORD_COST, None),
            External: (maker.external, _RECORD_COST, External._fields.index("payload")),
            Resumed: (maker.resumed, _RECORD_COST, None),
            _Initialised: (lambda _: maker.initialised(), 0, None),
            _Missing: (lambda missing: missing.feed.put_gap(missing.gap), 0, None),
        }
        """What makes lines of a record; what that was charged, and which field of it besides."""
        self._ended = self._given_up = False
        self.has_unfinished = False
        """Whether callbacks that go on have sent what is in no line yet."""
        self._gaps: dict[Feed, Gap] = {}
        self._short: dict[Feed, int] = {}
        """The newest callback of each file that lost a message: its end is not counted once more."""
        self._handed = 0
        self.last_tick = 0

    # For the event loop's thread

    def initialised(self) -> None:
        """The first tick begins."""
        self.append(_Initialised())

    def sent_slowly(self, message: Sent) -> None:
        """A message went out."""
        cost = _RECORD_COST + len(message[4])
        left = self.room.left - cost
        if left >= 0:
            self.room.left = left
            self.append(message)
        else:
            self._put(message, cost, self._node_feed(message.node))

    def executed_slowly(self, execution: Execution) -> None:
        """A callback ended."""
        left = self.room.left - _RECORD_COST
        if left >= 0:
            self.room.left = left
            self.append(execution)
        else:
            self._put(execution, _RECORD_COST, self._node_feed(execution.node))

    def tick_ended_slowly(self, end: TickEnd) -> None:
        """A scheduler tick is over."""
        self.last_tick = end[0]
        left = self.room.left - _RECORD_COST
        if left >= 0:
            self.room.left = left
            self.append(end)
        else:
            self._put(end, _RECORD_COST, self._scheduler)

    if core is None:
        sent, executed, tick_ended = sent_slowly, executed_slowly, tick_ended_slowly

    def missed(self, node: str, count: int) -> None:
        """So many messages of a node's threads were not told of."""
        self._miss(self._node_feed(node), self.last_tick, count)

    def resumed(self, resumed: Resumed) -> None:
        """A task of a node went on."""
        self._put(resumed, _RECORD_COST, self._node_feed(resumed.node))

    def external(self, message: External) -> None:
        """An external message was taken."""
        self._put(message, _RECORD_COST + len(message.payload), self._maker.external_feed())

    def miss_external(self, tick: int, count: int, reason: str) -> None:
        """So many external messages were never taken: told of where they would have stood."""
        feed = self._maker.external_feed()
        feed.refused += count
        self._announce()
        self._inbox.append(_Missing(feed, Gap(tick, count, reason)))

    def end(self) -> None:
        """Nothing more will come: announce what was left out last."""
        self._announce()
        self._ended = True

    def _put(self, record: Sent | Execution | TickEnd | External | Resumed, cost: int, feed: Feed) -> None:
        room = self.room
        if room.left >= cost or room.admit(cost):
            room.left -= cost
            self._announce()
            self.append(record)
            return
        if type(record) is Sent:
            if record.began is not None:
                self._short[feed] = record.began
        elif type(record) is Execution and self._short.get(feed) == record.tick:
            return
        self._miss(feed, record.tick, 1)

    def _miss(self, feed: Feed, tick: int, count: int) -> None:
        feed.refused += count
        gap = self._gaps.get(feed)
        if gap is None:
            self._gaps[feed] = Gap(tick, count, BACKLOG_FULL)
        else:
            gap.dropped += count

    def _announce(self) -> None:
        if self._gaps:
            self._inbox.extend(_Missing(feed, gap) for feed, gap in self._gaps.items())
            self._gaps = {}

    # For the writer's thread

    def make_lines(self, pause: Callable[[], None]) -> bool:
        """Have lines made of what waits now, with a pause now and then; of much, only of the first part.

        Returns:
            Whether there is more.
        """
        inbox, ended, makers = self._inbox, self._ended, self._make
        if self._given_up:
            return False
        for number in range(1, len(inbox) + 1):
            record = inbox.popleft()
            make, cost, payload = makers[type(record)]
            self._handed += cost if payload is None else cost + len(record[payload])
            try:
                make(record)
            except MemoryError:
                self._lose(record)
            if self._handed > _PART_BYTES and inbox:
                return True
            if number % PAUSE_AFTER == 0:
                pause()
        if ended:
            self._maker.end()
        else:
            self.has_unfinished = self._maker.settle()
        return False

    def give_up(self) -> int:
        """Have no lines made any more; how many messages, and lines without any, that costs. From any thread."""
        self._given_up = True
        silent = 0
        sent: set[tuple[str, int | None]] = set()
        messages = 0
        for record in tuple(self._inbox):
            if type(record) is Sent:
                sent.add((record.node, record.began))
            messages += type(record) in (Sent, External)
            silent += type(record) is TickEnd
            silent += type(record) is Execution and (record.node, record.tick) not in sent
        return messages + silent

    def _lose(self, record: Any) -> None:
        """Count what there was no memory for."""
        node = getattr(record, "node", None)
        if node is not None:
            self._node_feed(node).give_up(record.tick, NO_MEMORY)
        elif type(record) is External:
            self._maker.external_feed().give_up(record.tick, NO_MEMORY)
        elif type(record) is TickEnd:
            self._scheduler.give_up(record.tick, NO_MEMORY)

    def written(self, text_bytes: int) -> None:
        """All that was made into lines is written or lost."""
        del text_bytes
        handed, self._handed = self._handed, 0
        self.room.free(handed)
