"""Whether a real-time run is permitted: tried out, before a node starts, and refused in one line otherwise."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from horus_async.errors import ConfigurationError, LimitError
from horus_async.limits.threads import start_thread

from .system import CAP_IPC_LOCK, CAP_SYS_NICE, SYSTEM, UNLIMITED, as_cpu_list

if TYPE_CHECKING:
    from .options import Realtime
    from .system import System


def check_permitted(wanted: Realtime, system: System = SYSTEM) -> None:
    """See that this process may run so, by trying, in a thread that ends at once. Nothing is left changed.

    Raises:
        ConfigurationError: The system knows no such scheduling, or the loop cannot have that CPU.
        LimitError: It is not permitted; says what is missing, and how to get it.
    """
    if not system.has_fifo:
        raise ConfigurationError(
            f"real time needs Linux, and this is {sys.platform}, where no thread gets SCHED_FIFO: run without it"
        )
    _check_cpu(wanted.cpu, system)
    trial = _Trial(wanted, system)
    if trial.cpu_refused is not None:
        raise ConfigurationError(
            f"cpu={wanted.cpu}: the system refuses it ({trial.cpu_refused.strerror}): add it to the control group's "
            "CPUs (cpuset; docker: --cpuset-cpus), or give another"
        )
    above = wanted.priority + 1
    missing = []
    if trial.fifo_refused is not None:
        missing.append(_no_priority(wanted.priority, trial.fifo_refused, system))
    if trial.lock_refused is not None:
        missing.append(_no_memory(trial.lock_refused, system))
    if missing:
        python = os.path.realpath(sys.executable)
        raise LimitError(
            f"real time is not permitted: {'; '.join(missing)}. Raise the limits (ulimit -r {above} and -l unlimited, "
            f"as root or in /etc/security/limits.conf; systemd: LimitRTPRIO={above} LimitMEMLOCK=infinity; "
            f"docker: --ulimit rtprio={above} --ulimit memlock=-1), or sudo setcap cap_sys_nice,cap_ipc_lock=ep "
            f"{python}"
        )


def _check_cpu(cpu: int | None, system: System) -> None:
    if cpu is None:
        return
    there = system.all_cpus()
    if cpu not in there:
        raise ConfigurationError(f"cpu={cpu}: there is no such CPU; give one of {as_cpu_list(there)}")
    allowed = system.cpus(0) | system.isolated_cpus()
    if cpu not in allowed:
        raise ConfigurationError(
            f"cpu={cpu}: this process may use {as_cpu_list(allowed & there)} only; give one of these, or start it with "
            f"more (taskset -c, cpuset; docker: --cpuset-cpus)"
        )


class _Trial:
    """What the system says where it is asked for all that is wanted."""

    def __init__(self, wanted: Realtime, system: System) -> None:
        self.fifo_refused: OSError | None = None
        self.cpu_refused: OSError | None = None
        self.lock_refused: OSError | None = None
        self._wanted = wanted
        self._system = system
        thread = threading.Thread(target=self._run, name="horus-async trial of real time", daemon=True)
        start_thread(thread)
        thread.join()

    def _run(self) -> None:
        wanted, system = self._wanted, self._system
        try:
            if wanted.cpu is not None:
                system.set_cpus(0, {wanted.cpu})
        except OSError as error:
            self.cpu_refused = error
        try:
            if not system.locked():  # else it was permitted already, and may not be undone here
                system.try_to_lock()
        except OSError as error:
            self.lock_refused = error
        try:
            system.set_fifo(0, wanted.priority + 1)
        except OSError as error:
            self.fifo_refused = error


def _no_priority(priority: int, error: OSError, system: System) -> str:
    above, limit = priority + 1, system.priority_limit()
    if limit >= above or system.may(CAP_SYS_NICE):
        return (
            f"priority {priority} is within the limits, and yet the system says {error.strerror!r}, as with a seccomp "
            "profile, or a control group without cpu.rt_runtime_us"
        )
    return f"RLIMIT_RTPRIO is {limit} and has to be {above} (priority {priority}, and one above it for the watchdog)"


def _no_memory(error: OSError, system: System) -> str:
    limit = system.memory_limit()
    if limit == UNLIMITED or system.may(CAP_IPC_LOCK):
        return f"no limit forbids locking memory, and yet the system says {error.strerror!r}, as a seccomp profile does"
    return f"RLIMIT_MEMLOCK is {limit / 2**20:g} MiB, too little to lock this process in memory"
