"""Small robot programs and ways to run them, for the tests beside this file."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio

from horus_async import Node, Scheduler, now_ns, tick

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).parents[2]

PATIENCE = 300
"""Seconds: only there so that a hang ends, on a machine however busy."""

both_modes = pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])
"""Runs a test in both modes."""


def scheduler_of(*nodes: Node, deterministic: bool = True, **options: Any) -> Scheduler:
    """A scheduler with nodes, deterministic unless said otherwise."""
    scheduler = Scheduler(deterministic=deterministic, **options)
    for node in nodes:
        scheduler.add(node)
    return scheduler


def run_nodes(*nodes: Node, duration: float = 0.1, deterministic: bool = True, **options: Any) -> Scheduler:
    """Run nodes to the end; gives their scheduler."""
    scheduler = scheduler_of(*nodes, deterministic=deterministic, **options)
    scheduler.run_sync(duration)
    return scheduler


class Log:
    """What happened, in order. Gives out callbacks that write their name down."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def __call__(self, *words: Any) -> None:
        """Write a line."""
        self.lines.append(words[0] if len(words) == 1 else words)

    def says(self, *words: Any) -> Callable[[Node], None]:
        """A callback that writes a line."""
        return lambda _: self(*words)


def listener(log: Log, topics: Iterable[str], name: str = "listener", **options: Any) -> Node:
    """A node that writes down each message it gets, with all that identifies it."""
    topics = list(topics)

    def listen(node: Node) -> None:
        for topic in topics:
            while (message := node.recv_message(topic)) is not None:
                log(tick(), topic, message.publisher, message.seq, message.stamp_ns - now_ns(), repr(message.value))

    return Node(name, tick=listen, subs=topics, **options)


def _asyncio_run(scheduler: Scheduler, duration: float | None) -> None:
    asyncio.run(scheduler.run(duration))


RUNNERS: dict[str, Callable[[Scheduler, float | None], None]] = {
    "run_sync": lambda scheduler, duration: scheduler.run_sync(duration),
    "trio.run": lambda scheduler, duration: trio.run(scheduler.run, duration),
    "anyio trio": lambda scheduler, duration: anyio.run(scheduler.run, duration, backend="trio"),
    "anyio asyncio": lambda scheduler, duration: anyio.run(scheduler.run, duration, backend="asyncio"),
    "asyncio.run": _asyncio_run,
}
"""All the ways to start an event loop with a scheduler in it."""


every_runner = pytest.mark.parametrize("runner", RUNNERS.values(), ids=[*RUNNERS])
"""Runs a test under each event loop."""


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that imports this checkout."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **more}


def run_script(text: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, to its end."""
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def signalled_script(text: str, *signals: signal.Signals) -> tuple[int, str, str]:
    """Run a program, and after each line ``ready`` that it prints send it the next signal. Code, output, errors."""
    with subprocess.Popen(
        [sys.executable, "-u", "-c", text],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output = ""
        try:
            for number in signals:
                for line in process.stdout:
                    output += line
                    if line.startswith("ready"):
                        break
                process.send_signal(number)
            rest, errors = process.communicate(timeout=PATIENCE)
        except BaseException:
            process.kill()
            raise
        return process.returncode, output + rest, errors
