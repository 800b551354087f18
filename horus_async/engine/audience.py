"""Those who watch a run, and how they are told: one that fails is left out, as it must not take the robot down."""

from __future__ import annotations

import logging
import math
from collections import Counter, deque
from contextlib import suppress
from threading import RLock, get_ident
from typing import TYPE_CHECKING, Any, Protocol

from .core.state import AudienceCore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from horus_async.observe import Execution, Logged, Observer, Sent, TickEnd, TickListener

ELSEWHERE, ELSEWHERE_BYTES = 10_000, 64 << 20
"""Messages sent in other threads that may wait for the event loop, and their size together."""

_log = logging.getLogger("horus_async")


class Listened(Protocol):
    """A node to whose ticks observers may listen."""

    name: str
    tick_listeners: list[tuple[Observer, TickListener]]


class Audience(AudienceCore):
    """The observers of one run. What happens many times a tick has a method of its own; `tell` does for the rest."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        super().__init__()
        self._observers: list[Observer] = []
        self._runs: list[Listened] = []
        self._listening: tuple[Observer, ...] = ()
        self._hearing: tuple[tuple[int, Observer], ...] = ()
        self.logs_from: float = math.inf
        """From this level on somebody wants to know what is logged; nobody before the run has begun."""
        self.has_begun = False
        """Whether the run has."""
        self.kept_back_from: float = math.inf
        """From this level on also what loggers' levels keep back."""
        self.thread = get_ident()
        """That of the run's event loop: nobody is told anything but incidents, and what is logged, from another."""
        self.wake: Callable[[], None] = lambda: None
        """Called in another thread when something was sent there that the event loop is to `collect`."""
        self._elsewhere: deque[Sent] = deque()
        self._elsewhere_bytes = 0
        self._awaited = False
        """Whether the event loop was told of them."""
        self._missed: Counter[str] = Counter()
        self._lock = RLock()
        """Of these. A signal handler that sends may come while its thread holds it."""
        self._change(list(observers))

    def __iter__(self) -> Iterator[Observer]:
        return iter(self._observers)

    def add(self, observer: Observer) -> None:
        """One more, from now on."""
        self._change([*self._observers, observer])

    def add_node(self, run: Listened) -> None:
        """A node takes part, to whose ticks some may want to listen."""
        self._runs.append(run)

    def begin(self) -> None:
        """Ask everybody for which nodes' ticks they listen, and who hears what is logged."""
        self.has_begun = True
        self.ask_for_levels()
        for run in self._runs:
            found = ((observer, observer.tick_listener(run.name)) for observer in self._observers)
            run.tick_listeners = [(observer, listener) for observer, listener in found if listener is not None]

    def ask_for_levels(self) -> None:
        """Ask everybody from which level on they hear what is logged. Whoever changes that calls this."""
        levels = ((observer.logs_from, observer) for observer in self._observers)
        self._hearing = tuple((level, observer) for level, observer in levels if level is not None)
        self.logs_from = min((level for level, _ in self._hearing), default=math.inf)
        kept_back = (level for level, observer in self._hearing if observer.logs_kept_back)
        self.kept_back_from = min(kept_back, default=math.inf)

    def leave_out(self, observer: Observer, error: Exception) -> None:
        """Go on without an observer that has just raised this."""
        with suppress(Exception):
            observer.given_up()
        self._change([other for other in self._observers if other is not observer])
        self.begin()
        # Now, as it is to hear no more.
        _log.error("%s failed and is left out from here on", type(observer).__name__, exc_info=error)

    def _change(self, observers: list[Observer]) -> None:
        self._observers = observers
        self._listening = tuple(observer for observer in observers if observer.hears_messages)
        self.hears_messages = bool(self._listening)

    def tell(self, what: str, *arguments: Any) -> None:
        """Call a method of every observer."""
        for observer in self._observers:
            try:
                getattr(observer, what)(*arguments)
            except Exception as error:  # noqa: BLE001 - an observer must not take the robot down
                self.leave_out(observer, error)

    def logged(self, line: Logged, *, kept_back: bool) -> None:
        """Something was logged, or would have been if a level did not keep it back; from any thread."""
        for level, observer in self._hearing:
            try:
                if line.level >= level and (not kept_back or observer.logs_kept_back):
                    observer.logged(line)
            except Exception as error:  # noqa: BLE001 - as in `tell`
                self.leave_out(observer, error)

    def sent_elsewhere(self, message: Sent) -> None:
        """A message went out from another thread than the event loop's; it is told of there.

        Where the loop does not get to it, what is more than `ELSEWHERE` messages, or than `ELSEWHERE_BYTES` of them, is
        counted instead of kept.
        """
        with self._lock:
            if len(self._elsewhere) >= ELSEWHERE or self._elsewhere_bytes >= ELSEWHERE_BYTES:
                self._missed[message.node] += 1
            else:
                self._elsewhere.append(message)
                self._elsewhere_bytes += len(message.payload)
            awaited, self._awaited = self._awaited, True
        if not awaited:
            self.wake()

    def collect(self) -> None:
        """Tell of what was sent in other threads."""
        while self._awaited:
            self._awaited = False
            while self._elsewhere:
                message = self._elsewhere.popleft()
                with self._lock:
                    self._elsewhere_bytes -= len(message.payload)
                self._tell_sent(message)
            if self._missed:
                with self._lock:
                    missed, self._missed = self._missed, Counter()
                for node, count in missed.items():
                    self.tell("missed", node, count)

    def sent(self, message: Sent) -> None:
        """A message went out."""
        if self._awaited:
            self.collect()
        self._tell_sent(message)

    def _tell_sent(self, message: Sent) -> None:
        for observer in self._listening:
            try:
                observer.sent(message)
            except Exception as error:  # noqa: BLE001 - as in `tell`
                self.leave_out(observer, error)

    def executed(self, execution: Execution) -> None:
        """A callback ended."""
        if self._awaited:
            self.collect()
        for observer in self._listening:
            try:
                observer.executed(execution)
            except Exception as error:  # noqa: BLE001 - as in `tell`
                self.leave_out(observer, error)

    def tick_ended(self, end: TickEnd) -> None:
        """A scheduler tick is over."""
        if self._awaited:
            self.collect()
        for observer in self._listening:
            try:
                observer.tick_ended(end)
            except Exception as error:  # noqa: BLE001 - as in `tell`
                self.leave_out(observer, error)
