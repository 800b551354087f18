"""What a scheduler says of itself while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from horus_async.engine.stats import NodeStats
    from horus_async.realtime.collector import GcStats
    from horus_async.recorder import RecordingStats


@frozen
class SchedulerStats:
    """A scheduler's figures."""

    tick: int
    """The current scheduler tick; -1 before the first."""
    nodes: Mapping[str, NodeStats]
    recording: RecordingStats | None
    """None when nothing is recorded."""
    gc: GcStats | None = None
    """None where Python's garbage collector runs as it does by itself."""
