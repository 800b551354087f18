"""What waits between the event loop and the writer: a queue with a limit, that one thread fills and one empties."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from horus_async.observe import Execution, External, NodeInfo, TickEnd

# What a record takes in memory beside its payloads, roughly: measured with tracemalloc for dicts of two numbers.
_RECORD_COST = 400
_MESSAGE_COST = 250
_NUDGE_RECORDS = 1000


class Lost(NamedTuple):
    """Stands in the queue where records were dropped: per file the first tick and how many."""

    counts: dict[tuple[str, str], list[int]]


class Backlog:
    """The queue. ``put_*`` belong to the event loop's thread, ``take`` to the writer's.

    Each side writes only its own counters, and an item's cost is there before the item is, so neither needs a lock.
    When more than ``limit`` bytes wait, the event loop waits for the writer if ``block``; otherwise records are
    dropped until half of it is free, counted per file and announced in the queue as ``Lost`` where they would have
    stood.
    """

    def __init__(self, limit: int, *, block: bool) -> None:
        self.wake = threading.Event()
        """Set when the writer should look before its interval is over."""
        self.refusing = False
        """Set by the writer while it cannot write: nobody waits for it then."""
        self._items: deque[Any] = deque()
        self._costs: deque[int] = deque()
        self._limit = limit
        self._block = block
        self._put = self._taken = 0
        self._room = threading.Condition()
        self._nudge_at = _NUDGE_RECORDS
        self._dropping = False
        self._lost: dict[tuple[str, str], list[int]] = {}

    def put_execution(self, execution: Execution) -> None:
        """Queue an execution."""
        cost = _RECORD_COST
        for sent in execution[7]:
            cost += _MESSAGE_COST + len(sent[4])
        if (self._put - self._taken + cost > self._limit or self._dropping) and not self._admit(cost):
            self._drop("node", execution.node, execution.tick)
            return
        self._costs.append(cost)
        self._items.append(execution)
        self._put += cost
        if len(self._items) >= self._nudge_at:
            self._nudge()

    def put_tick(self, end: TickEnd) -> None:
        """Queue the end of a scheduler tick. Its messages are counted with the executions that sent them."""
        self._put_other(end, _RECORD_COST, "scheduler", end.tick)

    def put_external(self, message: External) -> None:
        """Queue a message from outside."""
        self._put_other(message, _RECORD_COST + len(message.payload), "external", message.tick)

    def put_node(self, node: NodeInfo) -> None:
        """Queue a node that joined; never dropped."""
        self._costs.append(0)
        self._items.append(node)

    def end(self) -> None:
        """Nothing more will come: announce what was dropped last."""
        self._announce()

    def take(self, count: int) -> list[Any]:
        """Up to ``count`` items, oldest first. Their room is free again with ``taken_care_of``."""
        items = self._items
        return [items.popleft() for _ in range(min(count, len(items)))]

    def taken_care_of(self, count: int) -> None:
        """The oldest ``count`` items taken are written or given up: make their room free."""
        costs = self._costs
        self._taken += sum([costs.popleft() for _ in range(count)])
        if self._block:
            with self._room:
                self._room.notify()

    def rearm(self) -> None:
        """The writer has looked: wake it again when much is waiting."""
        self.wake.clear()
        self._nudge_at = _NUDGE_RECORDS

    def _put_other(self, item: TickEnd | External, cost: int, role: str, tick: int) -> None:
        if (self._put - self._taken + cost > self._limit or self._dropping) and not self._admit(cost):
            self._drop(role, "", tick)
            return
        self._costs.append(cost)
        self._items.append(item)
        self._put += cost

    def _nudge(self) -> None:
        self._nudge_at = 1 << 62
        self.wake.set()

    def _admit(self, cost: int) -> bool:
        """Whether there is room after all; waits for it where that is the rule."""
        if self._block and not self.refusing:
            self.wake.set()
            with self._room:
                # The writer frees all it has, so a record larger than the limit finds room, too: an empty queue.
                while self._put - self._taken + cost > self._limit and self._put != self._taken and not self.refusing:
                    self._room.wait(0.1)
            if not self.refusing:
                self._announce()
                return True
        waiting = self._put - self._taken
        if waiting and waiting + cost > (self._limit // 2 if self._dropping else self._limit):
            return False
        self._announce()
        return True

    def _drop(self, role: str, node: str, tick: int) -> None:
        self._dropping = True
        self.wake.set()
        count = self._lost.setdefault((role, node), [tick, 0])
        count[1] += 1

    def _announce(self) -> None:
        self._dropping = False
        if self._lost:
            self._costs.append(0)
            self._items.append(Lost(self._lost))
            self._lost = {}
