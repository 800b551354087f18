"""What ``doctor`` says of a machine on which somebody wants to run in real time."""

from __future__ import annotations

import pytest

from horus_async.cli.health.real_time import check_real_time
from horus_async.cli.support.finding import Finding, Verdict
from horus_async.cli.support.machine import Machine
from horus_async.realtime.system import UNLIMITED

from .fake_machine import FakeMachine

KERNEL = "/proc/sys/kernel"
FILES = {
    "/proc/version": "Linux version 6.12.0 (gcc) #1 SMP PREEMPT_DYNAMIC",
    f"{KERNEL}/sched_rt_runtime_us": "950000",
    f"{KERNEL}/sched_rt_period_us": "1000000",
}


def look(fake: FakeMachine, **files: str | None) -> dict[str, Finding]:
    """The findings by name; the files of `FILES` may be others, or not there."""

    class Examined(Machine):
        real_time = fake  # type: ignore[assignment]

        def text(self, path: str) -> str | None:
            return files.get(path.rpartition("/")[2], FILES.get(path))

    return {found.check: found for found in check_real_time(Examined())}


def test_what_is_permitted() -> None:
    """By a capability, or by a limit, which leaves one priority to the watchdog."""
    fake = FakeMachine()
    assert look(fake)["RT priority"].detail == "up to 98 (CAP_SYS_NICE)"
    assert look(fake)["locked memory"].detail == "as much as there is"

    fake.unprivileged(rtprio=60, memlock=UNLIMITED)
    found = look(fake)
    assert found["RT priority"].detail == "up to 59 (RLIMIT_RTPRIO)"
    assert found["locked memory"].detail == "as much as there is"


def test_what_is_not_permitted_is_no_fault_of_the_machine() -> None:
    """Few robots need it; those that do are told how."""
    fake = FakeMachine()
    fake.unprivileged()
    found = look(fake)

    assert {finding.verdict for finding in found.values()} == {Verdict.OK}
    assert found["RT priority"].detail == "none"
    assert "LimitRTPRIO=99" in found["RT priority"].advice
    assert found["locked memory"].detail == "up to 8 MiB"
    assert "LimitMEMLOCK=infinity" in found["locked memory"].advice
    assert found["RT priority"].measured == {"limit": 0, "cap_sys_nice": False}

    fake.unprivileged(rtprio=20)
    assert look(fake)["RT priority"].detail == "up to 19; run --realtime takes 50"


@pytest.mark.parametrize(
    ("version", "realtime", "detail"),
    [
        ("#1 SMP PREEMPT_RT", None, "PREEMPT_RT"),
        ("#1 SMP", "1", "PREEMPT_RT"),
        ("#1 SMP PREEMPT_DYNAMIC", "0", "PREEMPT_DYNAMIC: "),
        ("#1 SMP", None, "no PREEMPT: "),
    ],
)
def test_kernels(version: str, realtime: str | None, detail: str) -> None:
    """Only PREEMPT_RT says for how long a tick can be held up."""
    assert look(FakeMachine(), version=version, realtime=realtime)["kernel"].detail.startswith(detail)


@pytest.mark.parametrize(
    ("runtime", "verdict", "detail"),
    [
        ("950000", Verdict.OK, "at most 95% of a core in 1 s"),
        ("-1", Verdict.OK, "keep its core for good"),
        ("0", Verdict.WARNING, "no time at all"),
        (None, Verdict.UNKNOWN, "does not say"),
        ("max", Verdict.UNKNOWN, "does not say"),
    ],
)
def test_the_share_of_real_time(runtime: str | None, verdict: Verdict, detail: str) -> None:
    """How long the kernel lets a loop that spins keep its core."""
    found = look(FakeMachine(), sched_rt_runtime_us=runtime)["RT share"]
    assert found.verdict is verdict
    assert detail in found.detail


def test_a_limit_for_threads_that_do_not_pause() -> None:
    """It kills what it meets."""
    fake = FakeMachine()
    fake.rttime = 200_000
    assert "computes for 200 ms is killed (RLIMIT_RTTIME)" in look(fake)["RT share"].detail


def test_isolated_cpus() -> None:
    """Those that a loop can have for itself."""
    fake = FakeMachine()
    assert "isolcpus" in look(fake)["isolated CPUs"].advice
    fake.isolated = {2, 3}
    assert (look(fake)["isolated CPUs"].detail, look(fake)["isolated CPUs"].advice) == ("2-3", "")


def test_another_system() -> None:
    """One line is enough."""
    fake = FakeMachine()
    fake.has_fifo = False
    assert [found.verdict for found in look(fake).values()] == [Verdict.UNKNOWN]
