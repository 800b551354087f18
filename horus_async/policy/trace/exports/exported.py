"""What an export tells of itself: how much was written, and what was not."""

from __future__ import annotations

from collections import Counter

from attrs import Factory, define, field

_SHOWN = 8


@define
class Exported:
    """The outcome of an export."""

    requests: int = 0
    """Requests that are in it."""
    frames: int | None = None
    """Frames of a dataset; None for a table."""
    episodes: int | None = None
    left_out: Counter[str] = Factory(Counter)
    """Requests that were answered with actions and are not in it, by the reason."""
    notes: list[str] = field(factory=list)
    """What else is worth knowing."""

    @property
    def whole(self) -> bool:
        """Whether all answered requests are in it."""
        return not self.left_out

    def lines(self) -> list[str]:
        """All of it in words, a line each."""
        reasons = [f"left out: {count} requests {reason}" for reason, count in self.left_out.most_common(_SHOWN)]
        more = sum(self.left_out.values()) - sum(count for _, count in self.left_out.most_common(_SHOWN))
        return [*reasons, *([f"left out: {more} requests for other reasons"] if more else []), *self.notes]


def some(names: list[str]) -> str:
    """Names for a line, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
