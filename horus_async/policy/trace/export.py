"""A trace as a training corpus: what was seen and what was done, one row per successful request.

``npz`` (reads back with ``numpy.load``; n requests):

    session, episode, instruction, timestamp   n strings
    seq                                        n integers
    latency_ms                                 n floats
    state, state_dim                           n × widest state, NaN-padded; how many values are real
    actions, num_actions, action_dim           n × longest chunk × widest action, NaN-padded; how many are real
    <camera>_data, <camera>_offsets            if the trace holds images: their encoded bytes end to end, n + 1
                                               offsets; a request without an image has an empty piece

``parquet`` (reads back with pandas; needs pyarrow, extra ``parquet``): the same columns, with states and actions as
nested lists and one binary column per camera.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from horus_async.errors import TraceError
from horus_async.hints.installed import install
from horus_async.policy.model.interface import ObservationError
from horus_async.policy.model.observation import image_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from .reader import TraceReader, TraceRequest

_ROWS_A_GROUP = 1024
_TEXTS = ("session", "episode", "instruction", "timestamp")


class ExportFormat(enum.Enum):
    """The file format of a corpus."""

    NPZ = "npz"
    PARQUET = "parquet"


def export(found: Iterable[tuple[TraceReader, TraceRequest]], output: Path, form: ExportFormat) -> int:
    """Write the successful requests among ``found`` to ``output``. Returns how many there were.

    Raises:
        TraceError: there are none, a state or action is not numbers, ``output`` cannot be written, or pyarrow is
            missing.
    """
    rows = (_row(trace, request) for trace, request in found if request.ok and request.actions)
    try:
        count = _write_npz(rows, output) if form is ExportFormat.NPZ else _write_parquet(rows, output)
    except OSError as error:
        raise TraceError(f"cannot write {str(output)!r}: {error}") from error
    if count == 0:
        raise TraceError("no request with actions was found; nothing was written")
    return count


def _row(trace: TraceReader, request: TraceRequest) -> dict[str, Any]:
    place = f"{trace.path}, seq {request.seq}"
    state = request.request.get("state")
    row: dict[str, Any] = {
        "session": str(trace.header.get("session_id") or ""),
        "episode": request.episode or "",
        "instruction": request.instruction,
        "timestamp": str(request.line.get("timestamp") or ""),
        "seq": request.seq,
        "latency_ms": float("nan") if request.latency_ms is None else float(request.latency_ms),
        "state": _numbers(state if state is not None else [], place),
        "actions": [_numbers(action, place) for action in request.actions],
    }
    images = {}
    for camera, (text, _) in request.cameras().items():
        try:
            images[camera] = image_bytes(text, camera) if text is not None else b""
        except ObservationError as error:
            raise TraceError(f"{place}: {error}") from error
    return {**row, "images": images}


def _numbers(values: Any, place: str) -> list[float]:
    if not isinstance(values, list) or not all(isinstance(value, int | float) for value in values):
        raise TraceError(f"{place}: expected a row of numbers, found {str(values)[:60]}")
    try:
        return [float(value) for value in values]
    except OverflowError as error:
        raise TraceError(f"{place}: {error}") from error


def _write_npz(rows: Iterator[dict[str, Any]], output: Path) -> int:
    import numpy

    table = list(rows)
    if not table:
        return 0
    columns: dict[str, Any] = {
        name: numpy.array([row[name] for row in table]) for name in (*_TEXTS, "seq", "latency_ms")
    }
    dims = [len(row["state"]) for row in table]
    lengths = [len(row["actions"]) for row in table]
    widths = [max(map(len, row["actions"])) for row in table]
    state = numpy.full((len(table), max(dims)), numpy.nan)
    actions = numpy.full((len(table), max(lengths), max(widths)), numpy.nan)
    for number, row in enumerate(table):
        state[number, : dims[number]] = row["state"]
        for step, action in enumerate(row["actions"]):
            actions[number, step, : len(action)] = action
    columns |= {"state": state, "state_dim": numpy.array(dims), "actions": actions}
    columns |= {"num_actions": numpy.array(lengths), "action_dim": numpy.array(widths)}
    for camera in _cameras(table):
        pieces = [row["images"].get(camera, b"") for row in table]
        columns[f"{camera}_data"] = numpy.frombuffer(b"".join(pieces), dtype=numpy.uint8)
        columns[f"{camera}_offsets"] = numpy.cumsum([0, *map(len, pieces)])
    # An open file, because savez would add its own suffix to a name.
    with output.open("wb") as file:
        numpy.savez_compressed(file, **columns)
    return len(table)


def _write_parquet(rows: Iterator[dict[str, Any]], output: Path) -> int:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise TraceError(f"writing Parquet needs pyarrow: {install('parquet')}") from error
    table = list(rows)
    if not table:
        return 0
    numbers = pyarrow.list_(pyarrow.float64())
    fields = [(name, pyarrow.string()) for name in _TEXTS]
    fields += [("seq", pyarrow.int64()), ("latency_ms", pyarrow.float64())]
    fields += [("state", numbers), ("actions", pyarrow.list_(numbers))]
    cameras = _cameras(table)
    schema = pyarrow.schema(fields + [(camera, pyarrow.binary()) for camera in cameras])
    with pyarrow.parquet.ParquetWriter(str(output), schema) as writer:
        for start in range(0, len(table), _ROWS_A_GROUP):
            group = [
                {**row, **{name: row["images"].get(name) for name in cameras}} for row in table[start:][:_ROWS_A_GROUP]
            ]
            writer.write_table(pyarrow.Table.from_pylist(group, schema=schema))
    return len(table)


def _cameras(table: list[dict[str, Any]]) -> list[str]:
    """The cameras with at least one image kept."""
    return sorted({camera for row in table for camera, image in row["images"].items() if image})
