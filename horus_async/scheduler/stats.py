"""What a scheduler says of itself while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import fields, frozen

from horus_async.engine.stats import NodeStats

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    def _repr_html_(self) -> str:
        from horus_async.notebook.html_table import html_table  # late: a notebook alone needs it

        head = ("node", *(one.name for one in fields(NodeStats)))
        rows = [(name, *(getattr(node, column) for column in head[1:])) for name, node in self.nodes.items()]
        notes = []
        if self.recording is not None:
            recording = self.recording
            notes.append(
                f"recording {recording.state.value}: {recording.messages} messages, {recording.bytes} bytes, "
                f"{recording.dropped} dropped"
            )
        return html_table(f"scheduler tick {self.tick}", head, rows, notes)
