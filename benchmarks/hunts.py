"""``python -m benchmarks.hunts [torn | kill | both] [--minutes N] [--seed N]``: looks for what topics must never do.

**torn**: writer processes send at full speed: messages with checksums, of random sizes, some of which make the ring
grow, through rings so small that they are overwritten all the time. Reader processes that poll, sleep or are late
verify each message and the order of each writer's, and in the end account for all of them: received + lost = sent.

**kill**: writers and readers are killed at random moments, even while stopped, and started again. One reader lives
through all of it: what it gets is whole and in order, the gaps in the numbers are exactly what is counted as lost, and
nothing that a writer sent before it died is missing. Late readers verify as well. In the end nothing is left in shared
memory.

A hunt goes in rounds of a few seconds, each with its own seed. Exit code 1 at the first that finds something.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Self

from attrs import evolve, frozen

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.ring import memory

from .hunters import Account, HuntError, available

if TYPE_CHECKING:
    from collections.abc import Callable

WRITERS, MODES = 3, ("poll", "sleep", "late")
_ROUND_SECONDS = 3.0
_PATIENCE = 60.0


@frozen
class Found:
    """What was checked, in one round or in all of them."""

    rounds: int = 0
    messages: int = 0
    """Received and verified, by all readers."""
    lost: int = 0
    """Overwritten before they were read, and counted."""
    kills: int = 0

    def __add__(self, other: Found) -> Found:
        """Both together."""
        return evolve(
            self,
            rounds=self.rounds + other.rounds,
            messages=self.messages + other.messages,
            lost=self.lost + other.lost,
            kills=self.kills + other.kills,
        )


def torn_read_hunt(minutes: float, seed: int = 0) -> Found:
    """Look for messages that are torn, out of order or not accounted for.

    Raises:
        HuntError: there are some.
    """
    return _hunt(torn_read_round, minutes, seed)


def kill_hunt(minutes: float, seed: int = 0) -> Found:
    """Look for harm that killed processes do to others.

    Raises:
        HuntError: there is some.
    """
    return _hunt(kill_round, minutes, seed)


def _hunt(one_round: Callable[[int, float], Found], minutes: float, seed: int) -> Found:
    end_ns = monotonic_ns() + int(minutes * 60 * NANOSECONDS)
    found = Found()
    while not found.rounds or monotonic_ns() < end_ns:
        try:
            found += one_round(seed + found.rounds, _ROUND_SECONDS)
        except HuntError as error:
            raise HuntError(f"seed {seed + found.rounds}: {error}") from error
    return found


# -- torn reads --------------------------------------------------------------------------------------------------------


def torn_read_round(seed: int, seconds: float) -> Found:
    """One round of `torn_read_hunt`."""
    with _Stage(seed) as stage:
        readers = [stage.start("reader", mode, WRITERS) for mode in MODES]
        for reader in readers:
            stage.line(reader)
        writers = [stage.start("writer", number, stage.noise.randrange(1 << 30), seconds) for number in range(WRITERS)]
        sent = {number: int(stage.line(writer)) for number, writer in enumerate(writers)}
        accounts = [json.loads(stage.line(reader)) for reader in readers]
        for process in (*writers, *readers):
            stage.dismiss(process)
    for mode, account in zip(MODES, accounts, strict=True):
        received = {int(writer): count for writer, count in account["received"].items()}
        missing = {int(writer): count for writer, count in account["missing"].items()}
        for writer, count in sent.items():
            if received[writer] + missing[writer] != count:
                raise HuntError(f"{mode}: {received[writer]} + {missing[writer]} of {count} of writer {writer}")
        if sum(missing.values()) != account["lost"]:
            raise HuntError(f"{mode}: {account['lost']} counted as lost, {missing} are missing")
    total = sum(sum(account["received"].values()) for account in accounts)
    return Found(1, total, sum(account["lost"] for account in accounts))


# -- kills -------------------------------------------------------------------------------------------------------------


def kill_round(seed: int, seconds: float) -> Found:
    """One round of `kill_hunt`."""
    kills = 0
    account = Account()
    told: dict[int, int] = {}
    with _Stage(seed) as stage, Topic("hunt", namespace=stage.namespace) as topic:
        names = iter(range(1 << 30))
        slots: list[tuple[int | None, subprocess.Popen[str]]] = []

        def begin(*, writes: bool) -> tuple[int | None, subprocess.Popen[str]]:
            if not writes:
                return None, stage.start("endless-reader")
            name = next(names)
            return name, stage.start("endless-writer", name, stage.noise.randrange(1 << 30))

        slots = [begin(writes=True), begin(writes=True), begin(writes=False)]
        end_ns = monotonic_ns() + int(seconds * NANOSECONDS)
        while monotonic_ns() < end_ns:
            _listen(topic, account, stage.noise.uniform(0.02, 0.6))
            slot = stage.noise.randrange(len(slots))
            name, victim = slots[slot]
            _count_told(told, name, stage.kill(victim, stopped=stage.noise.random() < 0.3))
            kills += 1
            slots[slot] = begin(writes=name is not None)
        for name, process in slots:
            _count_told(told, name, stage.kill(process))
        _listen(topic, account, 0.3)
        _judge_survivor(account, told, topic.lost)
        lost = topic.lost
    return Found(1, account.received.total(), lost, kills + len(slots))


def _listen(topic: Topic, account: Account, seconds: float) -> None:
    """Verify what arrives, for that long."""
    end_ns = monotonic_ns() + int(seconds * NANOSECONDS)
    while monotonic_ns() < end_ns:
        for value in available(topic):
            account.enter(value)
            if monotonic_ns() >= end_ns:
                return


def _count_told(told: dict[int, int], name: int | None, lines: list[str]) -> None:
    if name is None:
        if lines and lines[-1] != "ready":
            raise HuntError(f"a late reader: {lines[-1]}")
    elif lines:
        told[name] = int(lines[-1])


def _judge_survivor(account: Account, told: dict[int, int], lost: int) -> None:
    if account.missing.total() != lost:
        raise HuntError(f"{lost} counted as lost, but {account.missing} are missing")
    for name, number in told.items():
        if account.next.get(name, 0) <= number:
            raise HuntError(f"writer {name} had sent {number}; only what is before {account.next.get(name)} came")


# -- processes ---------------------------------------------------------------------------------------------------------


class _Stage:
    """The processes of one round, in a namespace of its own of which nothing may be left afterwards."""

    def __init__(self, seed: int) -> None:
        self.noise = random.Random(seed)
        self.namespace = f"hunt{uuid.uuid4().hex[:12]}"
        self._running: dict[subprocess.Popen[str], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for process in list(self._running):
            self.kill(process)
        reclaim(self.namespace, grace_ns=0)
        left = memory.root() / self.namespace
        if kind is None and left.exists():
            raise HuntError(f"left in shared memory: {sorted(path.name for path in left.iterdir())}")

    def start(self, role: str, *arguments: object) -> subprocess.Popen[str]:
        """Start a process."""
        command = [sys.executable, "-m", "benchmarks.hunters", role, *map(str, arguments)]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
            env={**os.environ, "HORUS_NAMESPACE": self.namespace},
        )
        self._running[process] = role
        return process

    def line(self, process: subprocess.Popen[str]) -> str:
        """The next line it prints.

        Raises:
            HuntError: it ended instead, or prints nothing for a minute.
        """
        assert process.stdout is not None
        patience = threading.Timer(_PATIENCE, process.kill)
        patience.start()
        line = process.stdout.readline()
        patience.cancel()
        patience.join()
        if not line:
            raise HuntError(f"{self._running[process]} ended: {process.wait()}")
        return line.strip()

    def dismiss(self, process: subprocess.Popen[str]) -> None:
        """Let it exit by itself.

        Raises:
            HuntError: it failed.
        """
        assert process.stdin is not None
        process.stdin.close()
        code = process.wait(_PATIENCE)
        role, _ = self._let_go(process)
        if code:
            raise HuntError(f"{role} ended with {code}")

    def kill(self, process: subprocess.Popen[str], *, stopped: bool = False) -> list[str]:
        """Kill it without warning. Returns the whole lines it printed that were not read."""
        if stopped:
            process.send_signal(signal.SIGSTOP)
        process.kill()
        code = process.wait()
        role, told = self._let_go(process)
        if code not in (-signal.SIGKILL, 0):
            raise HuntError(f"{role} ended by itself: {code}")
        return told

    def _let_go(self, process: subprocess.Popen[str]) -> tuple[str, list[str]]:
        role = self._running.pop(process)
        assert process.stdin is not None
        assert process.stdout is not None
        if not process.stdin.closed:
            process.stdin.close()
        text = process.stdout.read()
        process.stdout.close()
        return role, text.split("\n")[:-1]


def main() -> int:
    """Hunt for some time."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hunts", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("what", nargs="?", choices=("torn", "kill", "both"), default="both")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each hunt (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    arguments = parser.parse_args()
    for name, hunt in (("torn", torn_read_hunt), ("kill", kill_hunt)):
        if arguments.what not in (name, "both"):
            continue
        try:
            found = hunt(arguments.minutes, arguments.seed)
        except HuntError as error:
            print(f"{name}: {error}")
            return 1
        print(
            f"{name}: {found.rounds} rounds, {found.messages} messages verified, {found.lost} lost and counted, "
            f"{found.kills} kills: nothing found"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
