"""A machine for tests: what it permits is theirs to say, and what was asked of it is noted."""

# ruff: noqa: D102 - the methods are those of `System`

from __future__ import annotations

import errno
import os
import threading
from typing import TYPE_CHECKING, Any

from horus_async.realtime.system import CAP_IPC_LOCK, CAP_SYS_NICE, UNLIMITED, Policy, System

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    import pytest

ORDINARY = Policy(0, 0)
RESET = 0x40000000
"""``SCHED_RESET_ON_FORK`` of Linux."""
FIFO = 1 | RESET


class FakeMachine:
    """Four CPUs, and everything permitted but for what a test changes."""

    def __init__(self) -> None:
        self.has_fifo = True
        self.rtprio, self.rttime = 0, UNLIMITED
        self.memlock = UNLIMITED
        self.capabilities = {CAP_SYS_NICE, CAP_IPC_LOCK}
        self.online, self.isolated, self.mine = {0, 1, 2, 3}, set[int](), {0, 1, 2, 3}
        self.cpuset = {0, 1, 2, 3}
        self.seccomp = False
        self.locked_bytes = 0
        self.size = 100 << 20
        """Bytes of this process."""
        self.policies: dict[int, Policy] = {}
        self.affinities: dict[int, set[int]] = {}
        self.log: list[str] = []

    def thread(self, number: int) -> int:
        return number or threading.get_native_id()

    def policy(self, thread: int) -> Policy:
        return self.policies.get(self.thread(thread), ORDINARY)

    def set_policy(self, thread: int, policy: Policy) -> None:
        nice = CAP_SYS_NICE in self.capabilities
        if self.seccomp or (policy.priority > self.rtprio and not nice):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        if self.policy(thread).number & RESET and not policy.number & RESET and not nice:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        self.policies[self.thread(thread)] = policy
        self.log.append(f"policy {policy.number & ~RESET} {policy.priority}")

    def set_fifo(self, thread: int, priority: int) -> None:
        self.set_policy(thread, Policy(FIFO, priority))

    def cpus(self, thread: int) -> set[int]:
        return set(self.affinities.get(self.thread(thread), self.mine))

    def set_cpus(self, thread: int, cpus: AbstractSet[int]) -> None:
        if not cpus & self.cpuset:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.affinities[self.thread(thread)] = set(cpus)
        self.log.append(f"cpus {sorted(cpus)}")

    def all_cpus(self) -> set[int]:
        return self.online

    def isolated_cpus(self) -> set[int]:
        return self.isolated

    def _lock(self) -> None:
        if self.seccomp or (self.size > self.memlock != UNLIMITED and CAP_IPC_LOCK not in self.capabilities):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def try_to_lock(self) -> None:
        self._lock()

    def lock_memory(self, *, future: bool) -> None:
        self._lock()
        self.locked_bytes = self.size
        self.log.append(f"lock future={future}")

    def unlock_memory(self) -> None:
        self.locked_bytes = 0
        self.log.append("unlock")

    def locked(self) -> int:
        return self.locked_bytes

    def priority_limit(self) -> int:
        return self.rtprio

    def memory_limit(self) -> int:
        return self.memlock

    def spin_limit_us(self) -> int:
        return self.rttime

    def may(self, capability: int) -> bool:
        return capability in self.capabilities

    def unprivileged(self, *, rtprio: int = 0, memlock: int = 8 << 20) -> None:
        """No root: the limits decide."""
        self.capabilities = set()
        self.rtprio, self.memlock = rtprio, memlock

    def put_in_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """All that asks the system from now on asks this one."""
        for name in vars(System):
            if not name.startswith("_"):
                monkeypatch.setattr(System, name, property(self._giving(name)))

    def _giving(self, name: str) -> Callable[[System], Any]:
        return lambda _: getattr(self, name)
