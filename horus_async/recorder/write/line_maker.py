"""What a recorder is told, made into the lines of a session. For one thread at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from horus_async.errors import HorusError
from horus_async.topics.codec import to_json

from .lines import (
    DIGESTED,
    INPUT,
    ONE_MESSAGE_TICK,
    execution_line,
    input_text,
    message_line,
    quoted,
    tick_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Execution, External, Sent, TickEnd

    from .feed import Feed, Gap
    from .room import Room

BACKLOG_FULL = "more came than could be written in time"
_UNWRITABLE = (HorusError, ValueError, TypeError, LookupError, MemoryError)


class LineMaker:
    """Puts lines into the feeds of the files, and keeps the digest of the tick that goes on.

    A message becomes text when it is told of, once. It waits in its node's feed for the callback that sent it to end,
    which makes the line.

    Args:
        scheduler: The feed of the scheduler's file.
        node_feed: Gives that of a node.
        external_feed: Gives that of the external messages.
        room: Where the text finds room; None where what is told was given room already.
    """

    def __init__(
        self,
        scheduler: Feed,
        node_feed: Callable[[str], Feed],
        external_feed: Callable[[], Feed],
        room: Room | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._node_feed = node_feed
        self.external_feed = external_feed
        self._room = room
        self._feeds: dict[str, Feed] = {}
        self._spoilt: dict[str, str] = {}
        """Nodes with a message that is not to be put into text, and why."""
        self._digest = 0
        self._last_tick = -1
        self._rewound = False

    def initialised(self) -> None:
        """The first tick begins: what was sent before it is in no tick's digest."""
        self._digest = 0

    def sent(self, message: Sent) -> None:
        """A message went out."""
        node, topic, seq, _, payload, _ = message
        feed = self._feeds.get(node) or self._feed(node)
        try:
            if not payload[0]:
                payload = to_json(payload)
                message = message._replace(payload=payload)
        except _UNWRITABLE as error:
            self._spoilt[node] = str(error)
            return
        feed.pending.append(message)
        self._digest = crc32(DIGESTED % (quoted[node], quoted[topic], seq, payload), self._digest)

    def executed(self, execution: Execution) -> None:
        """A callback ended: its line is whole."""
        kind, node, tick, now_ns, dt_ns, duration_ns, inputs, error, _, _, looks, after_ns = execution
        feed = self._feeds.get(node) or self._feed(node)
        outputs = feed.pending
        if (
            len(outputs) == 1
            and len(inputs) < 2
            and kind == "tick"
            and error is None
            and not looks
            and not after_ns
            and not self._spoilt
        ):
            _, topic, seq, stamp_ns, text, sent_in = outputs[0]
            if sent_in == tick:  # what follows is `_executed`, written out for most ticks
                taken = b""
                if inputs:
                    heard, publisher, number, source, empty = inputs[0]
                    if source or empty:
                        taken = input_text(heard, publisher, number, source, empty)
                    else:
                        taken = INPUT % (quoted[heard], quoted[publisher], number)
                line = ONE_MESSAGE_TICK % (
                    dt_ns, duration_ns, taken, quoted[topic], text, stamp_ns, seq, now_ns, tick
                )  # fmt: skip
                outputs.clear()
                if self._put(feed, line, tick):
                    feed.ticks += 1
                    feed.inputs += len(inputs)
                    feed.outputs += 1
                    (feed.topics.get(topic) or feed.topic(topic)).see(tick, len(text))
                return
        self._executed(feed, execution)

    def _executed(self, feed: Feed, execution: Execution) -> None:
        outputs, feed.pending = feed.pending, []
        problem = self._spoilt.pop(execution.node, None)
        if problem is not None:
            feed.give_up(execution.tick, problem)
            return
        try:
            line = execution_line(execution, outputs)
        except _UNWRITABLE as error:
            feed.give_up(execution.tick, str(error))
            return
        if self._put(feed, line, execution.tick):
            feed.ticks += execution.kind == "tick"
            feed.inputs += len(execution.inputs)
            feed.outputs += len(outputs)
            for one in outputs:
                feed.topic(one.topic).see(one.tick, len(one.payload))

    def tick_ended(self, end: TickEnd) -> None:
        """A scheduler tick is over."""
        if end[0] < self._last_tick:
            self._rewind()
        self._last_tick = end[0]
        line = tick_line(end, self._digest)
        self._digest = 0
        if self._put(self._scheduler, line, end[0]):
            self._scheduler.ticks += 1

    def external(self, message: External) -> None:
        """An external message was taken."""
        feed = self.external_feed()
        feed.rewound = feed.rewound or self._rewound
        try:
            message = message._replace(payload=to_json(message.payload))
            line = message_line(message)
        except _UNWRITABLE as error:
            feed.give_up(message.tick, str(error))
            return
        if self._put(feed, line, message.tick):
            feed.inputs += 1
            feed.external.see(message.topic, message.publisher, message.tick, len(message.payload))

    def gap(self, feed: Feed, gap: Gap) -> None:
        """Lines were left out before they got here, the last of them with what its callback had sent."""
        feed.pending.clear()
        feed.put_gap(gap)

    def missed(self, node: str, count: int) -> None:
        """So many messages of a node's threads were not told of."""
        feed = self._feeds.get(node) or self._feed(node)
        for _ in range(count):
            feed.refuse(max(0, self._last_tick), BACKLOG_FULL)

    def end(self) -> None:
        """Nothing more will come: tell of what was left out last."""
        for feed in (self._scheduler, *self._feeds.values()):
            feed.put_gap()

    def _put(self, feed: Feed, line: bytes, tick: int) -> bool:
        room = self._room
        if room is not None:
            left = room.left - len(line)
            if left < 0:
                if not room.admit(len(line)):
                    feed.refuse(tick, BACKLOG_FULL)
                    return False
                left = room.left - len(line)
            room.left = left
        if feed.has_gap:
            feed.put_gap()
        feed.put_line(line)
        return True

    def _feed(self, node: str) -> Feed:
        feed = self._feeds[node] = self._node_feed(node)
        feed.rewound = self._rewound
        return feed

    def _rewind(self) -> None:
        self._rewound = True
        for feed in (self._scheduler, *self._feeds.values()):
            feed.rewound = True
