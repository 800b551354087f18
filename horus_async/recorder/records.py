"""What readers get, and the parsing of lines into it. Pure: text in, records out.

Parsers take any bytes and give a record, None for a kind they do not know, or a ``RecordingError``. Longer than
most modules, as each kind of line has its record and its parser here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
from attrs import field, frozen

from horus_async.errors import DamagedRecordingError, UnsupportedVersionError
from horus_async.observe import NodeInfo

from .tallies import TopicTally

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_VERSION = 1
"""The version of the lines; fields may be added without changing it."""


@frozen
class Header:
    """The first line of a file."""

    role: str
    """``node``, ``scheduler`` or ``external``: whose file it is."""
    session: str
    node: str
    """The node's name; in the scheduler's file the scheduler's."""
    tick_rate: float
    seed: int
    started_at: str
    deterministic: bool
    start_ns: int
    namespace: str
    info: NodeInfo | None
    """What the node declared; None in the scheduler's file and the one for messages from outside."""
    horus_version: str
    part: int = 0
    """Which of the files that follow each other it is, from 0."""


@frozen
class RecordedInput:
    """The identity of a message that a node took."""

    topic: str
    publisher: str
    seq: int
    source: int = 0
    """As in `ExternalMessage`; 0 for a message of the run itself."""


@frozen
class RecordedOutput:
    """A message that a node sent."""

    topic: str
    seq: int
    stamp_ns: int
    data: Any
    """As JSON has it, tags and all; ``codec.decode(payload)`` gives the value."""
    tick: int
    """The scheduler tick in which it was sent."""

    @property
    def payload(self) -> bytes:
        """The JSON text, byte for byte as recorded."""
        return orjson.dumps(self.data)


@frozen
class ExecutionRecord:
    """One call of a node's ``tick``, ``init``, ``shutdown`` or ``enter_safe_state``."""

    kind: str
    tick: int
    now_ns: int
    dt_ns: int
    duration_ns: int
    inputs: tuple[RecordedInput, ...]
    outputs: tuple[RecordedOutput, ...]
    error: str | None


@frozen
class GapRecord:
    """Something is missing here."""

    tick: int
    """The first tick of which a line is missing."""
    dropped: int
    """How many lines of this file are missing."""
    reason: str
    kind: str = field(default="gap", init=False)


@frozen
class SchedulerTick:
    """One tick of the scheduler."""

    tick: int
    now_ns: int
    order: tuple[str, ...]
    digest: str
    kind: str = field(default="tick", init=False)


@frozen
class ExternalMessage:
    """A message from outside the run, under the tick in which it was read first."""

    tick: int
    topic: str
    publisher: str
    seq: int
    stamp_ns: int
    data: Any
    source: int = 0
    """Tells publishers of one name on one topic apart; a process that came back is another one."""
    kind: str = field(default="message", init=False)

    @property
    def payload(self) -> bytes:
        """The JSON text."""
        return orjson.dumps(self.data)


@frozen
class Footer:
    """The last line of a file that was closed."""

    ended_at: str
    ticks: int
    inputs: int
    outputs: int
    dropped: int
    topics: tuple[TopicTally, ...] | None = None
    """What it holds of each topic; None where that was not counted: who wants to know reads the file."""
    next: str | None = None
    """The name of the file that goes on where this one ends; None for the last."""
    excluded: int = 0
    """Messages that the recording was told to leave out."""
    kind: str = field(default="footer", init=False)


Record = Header | ExecutionRecord | GapRecord | SchedulerTick | ExternalMessage | Footer


# -- parsing lines -----------------------------------------------------------------------------------------------------


def parse_line(line: bytes) -> Record | None:
    """The record in a line; None if its kind is unknown to this release.

    Raises:
        DamagedRecordingError: it is not JSON, or a field is missing or of the wrong type.
        UnsupportedVersionError: the header of another format version.
    """
    try:
        fields = orjson.loads(line)
        if not isinstance(fields, dict):
            raise DamagedRecordingError(f"a line that is not a JSON object: {line[:60]!r}")
        parse = _PARSERS.get(str(fields.get("kind")))
        return None if parse is None else parse(fields, line)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedRecordingError(f"a line that cannot be read ({reason}): {line[:60]!r}") from error


