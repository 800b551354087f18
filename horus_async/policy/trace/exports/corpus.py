"""A trace as one table: what was seen and what was done, a row per successful request, a column per field.

    session, episode, instruction, timestamp   text
    seq, latency_ms                            numbers
    state, actions                             lists of numbers; actions are steps × dimensions
    <field>                                    every other field of any request, by its own name
    <camera>                                   encoded images (JPEG, PNG); lists of them where a field holds several
    <camera>_sha256                            where the trace kept only the hash

A field's column holds numbers, booleans, text, or (nested) lists of them, as its values are in all rows. Where they
have nothing in common, or are dicts, it holds JSON text. A field named like one of the columns above gets ``request.``
before its name.
"""

from __future__ import annotations

import enum
import io
import re
from typing import TYPE_CHECKING, Any

from attrs import Factory, define

from horus_async.errors import TraceError
from horus_async.policy.model.wire import WireFormat

from .exported import some
from .parts import as_row, parts_of, plain, writable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from horus_async.policy.trace.reader import TraceReader
    from horus_async.policy.trace.request import TraceRequest

    from .exported import Exported
    from .parts import Parts

_FIXED = ("session", "episode", "instruction", "timestamp", "seq", "latency_ms", "state", "actions")
_ONE_OF_SEVERAL = re.compile(r"(.+)\.(\d+)")


class Kind(enum.Enum):
    """What a column is; in the order in which they are written."""

    FIXED = "fixed"
    IMAGE = "image"
    """Bytes."""
    STACK = "stack"
    """Lists of bytes."""
    FIELD = "field"


@define
class Corpus:
    """A table in memory."""

    count: int = 0
    """Rows."""
    columns: dict[tuple[Kind, str], list[Any]] = Factory(dict)
    """Cells by kind and name, up to the last one that has a value; None where a row has none."""

    def add(self, row: dict[tuple[Kind, str], Any]) -> None:
        """Append a row."""
        for key, value in row.items():
            column = self.columns.setdefault(key, [])
            column += [None] * (self.count - len(column))
            column.append(value)
        self.count += 1

    def named(self) -> Iterator[tuple[str, Kind, list[Any]]]:
        """Name, kind and cells of every column, each name once."""
        taken: set[str] = set()
        for kind, wanted in sorted(self.columns, key=lambda key: list(Kind).index(key[0])):
            name = f"request.{wanted}" if wanted in _FIXED and kind is not Kind.FIXED else wanted
            while name in taken:
                name += "_"
            taken.add(name)
            cells = self.columns[kind, wanted]
            yield name, kind, [*cells, *[None] * (self.count - len(cells))]


def corpus_of(found: Iterable[tuple[TraceReader, TraceRequest]], exported: Exported) -> Corpus:
    """The table of the successful requests among ``found``; what is not in it is added to ``exported``."""
    corpus = Corpus()
    unkept: dict[str, None] = {}
    failed = 0
    for trace, request in found:
        if not request.ok or not request.actions:
            failed += 1
            continue
        try:
            parts = parts_of(request)
        except TraceError as error:
            exported.left_out[f"that are damaged ({error})"] += 1
            continue
        if not parts.actions:
            exported.left_out["whose actions are not rows of numbers of one length"] += 1
            continue
        unkept |= dict.fromkeys(parts.lacking)
        corpus.add(_row(trace, request, parts))
    if failed:
        exported.notes.append(f"{failed} requests without actions (failed ones) are no rows")
    if unkept:
        exported.notes.append(f"the trace kept nothing of the images of {some(list(unkept))}")
    exported.requests = corpus.count
    return corpus


def _copied_state(request: TraceRequest) -> list[float]:
    """What the recorder copied to ``state`` from the field that openpi's clients have for it."""
    is_copy = request.line.get("wire") == WireFormat.MSGPACK.value
    return (as_row(request.request.get("state") or []) or []) if is_copy else []


def _row(trace: TraceReader, request: TraceRequest, parts: Parts) -> dict[tuple[Kind, str], Any]:
    fixed = {
        "session": writable(str(trace.header.get("session_id") or "")),
        "episode": writable(request.episode or ""),
        "instruction": writable(request.instruction),
        "timestamp": writable(str(request.line.get("timestamp") or "")),
        "seq": request.seq,
        "latency_ms": float("nan") if request.latency_ms is None else float(request.latency_ms),
        "state": parts.state or _copied_state(request),
        "actions": parts.actions,
    }
    row: dict[tuple[Kind, str], Any] = {(Kind.FIXED, name): value for name, value in fixed.items()}
    for camera, image in parts.images.items():
        several = _ONE_OF_SEVERAL.fullmatch(camera)
        if several is None:
            row[Kind.IMAGE, camera] = encoded(image)
            continue
        stack = row.setdefault((Kind.STACK, several[1]), [])
        stack += [None] * (int(several[2]) + 1 - len(stack))
        stack[int(several[2])] = encoded(image)
    for camera, text in parts.hashes.items():
        row[Kind.FIELD, f"{camera}_sha256"] = text
    for name, value in parts.fields.items():
        kind = Kind.IMAGE if isinstance(value, bytes) else Kind.FIELD
        row[kind, writable(name)] = value if isinstance(value, bytes) else plain(value)
    return row


def encoded(image: Any) -> bytes:
    """The bytes of an image; those of an array are what ``numpy.load`` reads."""
    if isinstance(image, bytes):
        return image
    import numpy

    file = io.BytesIO()
    numpy.save(file, image, allow_pickle=False)
    return file.getvalue()
