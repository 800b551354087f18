"""The log of a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.recorder.log_lines import LogLine

if TYPE_CHECKING:
    from collections.abc import Iterator


@frozen
class RecordedLog:
    """What was logged in a recorded run. Iterate over it, as often as you like; each time reads the file."""

    file: Any
    """The `RecordedFile` that holds it; None if nothing of it was recorded."""
    start: int | None = None
    """The first scheduler tick during which something of it was logged; None for no limit."""
    stop: int | None = None
    """The last one."""

    def __iter__(self) -> Iterator[LogLine]:
        return self.select()

    def select(
        self, *, node: str | None = None, level: int = 0, start: int | None = None, stop: int | None = None
    ) -> Iterator[LogLine]:
        """Some of its lines.

        Args:
            node: Those of a node, and the runtime's about it.
            level: Those from this level on, as `logging` numbers them.
            start: The first scheduler tick during which something was logged.
            stop: The last one.
        """
        if self.file is None:
            return
        start = self.start if start is None or (self.start is not None and start < self.start) else start
        stop = self.stop if stop is None or (self.stop is not None and stop > self.stop) else stop
        for line in self.file.records(start):  # to the end: threads may log of a moment a little later
            if (
                isinstance(line, LogLine)
                and (node is None or line.node == node)
                and line.levelno >= level
                and (start is None or line.at_tick >= start)
                and (stop is None or line.at_tick <= stop)
            ):
                yield line
