"""The lines of a recording: making them, and reading them back. Pure: text in, text out.

Builders give one line of JSON with its newline. The order of the fields is part of how small a file gets, not of the
format: what changes from line to line stands together at the end, where LZ4 finds the longest repetitions.

Parsers take any bytes and give a record, None for a kind they do not know, or a ``RecordingError``.
"""

from __future__ import annotations

import json
import platform
import sys
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson
from attrs import asdict, define, field, frozen

from horus_async import __version__
from horus_async.clock.system import iso_utc
from horus_async.errors import DamagedRecordingError, UnsupportedVersionError
from horus_async.observe import NodeInfo
from horus_async.topics.codec import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from horus_async.observe import Execution, External, RunInfo, Sent, TickEnd

SCHEMA_VERSION = 1
"""The version of the lines; fields may be added without changing it."""


# -- what readers get --------------------------------------------------------------------------------------------------


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


@frozen
class RecordedInput:
    """The identity of a message that a node took."""

    topic: str
    publisher: str
    seq: int


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
    topics: tuple[str, ...] | None = None
    """The topics of a node's outputs."""
    kind: str = field(default="footer", init=False)


Record = Header | ExecutionRecord | GapRecord | SchedulerTick | ExternalMessage | Footer


# -- building lines ----------------------------------------------------------------------------------------------------


class _Quoted(dict[str, bytes]):
    """Names as JSON strings, each made once."""

    def __missing__(self, name: str) -> bytes:
        quoted = self[name] = _quote(name)
        return quoted


