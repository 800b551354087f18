"""The lines of a recording, built. Pure: records of the runtime in, text out.

Builders give one line of JSON with its newline. The order of the fields is part of how small a file gets, not of the
format: what changes from line to line stands together at the end, where LZ4 finds the longest repetitions.
"""

from __future__ import annotations

import json
import platform
import sys
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson
from attrs import asdict, define

from horus_async import __version__
from horus_async.clock.system import iso_utc
from horus_async.recorder.records import SCHEMA_VERSION
from horus_async.topics.codec import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from horus_async.observe import Execution, External, Looks, NodeInfo, Resumed, RunInfo, Sent, TickEnd
    from horus_async.recorder.tallies import TopicTally


class _Quoted(dict[str, bytes]):
    """Names as JSON strings, each made once."""

    def __missing__(self, name: str) -> bytes:
        quoted = self[name] = text_json(name)
        return quoted


def text_json(text: str) -> bytes:
    """A text as a JSON string."""
    try:
        return orjson.dumps(text)
    except TypeError:  # half a surrogate pair, which no UTF-8 text can hold
        return orjson.dumps(text.encode(errors="replace").decode())


quoted = _Quoted()


class _Orders(dict[tuple[str, ...], bytes]):
    """Orders of nodes as JSON; a run has few, or the last thousand are kept."""

    def __missing__(self, order: tuple[str, ...]) -> bytes:
        if len(self) >= 1000:
            self.clear()
        text = self[order] = b",".join([quoted[name] for name in order])
        return text


_orders = _Orders()

_EXECUTION = b'%b"dt_ns":%d,"duration_ns":%d,"error":%b,"inputs":[%b],"outputs":[%b],"now_ns":%d,"tick":%d}\n'
ONE_MESSAGE_TICK = (
    b'{"kind":"tick","dt_ns":%d,"duration_ns":%d,"error":null,"inputs":[%b],'
    b'"outputs":[{"topic":%b,"data":%b,"stamp_ns":%d,"seq":%d}],"now_ns":%d,"tick":%d}\n'
)
"""The most frequent line: made in one step it takes half the time."""
SILENT_TICK = (
    b'{"kind":"tick","dt_ns":%d,"duration_ns":%d,"error":null,"inputs":[%b],"outputs":[],"now_ns":%d,"tick":%d}\n'
)
"""The next: that of a node which sends nothing."""
KINDS = ("tick", "init", "shutdown", "safe_state", "request")
"""Of the lines of callbacks."""
_openings = {kind: b'{"kind":"%b",' % kind.encode() for kind in KINDS}
INPUT = b'{"topic":%b,"publisher":%b,"seq":%d}'
_INPUT_FROM = b'{"topic":%b,"publisher":%b,"source":%d,"seq":%d}'
_INPUT_AFTER = b'{"topic":%b,"publisher":%b,%b"empty":%d,"seq":%d}'
_OUTPUT = b'{"topic":%b,"data":%b,"stamp_ns":%d,"seq":%d}'
_LATER_OUTPUT = b'{"topic":%b,"data":%b,"stamp_ns":%d,"seq":%d,"tick":%d}'
TICK = b'{"kind":"tick","order":[%b],"digest":"%06x","now_ns":%d,"tick":%d}\n'
"""The scheduler's, of the low 24 bits of the digest."""
_TICK_AFTER_SETTING = b'{"kind":"tick","order":[%b],"digest":"%06x","elapsed_ns":%d,"now_ns":%d,"tick":%d}\n'
_MESSAGE = b'{"kind":"message","topic":%b,"publisher":%b,%b"data":%b,"stamp_ns":%d,"seq":%d,"tick":%d}\n'


def execution_line(execution: Execution, outputs: Sequence[Sent]) -> bytes:
    """The line of one call of a node's callback, with what it sent."""
    kind, _, tick, now_ns, dt_ns, duration_ns, inputs, error, _, cut, looks, after_ns = execution
    if not inputs:
        taken = b""
    elif len(inputs) == 1:
        taken = input_text(*inputs[0])
    else:
        taken = b",".join([input_text(*taken) for taken in inputs])
    sent = b",".join([_output(output, tick) for output in outputs]) if outputs else b""
    failure = b"null" if error is None else text_json(error)
    if cut:
        failure += b',"cut":true'
    elif error is not None and error.startswith("Cancelled"):
        failure += b',"cut":false'  # said only where the error could be taken for it
    seen = b"" if not looks else b'"looks":[%b],' % b",".join(_looks(looks))
    if after_ns:
        seen += b'"after_ns":%d,' % after_ns
    return _EXECUTION % (_openings[kind] + seen, dt_ns, duration_ns, failure, taken, sent, now_ns, tick)


