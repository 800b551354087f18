"""What a recorded node sent while others went on: after a wait in its tick, or in its background tasks and threads."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

import anyio

from horus_async.clock.system import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.pace.pace import Turn
    from horus_async.engine.runtime import Runtime
    from horus_async.recorder.records import RecordedOutput


class LateOutputs:
    """Sends what it is given at its recorded moments, at the latest before the next scheduler tick begins.

    A task of its own does that, so that the node's next tick need not wait.
    """

    def __init__(
        self,
        runtime: Runtime,
        run: NodeRun,
        live_tick: Callable[[int], int],
        send: Callable[[RecordedOutput], None],
        *,
        by_seq: bool,
    ) -> None:
        """Begin.

        Args:
            runtime: The run.
            run: The recorded node in it.
            live_tick: Gives the tick of this run in which a recorded one is played.
            send: Sends an output.
            by_seq: Whether outputs of one moment may come in any order, and go out by their numbers.
        """
        self._by_seq = by_seq
        self._runtime = runtime
        self._run = run
        self._live_tick = live_tick
        self._send = send
        self._waiting: list[tuple[int, int, int, int, RecordedOutput]] = []
        """Live tick, moment in the run's time, rank, number, output."""
        self._number = 0
        self._at_work = False
        self._sleeps: anyio.Event | None = None

    def add(self, output: RecordedOutput, at_ns: int) -> None:
        """Send it at that moment of the run's time."""
        self._number += 1
        rank = output.seq if self._by_seq else 0
        heapq.heappush(self._waiting, (self._live_tick(output.tick), at_ns, rank, self._number, output))
        if self._sleeps is not None and self._waiting[0][3] == self._number:
            self._sleeps.set()
        if not self._at_work:
            self._at_work = self._runtime.spawn(self._run, self._work)

    def tick_begins(self) -> None:
        """What belongs to this tick need not wait for it any more."""
        if self._sleeps is not None:
            self._sleeps.set()

    @property
    def any_waiting(self) -> bool:
        """Whether something is still to be sent."""
        return bool(self._waiting)

    def complete(self, tick: int) -> None:
        """Send what belongs to ticks up to this one."""
        while self._waiting and self._waiting[0][0] <= tick:
            self._send(heapq.heappop(self._waiting)[4])

    def rewind(self) -> None:
        """A replay starts over: the rest of the round goes out."""
        while self._waiting:
            self._send(heapq.heappop(self._waiting)[4])

    async def _work(self, turn: Turn) -> None:
        pace, run = self._runtime.pace, self._run
        try:
            while self._waiting:
                tick, at_ns, *_ = self._waiting[0]
                wait_ns = at_ns - run.now()
                early = tick > self._runtime.tick  # stamped by a thread, just before the tick in which it went out
                if wait_ns > 0 or early:
                    self._sleeps = anyio.Event()
                    with anyio.move_on_after(math.inf if early else wait_ns / NANOSECONDS):
                        await self._sleeps.wait()  # until its tick begins, or something older comes
                    self._sleeps = None
                    await turn()
                else:
                    self._send(heapq.heappop(self._waiting)[4])
        finally:
            self._at_work = False
            pace.ended(run)
            pace.wake()