def _quote(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError:  # half a surrogate pair, which no UTF-8 text can hold
        return orjson.dumps(text.encode(errors="replace").decode())


_quoted = _Quoted()


class _Orders(dict[tuple[str, ...], bytes]):
    """Orders of nodes as JSON; a run has few, or the last thousand are kept."""

    def __missing__(self, order: tuple[str, ...]) -> bytes:
        if len(self) >= 1000:
            self.clear()
        text = self[order] = b",".join([_quoted[name] for name in order])
        return text


_orders = _Orders()

_EXECUTION = (
    b'{"kind":"%b","dt_ns":%d,"duration_ns":%d,"error":%b,"inputs":[%b],"outputs":[%b],"now_ns":%d,"tick":%d}\n'
)
_KINDS = {"tick": b"tick", "init": b"init", "shutdown": b"shutdown", "safe_state": b"safe_state"}
_INPUT = b'{"topic":%b,"publisher":%b,"seq":%d}'
_OUTPUT = b'{"topic":%b,"data":%b,"stamp_ns":%d,"seq":%d}'
_LATER_OUTPUT = b'{"topic":%b,"data":%b,"stamp_ns":%d,"seq":%d,"tick":%d}'
_TICK = b'{"kind":"tick","order":[%b],"digest":"%b","now_ns":%d,"tick":%d}\n'
_MESSAGE = b'{"kind":"message","topic":%b,"publisher":%b,"data":%b,"stamp_ns":%d,"seq":%d,"tick":%d}\n'


def execution_line(execution: Execution) -> bytes:
    """The line of one call of a node's callback."""
    kind, _, tick, now_ns, dt_ns, duration_ns, inputs, outputs, error, _ = execution
    if len(outputs) == 1:  # the most frequent by far, spelled out as it is made for each tick of each node
        _, topic, seq, stamp_ns, payload, sent_in = outputs[0]
        if not payload[0]:
            payload = to_json(payload)
        if sent_in == tick:
            sent = _OUTPUT % (_quoted[topic], payload, stamp_ns, seq)
        else:
            sent = _LATER_OUTPUT % (_quoted[topic], payload, stamp_ns, seq, sent_in)
    else:
        sent = b",".join([_output(output, tick) for output in outputs]) if outputs else b""
    if len(inputs) == 1:
        topic, publisher, seq = inputs[0]
        taken = _INPUT % (_quoted[topic], _quoted[publisher], seq)
    elif inputs:
        taken = b",".join([_INPUT % (_quoted[topic], _quoted[publisher], seq) for topic, publisher, seq in inputs])
    else:
        taken = b""
    failure = b"null" if error is None else _quote(error)
    return _EXECUTION % (_KINDS[kind], dt_ns, duration_ns, failure, taken, sent, now_ns, tick)


def _output(sent: Sent, tick: int) -> bytes:
    _, topic, seq, stamp_ns, payload, sent_in = sent
    text = payload if payload[0] else to_json(payload)
    if sent_in == tick:
        return _OUTPUT % (_quoted[topic], text, stamp_ns, seq)
    return _LATER_OUTPUT % (_quoted[topic], text, stamp_ns, seq, sent_in)


def tick_line(end: TickEnd) -> bytes:
    """The scheduler's line of one tick."""
    tick, now_ns, order, sent = end
    return _TICK % (_orders[tuple(order)], tick_digest(sent).encode(), now_ns, tick)


def message_line(message: External) -> bytes:
    """The line of a message from outside.

    Raises:
        ValueError: the payload, which another process made, is no JSON.
    """
    tick, topic, publisher, seq, stamp_ns, payload = message
    text = to_json(payload)
    orjson.loads(text)
    return _MESSAGE % (_quoted[topic], _quoted[publisher], text, stamp_ns, seq, tick)


@define
class Counts:
    """What a footer counts."""

    ticks: int = 0
    inputs: int = 0
    outputs: int = 0
    dropped: int = 0

    def add(self, other: Counts) -> None:
        """Add another's counts to these."""
        self.ticks += other.ticks
        self.inputs += other.inputs
        self.outputs += other.outputs
        self.dropped += other.dropped


def count_line(item: bytes | Execution | TickEnd | External) -> tuple[str, int, Counts]:
    """The kind, the tick and the counts of a line that was built here, or of what it is built from."""
    if not isinstance(item, bytes):
        inputs, outputs = len(getattr(item, "inputs", ())), len(getattr(item, "outputs", ()))
        kind = getattr(item, "kind", "tick" if hasattr(item, "sent") else "message")
        return kind, item.tick, Counts(kind == "tick", inputs + (kind == "message"), outputs)
    fields = orjson.loads(item)
    kind = fields["kind"]
    inputs, outputs = fields.get("inputs", ()), fields.get("outputs", ())
    if kind in {"gap", "footer"}:
        return kind, fields.get("tick", 0), Counts(dropped=fields["dropped"])
    return kind, fields["tick"], Counts(kind == "tick", len(inputs) + (kind == "message"), len(outputs))


def line_tick(line: bytes) -> int | None:
    """The tick of a line that was built here; None if it has none."""
    at = line.rfind(b'"tick":', -28)
    if at >= 0:
        return int(line[at + 7 : -2])
    tick = orjson.loads(line).get("tick")
    return tick if isinstance(tick, int) else None


def gap_line(tick: int, dropped: int, reason: str) -> bytes:
    """The line that stands where ``dropped`` lines are missing, the first of them of ``tick``."""
    return _line({"kind": "gap", "tick": tick, "dropped": dropped, "reason": reason})


def footer_line(ended_at_ns: int, counts: Counts, topics: Iterable[str] | None = None) -> bytes:
    """The last line of a file."""
    named = {} if topics is None else {"topics": list(topics)}
    return _line({"kind": "footer", "ended_at": iso_utc(ended_at_ns), **asdict(counts), **named})


def header_line(run: RunInfo, session: str, role: str, node: NodeInfo | None = None) -> bytes:
    """The first line of a file; ``role`` says whose it is."""
    declared = {} if node is None else node_fields(node)
    return _line(
        {
            "kind": "header",
            "schema_version": SCHEMA_VERSION,
            "session": session,
            "role": role,
            "node": run.name if node is None else node.name,
            **run_fields(run),
            **declared,
            **versions(),
        }
    )


def run_fields(run: RunInfo) -> dict[str, Any]:
    """What headers and the manifest say of a run."""
    return {
        "tick_rate": run.tick_rate,
        "seed": run.seed,
        "started_at": iso_utc(run.started_at_ns),
        "deterministic": run.deterministic,
        "start_ns": run.start_ns,
        "namespace": run.namespace,
    }


def node_fields(node: NodeInfo) -> dict[str, Any]:
    """What a header says of a node."""
    return {
        "rate": node.rate,
        "on": node.on,
        "pubs": node.pubs,
        "subs": node.subs,
        "order": node.order,
        "compute": node.compute,
    }


def versions() -> dict[str, str]:
    """What made the recording."""
    return {
        "horus_version": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
    }


def _line(fields: Mapping[str, Any]) -> bytes:
    # The standard library's encoder, as a seed may be larger than 64 bits.
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def tick_digest(sent: Iterable[Sent]) -> str:
    """Six hexadecimal digits over all messages sent in a tick, in order.

    The low 24 bits of the CRC-32 (ISO 3309, as in zlib and gzip) of, for each message, ``NODE TOPIC SEQ JSON`` and a
    space: node and topic are JSON strings, seq is decimal, the JSON text is the recorded one. The stamps are left
    out, so that runs in real time can be compared. A tick without messages has ``EMPTY_DIGEST``.

    The outputs themselves are in the recording. The digest only says quickly that ticks differ, and each further
    digit would cost a byte in every tick, as nothing in it repeats.
    """
    text = b"".join(
        [
            _DIGESTED % (_quoted[node], _quoted[topic], seq, payload if payload[0] else to_json(payload))
            for node, topic, seq, _, payload, _ in sent
        ]
    )
    return "%06x" % (crc32(text) & 0xFFFFFF)


_DIGESTED = b"%b %b %d %b "

EMPTY_DIGEST = "000000"
"""The digest of a tick in which nothing was sent."""


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
    inputs = [RecordedInput(_text(i, "topic"), _text(i, "publisher"), _whole(i, "seq")) for i in fields["inputs"]]
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
    )


def _parse_footer(fields: dict[str, Any], _: bytes) -> Record:
    return Footer(
        _text(fields, "ended_at"),
        _whole(fields, "ticks"),
        _whole(fields, "inputs"),
        _whole(fields, "outputs"),
        _whole(fields, "dropped"),
        _names(fields, "topics") if "topics" in fields else None,
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
