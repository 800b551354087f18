"""What ``horus-async doctor`` reports about one thing it has checked."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from attrs import field, frozen

MIB = 2**20


class Verdict(StrEnum):
    """What a finding means."""

    OK = "ok"
    UNKNOWN = "unknown"
    """The machine does not say; nothing is visibly wrong."""
    WARNING = "warning"
    BROKEN = "broken"


@frozen
class Finding:
    """One line of the report."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""
    """What to do about it."""
    measured: dict[str, Any] = field(factory=dict)
    """Numbers, for ``--json``."""


def size(count: int) -> str:
    """A number of bytes in a readable unit."""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
