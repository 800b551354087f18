"""The event loop's side of a recording: records become lines and wait, within a limit, for the writer's thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from horus_async.errors import HorusError

from .framefile import Gap
from .lines import INPUT, ONE_MESSAGE_TICK, execution_line, quoted, short_tick_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Execution, External, TickEnd

    from .framefile import FrameFile

EAGER_BYTES = 4096
"""Messages up to this size become a line at once: that takes a microsecond, less than carrying the record to another
thread does. Larger ones, and those that need base64, are left to the writer's thread."""

_NUDGE_BYTES = 4 << 20
_ITEM_COST = 80
_RECORD_COST = 1000
_BACKLOG_FULL = "more came than could be written in time"


class Intake:
    """Puts records into the inboxes of files. ``put_*`` belong to one thread, ``written`` to the writer's.

    Each side writes only its own counters, so neither needs a lock. When more than ``limit`` bytes wait, the event
    loop waits for the writer if ``block``; otherwise records are dropped until half of it is free, counted per file
    and announced as a gap where they would have stood.
    """

    def __init__(self, scheduler: FrameFile, node_file: Callable[[str], FrameFile], *, limit: int, block: bool) -> None:
        self.wake = threading.Event()
        """Set when the writer should look before its interval is over."""
        self.refusing = False
        """Set by the writer while it cannot write: nobody waits for it then."""
        self._scheduler = scheduler
        self._nodes: dict[str, FrameFile] = {}
        self._node_file = node_file
        self._limit = limit
        self._nudge = self._watch = min(_NUDGE_BYTES, limit // 4)
        # Above ``_watch`` a record has to ask; while records are dropped, each has to.
        self._block = block
        self._put = self._taken = 0
        self._room = threading.Condition()
        self._dropping = False
        self._gaps: dict[FrameFile, Gap] = {}
        self._last_tick = -1
        self._rewound = False

    def put_execution(self, execution: Execution) -> None:
        """Take an execution."""
        kind, node, tick, now_ns, dt_ns, duration_ns, inputs, outputs, error, _ = execution
        file = self._nodes.get(node)
        if len(outputs) == 1 and len(inputs) < 2 and kind == "tick" and error is None and file is not None:
            _, topic, seq, stamp_ns, payload, sent_in = outputs[0]
            if sent_in == tick and topic in file.topics and len(payload) <= EAGER_BYTES and payload[0]:
                taken = b""
                if inputs:
                    source, publisher, number = inputs[0]
                    taken = INPUT % (quoted[source], quoted[publisher], number)
                line = ONE_MESSAGE_TICK % (
                    dt_ns, duration_ns, taken, quoted[topic], payload, stamp_ns, seq, now_ns, tick
                )  # fmt: skip
                cost = len(line) + _ITEM_COST
                if self._put - self._taken + cost <= self._watch and not self._dropping:
                    file.inbox.append(line)
                    self._put += cost
                    file.ticks += 1
                    file.inputs += len(inputs)
                    file.outputs += 1
                    return
        self._put_any_execution(execution, file)

    def _put_any_execution(self, execution: Execution, file: FrameFile | None) -> None:
        if file is None:
            file = self._nodes[execution[1]] = self._node_file(execution[1])
            file.rewound = self._rewound
        outputs = execution[7]
        cost = 0
        eager = True
        topics = file.topics
        for _, topic, _, _, payload, _ in outputs:
            cost += len(payload)
            if topic not in topics:
                topics.add(topic)
            if not payload or not payload[0]:
                eager = False
        item: Any = execution
        if eager and cost <= EAGER_BYTES and not self._dropping:
            try:
                item = execution_line(execution)
                cost = len(item) + _ITEM_COST
            except (HorusError, ValueError, TypeError, LookupError):
                cost += _RECORD_COST  # the writer's thread finds out why, and counts it
        else:
            cost += _RECORD_COST
        if self._put - self._taken + cost > self._watch and not self._admit(cost):
            self._drop(file, execution[2])
            return
        file.inbox.append(item)
        self._put += cost
        if execution[0] == "tick":
            file.ticks += 1
        file.inputs += len(execution[6])
        file.outputs += len(outputs)

    def put_tick(self, end: TickEnd) -> None:
        """Take the end of a scheduler tick."""
        if end[0] < self._last_tick:
            self._rewind()
        self._last_tick = end[0]
        item: Any = end
        cost = _RECORD_COST
        line = None if self._dropping else short_tick_line(end, EAGER_BYTES)
        if line is not None:
            item = line
            cost = len(item) + _ITEM_COST
        if self._put - self._taken + cost > self._watch and not self._admit(cost):
            self._drop(self._scheduler, end[0])
            return
        self._scheduler.inbox.append(item)
        self._put += cost
        self._scheduler.ticks += 1

    def put_external(self, file: FrameFile, message: External) -> None:
        """Take a message from outside; the writer's thread makes the line, as it has to look whether it is JSON."""
        if self._rewound:
            file.rewound = True
        cost = _RECORD_COST + len(message.payload)
        if self._put - self._taken + cost > self._watch and not self._admit(cost):
            self._drop(file, message.tick)
            return
        file.inbox.append(message)
        self._put += cost
        file.inputs += 1

    def end(self) -> None:
        """Nothing more will come: announce what was dropped last."""
        self._announce()

    def written(self, items: list[Any]) -> None:
        """Make the room of these items free again; they are written or lost."""
        if set(map(type, items)) == {bytes}:
            self._taken += sum(map(len, items)) + _ITEM_COST * len(items)
        else:
            self._taken += sum([_cost(item) for item in items])
        if self._block:
            with self._room:
                self._room.notify()

    def _rewind(self) -> None:
        self._rewound = True
        for file in (self._scheduler, *self._nodes.values()):
            file.rewound = True

    def _admit(self, cost: int) -> bool:
        """Whether there is room after all; waits for it where that is the rule."""
        if not self._dropping and self._put - self._taken + cost <= self._limit:
            if not self.wake.is_set():
                self.wake.set()
            return True
        if self._block and not self.refusing:
            self._wait(cost)
            if not self.refusing:
                self._announce()
                return True
        waiting = self._put - self._taken
        if waiting and waiting + cost > (self._limit // 2 if self._dropping else self._limit):
            return False
        self._announce()
        return True

    def _wait(self, cost: int) -> None:
        with self._room:
            # A record larger than the limit finds room, too: when nothing else waits.
            while self._put != self._taken and self._put - self._taken + cost > self._limit and not self.refusing:
                self.wake.set()
                self._room.wait(0.1)

    def _drop(self, file: FrameFile, tick: int) -> None:
        self._dropping = True
        self._watch = -1
        self.wake.set()
        file.refused += 1
        gap = self._gaps.get(file)
        if gap is None:
            self._gaps[file] = Gap(tick, 1, _BACKLOG_FULL)
        else:
            gap.dropped += 1

    def _announce(self) -> None:
        self._dropping = False
        self._watch = self._nudge
        for file, gap in self._gaps.items():
            file.inbox.append(gap)
        self._gaps = {}


def _cost(item: Any) -> int:
    """What an item in an inbox was charged."""
    if type(item) is bytes:
        return len(item) + _ITEM_COST
    if type(item) is Gap:
        return 0
    return _RECORD_COST + _payload_bytes(item)


def _payload_bytes(item: Any) -> int:
    outputs = getattr(item, "outputs", None)
    if outputs is not None:
        return sum([len(sent.payload) for sent in outputs])
    return len(getattr(item, "payload", b""))
