"""Who may run in real time: tried before a node starts, refused in one line that says what is missing."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import ConfigurationError, LimitError, Node, Realtime, Scheduler
from horus_async.realtime.permission import check_permitted
from horus_async.realtime.system import CAP_IPC_LOCK, CAP_SYS_NICE, SYSTEM, UNLIMITED, as_cpu_list, cpu_list

if TYPE_CHECKING:
    from .fake_machine import FakeMachine


def refusal(wanted: Realtime) -> str:
    """What is said to somebody who may not; in one line."""
    with pytest.raises((ConfigurationError, LimitError)) as caught:
        check_permitted(wanted)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("priority", [0, 99, -1, 2.0, True, "50", None])
def test_priorities_that_there_are_not(priority: Any) -> None:
    """1 to 98: the watchdog needs one above the loop's."""
    with pytest.raises(ConfigurationError, match=r"priority=.* give 1 to 98"):
        Realtime(priority=priority)


@pytest.mark.parametrize("cpu", [-1, 0.0, False, "0"])
def test_cpus_that_are_no_numbers(cpu: Any) -> None:
    """The number of a CPU, or None."""
    with pytest.raises(ConfigurationError, match=r"cpu=.* number of a CPU"):
        Realtime(cpu=cpu)


@pytest.mark.parametrize("wanted", ["yes", 1, 50, {"cpu": 1}])
def test_an_option_that_is_none(wanted: Any) -> None:
    """A scheduler takes True, a Realtime, or nothing."""
    with pytest.raises(ConfigurationError, match=r"realtime=.*give True, Realtime\("):
        Scheduler(realtime=wanted)


def test_virtual_time_has_no_use_for_it() -> None:
    """A deterministic run takes no time."""
    with pytest.raises(ConfigurationError, match=r"realtime=.*deterministic"):
        Scheduler(deterministic=True, realtime=True)


def test_what_is_permitted_leaves_no_trace(machine: FakeMachine) -> None:
    """The trial has a thread of its own: this one and the process stay as they were."""
    check_permitted(Realtime(cpu=2, priority=98))

    assert machine.log == ["cpus [2]", "policy 1 99"]
    assert machine.policy(0).priority == 0
    assert machine.cpus(0) == machine.mine
    assert not machine.locked()


def test_no_privilege_is_needed_where_the_limits_allow_it(machine: FakeMachine) -> None:
    """RLIMIT_RTPRIO has to allow the watchdog's priority; some locked memory is enough for some."""
    machine.unprivileged(rtprio=51, memlock=512 << 20)
    check_permitted(Realtime())

    machine.unprivileged(rtprio=50, memlock=UNLIMITED)
    assert "RLIMIT_RTPRIO is 50 and has to be 51 (priority 50, and one above it for the watchdog)" in refusal(
        Realtime()
    )


def test_all_that_is_missing_is_in_one_line(machine: FakeMachine) -> None:
    """Each limit by name, and every way out with its numbers."""
    machine.unprivileged()
    said = refusal(Realtime(priority=70))

    assert "RLIMIT_RTPRIO is 0 and has to be 71" in said
    assert "RLIMIT_MEMLOCK is 8 MiB" in said
    for way_out in ("ulimit -r 71", "LimitRTPRIO=71", "LimitMEMLOCK=infinity", "--ulimit rtprio=71", "setcap cap_sys"):
        assert way_out in said


@pytest.mark.parametrize(
    ("capability", "named", "unnamed"),
    [(CAP_SYS_NICE, "RLIMIT_MEMLOCK is", "RLIMIT_RTPRIO is"), (CAP_IPC_LOCK, "RLIMIT_RTPRIO is", "RLIMIT_MEMLOCK is")],
)
def test_only_what_is_missing_is_named(machine: FakeMachine, capability: int, named: str, unnamed: str) -> None:
    """Who has one of the two capabilities lacks the other."""
    machine.unprivileged()
    machine.capabilities = {capability}
    said = refusal(Realtime())

    assert named in said
    assert unnamed not in said


def test_a_container_that_forbids_what_the_limits_allow(machine: FakeMachine) -> None:
    """Then no limit is to blame, and none is called too low."""
    machine.seccomp = True
    said = refusal(Realtime())

    assert "within the limits" in said
    assert "seccomp" in said
    assert "RLIMIT_" not in said


def test_no_such_cpu(machine: FakeMachine) -> None:
    """The line says which there are."""
    assert refusal(Realtime(cpu=4)) == "cpu=4: there is no such CPU; give one of 0-3"
    machine.online = {0, 2, 3, 7}
    assert refusal(Realtime(cpu=1)).endswith("give one of 0, 2-3, 7")


def test_a_cpu_that_is_not_ours(machine: FakeMachine) -> None:
    """Where the process was given others (taskset), it stays with them; isolated ones are there to be asked for."""
    machine.mine = {0, 1}
    assert refusal(Realtime(cpu=3)).startswith("cpu=3: this process may use 0-1 only")
    machine.isolated = {3}
    check_permitted(Realtime(cpu=3))


def test_a_cpu_outside_the_control_group(machine: FakeMachine) -> None:
    """What the kernel refuses is refused before the run."""
    machine.isolated, machine.mine, machine.cpuset = {3}, {0, 1}, {0, 1}
    assert "cpuset" in refusal(Realtime(cpu=3))


def test_another_system(machine: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SCHED_FIFO for threads nothing is tried."""
    machine.has_fifo = False
    monkeypatch.setattr(sys, "platform", "darwin")

    assert refusal(Realtime(cpu=0)).startswith("real time needs Linux, and this is darwin")
    assert not machine.log


def test_a_refused_run_has_not_begun(machine: FakeMachine) -> None:
    """No node is started, no session or box made."""
    machine.unprivileged()
    called: list[Node] = []
    scheduler = Scheduler(realtime=True, recording="night").add(Node("arm", init=called.append, tick=called.append))
    with pytest.raises(LimitError, match="RLIMIT_RTPRIO"):
        scheduler.run_sync(duration=0.01)

    assert not called
    assert Scheduler.list_recordings() == []
    assert scheduler.stats().tick == -1


@pytest.mark.parametrize(("text", "cpus"), [("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("", set()), ("\n", set())])
def test_lists_of_the_kernel(text: str, cpus: set[int]) -> None:
    """As in /sys."""
    assert cpu_list(text) == cpus
    assert cpu_list(as_cpu_list(cpus).replace(" ", "").replace("none", "")) == cpus


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")
def test_the_real_machine_answers() -> None:
    """Whatever it permits: its answers make sense, and asking changes nothing."""
    assert SYSTEM.has_fifo
    assert SYSTEM.cpus(0)
    assert SYSTEM.all_cpus() >= SYSTEM.isolated_cpus()
    assert 0 <= SYSTEM.priority_limit() <= 99
    assert SYSTEM.memory_limit() >= UNLIMITED
    assert SYSTEM.locked() >= 0
    before = SYSTEM.policy(0), SYSTEM.cpus(0), SYSTEM.locked()
    with suppress(LimitError):
        check_permitted(Realtime())
    assert (SYSTEM.policy(0), SYSTEM.cpus(0), SYSTEM.locked()) == before
