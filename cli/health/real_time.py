"""What ``horus-async doctor`` says of ``run --realtime``: what is permitted here, and what the kernel is good for.

Few robots need it, so that what is missing is no fault of a machine: it is said, with what to do for those who do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.cli.support.finding import MIB, Finding, Verdict
from horus_async.realtime.options import HIGHEST_PRIORITY, Realtime
from horus_async.realtime.system import CAP_IPC_LOCK, CAP_SYS_NICE, UNLIMITED, as_cpu_list

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.cli.support.machine import Machine

_NEEDED = Realtime().priority + 1
"""The priority of the watchdog, where nobody asks for another one than the default."""
_MOST = HIGHEST_PRIORITY + 1
_KERNEL = "/proc/sys/kernel"


def check_real_time(machine: Machine) -> Iterator[Finding]:
    """Priority, memory, and how the kernel shares out the cores."""
    if not machine.real_time.has_fifo:
        yield Finding("RT priority", Verdict.UNKNOWN, "run --realtime needs Linux")
        return
    yield _check_priority(machine)
    yield _check_memory(machine)
    yield _check_kernel(machine)
    yield _check_share(machine)
    yield _check_isolated(machine)


def _check_priority(machine: Machine) -> Finding:
    limit, privileged = machine.real_time.priority_limit(), machine.real_time.may(CAP_SYS_NICE)
    measured = {"limit": limit, "cap_sys_nice": privileged}
    if privileged:
        return Finding("RT priority", Verdict.OK, f"up to {HIGHEST_PRIORITY} (CAP_SYS_NICE)", measured=measured)
    if limit >= _NEEDED:
        return Finding("RT priority", Verdict.OK, f"up to {limit - 1} (RLIMIT_RTPRIO)", measured=measured)
    detail = "none" if limit < 2 else f"up to {limit - 1}; run --realtime takes {_NEEDED - 1}"
    advice = (
        f"if you want run --realtime: raise RLIMIT_RTPRIO to {_MOST} (a line '@GROUP - rtprio {_MOST}' in "
        f"/etc/security/limits.conf; systemd: LimitRTPRIO={_MOST}; docker: --ulimit rtprio={_MOST})"
    )
    return Finding("RT priority", Verdict.OK, detail, advice, measured)


def _check_memory(machine: Machine) -> Finding:
    limit, privileged = machine.real_time.memory_limit(), machine.real_time.may(CAP_IPC_LOCK)
    measured = {"limit_bytes": None if limit == UNLIMITED else limit, "cap_ipc_lock": privileged}
    if privileged or limit == UNLIMITED:
        return Finding("locked memory", Verdict.OK, "as much as there is", measured=measured)
    advice = (
        "if you want run --realtime: raise RLIMIT_MEMLOCK (a line '@GROUP - memlock unlimited' in "
        "/etc/security/limits.conf; systemd: LimitMEMLOCK=infinity; docker: --ulimit memlock=-1)"
    )
    return Finding("locked memory", Verdict.OK, f"up to {limit / MIB:g} MiB", advice, measured)


def _check_kernel(machine: Machine) -> Finding:
    version = machine.text("/proc/version") or ""
    if machine.text("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in version:
        return Finding("kernel", Verdict.OK, "PREEMPT_RT", measured={"preempt_rt": True})
    if not version:
        return Finding("kernel", Verdict.UNKNOWN, "the system does not say whether it is PREEMPT_RT")
    kind = next((word for word in ("PREEMPT_DYNAMIC", "PREEMPT") if word in version), "no PREEMPT")
    detail = f"{kind}: interrupts and drivers may hold a tick up, for no stated time"
    return Finding("kernel", Verdict.OK, detail, "if that is too long: a kernel with PREEMPT_RT", {"preempt_rt": False})


def _check_share(machine: Machine) -> Finding:
    runtime = machine.text(f"{_KERNEL}/sched_rt_runtime_us")
    period = machine.text(f"{_KERNEL}/sched_rt_period_us")
    if runtime is None or period is None or not (runtime.lstrip("-").isdigit() and period.isdigit() and int(period)):
        return Finding("RT share", Verdict.UNKNOWN, "the system does not say how long a real-time thread may run")
    spin_us = machine.real_time.spin_limit_us()
    measured = {"runtime_us": int(runtime), "period_us": int(period), "rttime_us": spin_us}
    if spin_us != UNLIMITED:
        detail = f"a real-time thread that computes for {spin_us / 1000:g} ms is killed (RLIMIT_RTTIME)"
        return Finding("RT share", Verdict.OK, detail, "if ticks are longer: systemd: LimitRTTIME=infinity", measured)
    if int(runtime) < 0:
        detail = "a real-time thread may keep its core for good (sched_rt_runtime_us is -1)"
        return Finding("RT share", Verdict.OK, detail, "run --realtime with a watchdog, which can end it", measured)
    if int(runtime) == 0:
        advice = "sudo sysctl kernel.sched_rt_runtime_us=950000"
        return Finding("RT share", Verdict.WARNING, "real-time threads get no time at all", advice, measured)
    detail = f"real-time threads get at most {int(runtime) / int(period):.0%} of a core in {int(period) / 1e6:g} s"
    return Finding("RT share", Verdict.OK, detail, measured=measured)


def _check_isolated(machine: Machine) -> Finding:
    isolated = machine.real_time.isolated_cpus()
    measured = {"isolated": sorted(isolated)}
    if isolated:
        return Finding("isolated CPUs", Verdict.OK, as_cpu_list(isolated), measured=measured)
    advice = "a loop that shares its CPU with nothing: boot with isolcpus=N, and run --realtime --cpu N"
    return Finding("isolated CPUs", Verdict.OK, "none", advice, measured)
