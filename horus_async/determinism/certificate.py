"""What a check found out, and with what it was made."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import attrs
from attrs import field, frozen

from horus_async import __version__

if TYPE_CHECKING:
    from .comparison import Divergence
    from .findings import GuardFinding
    from .variants import Variant


def versions() -> dict[str, str]:
    """Versions of what the runs were made with."""
    found = {"horus-async": __version__, "python": f"{platform.python_implementation()} {platform.python_version()}"}
    found["platform"] = f"{sys.platform}-{platform.machine()}"
    for package in ("trio", "anyio", "orjson", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@frozen(kw_only=True)
class Certificate:
    """The result of a check."""

    app: str
    args: tuple[str, ...]
    seed: int
    tick_rate: float
    ended: str
    """Why run 1 ended."""
    runs: tuple[Variant, ...]
    ticks: int
    """Number of ticks, from the first, in which all runs did the same."""
    messages: int
    """Number of messages that run 1 sent in them."""
    digests: dict[int, str]
    """Maps ticks to the rolling digest after them: every tenfold tick (1, 10, 100 …), and the last."""
    first_tick: int | None
    last_tick: int | None
    """The range of ticks in which the run is replayable, inclusive; None if there is none."""
    difference: Divergence | None
    findings: tuple[GuardFinding, ...] = ()
    versions: dict[str, str] = field(factory=versions)

    @property
    def replayable(self) -> bool:
        """Whether every tick was the same in all runs, and the guard found nothing."""
        return self.difference is None and not self.findings and self.messages > 0

    def why_not(self) -> list[str]:
        """Where the run is not replayable, and why."""
        reasons = []
        if self.difference is not None:
            reasons.append(f"from tick {self.difference.tick} on: {self.difference}")
        if not self.messages:
            reasons.append("nothing was sent, so nothing was compared")
        return [*reasons, *(f"not to be relied on: {finding}" for finding in self.findings)]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "replayable": self.replayable,
            "from_tick": self.first_tick,
            "to_tick": self.last_tick,
            "why_not": self.why_not(),
            **attrs.asdict(self, filter=attrs.filters.exclude("first_tick", "last_tick")),
        }
