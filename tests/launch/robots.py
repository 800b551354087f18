"""Small robots of several programs, and a launch of them in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from tests.engine.programs import PATIENCE, ROOT, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SENDER = """
from horus_async import Node, Scheduler, tick
async def step(node):
    node.send("TOPIC", {"tick": tick()})
def build(args):
    return Scheduler(tick_rate=50).add(Node("NODE", tick=step, rate=50, pubs=["TOPIC"]))
"""
"""A program whose node sends on a topic, until it is ended."""

READER = """
from horus_async import Node, Scheduler
async def step(node):
    got = node.recv("TOPIC")
    node.send("echo", got["tick"])
def build(args):
    return Scheduler(tick_rate=50).add(Node("NODE", tick=step, on="TOPIC", pubs=["echo"]))
"""


def sender(topic: str = "odom", node: str = "sender") -> str:
    """A program whose node sends on a topic."""
    return SENDER.replace("TOPIC", topic).replace("NODE", node)


def reader(topic: str = "odom", node: str = "reader") -> str:
    """A program whose node answers what another one sends."""
    return READER.replace("TOPIC", topic).replace("NODE", node)


def robot(folder: Path, toml: str, **programs: str) -> Path:
    """Write a launch file and its programs; ``[programs.x]`` without an app has ``x.py``."""
    for name, text in programs.items():
        (folder / f"{name}.py").write_text(text)
    grace = "" if "grace" in toml else f"grace = {PATIENCE}\n"  # on a busy machine an end takes its time
    if "[defaults]" in toml:
        toml = toml.replace("[defaults]\n", f"[defaults]\n{grace}")
    else:
        toml = f"[defaults]\n{grace}{toml}"
    lines = []
    for line in toml.splitlines():
        lines.append(line)
        if line.startswith("[programs.") and line.count(".") == 1:
            name = line[len("[programs.") : -1]
            if "app = " not in toml.partition(line)[2].partition("[programs.")[0]:
                lines.append(f'app = "{name}.py"')
    path = folder / "robot.toml"
    path.write_text("\n".join(lines))
    return path


class Launched:
    """A launch that runs, and the events it tells of."""

    def __init__(self, file: Path, *options: str, **env: str) -> None:
        command = [sys.executable, "-m", "horus_async", "launch", str(file), "--json", *options]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(**env), cwd=ROOT
        )
        self.events: list[dict[str, Any]] = []
        assert self.process.stdout is not None
        self._lines: Iterator[bytes] = iter(self.process.stdout)

    def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read events up to one that is wanted."""
        for line in self._lines:
            event: dict[str, Any] = json.loads(line)
            self.events.append(event)
            if wanted(event):
                return event
        assert self.process.stderr is not None
        raise AssertionError(f"it ended: {self.events[-20:]} {self.process.stderr.read().decode()}")

    def until_state(self, program: str, state: str) -> dict[str, Any]:
        """Read events until a program is in a state."""
        return self.until(lambda event: event.get("program") == program and event.get("state") == state)

    def signal(self, number: int = signal.SIGINT) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> int:
        """Read the rest; its exit code."""
        self.events += map(json.loads, self._lines)
        return self.process.wait(PATIENCE)

    @property
    def errors(self) -> str:
        """What it said on standard error, once it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()

    def states(self, program: str) -> list[str]:
        """The states that a program was in, so far."""
        return [event["state"] for event in self.events if event["event"] == "state" and event["program"] == program]

    def lines(self, program: str) -> list[str]:
        """What a program printed, so far."""
        return [event["text"] for event in self.events if event["event"] == "line" and event["program"] == program]

    def seen(self) -> set[tuple[str, str]]:
        """Every program with each of its states, and with each line that it printed, so far."""
        told = {(event["program"], event.get("state", event.get("text", ""))) for event in self.events}
        return {(str(program), str(what)) for program, what in told}

    def pids(self) -> list[int]:
        """The processes of all programs, so far."""
        return [event["pid"] for event in self.events if event.get("pid")]

    def notes(self) -> list[str]:
        """What launch said, so far."""
        return [event["text"] for event in self.events if event["event"] == "note"]

    def why(self, program: str) -> str:
        """What was last said of a program's state."""
        whys = [event["why"] for event in self.events if event["event"] == "state" and event["program"] == program]
        return str(whys[-1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.process.wait()


def is_there(pid: int) -> bool:
    """Whether a process is alive; a zombie is not."""
    try:
        os.kill(pid, 0)
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - no Path twice
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:
        return True


def wait_until_gone(pids: list[int]) -> None:
    """Return when none of these processes is there."""
    for _ in range(PATIENCE * 20):
        if not any(map(is_there, pids)):
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"still there: {[pid for pid in pids if is_there(pid)]}")