def sends_line(tick: int | None, outputs: Sequence[Sent]) -> bytes:
    """The line of what a node sent while the callback of ``tick`` was going on, or outside of one."""
    sent = b",".join([_output(output, tick) for output in outputs])
    return b'{"kind":"sends","outputs":[%b],"tick":%b}\n' % (sent, b"null" if tick is None else b"%d" % tick)


def resumed_line(resumed: Resumed) -> bytes:
    """The line of a task that went on."""
    cancelled = b',"cancelled":true' if resumed.cancelled else b""
    return b'{"kind":"resumed","task":%d,"now_ns":%d,"tick":%d%b}\n' % (
        resumed.task,
        resumed.now_ns,
        resumed.tick,
        cancelled,
    )


def _looks(looks: Looks) -> Iterator[bytes]:
    """What a callback saw without taking it: ``latest`` names a message, ``has_msg`` and ``lost`` have a value."""
    for (asked, topic), answers in looks.items():
        for answer, times in answers:
            seen: dict[str, Any] = {"topic": topic, "asked": asked}
            if asked != "latest":
                seen["value"] = int(answer)
            elif answer is not None:
                seen["publisher"], seen["seq"], source = answer
                if source:
                    seen["source"] = source
            if times > 1:
                seen["times"] = times
            yield orjson.dumps(seen)


def input_text(topic: str, publisher: str, seq: int, source: int, empty: int = 0) -> bytes:
    """One of the ``inputs`` of a line."""
    if empty:
        which = b'"source":%d,' % source if source else b""
        return _INPUT_AFTER % (quoted[topic], quoted[publisher], which, empty, seq)
    if source:
        return _INPUT_FROM % (quoted[topic], quoted[publisher], source, seq)
    return INPUT % (quoted[topic], quoted[publisher], seq)


def _output(sent: Sent, tick: int | None) -> bytes:
    _, topic, seq, stamp_ns, payload, sent_in, _ = sent
    text = payload if payload[0] else to_json(payload)
    if sent_in == tick:
        return _OUTPUT % (quoted[topic], text, stamp_ns, seq)
    return _LATER_OUTPUT % (quoted[topic], text, stamp_ns, seq, sent_in)


def tick_line(end: TickEnd, digest: int) -> bytes:
    """The scheduler's line of one tick; of the digest (`DIGESTED`) the low 24 bits."""
    tick, now_ns, order, elapsed_ns = end
    if elapsed_ns is not None:
        return _TICK_AFTER_SETTING % (_orders[tuple(order)], digest & 0xFFFFFF, elapsed_ns, now_ns, tick)
    return TICK % (_orders[tuple(order)], digest & 0xFFFFFF, now_ns, tick)


def external_text(payload: bytes) -> bytes:
    """The data of an external message, which another process wrote, as a reader of it was given them.

    Its text may name a key twice, hold blanks or numbers of any length: what was received goes by what was read.

    Raises:
        HorusError, ValueError, TypeError: it is not JSON, or deeper than a line can hold.
    """
    return orjson.dumps(orjson.loads(to_json(payload)))


def message_line(message: External, text: bytes | None = None) -> bytes:
    """The line of an external message.

    Args:
        message: The message.
        text: Its data, where `external_text` has made that already.

    Raises:
        ValueError: the payload, which another process made, is not JSON.
    """
    tick, topic, publisher, seq, stamp_ns, payload, source = message
    if text is None:
        text = to_json(payload)
        orjson.loads(text)
    which = b'"source":%d,' % source if source else b""
    return _MESSAGE % (quoted[topic], quoted[publisher], which, text, stamp_ns, seq, tick)


@define
class Gap:
    """What is missing: the tick of the first of it, how much (`Counts.dropped`), and why."""

    tick: int
    dropped: int
    reason: str


@define
class Counts:
    """What a footer counts."""

    ticks: int = 0
    inputs: int = 0
    outputs: int = 0
    dropped: int = 0
    """Messages that are in no line, and the lines left out that had none: a lost tick of a node counts as its messages
    do, or as 1 where it sent nothing. For the scheduler's file, ticks; for the log, its lines."""
    lines: int = 0
    """Of the log."""

    def add(self, other: Counts) -> None:
        """Add another's counts to these."""
        self.ticks += other.ticks
        self.inputs += other.inputs
        self.outputs += other.outputs
        self.dropped += other.dropped
        self.lines += other.lines


