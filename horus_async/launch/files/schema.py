"""What a launch file says: its schema. A file becomes this, or all of its errors are named (`reading`)."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from pathlib import Path

    import attrs

DEFAULTS = (
    *("namespace", "env", "options", "restart", "backoff", "backoff_limit", "max_restarts", "restart_window"),
    *("wait_timeout", "grace", "asyncio"),
)
"""Keys of a program that may stand in ``[defaults]``, for all of them."""


class Restart(Enum):
    """When a program that has ended is started again."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    """When its exit code is not 0."""
    ALWAYS = "always"


def _seconds(*, above: float | None = None) -> Any:
    """A validator: a finite number of seconds, 0 or more, or above a limit."""

    def check(_: object, attribute: attrs.Attribute[float], value: float) -> None:
        if not math.isfinite(value) or value < 0 or (above is not None and value <= above):
            allowed = "0 or more" if above is None else f"above {above:g}"
            raise ValueError(f"{attribute.name} = {value:g}: give seconds, {allowed}")

    return check


def _at_least_0(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 0:
        raise ValueError(f"{attribute.name} = {value}: give a number, 0 or more")


@frozen(kw_only=True)
class Program:
    """One program. Times are seconds."""

    app: str
    """A script, ``FILE.py:NAME`` or ``MODULE:NAME``, as for ``horus-async run``; files are sought beside the file."""
    args: tuple[str, ...] = ()
    """What it gets as its own arguments."""
    params: dict[str, Any] = field(factory=dict)
    """Parameters of its nodes: ``"arm.gain" = 0.5``. Nested tables are joined with dots."""
    options: tuple[str, ...] = ()
    """Options of ``horus-async run``: ``["--realtime", "--cpu", "3"]``."""
    asyncio: bool = False
    """Whether it runs under asyncio, not trio: ``--asyncio``."""
    namespace: str | None = None
    """Of its topics; None: that of launch."""
    env: dict[str, str] = field(factory=dict)
    """Environment variables, besides those that launch itself has."""
    after: tuple[str, ...] = ()
    """Programs that have to be up before it starts."""
    after_topics: tuple[str, ...] = ()
    """Topics of its namespace on which a message has to have been seen before it starts."""
    wait_timeout: float = field(default=60.0, validator=_seconds(above=0))
    """How long it waits for each of these."""
    restart: Restart = Restart.NEVER
    backoff: float = field(default=0.5, validator=_seconds(above=0))
    """From the end to the first restart; doubled with each restart that follows soon."""
    backoff_limit: float = field(default=30.0, validator=_seconds(above=0))
    """The longest of these times."""
    max_restarts: int = field(default=5, validator=_at_least_0)
    """More restarts than that within ``restart_window``, and it is given up."""
    restart_window: float = field(default=60.0, validator=_seconds(above=0))
    required: bool = False
    """When it has ended for good, well or not, all are ended."""
    grace: float = field(default=5.0, validator=_seconds())
    """From SIGTERM to SIGKILL."""


@frozen(kw_only=True)
class LaunchFile:
    """A whole file, in order."""

    path: Path
    programs: dict[str, Program]

    @property
    def folder(self) -> Path:
        """Where its programs run, and what its paths begin at."""
        return self.path.parent

    def dependents(self, name: str) -> list[str]:
        """The programs that wait for this one."""
        return [other for other, program in self.programs.items() if name in program.after]
