"""What a deterministic run does about calls that break determinism."""

from __future__ import annotations

import enum


class Guard(enum.Enum):
    """What a deterministic run does about calls that break determinism."""

    OFF = "off"
    """Nothing is watched, and nothing is paid for it."""
    WARN = "warn"
    """Each place is logged once, and kept in ``Scheduler.guard_findings``."""
    ERROR = "error"
    """The call raises a `DeterminismError` in the node."""
