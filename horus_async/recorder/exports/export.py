"""A session as files that other tools open: CSV, JSON lines and Parquet with a table per topic, MCAP with all topics.

No more than a few thousand messages, or 16 MB of them, are held at a time. MCAP takes two passes, as a channel's schema
comes before its messages; tables mostly one (see `tables`).
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING

from .mcap_export import export_mcap
from .parquet import export_parquet
from .plain_tables import CSV, JSON_LINES
from .tables import export_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from horus_async.recorder.messages import Progress
    from horus_async.recorder.read.session import Session

    from .output import Exported


class ExportFormat(enum.Enum):
    """What ``record export`` writes."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    MCAP = "mcap"


_EXPORTS: dict[ExportFormat, Callable[..., Exported]] = {
    ExportFormat.CSV: partial(export_tables, CSV),
    ExportFormat.JSONL: partial(export_tables, JSON_LINES),
    ExportFormat.PARQUET: export_parquet,
    ExportFormat.MCAP: export_mcap,
}


def export_session(
    session: Session,
    output: Path,
    form: ExportFormat,
    *,
    topics: Collection[str] = (),
    progress: Progress | None = None,
) -> Exported:
    """Write the messages of a session, decoded.

    MCAP is one file. The others are a flat table per topic: ``output`` itself for a single topic, else
    ``<stem>.<topic><suffix>`` for each. Files appear under their names when they are complete.

    Args:
        session: What to export.
        output: The file, or what the files' names are made from. A plain file is replaced; a pipe, a device or what a
            link leads to is written into. ``Path("-")`` is standard output.
        form: The format.
        topics: Only these; all if empty.
        progress: Told the number of messages read, from 0 again if another pass is needed.

    Raises:
        RecordingError: The session has no messages, or none of one of the topics; a stream would get several tables; a
            file cannot be written; a package is missing.
        BrokenPipeError: Nobody reads the pipe any more.
    """
    return _EXPORTS[form](session, output, topics=topics, progress=progress)
