"""Traces in formats that training reads: NumPy archives, Parquet tables, LeRobot datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.errors import RecordingError, TraceError

from .exported import Exported
from .options import DatasetOptions, ExportFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from horus_async.policy.trace.reader import TraceReader
    from horus_async.policy.trace.request import TraceRequest


def export(
    found: Iterable[tuple[TraceReader, TraceRequest]],
    output: Path,
    form: ExportFormat,
    options: DatasetOptions | None = None,
    progress: Callable[[int, int], None] = lambda _, __: None,
) -> Exported:
    """Write the successful requests among ``found`` to ``output``: a file, or for LeRobot a folder.

    Args:
        found: As `matching` finds them.
        output: Where to.
        form: The format.
        options: What a trace may not say, for LeRobot.
        progress: For LeRobot, is told of how many frames of how many are written, once all is read.

    Raises:
        TraceError: there are none, ``output`` cannot be written, a package is missing, or for LeRobot, nothing says
            how many frames a second there are.
    """
    exported = Exported()
    found = _counted(found, exported)
    if form is ExportFormat.LEROBOT:
        from .lerobot.dataset import export_lerobot

        export_lerobot(found, output, options or DatasetOptions(), exported, progress)
        return exported
    _write_table(found, output, form, exported)
    return exported


def _write_table(
    found: Iterable[tuple[TraceReader, TraceRequest]], output: Path, form: ExportFormat, exported: Exported
) -> None:
    # What is imported here is large, and few who serve or read traces export them.
    from horus_async.recorder.exports.output import writing

    from .corpus import corpus_of
    from .npz import write_npz
    from .parquet import need_pyarrow, write_parquet

    if form is ExportFormat.PARQUET:
        need_pyarrow()
    corpus = corpus_of(found, exported)
    if not corpus.count:
        raise TraceError("; ".join(["no request with actions was found; nothing was written", *exported.lines()]))
    try:
        with writing(output) as stream:
            (write_npz if form is ExportFormat.NPZ else write_parquet)(corpus, stream)
    except RecordingError as error:
        raise TraceError(str(error)) from error


def _counted(
    found: Iterable[tuple[TraceReader, TraceRequest]], exported: Exported
) -> Iterator[tuple[TraceReader, TraceRequest]]:
    """What was found; afterwards ``exported`` has what the servers could not record between it, and at the end."""
    traces: dict[int, TraceReader] = {}
    for trace, request in found:
        traces[id(trace)] = trace
        yield trace, request
    if dropped := sum(trace.dropped for trace in traces.values()):
        exported.left_out["that the server could not record"] += dropped
    if missing := sum(trace.missing_before for trace in traces.values()):
        exported.left_out["of parts that are not there"] += missing