def _parse_execution(fields: dict[str, Any], _: bytes) -> Record:
    tick = _whole(fields, "tick")
    if "digest" in fields:
        names = fields["order"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise TypeError("field 'order' is not a list of names")
        return SchedulerTick(tick, _whole(fields, "now_ns"), tuple(names), _text(fields, "digest"))
    inputs = [
        RecordedInput(_text(i, "topic"), _text(i, "publisher"), _whole(i, "seq"), _source(i)) for i in fields["inputs"]
    ]
    outputs = [
        RecordedOutput(
            _text(o, "topic"),
            _whole(o, "seq"),
            _whole(o, "stamp_ns"),
            o["data"],
            _whole(o, "tick") if "tick" in o else tick,
        )
        for o in fields["outputs"]
    ]
    error = fields["error"]
    if error is not None and not isinstance(error, str):
        raise TypeError("field 'error' is neither null nor a string")
    return ExecutionRecord(
        fields["kind"],
        tick,
        _whole(fields, "now_ns"),
        _whole(fields, "dt_ns"),
        _whole(fields, "duration_ns"),
        tuple(inputs),
        tuple(outputs),
        error,
    )


def _parse_gap(fields: dict[str, Any], _: bytes) -> Record:
    return GapRecord(_whole(fields, "tick"), _whole(fields, "dropped"), _text(fields, "reason"))


def _parse_message(fields: dict[str, Any], _: bytes) -> Record:
    return ExternalMessage(
        _whole(fields, "tick"),
        _text(fields, "topic"),
        _text(fields, "publisher"),
        _whole(fields, "seq"),
        _whole(fields, "stamp_ns"),
        fields["data"],
        _source(fields),
    )


def _parse_footer(fields: dict[str, Any], _: bytes) -> Record:
    return Footer(
        _text(fields, "ended_at"),
        _whole(fields, "ticks"),
        _whole(fields, "inputs"),
        _whole(fields, "outputs"),
        _whole(fields, "dropped"),
        _tallies(fields.get("topics")),
        _text(fields, "next") if fields.get("next") is not None else None,
        _whole(fields, "excluded") if "excluded" in fields else 0,
    )


def _parse_header(fields: dict[str, Any], line: bytes) -> Record:
    check_version(fields, "recording")
    # Read once more, as the fast parser makes floats of integers beyond 64 bits.
    fields = json.loads(line)
    role = _text(fields, "role") if "role" in fields else "node"
    return Header(
        role=role,
        session=_text(fields, "session"),
        node=_text(fields, "node"),
        tick_rate=float(fields["tick_rate"]),
        seed=_whole(fields, "seed"),
        started_at=_text(fields, "started_at"),
        deterministic=bool(fields.get("deterministic", False)),
        start_ns=_whole(fields, "start_ns") if "start_ns" in fields else 0,
        namespace=str(fields.get("namespace", "")),
        info=parse_node(fields) if role == "node" else None,
        horus_version=str(fields.get("horus_version", "")),
        part=_whole(fields, "part") if "part" in fields else 0,
    )


def parse_node(fields: Mapping[str, Any]) -> NodeInfo:
    """What a header says its node declared."""
    rate = fields.get("rate")
    return NodeInfo(
        name=_text(fields, "node"),
        rate=None if rate is None else float(rate),
        on=_names(fields, "on"),
        pubs=_names(fields, "pubs"),
        subs=_names(fields, "subs"),
        order=_whole(fields, "order") if "order" in fields else 0,
        compute=bool(fields.get("compute", False)),
    )


def check_version(fields: Mapping[str, Any], what: str) -> None:
    """Refuse what another format version wrote.

    Raises:
        UnsupportedVersionError: ``schema_version`` is not the one of this release.
    """
    version = fields.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise UnsupportedVersionError(
            f"this {what} has schema_version {version!r}; this release reads {SCHEMA_VERSION}: install a newer one"
        )


def _tallies(rows: Any) -> tuple[TopicTally, ...] | None:
    if not isinstance(rows, list):
        return None
    return tuple(
        TopicTally(
            _text(row, "topic"),
            _text(row, "publisher") if "publisher" in row else None,
            *(_whole(row, name) for name in ("count", "bytes", "first_tick", "last_tick")),
        )
        for row in rows
    )


def _source(fields: Any) -> int:
    return _whole(fields, "source") if "source" in fields else 0


def _whole(fields: Any, name: str) -> int:
    value = fields[name]
    if type(value) is not int:
        raise TypeError(f"field {name!r} is not a whole number")
    return value


def _text(fields: Any, name: str) -> str:
    value = fields[name]
    if type(value) is not str:
        raise TypeError(f"field {name!r} is not a string")
    return value


def _names(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = fields.get(name) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"field {name!r} is not a list of names")
    return tuple(value)


_PARSERS = {
    "header": _parse_header,
    "tick": _parse_execution,
    "init": _parse_execution,
    "shutdown": _parse_execution,
    "safe_state": _parse_execution,
    "gap": _parse_gap,
    "message": _parse_message,
    "footer": _parse_footer,
}
