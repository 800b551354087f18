"""The event loop's side of a recording: what happened waits here, within a limit, for the writer's thread."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from horus_async.errors import HorusError
from horus_async.topics.codec import is_quick, to_json

from .frame_file import Gap
from .lines import INPUT, ONE_MESSAGE_TICK, execution_line, input_text, quoted, short_tick_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Execution, External, TickEnd

    from .frame_file import FrameFile

EAGER_BYTES = 4096
"""Messages up to this size become a line at once where lines are made by the event loop. Larger ones, and those that
need base64, are left to the writer's thread."""

_NUDGE_BYTES = 4 << 20
_RECORD_COST = 1000
_BACKLOG_FULL = "more came than could be written in time"


class Intake:
    """Puts records into the inboxes of files. ``put_*`` belong to one thread, ``written`` to the writer's.

    In real time this takes a fraction of a microsecond a record, and all the rest is the writer's. Each side writes
    only its own counters, so neither needs a lock. When more than ``limit`` bytes wait, the event loop waits for the
    writer if ``block``; otherwise records are dropped until half of it is free, counted per file and announced as a
    gap where they would have stood.
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
        self._nudge = min(_NUDGE_BYTES, limit // 4)
        self._block = block
        self._put = self._taken = 0
        self._grant = self._left = 0
        # Bytes that may be put without a look at what the writer has taken, and what is left of them. None are granted
        # while records are dropped.
        self._room = threading.Condition()
        self._dropping = False
        self._gaps: dict[FrameFile, Gap] = {}
        self._last_tick = -1
        self._rewound = False

    def put_execution(self, execution: Execution) -> None:
        """Take an execution."""
        file = self._nodes.get(execution[1]) or self._file(execution[1])
        cost = _RECORD_COST
        for sent in execution[7]:
            cost += len(sent[4])
        left = self._left - cost
        if left >= 0:
            self._left = left
            file.put_record(execution)
        else:
            self._put_record(file, execution, cost)

    def put_tick(self, end: TickEnd) -> None:
        """Take the end of a scheduler tick."""
        if end[0] < self._last_tick:
            self._rewind()
        self._last_tick = end[0]
        left = self._left - _RECORD_COST
        if left >= 0:
            self._left = left
            self._scheduler.put_record(end)
        else:
            self._put_record(self._scheduler, end, _RECORD_COST)

    def put_external(self, file: FrameFile, message: External) -> None:
        """Take a message from outside."""
        if self._rewound:
            file.rewound = True
        self._put_record(file, message, _RECORD_COST + len(message.payload))

    def end(self) -> None:
        """Nothing more will come: announce what was dropped last."""
        self._announce()

    def let_go(self) -> None:
        """In a forked child, in which no writer runs: wait for none, nor for locks that its parent's threads held."""
        self.refusing = True
        self.wake, self._room = threading.Event(), threading.Condition()

    def written(self, items: list[Any]) -> None:
        """Make the room of these items free again; they are written or lost."""
        self._taken += sum([_cost(item) for item in items])
        if self._block:
            with self._room:
                self._room.notify()

    def waiting(self) -> int:
        """Bytes that the writer has not taken. Exact when nothing is being put."""
        return self._put + self._grant - self._left - self._taken

    def _file(self, node: str) -> FrameFile:
        file = self._nodes[node] = self._node_file(node)
        file.rewound = self._rewound
        return file

    def _put_record(self, file: FrameFile, record: Execution | TickEnd | External, cost: int) -> None:
        if self._may_put(file, record.tick, cost):
            file.put_record(record)

    def _may_put(self, file: FrameFile, tick: int, cost: int) -> bool:
        """Whether there is room for so many bytes, which is taken; else that is noted."""
        left = self._left - cost
        if left < 0:
            if not self._admit(cost):
                self._drop(file, tick)
                return False
            left = self._left - cost
        self._left = left
        return True

    def _rewind(self) -> None:
        self._rewound = True
        for file in (self._scheduler, *self._nodes.values()):
            file.rewound = True

    def _admit(self, cost: int) -> bool:
        """Whether there is room after all, which is then granted; waits for it where that is the rule."""
        self._put += self._grant - self._left
        self._grant = self._left = 0
        if not self._has_room(cost):
            return False
        waiting = self._put - self._taken
        if waiting + cost > self._nudge and not self.wake.is_set():
            self.wake.set()
        self._grant = self._left = max(cost, self._nudge - waiting)
        return True

    def _has_room(self, cost: int) -> bool:
        if not self._dropping and self._put - self._taken + cost <= self._limit:
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
        self.wake.set()
        file.refused += 1
        gap = self._gaps.get(file)
        if gap is None:
            self._gaps[file] = Gap(tick, 1, _BACKLOG_FULL)
        else:
            gap.dropped += 1

    def _announce(self) -> None:
        self._dropping = False
        for file, gap in self._gaps.items():
            file.put_record(gap)
        self._gaps = {}


