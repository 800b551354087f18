"""A breakpoint is no emergency: while a debugger holds a thread, the watchdog and deadlines rest."""

from __future__ import annotations

import bdb
import threading
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import EmergencyStop, Miss, Node
from horus_async.clock import debugger
from horus_async.clock.system import perf_ns
from horus_async.engine.watchdog import Watchdog
from horus_async.observe import DeadlineMissed, Incident, Observer, WatchdogFired
from tests.engine.programs import scheduler_of

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 0.6
"""Seconds, of the watchdog; it looks eight times in it. Long, as a loaded machine holds threads up as well."""
EMERGENCY = 8 * 3
"""So many looks at a tick that does not end are an emergency."""


class Incidents(Observer):
    """Keeps what went wrong."""

    def __init__(self) -> None:
        self.seen: list[Incident] = []

    def incident(self, tick: int, incident: Incident) -> None:
        """Keep it."""
        del tick
        self.seen.append(incident)


class Prompt(bdb.Bdb):
    """A debugger that waits, as at its prompt, until the user goes on."""

    def __init__(self, until: Callable[[], None]) -> None:
        super().__init__()
        self._until = until

    def user_line(self, frame: Any) -> None:
        """The program stands still here."""
        del frame
        self._until()
        self.set_continue()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Waits until the watchdog has looked at a busy node so many times more."""
    seen = threading.Semaphore(0)
    look_at = Watchdog._look_at

    def counted(self: Watchdog, run: Any, limit_ns: int) -> None:
        look_at(self, run, limit_ns)
        seen.release()

    def wait(times: int) -> None:
        while seen.acquire(blocking=False):
            pass
        for _ in range(times):
            while not seen.acquire(timeout=0.1):
                if not any(thread.name == "horus-watchdog" for thread in threading.enumerate()):
                    return  # the run has failed

    monkeypatch.setattr(Watchdog, "_look_at", counted)
    return wait


@pytest.mark.parametrize("compute", [False, True])
def test_a_breakpoint_is_no_emergency(looks: Callable[[int], None], compute: bool) -> None:
    """Held for twice what would be an emergency, and then on: no watchdog, no missed deadline (nodes/29)."""
    ticks = []

    def tick(node: Node) -> None:
        ticks.append(1)
        if len(ticks) == 2:
            Prompt(lambda: looks(2 * EMERGENCY)).set_trace()
        if len(ticks) > 4:
            node.request_stop()

    node = Node("n", tick=tick, rate=10, watchdog=TIMEOUT, deadline=4 * TIMEOUT, on_miss=Miss.STOP, compute=compute)
    incidents = Incidents()
    scheduler = scheduler_of(node, deterministic=False).observe(incidents)
    scheduler.run_sync()
    assert len(ticks) == 5
    assert not [i for i in incidents.seen if isinstance(i, WatchdogFired) and i.stage == "emergency_stop"]
    assert not [i for i in incidents.seen if isinstance(i, DeadlineMissed)]


def test_what_hangs_after_a_breakpoint_is_found(looks: Callable[[int], None]) -> None:
    """A tick that was held, and then does not end, is an emergency all the same."""
    ended = threading.Event()

    def tick(_: Node) -> None:
        Prompt(lambda: looks(2)).set_trace()
        ended.wait()

    node = Node("n", tick=tick, rate=10, watchdog=TIMEOUT, shutdown=lambda _: None)
    scheduler = scheduler_of(node, deterministic=False)

    class Rescue(Observer):
        def incident(self, tick: int, incident: Incident) -> None:
            del tick
            if isinstance(incident, WatchdogFired) and incident.stage == "emergency_stop":
                ended.set()

    with pytest.raises(EmergencyStop, match="watchdog"):
        scheduler.observe(Rescue()).run_sync()


def test_what_is_measured() -> None:
    """The time in the debugger, for the thread that it held; its own nested calls count once."""
    debugger.notice_debuggers()
    debugger.notice_debuggers()  # no second time around it
    here = threading.get_ident()
    before = debugger.held_ns(here)
    began = perf_ns()
    during: list[int] = []

    def stand() -> None:
        during.append(debugger.held_ns(here) - before)
        assert debugger.held_before_ns(here) <= debugger.held_ns(here)

    Prompt(stand).set_trace()
    reached = True
    assert reached
    assert during
    assert during[0] > 0
    assert 0 < debugger.held_ns(here) - before <= perf_ns() - began
    assert debugger.held_ns(-1) == 0
    assert debugger.held_within(perf_ns() - began)
    assert not debugger.held_within(-perf_ns())
