"""Makes the thread of an event loop one of real time, for as long as a run lasts, and undoes it.

Which threads get ``SCHED_FIFO``: the loop's, and above it those that have to be able to end it when it spins on the
only core there is (the watchdog, and whoever breaks off what does not end). All others, recorder, black box, workers
and those of nodes, stay ordinary, and so do the programs that nodes start: the kernel resets what the loop's thread
starts (``SCHED_RESET_ON_FORK``).
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from horus_async.limits.threads import urgent_threads

from .permission import check_permitted
from .spawning import Pinned
from .system import CAP_IPC_LOCK, RESET_ON_FORK, SYSTEM, UNLIMITED, Policy

if TYPE_CHECKING:
    from .options import Realtime
    from .system import System

_log = logging.getLogger("horus_async")
_lock = threading.Lock()
_locking: list[RealtimeLoop] = []
"""The runs that want memory locked: the last to end unlocks it."""
_locked_by_us = False


class RealtimeLoop:
    """One run's loop in real time: from `begin` to `end`.

    Args:
        wanted: How it is to run.
        system: The machine.
    """

    def __init__(self, wanted: Realtime, system: System = SYSTEM) -> None:
        self._wanted = wanted
        self._system = system
        self._undo = ExitStack()
        self._pinned: Pinned | None = None

    def expect(self) -> None:
        """Threads that are urgent run above the loop from now on: those that begin later."""
        urgent_threads.append(self._make_urgent)
        self._undo.callback(urgent_threads.remove, self._make_urgent)

    def begin(self) -> None:
        """From here on the calling thread is the loop's, and all is as wanted.

        Raises:
            LimitError, ConfigurationError: The system refuses it after all.
        """
        thread = threading.get_native_id()
        try:
            self._lock_memory()
            before = self._system.policy(thread)
            self._system.set_fifo(thread, self._wanted.priority)
            self._undo.callback(self._give_back, thread, before)
            if self._wanted.cpu is not None:
                self._pinned = Pinned(thread, self._wanted.cpu, self._system)
                self._undo.callback(self._pinned.end)
        except OSError:
            check_permitted(self._wanted, self._system)  # which says what is missing
            raise

    def at_step(self, _: object) -> None:
        """A tick begins: back to its CPU, where it let go of it to start something."""
        if self._pinned is not None:
            self._pinned.narrow()

    def end(self) -> None:
        """All is as it was before. Also where it never began."""
        self._undo.close()

    def _make_urgent(self) -> None:
        above = self._wanted.priority + 1
        try:
            if self._system.policy(0).priority < above:  # else it is above the loop of another run already
                self._system.set_fifo(0, above)
        except OSError as error:
            _log.error("the watchdog has no priority above the loop's, so a loop that spins may starve it: %s", error)

    def _give_back(self, thread: int, before: Policy) -> None:
        with suppress(ProcessLookupError):  # the thread has ended
            try:
                self._system.set_policy(thread, before)
            except PermissionError:  # who has no privilege may not take the flag away again
                self._system.set_policy(thread, Policy(before.number | RESET_ON_FORK, before.priority))

    def _lock_memory(self) -> None:
        global _locked_by_us  # noqa: PLW0603 - a process has one memory
        system = self._system
        with _lock:
            if not _locking and not system.locked():
                all_of_it = system.memory_limit() == UNLIMITED or system.may(CAP_IPC_LOCK)
                system.lock_memory(future=all_of_it)
                _locked_by_us = True
                if not all_of_it:  # with it, memory that a node takes later might be refused
                    _log.warning(
                        "memory is locked as far as it is in use now, and what the run takes later is not: "
                        "RLIMIT_MEMLOCK is %g MiB (ulimit -l unlimited, systemd: LimitMEMLOCK=infinity)",
                        system.memory_limit() / 2**20,
                    )
            _locking.append(self)
        self._undo.callback(self._unlock_memory)

    def _unlock_memory(self) -> None:
        global _locked_by_us  # noqa: PLW0603
        with _lock:
            _locking.remove(self)
            if not _locking and _locked_by_us:
                _locked_by_us = False
                self._system.unlock_memory()
