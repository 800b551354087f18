"""What a recorder is told, made into the lines of a session. For one thread at a time."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING
from zlib import crc32

from horus_async.errors import HorusError
from horus_async.native import core
from horus_async.recorder.frames import OBJECTS_LIMIT, too_much
from horus_async.topics.codec import to_json

from .feed import BACKLOG_FULL
from .line_core import LineMakerCore
from .lines import (
    DIGESTED,
    INPUT,
    ONE_MESSAGE_TICK,
    SILENT_TICK,
    TICK,
    execution_line,
    external_text,
    input_text,
    message_line,
    quoted,
    resumed_line,
    sends_line,
    tick_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Execution, External, Resumed, Sent, TickEnd

    from .feed import Feed
    from .room import Room

_PENDING_BYTES = 1 << 20
"""Of what waits for the end of a callback, text beyond this goes into a line of its own."""
_LONG_NS = 100_000_000
"""In virtual time, what a callback sent waits so long for its end."""
_UNWRITABLE = (HorusError, ValueError, TypeError, LookupError, MemoryError)


class LineMaker(LineMakerCore):
    """Puts lines into the feeds of the files, and keeps the digest of the tick that goes on.

    A message becomes text when it is told of, once. It waits in its node's feed for the callback that sent it to end,
    which makes the line. What waits for long, or is much, goes into a line of its own before that: a callback may last
    for ever. So does at once what tasks and threads of a node's own send outside of any.

    Args:
        scheduler: The feed of the scheduler's file.
        node_feed: Gives that of a node.
        external_feed: Gives that of the external messages.
        room: Where the text finds room; None where what is told was given room already.
    """

    scheduler: Feed
    feeds: dict[str, Feed]
    """Those of the nodes, by name."""
    room: Room | None

    def __init__(
        self,
        scheduler: Feed,
        node_feed: Callable[[str], Feed],
        external_feed: Callable[[], Feed],
        room: Room | None = None,
    ) -> None:
        self.scheduler = scheduler
        self._node_feed = node_feed
        self.external_feed = external_feed
        self.room = room
        self.feeds = {}
        self.waiting = self.digest = 0
        self.last_tick = -1
        self.longest = 3 * OBJECTS_LIMIT
        self._rewound = False

    def initialised(self) -> None:
        """The first tick begins: what was sent before it is in no tick's digest."""
        self.digest = 0

    def sent_slowly(self, message: Sent) -> None:
        """A message went out."""
        node, topic, seq, _, payload, tick, began = message
        feed = self.feeds.get(node) or self._feed(node)
        try:
            if not payload[0]:
                payload = to_json(payload)
                message = message._replace(payload=payload)
        except _UNWRITABLE as error:
            feed.give_up(tick, str(error))
            return
        if began is None:
            feed.loose.append(message)
        else:
            pending = feed.pending
            if pending and pending[0][6] != began:  # the end of that callback found no room
                self._put_pending(feed)
                pending = feed.pending
            pending.append(message)
        self.waiting += 1
        feed.pending_bytes += len(payload)
        if feed.pending_bytes > _PENDING_BYTES:
            self._put_loose(feed)
            self._put_pending(feed)
        self.digest = crc32(DIGESTED % (quoted[node], quoted[topic], seq, payload), self.digest)

    def executed_slowly(self, execution: Execution) -> None:
        """A callback ended: its line is whole."""
        kind, node, tick, now_ns, dt_ns, duration_ns, inputs, error, _, _, looks, after_ns = execution
        feed = self.feeds.get(node) or self._feed(node)
        outputs = feed.pending
        quick = len(outputs) < 2 and len(inputs) < 2 and kind == "tick" and error is None
        if quick and not (looks or after_ns or feed.loose):  # what follows is `_executed`, written out for most ticks
            taken = b""
            if inputs:
                heard, publisher, number, source, empty = inputs[0]
                if source or empty:
                    taken = input_text(heard, publisher, number, source, empty)
                else:
                    taken = INPUT % (quoted[heard], quoted[publisher], number)
            if not outputs:
                if self._put(feed, SILENT_TICK % (dt_ns, duration_ns, taken, now_ns, tick), tick):
                    feed.ticks += 1
                    feed.inputs += len(inputs)
                return
            _, topic, seq, stamp_ns, text, sent_in, began = outputs[0]
            if sent_in == began == tick:
                line = ONE_MESSAGE_TICK % (
                    dt_ns, duration_ns, taken, quoted[topic], text, stamp_ns, seq, now_ns, tick
                )  # fmt: skip
                outputs.clear()
                self.waiting -= 1
                feed.pending_bytes = 0
                if self._put(feed, line, tick):
                    feed.ticks += 1
                    feed.inputs += len(inputs)
                    feed.outputs += 1
                    (feed.topics.get(topic) or feed.topic(topic)).see(tick, len(text))
                return
        self._executed(feed, execution)

    def _executed(self, feed: Feed, execution: Execution) -> None:
        if feed.loose:
            self._put_loose(feed)
        if feed.pending and feed.pending[0].began != execution.tick and execution.kind == "tick":
            self._put_pending(feed)  # the end of that callback found no room
        outputs, feed.pending = feed.pending, []
        self.waiting -= len(outputs)
        feed.pending_bytes = 0
        try:
            line = execution_line(execution, outputs)
        except _UNWRITABLE as error:
            feed.give_up(execution.tick, str(error), max(1, len(outputs)))
            return
        if self._put(feed, line, execution.tick, len(outputs)):
            feed.ticks += execution.kind == "tick"
            feed.inputs += len(execution.inputs)
            feed.outputs += len(outputs)
            for one in outputs:
                feed.topic(one.topic).see(one.tick, len(one.payload))

    def settle(self) -> bool:
        """Put what was sent so far into lines, but for that of callbacks which had sent nothing the last time.

        Returns:
            Whether there are such.
        """
        left = False
        if self.waiting:
            for feed in self.feeds.values():
                self._put_loose(feed)
                if feed.pending:
                    if feed.pending[0] is feed.lasting:
                        self._put_pending(feed)
                    else:
                        feed.lasting = feed.pending[0]
                        left = True
        return left

    def _put_waiting(self, until_ns: float) -> None:
        """Put what was sent up to then by callbacks that are still going on, and all that was sent outside of any."""
        for feed in self.feeds.values():
            self._put_loose(feed)
            if feed.pending and feed.pending[0].stamp_ns <= until_ns:
                self._put_pending(feed)

    def _put_loose(self, feed: Feed) -> None:
        outputs, feed.loose = feed.loose, []
        if outputs:
            self._put_sends(feed, None, outputs)
            # not the last one's: a thread may be told of late
            feed.last_loose_tick = max(feed.last_loose_tick or 0, *(one.tick for one in outputs))

    def _put_pending(self, feed: Feed) -> None:
        outputs, feed.pending = feed.pending, []
        if outputs:
            self._put_sends(feed, outputs[0].began, outputs)

    def _put_sends(self, feed: Feed, tick: int | None, outputs: list[Sent]) -> None:
        self.waiting -= len(outputs)
        feed.pending_bytes -= sum(len(one.payload) for one in outputs)
        newest = outputs[-1].tick
        try:
            line = sends_line(tick, outputs)
        except _UNWRITABLE as error:
            feed.give_up(newest, str(error), len(outputs))
            return
        if self._put(feed, line, newest, len(outputs)):
            feed.outputs += len(outputs)
            for one in outputs:
                feed.topic(one.topic).see(one.tick, len(one.payload))

    def resumed(self, resumed: Resumed) -> None:
        """A task went on."""
        feed = self.feeds.get(resumed.node) or self._feed(resumed.node)
        self._put(feed, resumed_line(resumed), resumed.tick)

    def tick_ended_slowly(self, end: TickEnd) -> None:
        """A scheduler tick is over."""
        if self.room is not None and self.waiting:  # lines are made at once; by the run's time they are the same ones
            self._put_waiting(end[1] - _LONG_NS)
        if end[0] < self.last_tick:
            self._rewind()
        self.last_tick = end[0]
        line = tick_line(end, self.digest)
        self.digest = 0
        if self._put(self.scheduler, line, end[0]):
            self.scheduler.ticks += 1

    def lone_slowly(  # noqa: PLR0917 - called for each message of an import: names take a tenth longer
        self, node: str, topic: str, seq: int, stamp_ns: int, payload: bytes, tick: int, now_ns: int, dt_ns: int
    ) -> bool:
        """A tick in which one node ran, in no time, and sent one message: in one step what three calls would tell.

        Returns:
            Whether the lines are made. If not, the three calls have to tell of it.
        """
        room, scheduler = self.room, self.scheduler
        feed = self.feeds.get(node) or self._feed(node)
        is_usual = payload[0] and not self.waiting and len(payload) <= _PENDING_BYTES and tick >= self.last_tick
        if room is None or not is_usual or feed.gap is not None or scheduler.gap is not None:
            return False
        name, sent_on = quoted[node], quoted[topic]
        line = ONE_MESSAGE_TICK % (dt_ns, 0, b"", sent_on, payload, stamp_ns, seq, now_ns, tick)
        digest = crc32(DIGESTED % (name, sent_on, seq, payload), self.digest)
        end = TICK % (name, digest & 0xFFFFFF, now_ns, tick)
        left = room.left - len(line) - len(end)
        if left < 0:
            return False
        room.left = left
        feed.put_line(line)
        scheduler.put_line(end)
        scheduler.ticks += 1
        feed.ticks += 1
        feed.outputs += 1
        (feed.topics.get(topic) or feed.topic(topic)).see(tick, len(payload))
        self.digest, self.last_tick = 0, tick
        return True

    def external(self, message: External) -> None:
        """An external message was taken."""
        feed = self.external_feed()
        feed.rewound = feed.rewound or self._rewound
        try:
            text = external_text(message.payload)
            line = message_line(message, text)
        except _UNWRITABLE as error:
            feed.give_up(message.tick, str(error))
            return
        if self._put(feed, line, message.tick):
            feed.inputs += 1
            feed.external.see(message.topic, message.publisher, message.tick, len(text))

    def missed(self, node: str, count: int) -> None:
        """So many messages of a node's threads were not told of."""
        feed = self.feeds.get(node) or self._feed(node)
        feed.refuse(max(0, self.last_tick), BACKLOG_FULL, count)

    def end(self) -> None:
        """Nothing more will come: put what waits, and tell of what was left out last."""
        self._put_waiting(inf)
        for feed in (self.scheduler, *self.feeds.values()):
            feed.put_gap()

    if core is None:
        sent, executed, tick_ended, lone = sent_slowly, executed_slowly, tick_ended_slowly, lone_slowly

    def _put(self, feed: Feed, line: bytes, tick: int, outputs: int = 1) -> bool:
        if len(line) > self.longest and (why := too_much(line)) is not None:
            feed.give_up(tick, f"the line would hold {why}", max(1, outputs))
            return False
        room = self.room
        if room is not None:
            left = room.left - len(line)
            if left < 0:
                if not room.admit(len(line)):
                    feed.refuse(tick, BACKLOG_FULL, max(1, outputs))
                    return False
                left = room.left - len(line)
            room.left = left
        if feed.gap is not None:
            feed.put_gap()
        feed.put_line(line)
        return True

    def _feed(self, node: str) -> Feed:
        feed = self.feeds[node] = self._node_feed(node)
        feed.rewound = self._rewound
        return feed

    def _rewind(self) -> None:
        self._rewound = True
        for feed in (self.scheduler, *self.feeds.values()):
            feed.rewound = True
