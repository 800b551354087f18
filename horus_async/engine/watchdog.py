"""The watchdog: a thread that looks whether ticks end, also when one of them blocks the event loop."""

from __future__ import annotations

import sys
import threading
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from horus_async.clock.debugger import held_before_ns, held_ns, notice_debuggers
from horus_async.clock.system import NANOSECONDS, perf_ns
from horus_async.limits.threads import make_urgent, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from .node_run import NodeRun
    from .runtime import Runtime

STAGES = ("warn", "unhealthy", "emergency_stop")
"""What it says when a tick has run for once, twice and three times its time-out."""

_LOOKS_A_TIMEOUT = 8
_SHORTEST_PAUSE = 0.001
"""Seconds: looking more often would take the interpreter from the ticks it looks at."""


class Watchdog:
    """Watches the running ticks of one run, from `start` to `stop`.

    Args:
        runtime: The run.
        timeout: Seconds, for nodes without a ``watchdog`` of their own; None: only those that have one are watched.
        end_held_up: Called once, in the watchdog's thread, with the thread of the event loop, when the run was stopped
            and the loop may not go on by itself: breaks off what holds it up.
    """

    def __init__(
        self, runtime: Runtime, timeout: float | None, end_held_up: Callable[[int], object] | None = None
    ) -> None:
        self._runtime = runtime
        self._end_held_up = end_held_up
        self._watched = {
            run: round(limit * NANOSECONDS)
            for run in runtime.runs.values()
            if (limit := run.node.watchdog or timeout) is not None
        }
        self._said: dict[NodeRun, tuple[int, int]] = {}
        """For each node the tick, by when it began, that was last spoken of, and how many stages were said of it."""
        self._held: dict[NodeRun, tuple[int, int]] = {}
        """For each node a tick, by when it began, and how long debuggers had held its thread before."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to watch, if there is a node to watch.

        Raises:
            LimitError: the system allows no thread for it.
        """
        if self._watched or any(run.deadline_ns is not None for run in self._runtime.runs.values()):
            notice_debuggers()
        if self._watched:
            thread = threading.Thread(target=self._watch, name="horus-watchdog", daemon=True)
            start_thread(thread)
            self._thread = thread

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        make_urgent()
        pause = max(min(self._watched.values()) / NANOSECONDS / _LOOKS_A_TIMEOUT, _SHORTEST_PAUSE)
        while not self._stop.wait(pause):
            with suppress(MemoryError):  # it looks again soon
                for run, limit_ns in self._watched.items():
                    self._look_at(run, limit_ns)

    def _look_at(self, run: NodeRun, limit_ns: int) -> None:
        began_ns = self._runtime.blocked_since_ns(run)
        if began_ns is None:
            return
        lasts_ns = max(perf_ns() - began_ns - self._held_ns(run, began_ns), 0)  # it may have begun anew meanwhile
        stage = min(lasts_ns // limit_ns, len(STAGES))
        said_of_ns, said = self._said.get(run, (began_ns, 0))
        if said_of_ns != began_ns:
            said = 0
        for index in range(said, stage):
            self._runtime.watchdog_fired(run, STAGES[index], self._stack(run))
        if stage:
            self._said[run] = (began_ns, stage)
        if stage == len(STAGES) and self._end_held_up is not None and self._runtime.emergency is not None:
            end, self._end_held_up = self._end_held_up, None
            end(self._runtime.audience.thread)

    def _held_ns(self, run: NodeRun, began_ns: int) -> int:
        """For how long a debugger has held the tick that began then."""
        thread = run.thread or self._runtime.audience.thread
        of_ns, before_ns = self._held.get(run, (0, 0))
        if of_ns != began_ns:
            before_ns = held_before_ns(thread)
            self._held[run] = (began_ns, before_ns)
        return max(held_ns(thread) - before_ns, 0)

    def _stack(self, run: NodeRun) -> str:
        """Where the node's code stands: in a thread of its own, where it waits, or where it keeps the event loop."""
        coroutine = run.coroutine
        if run.thread is None and coroutine is not None and not getattr(coroutine, "cr_running", False):
            return "".join(_waiting_at(coroutine))
        thread = run.thread or self._runtime.audience.thread
        frame = sys._current_frames().get(thread)  # noqa: SLF001 - the documented way
        return "".join(traceback.format_stack(frame)) if frame is not None else ""


def _waiting_at(coroutine: Any) -> list[str]:
    lines: list[str] = []
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            lines.extend(traceback.format_list(traceback.StackSummary.extract([(frame, frame.f_lineno)])))
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return lines
