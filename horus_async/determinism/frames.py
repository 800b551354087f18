"""What each run of a check writes: one frame per tick, with a rolling digest and the tick's messages.

The digest of a tick is BLAKE2b (16 bytes) over, for each message so far, ``NODE TOPIC SEQ STAMP_NS JSON`` and a zero
byte, node and topic as JSON strings, in the order of ticks, within a tick by node, within a node as sent; and for each
callback that raised ``NODE KIND ERROR`` and a zero byte. The order in which independent nodes tick depends on the order
in which they were added, and is left out on purpose.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import TYPE_CHECKING

import attrs
import orjson
from attrs import frozen

from horus_async.observe import Execution, Observer
from horus_async.topics.codec import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from horus_async.observe import RunInfo, Sent, TickEnd

    from .findings import GuardFinding

BEGIN, FOUND, END = b"begin", b"found", b"end"
"""How lines begin that are not frames: a run's seed and rate, a finding of the guard, how the run ended."""


class TickDigests(Observer):
    """Writes the frames of one run."""

    def __init__(self, write: Callable[[bytes], object], findings: Callable[[], Sequence[GuardFinding]]) -> None:
        self._write = write
        self._findings = findings
        self._found = 0
        self._hash = blake2b(digest_size=16)
        self._sent: list[Sent] = []
        """Messages since the last tick ended; what ``init`` sends belongs to the first tick."""
        self._errors: list[tuple[str, str, str]] = []
        self._reason = ""

    def run_started(self, run: RunInfo) -> None:
        """Write seed and tick rate."""
        self._write(BEGIN + b" " + json.dumps({"seed": run.seed, "tick_rate": run.tick_rate}).encode() + b"\n")

    def sent(self, message: Sent) -> None:
        """Keep a message until its tick ends."""
        self._sent.append(message)

    def executed(self, execution: Execution) -> None:
        """Keep the type of the exception, if there was one."""
        if execution.error is not None:
            # the text of an exception may hold an address, which does not matter
            self._errors.append((execution.node, execution.kind, execution.error.partition(":")[0]))

    def tick_ended(self, end: TickEnd) -> None:
        """Write the frame of the tick."""
        sent = self._sent
        texts = [
            orjson.dumps([node, topic, seq, stamp_ns, orjson.Fragment(to_json(payload))])
            for node, topic, seq, stamp_ns, payload, *_ in sorted(sent, key=_node_of)
        ]
        errors = sorted(self._errors)
        for text in (*texts, *map(orjson.dumps, errors)):
            self._hash.update(text)
            self._hash.update(b"\0")
        order = orjson.dumps(list(dict.fromkeys(map(_node_of, sent))))
        body = b'{"sent":[%b],"errors":%b,"order":%b}' % (b",".join(texts), orjson.dumps(errors), order)
        self._tell_findings()
        self._write(b"%d %b %d %b\n" % (end.tick, self._hash.hexdigest().encode(), len(texts), body))
        self._sent, self._errors = [], []

    def run_stopped(self, reason: str, ticks: int) -> None:
        """Keep the reason for the last frame."""
        del ticks
        self._reason = reason

    def finish(self, failure: str) -> None:
        """Write the last frame: how the run ended."""
        self._tell_findings()
        self._write(END + b" " + orjson.dumps({"reason": self._reason, "failure": failure}) + b"\n")

    def _tell_findings(self) -> None:
        findings = self._findings()
        for finding in findings[self._found :]:
            self._write(FOUND + b" " + orjson.dumps(attrs.asdict(finding)) + b"\n")
        self._found = len(findings)


def _node_of(sent: Sent) -> str:
    return sent.node


@frozen
class Frame:
    """What one run reports for one tick."""

    tick: int
    digest: str
    count: int
    """How many messages were sent."""
    body: bytes

    def messages(self) -> dict[str, list[tuple[str, int, int, bytes]]]:
        """Each node's messages: topic, sequence number, stamp and JSON text; nodes in order of their first message."""
        fields = orjson.loads(self.body)
        found: dict[str, list[tuple[str, int, int, bytes]]] = {node: [] for node in fields["order"]}
        for node, topic, seq, stamp_ns, data in fields["sent"]:
            found[node].append((topic, seq, stamp_ns, orjson.dumps(data)))
        return found

    def errors(self) -> list[tuple[str, str, str]]:
        """Node, kind of callback and type of each exception."""
        return [(node, kind, error) for node, kind, error in orjson.loads(self.body)["errors"]]


@frozen
class End:
    """What one run reports at its end."""

    reason: str
    failure: str
    """What it raised; empty if nothing."""
