"""The calls of the system behind a real-time run, as one object that tests replace."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Set as AbstractSet

CAP_IPC_LOCK, CAP_SYS_NICE = 14, 23
"""Numbers of capabilities, as in capabilities(7) and Linux's headers."""
RESET_ON_FORK = getattr(os, "SCHED_RESET_ON_FORK", 0x40000000)
UNLIMITED = -1
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CPUS = Path("/sys/devices/system/cpu")


@frozen
class Policy:
    """How the kernel schedules a thread."""

    number: int
    """``os.SCHED_OTHER`` or the like, with `RESET_ON_FORK` where threads and processes begin without it."""
    priority: int


class System:
    """This machine and this process. Threads are given by the kernel's number; 0 is the caller's.

    Raises:
        OSError: from whatever changes something, as the system has it.
    """

    @property
    def has_fifo(self) -> bool:
        """Whether threads can be scheduled in real time here: on Linux."""
        return sys.platform == "linux" and hasattr(os, "sched_setscheduler")

    # Scheduling

    def policy(self, thread: int) -> Policy:
        """How a thread is scheduled now."""
        return Policy(os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority)

    def set_policy(self, thread: int, policy: Policy) -> None:
        """Schedule a thread so."""
        os.sched_setscheduler(thread, policy.number, os.sched_param(policy.priority))

    def set_fifo(self, thread: int, priority: int) -> None:
        """Put it before all threads of a lower priority; what it starts is ordinary again."""
        self.set_policy(thread, Policy(os.SCHED_FIFO | RESET_ON_FORK, priority))

    def cpus(self, thread: int) -> set[int]:
        """Those that a thread may run on."""
        return os.sched_getaffinity(thread)

    def set_cpus(self, thread: int, cpus: AbstractSet[int]) -> None:
        """Let it run on these alone; threads and processes that it starts later inherit that."""
        os.sched_setaffinity(thread, cpus)

    def all_cpus(self) -> set[int]:
        """Those of the machine that are switched on."""
        return cpu_list(_text(_CPUS / "online")) or set(range(os.cpu_count() or 1))

    def isolated_cpus(self) -> set[int]:
        """Those that the kernel gives to nobody who does not ask for them (``isolcpus``)."""
        return cpu_list(_text(_CPUS / "isolated"))

    # Memory

    def lock_memory(self, *, future: bool) -> None:
        """Keep all memory of this process from being paged out; with ``future`` what it takes later, too."""
        _called(_libc().mlockall(_MCL_CURRENT | (_MCL_FUTURE if future else 0)))

    def try_to_lock(self) -> None:
        """See whether memory can be locked, without having all of it in memory for that, and unlock it."""
        _called(_libc().mlockall(_MCL_CURRENT | _MCL_ONFAULT))
        self.unlock_memory()

    def unlock_memory(self) -> None:
        """Undo `lock_memory`."""
        _called(_libc().munlockall())

    def locked(self) -> int:
        """Bytes that are locked now."""
        return int(self._status("VmLck").partition(" ")[0] or 0) << 10

    # Limits

    def priority_limit(self) -> int:
        """The highest real-time priority (``ulimit -r``); 0 for none."""
        limit = resource.getrlimit(getattr(resource, "RLIMIT_RTPRIO", 14))[0] if self.has_fifo else 0
        return 99 if limit == resource.RLIM_INFINITY else limit

    def memory_limit(self) -> int:
        """Bytes that may be locked (``ulimit -l``), or `UNLIMITED`."""
        limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
        return UNLIMITED if limit == resource.RLIM_INFINITY else limit

    def spin_limit_us(self) -> int:
        """Microseconds that a real-time thread may compute without a pause, before it is killed; or `UNLIMITED`."""
        limit = resource.getrlimit(getattr(resource, "RLIMIT_RTTIME", 15))[0] if self.has_fifo else UNLIMITED
        return UNLIMITED if limit == resource.RLIM_INFINITY else limit

    def may(self, capability: int) -> bool:
        """Whether this process has one of the kernel's capabilities."""
        return bool(int(self._status("CapEff") or "0", 16) >> capability & 1)

    def _status(self, name: str) -> str:
        lines = _text(Path("/proc/self/status")).splitlines()
        return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def cpu_list(text: str) -> set[int]:
    """The numbers in a list as the kernel writes it: ``0-3,8``."""
    found: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def as_cpu_list(cpus: AbstractSet[int]) -> str:
    """The list for people: ``0-3, 8``."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][-1] == cpu - 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs) or "none"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _libc() -> ctypes.CDLL:
    import ctypes  # late: it takes time, and few runs need it

    return ctypes.CDLL(None, use_errno=True)


def _called(result: int) -> None:
    import ctypes

    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


SYSTEM = System()
