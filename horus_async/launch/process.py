"""One process of a program: started, read, stopped; nothing of its process group is left when it is over."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from .lines import Lines

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from .guard import Guard

_LOOK = 0.02
_PIECE = 1 << 16
_SILENCE = 1.0
"""Seconds for which what a process wrote is waited for once it is gone, where another one has its pipe."""


@define(eq=False)
class Life:
    """From the start of a process to its end."""

    grace: float
    guard: Guard
    printed: Callable[[bytes, list[str]], Awaitable[None]]
    """Told what the process writes: the bytes, and the lines that are whole with them."""
    note: Callable[[str], None]
    stop: trio.Event = field(factory=trio.Event)
    """Set, and it is ended: SIGTERM, and SIGKILL after its grace."""
    kill: trio.Event = field(factory=trio.Event)
    """Set, and it is killed at once."""
    killed: bool = False
    """Whether it did not end by itself."""
    _gone: trio.Event = field(factory=trio.Event)
    _lines: Lines = field(factory=Lines)

    async def run(
        self, command: list[str], folder: Path, env: Mapping[str, str], started: Callable[[int], None]
    ) -> int:
        """Run it to its end, whatever is cancelled; gives its exit code, or minus the signal that ended it.

        Raises:
            OSError: It cannot be started.
        """
        code = 0
        with trio.CancelScope(shield=True):
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=dict(env),
                process_group=0,  # a Ctrl-C at the terminal is for launch, which ends all in their order
            )
            self.guard.watch(process.pid, self.grace)
            started(process.pid)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read, process)
                nursery.start_soon(self._stop, process)
                code = await process.wait()
                await self._end_the_rest(process.pid)
                self._gone.set()
                self.stop.set()
                self.kill.set()
            self.guard.forget(process.pid)
        return code

    async def _read(self, process: trio.Process) -> None:
        assert process.stdout is not None
        async with process.stdout as stream:
            while data := await self._piece(stream):
                await self.printed(data, self._lines.take(data))
        if last := self._lines.end():
            await self.printed(b"", last)

    async def _piece(self, stream: trio.abc.ReceiveStream) -> bytes:
        """What comes next; nothing at the end, or when a process outside of the group keeps the pipe in silence."""
        found = b""
        async with trio.open_nursery() as nursery:

            async def end_of_patience() -> None:
                await self._gone.wait()
                await trio.sleep(_SILENCE)
                self.note("a process that it left behind holds its output: what comes there is not shown")
                nursery.cancel_scope.cancel()

            nursery.start_soon(end_of_patience)
            found = bytes(await stream.receive_some(_PIECE))
            nursery.cancel_scope.cancel()
        return found

    async def _stop(self, process: trio.Process) -> None:
        await self.stop.wait()
        if self._gone.is_set():
            return
        _signal(process.pid, signal.SIGTERM)
        with trio.move_on_after(self.grace):
            await self.kill.wait()
        if not self._gone.is_set():
            self.killed = process.returncode is None
            _signal(process.pid, signal.SIGKILL)

    async def _end_the_rest(self, group: int) -> None:
        """End what a process has left behind in its group."""
        if not _signal(group, signal.SIGTERM):
            return
        self.note("it left processes behind, which are ended with it")
        with trio.move_on_after(self.grace):
            while _signal(group, 0):  # noqa: ASYNC110 - nobody tells when another one's children are gone
                await trio.sleep(_LOOK)
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    """Send a signal to a process group; whether there is one."""
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses where all of it are zombies
        os.killpg(group, number)
        return True
    return False
