"""What a node pays for asking another one: a service's reply, and a goal that succeeds at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from horus_async import Node, Scheduler, action, service
from horus_async.clock.system import perf_ns

CALLS, LASTS = 3000, 600.0
WARM_UP = 50


class Provider(Node):
    """It answers, as quickly as can be."""

    name, rate = "provider", 10

    @service("bench.ask")
    async def ask(self, request: int) -> int:
        """The same number."""
        return request

    @action("bench.go")
    async def go(self, goal: int, handle: Any) -> int:
        """The same number."""
        del handle
        return goal

    def tick(self) -> None:
        """Nothing."""


def _by_hand() -> Node:
    """It answers each message with one."""

    def answer(node: Node) -> None:
        node.send("bench.back", node.recv("bench.there"))

    return Node("provider", tick=answer, on="bench.there", pubs=["bench.back"])


class Asker(Node):
    """It asks so many times, in a task beside its ticks, one after the other."""

    name, rate, pubs = "asker", 10, ("bench.there",)

    def __init__(self, how: str, count: int) -> None:
        super().__init__()
        self.how, self.count = how, count
        self.microseconds = 0.0

    def init(self) -> None:
        """Begin."""
        self.background(self.ask_all)

    async def ask_all(self) -> None:
        """Ask, and end the run."""
        if self.how == "call":
            await self.call("bench.ask", 0, timeout=60.0)  # whoever answers is there
        for number in range(-WARM_UP, self.count):
            if number == 0:
                began_ns = perf_ns()
            await self.ask(number)
        self.microseconds = (perf_ns() - began_ns) / self.count / 1000
        self.request_stop()

    async def ask(self, number: int) -> None:
        """Once."""
        if self.how == "call":
            await self.call("bench.ask", number)
        elif self.how == "goal":
            async with self.goal("bench.go", number) as move:
                await move.result()
        else:
            self.send("bench.there", number)
            await self.receive("bench.back")

    def tick(self) -> None:
        """Nothing."""


def in_a_run(how: str, mode: str, scale: float) -> list[float]:
    """Both nodes in one program: ``call``, ``goal`` or ``by hand``; in ``virtual`` or ``real`` time."""
    asker = Asker(how, max(1, round(CALLS * scale)))
    scheduler = Scheduler(tick_rate=10, deterministic=mode == "virtual")
    scheduler.add(_by_hand() if how == "by hand" else Provider()).add(asker)
    scheduler.run_sync(LASTS)
    return [asker.microseconds]


def between_processes(scale: float) -> list[float]:
    """A call of a node in another process, in real time."""
    command = [sys.executable, "-m", "benchmarks.asking"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as provider:
        assert provider.stdout is not None
        provider.stdout.readline()
        asker = Asker("call", max(1, round(CALLS * scale)))
        Scheduler(tick_rate=10).add(asker).run_sync(LASTS)
        provider.kill()
    return [asker.microseconds]


def zmq_between_processes(scale: float) -> list[float]:
    """A request and its reply, by pyzmq's REQ and REP over ``ipc``."""
    import zmq

    count = max(1, round(CALLS * scale))
    address = f"ipc://{Path.cwd()}/asking"
    command = [sys.executable, "-m", "benchmarks.asking", address]
    with (
        zmq.Context() as context,
        context.socket(zmq.REQ) as socket,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as provider,
    ):
        assert provider.stdout is not None
        provider.stdout.readline()
        socket.connect(address)
        for number in range(-WARM_UP, count):
            if number == 0:
                began_ns = perf_ns()
            socket.send_json(number)
            socket.recv_json()
        microseconds = (perf_ns() - began_ns) / count / 1000
        provider.kill()
    return [microseconds]


def main() -> None:
    """Be the other process, until it is killed."""
    print("begun", flush=True)
    if len(sys.argv) == 1:
        Scheduler(tick_rate=10).add(Provider()).run_sync(LASTS)
        return
    import zmq

    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        socket.bind(sys.argv[1])
        while True:
            socket.send_json(socket.recv_json())


if __name__ == "__main__":
    main()
