"""Robots in processes of their own, and commands at a terminal that one types into."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import termios
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.engine.programs import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 120

ROBOT = """
import sys
from horus_async import Ignore, Node, Param, Scheduler, messages, service

class Arm(Node):
    name, rate, pubs, subs = "arm", 50, {"arm.at": messages.CmdVel}, ["wanted"]
    gain = Param(0.5, doc="How hard it pulls.")

    def tick(self):
        self.send("arm.at", messages.CmdVel(linear=1.0, angular=0.5))
        self.recv("wanted")
        self.log.info("at %d", 7)

    @service("arm.home")
    def home(self, request):
        self.log.warning("going home: %s", request)
        return request

def fails(node):
    raise ValueError("no oil")

def listens(node):
    node.recv_all("arm.at")

scheduler = Scheduler(name="robot", deterministic="--deterministic" in sys.argv)
scheduler.add(Arm())
scheduler.add(Node("weak", tick=fails, rate=10, failure_policy=Ignore()))
scheduler.add(Node("listener", tick=listens, on="arm.at"))
if __name__ == "__main__":
    print("up", flush=True)
    scheduler.run_sync()
"""


@contextmanager
def running(namespace: str, folder: Path, text: str = ROBOT, *arguments: str, name: str = "robot.py") -> Iterator[int]:
    """A program that runs meanwhile, and prints ``up`` before; its process."""
    (folder / name).write_text(text)
    variables = {**environment(), "HORUS_NAMESPACE": namespace, "HORUS_RECORDINGS_DIR": str(folder / "recordings")}
    command = [sys.executable, name, *arguments]
    with subprocess.Popen(
        command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            yield process.pid
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE)


def call(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """A command into a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "horus_async", *arguments],
        env=environment(**more), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip


def top_of(namespace: str, until: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    """What ``top --once --json`` says, as soon as it says this."""
    for _ in range(60):
        done = call("top", "--once", "--json", "--namespace", namespace)
        assert done.returncode == 0, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        if until(said):
            return said
    raise AssertionError(said)


class Terminal:
    """A command at a terminal."""

    def __init__(self, *arguments: str, columns: int = 80, rows: int = 24, **more: str) -> None:
        self.ours, theirs = os.openpty()
        self.theirs = os.dup(theirs)
        self.resize(columns, rows)
        self.before = termios.tcgetattr(theirs)
        variables = {name: value for name, value in environment(**more).items() if name not in ("COLUMNS", "LINES")}
        variables["TERM"] = "xterm-256color"
        command = [sys.executable, "-m", "horus_async", *arguments]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=variables, process_group=0
        )
        os.close(theirs)
        self.text = ""

    def resize(self, columns: int, rows: int) -> None:
        """Another size, which the terminal tells nobody who is not in its session."""
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def see(self, wanted: str | Callable[[str], Any]) -> str:
        """Wait until that is there, from here on; what came by then."""
        found = wanted if callable(wanted) else lambda text: wanted in text
        seen = ""
        for _ in range(PATIENCE * 10):
            if select.select([self.ours], [], [], 0.1)[0]:
                try:
                    piece = os.read(self.ours, 65536).decode(errors="replace")
                except OSError:  # what Linux says when the last one has closed the other end
                    break
                seen += piece
                self.text += piece
            if found(seen):
                return seen
        raise AssertionError((wanted, seen[-3000:]))

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.ours, keys.encode())

    def end(self) -> int:
        """Wait for its end; its exit code. The terminal is as it was."""
        code = self.process.wait(PATIENCE)
        while select.select([self.ours], [], [], 0)[0]:
            self.text += os.read(self.ours, 65536).decode(errors="replace")
        return code

    def is_as_before(self) -> bool:
        """Whether the terminal's settings are those of the beginning, with its cursor and its own screen."""
        shown = self.text.rfind("\x1b[?25h") >= self.text.rfind("\x1b[?25l")
        left = self.text.rfind("\x1b[?1049l") >= self.text.rfind("\x1b[?1049h")
        return termios.tcgetattr(self.theirs) == self.before and shown and left

    def close(self) -> None:
        """End it all."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@contextmanager
def at(*arguments: str, **more: Any) -> Iterator[Terminal]:
    """A command at a terminal meanwhile."""
    terminal = Terminal(*arguments, **more)
    try:
        yield terminal
    finally:
        terminal.close()
