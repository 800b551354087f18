"""Hears which programs are up: each has a socket of its own, and says ``READY=1`` there as to systemd."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 4096


class Readiness:
    """A folder of sockets that only this user can write to, as a context. In ``/tmp``: their paths have to be short."""

    def __init__(self) -> None:
        self._held = ExitStack()
        self._folder = Path()

    def __enter__(self) -> Self:
        self._folder = Path(self._held.enter_context(tempfile.TemporaryDirectory(prefix="horus-launch-", dir="/tmp")))
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    async def open(self, number: int) -> tuple[str, trio.socket.SocketType]:
        """The address of the next socket, and the socket."""
        path = str(self._folder / str(number))
        heard = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM)
        self._held.callback(heard.close)
        await heard.bind(path)
        return path, heard


async def hear(socket: trio.socket.SocketType, up: Callable[[], None]) -> None:
    """Call ``up`` whenever a program says that it is."""
    while True:
        if b"READY=1" in (await socket.recv(_LONGEST)).split(b"\n"):
            up()