class EagerIntake(Intake):
    """Makes short lines at once, for runs that go as fast as they can.

    There the whole work counts, whoever does it, and a line costs less than carrying its record to another thread: a
    text holds no objects that the garbage collector has to visit, and leaves nothing in the caches.
    """

    def put_execution(self, execution: Execution) -> None:
        """Take an execution."""
        kind, node, tick, now_ns, dt_ns, duration_ns, inputs, outputs, error, _ = execution
        file = self._nodes.get(node)
        if len(outputs) == 1 and len(inputs) < 2 and kind == "tick" and error is None and file is not None:
            _, topic, seq, stamp_ns, payload, sent_in = outputs[0]
            tally = file.topics.get(topic)
            if sent_in == tick and tally is not None and len(payload) <= EAGER_BYTES and payload[0]:
                taken = b""
                if inputs:
                    heard, publisher, number, source = inputs[0]
                    if source:
                        taken = input_text(heard, publisher, number, source)
                    else:  # the same, for all but a few
                        taken = INPUT % (quoted[heard], quoted[publisher], number)
                line = ONE_MESSAGE_TICK % (
                    dt_ns, duration_ns, taken, quoted[topic], payload, stamp_ns, seq, now_ns, tick
                )  # fmt: skip
                left = self._left - len(line)
                if left >= 0:
                    self._left = left
                    file.put_line(line)
                    file.ticks += 1
                    file.inputs += len(inputs)
                    file.outputs += 1
                    tally.count += 1
                    tally.bytes += len(payload)
                    tally.last_tick = tick
                    return
        self._put_any_execution(execution, file or self._file(node))

    def _put_any_execution(self, execution: Execution, file: FrameFile) -> None:
        data = 0
        eager = not self._dropping
        for _, _, _, _, payload, _ in execution[7]:
            data += len(payload)
            if not is_quick(payload):
                eager = False
        line = None
        if eager and data <= EAGER_BYTES:
            # Where it cannot be made, the writer's thread finds out why, and counts it.
            with suppress(HorusError, ValueError, TypeError, LookupError):
                line = execution_line(execution)
        if line is None:
            self._put_record(file, execution, _RECORD_COST + data)
        elif self._may_put(file, execution[2], len(line)):
            file.put_line(line)
            file.ticks += execution[0] == "tick"
            file.inputs += len(execution[6])
            file.outputs += len(execution[7])
            for _, topic, _, _, payload, sent_in in execution[7]:
                file.topic(topic).see(sent_in, len(to_json(payload)))

    def put_tick(self, end: TickEnd) -> None:
        """Take the end of a scheduler tick."""
        if end[0] < self._last_tick:
            self._rewind()
        self._last_tick = end[0]
        line = None if self._dropping else short_tick_line(end, EAGER_BYTES)
        if line is None:
            self._put_record(self._scheduler, end, _RECORD_COST)
        elif self._may_put(self._scheduler, end[0], len(line)):
            self._scheduler.put_line(line)
            self._scheduler.ticks += 1


def _cost(item: Any) -> int:
    """What an item in an inbox was charged."""
    if type(item) is bytes:
        return len(item)
    if type(item) is Gap:
        return 0
    return _RECORD_COST + _payload_bytes(item)


def _payload_bytes(item: Any) -> int:
    outputs = getattr(item, "outputs", None)
    if outputs is not None:
        return sum([len(sent.payload) for sent in outputs])
    return len(getattr(item, "payload", b""))
