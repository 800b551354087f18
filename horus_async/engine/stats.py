"""What a node's run says of itself."""

from __future__ import annotations

from attrs import frozen


@frozen
class NodeStats:
    """One node's figures. Durations are execution time on the wall clock, microseconds."""

    ticks: int
    rate: float | None
    """Hz, as declared."""
    mean_us: float
    p99_us: float
    """Over the last 1024 ticks."""
    max_us: float
    budget_overruns: int
    deadline_misses: int
    """Missed deadlines, and ticks left out because the last one was still busy."""
    errors: int
    restarts: int
    lost: int
    """Messages overwritten before the node read them."""
    refused: int = 0
    """Messages of other processes that were left out because they could not be read."""
    unmatched: int = 0
    """Messages that found no partners in a ``sync`` of the node."""
    paused: bool = False
    """Whether it does not tick, as somebody has paused it."""
