"""How a program fares, and who is told of it."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Sequence


class State(Enum):
    """Of one program."""

    WAITING = "waiting"
    """For programs or topics."""
    STARTING = "starting"
    """Its process is there, and its first tick has not begun."""
    UP = "up"
    RESTARTING = "restarting"
    """It has ended, and is started again after a while."""
    STOPPING = "stopping"
    ENDED = "ended"
    """Well, and for good."""
    FAILED = "failed"
    """For good."""
    GIVEN_UP = "given up"
    """It was restarted too often."""
    STOPPED = "stopped"
    """By launch."""

    @property
    def is_bad(self) -> bool:
        """Whether it makes the exit code of launch 1."""
        return self in {State.FAILED, State.GIVEN_UP}

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self.is_bad or self in {State.ENDED, State.STOPPED}


@define
class Status:
    """What the table says of one program."""

    name: str
    state: State = State.WAITING
    pid: int | None = None
    """Of its process; None if there is none."""
    restarts: int = 0
    why: str = ""
    """What it waits for, how it ended, what it failed of."""


class Reporter(Protocol):
    """Who is told; never blocks the programs, but with what they print faster than it can be shown."""

    def changed(self, status: Status) -> None:
        """A program has got into another state."""

    def note(self, text: str, program: str | None = None) -> None:
        """Something worth a line has happened."""

    async def printed(self, program: str, lines: Sequence[str]) -> None:
        """A program has printed lines. Waits while there is too much to show."""


def how_it_ended(code: int) -> str:
    """``exit code 1``, ``killed by SIGKILL``."""
    if code >= 0:
        return f"exit code {code}"
    from signal import Signals

    try:
        return f"killed by {Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