def count_line(line: bytes) -> tuple[str, int, Counts]:
    """The kind, the tick and the counts of a line that was built here."""
    fields = orjson.loads(line)
    tick = fields.get("tick", 0)
    if tick is None:
        tick = fields["at_tick"] if fields["kind"] == "log" else fields["outputs"][0]["tick"]
    return fields["kind"], tick, count_fields(fields)


_OF_MESSAGES = frozenset({*KINDS, "sends", "message"})


def count_fields(fields: Mapping[str, Any]) -> Counts:
    """The counts of a line that was built here, by its fields."""
    kind = fields["kind"]
    if kind == "log":  # any other field may be the user's
        return Counts(lines=1)
    if kind in {"gap", "footer"}:
        return Counts(dropped=fields["dropped"])
    if kind not in _OF_MESSAGES:  # of a later release, whose fields may be anything
        return Counts()
    inputs, outputs = fields.get("inputs", ()), fields.get("outputs", ())
    return Counts(kind == "tick", len(inputs) + (kind == "message"), len(outputs))


def line_messages(fields: Mapping[str, Any]) -> Iterator[tuple[str, str | None, int, int]]:
    """Topic, publisher (of an external message), tick and size of each message in a line, by its fields."""
    if fields["kind"] == "message":
        yield fields["topic"], fields["publisher"], fields["tick"], len(orjson.dumps(fields["data"]))
    if fields["kind"] not in _OF_MESSAGES:
        return
    for sent in fields.get("outputs", ()):
        yield sent["topic"], None, sent.get("tick", fields["tick"]), len(orjson.dumps(sent["data"]))


def line_tick(line: bytes) -> int | None:
    """The tick of a line that was built here, of the log the one that was going on; None if it has none."""
    at = line.rfind(b'"tick":', -28)
    if at >= 0:
        number = line[at + 7 : -2]
        if b"," not in number:  # else ``at_tick`` follows
            return None if number == b"null" else int(number)
    fields = orjson.loads(line)
    tick = fields.get("at_tick", fields.get("tick"))
    return tick if isinstance(tick, int) else None


def gap_line(tick: int, dropped: int, reason: str) -> bytes:
    """The line that stands where something (`Counts.dropped`) is missing, the first of it of ``tick``."""
    return _line({"kind": "gap", "tick": tick, "dropped": dropped, "reason": reason})


def footer_line(
    ended_at_ns: int,
    counts: Counts,
    topics: Iterable[TopicTally] | None = None,
    next_file: str | None = None,
    *,
    excluded: int | None = None,
    sends: int | None = None,
    loose: int | None = None,
) -> bytes:
    """The last line of a file; ``next_file`` is the one that goes on where this one ends."""
    fields: dict[str, Any] = {"kind": "footer", "ended_at": iso_utc(ended_at_ns), **asdict(counts)}
    if not counts.lines:
        del fields["lines"]
    if topics is not None:
        fields["topics"] = [asdict(tally, filter=lambda _, value: value is not None) for tally in topics]
    if sends is not None:
        fields["sends"] = sends
        fields["loose"] = loose
    if next_file is not None:
        fields["next"] = next_file
    if excluded is not None:
        fields["excluded"] = excluded
    return _line(fields)


def header_line(
    run: RunInfo,
    session: str,
    role: str,
    node: NodeInfo | None = None,
    choices: Mapping[str, Any] | None = None,
) -> bytes:
    """The first line of a file; ``role`` says whose it is, ``choices`` what of the run is recorded."""
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
            **(choices or {}),
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
    fields = {
        "rate": node.rate,
        "on": node.on,
        "pubs": node.pubs,
        "subs": node.subs,
        "order": node.order,
        "compute": node.compute,
        **({"params": dict(node.params)} if node.params else {}),
    }
    return {**fields, "keep": node.keep} if node.keep else fields


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
    crc = 0
    for node, topic, seq, _, payload, _, _ in sent:
        text = payload if payload[0] else to_json(payload)
        crc = crc32(DIGESTED % (quoted[node], quoted[topic], seq, text), crc)
    return f"{crc & 0xFFFFFF:06x}"


DIGESTED = b"%b %b %d %b "
"""What a tick's digest is the CRC-32 of, for each message: see `tick_digest`."""

EMPTY_DIGEST = "000000"
"""The digest of a tick in which nothing was sent."""
