"""A session as files that other tools open: CSV, JSON lines and Parquet with a table per topic, MCAP with all topics.

Exporting takes two passes: the first finds the topics and the columns or schema of each, the second writes. Neither
holds more than a few messages (for Parquet: a few thousand rows) at a time.
"""

from __future__ import annotations

import enum
from functools import partial
from typing import TYPE_CHECKING

from .mcap_export import export_mcap
from .parquet import export_parquet
from .tables import Csv, JsonLines, export_tables

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.recorder.read.messages import Progress
    from horus_async.recorder.read.session import Session


class ExportFormat(enum.Enum):
    """What ``record export`` writes."""

    CSV = "csv"
    JSONL = "jsonl"
    PARQUET = "parquet"
    MCAP = "mcap"


_EXPORTS: dict[ExportFormat, Callable[..., dict[Path, int]]] = {
    ExportFormat.CSV: partial(export_tables, Csv),
    ExportFormat.JSONL: partial(export_tables, JsonLines),
    ExportFormat.PARQUET: export_parquet,
    ExportFormat.MCAP: export_mcap,
}


def export_session(
    session: Session,
    output: Path,
    form: ExportFormat,
    *,
    topic: str | None = None,
    progress: Progress | None = None,
) -> dict[Path, int]:
    """Write the messages of a session, decoded; returns the files written and how many messages each holds.

    MCAP is one file. The others are a flat table per topic: ``output`` itself for a single topic, else
    ``<stem>.<topic><suffix>`` for each. Files appear under their names when they are complete.

    Args:
        session: What to export.
        output: The file, or what the files' names are made from. An existing file is replaced.
        form: The format.
        topic: Only this one.
        progress: Told the tick reached, in each of the two passes.

    Raises:
        RecordingError: The session has no messages, or none of that topic; a file cannot be written; a package is
            missing.
    """
    return _EXPORTS[form](session, output, topic=topic, progress=progress)
