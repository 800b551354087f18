"""What a program does that launch, or systemd, has started: it ends with its parent, and says when it is up."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from horus_async.observe import Observer

from .files.commands import PARENT, READY

if TYPE_CHECKING:
    from horus_async import Scheduler


def parent_is_gone() -> bool:
    """Whether the launch that started this process was killed before this process came to run anything.

    From then on the guard ends what launch leaves behind; see `guard`.
    """
    wanted = os.environ.pop(PARENT, None)  # not for what the program itself starts
    return wanted is not None and wanted != str(os.getppid())


def tell_when_up(scheduler: Scheduler) -> None:
    """Say on the socket of the environment, if there is one, when the scheduler's first tick begins."""
    address = os.environ.get(READY)
    if address:
        scheduler.observe(_Up(address))


class _Up(Observer):
    hears_messages = False

    def __init__(self, address: str) -> None:
        self._address = address

    def initialised(self) -> None:
        notify(self._address, f"READY=1\nMAINPID={os.getpid()}")


def notify(address: str, text: str) -> None:
    """Send a text in systemd's way. Who does not listen does not hear it, and the robot goes on."""
    place = f"\0{address[1:]}" if address.startswith("@") else address
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | getattr(socket, "SOCK_CLOEXEC", 0)) as out,
    ):
        out.setblocking(False)
        out.sendto(text.encode(), place)
