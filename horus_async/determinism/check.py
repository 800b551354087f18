"""Does a program do the same each time? What the runs of a check report, and how they are compared.

Each run, in a process of its own (see `Variant`), writes one frame per tick: a rolling digest over everything sent so
far, and the messages of the tick. The reader of all frames compares the digests side by side, and looks into the
messages only where they differ.

The digest of a tick is BLAKE2b (16 bytes) over, for each message so far, ``NODE TOPIC SEQ STAMP_NS JSON`` and a zero
byte, node and topic as JSON strings, in the order of ticks, within a tick by node, within a node as sent; and for each
callback that raised ``NODE KIND ERROR`` and a zero byte. The order in which independent nodes tick depends on the order
in which they were added, and is left out on purpose.
"""

from __future__ import annotations

import itertools
import json
import platform
import random
import sys
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import attrs
import orjson
from attrs import define, field, frozen

from horus_async import __version__
from horus_async.engine.order import topic_edges
from horus_async.errors import HorusError
from horus_async.observe import Execution, Observer
from horus_async.topics.codec import decode, to_json
from horus_async.value_diff import first_difference

from .findings import GuardFinding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from horus_async.nodes.node import Node
    from horus_async.observe import RunInfo, Sent, TickEnd

NO_MESSAGE = "(no message)"
"""Stands in for a message that only one of two runs sent."""
_BEGIN, _FOUND, _END = b"begin", b"found", b"end"


# -- one run of a check ------------------------------------------------------------------------------------------------


@frozen
class Variant:
    """The conditions under which one run of a check takes place."""

    number: int
    """From 1, which runs the program as it is written."""
    hash_seed: int
    """``PYTHONHASHSEED``, which decides the order of sets of strings."""
    allocator_noise: bool
    """Memory is laid out differently, and the garbage collector runs often."""
    cpu_load: bool
    """Another thread keeps the CPU busy."""
    shuffled: bool
    """Nodes are added in a different order."""

    def __str__(self) -> str:
        words = [f"PYTHONHASHSEED={self.hash_seed}"]
        words += ["allocator noise"] * self.allocator_noise + ["CPU load"] * self.cpu_load
        words += ["another order of add"] * self.shuffled
        return f"run {self.number} ({', '.join(words)})"


def variants(runs: int) -> list[Variant]:
    """The variants of ``runs`` runs, the same each time."""
    first = Variant(1, 0, allocator_noise=False, cpu_load=False, shuffled=False)
    second = Variant(2, 1, allocator_noise=True, cpu_load=False, shuffled=False)
    others = [
        Variant(n, n * 2654435761 % (1 << 32), allocator_noise=n % 2 == 0, cpu_load=n % 2 == 1, shuffled=True)
        for n in range(3, runs + 1)
    ]
    return [first, second, *others][:runs]


def shuffled(nodes: Sequence[Node], seed: int) -> list[Node]:
    """The nodes in a different order of ``add``, except where that order legitimately matters.

    It does within a loop, where it decides which edge carries the previous tick's message, and among nodes that send on
    the same topic: those keep their relative order.
    """
    groups = _bound_together(nodes)
    order = list(nodes)
    random.Random(seed).shuffle(order)
    left = {name: [node for node in nodes if groups[node.name] == name] for name in set(groups.values())}
    return [left[groups[node.name]].pop(0) for node in order]


def _bound_together(nodes: Sequence[Node]) -> dict[str, str]:
    """Maps each node's name to the name of the first node of its group."""
    pubs = {node.name: set(node.pubs) for node in nodes}
    edges = topic_edges(pubs, {node.name: {*node.subs, *(node.on or ())} for node in nodes})
    reached = {name: _reached(name, edges) for name in pubs}
    groups: dict[str, str] = {}
    for name, topics in pubs.items():
        bound = (
            group
            for other, group in groups.items()
            if topics & pubs[other] or (name in reached[other] and other in reached[name])
        )
        groups[name] = next(bound, name)
    return groups


def _reached(start: str, edges: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        new = edges.get(todo.pop(), set()) - found
        found |= new
        todo.extend(new)
    return found


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
        self._write(_BEGIN + b" " + json.dumps({"seed": run.seed, "tick_rate": run.tick_rate}).encode() + b"\n")

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
            for node, topic, seq, stamp_ns, payload, _ in sorted(sent, key=_node_of)
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
        self._write(_END + b" " + orjson.dumps({"reason": self._reason, "failure": failure}) + b"\n")

    def _tell_findings(self) -> None:
        findings = self._findings()
        for finding in findings[self._found :]:
            self._write(_FOUND + b" " + orjson.dumps(attrs.asdict(finding)) + b"\n")
        self._found = len(findings)


def _node_of(sent: Sent) -> str:
    return sent.node


# -- comparing ---------------------------------------------------------------------------------------------------------


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


@frozen
class Divergence:
    """The first place where two runs differ."""

    tick: int
    node: str
    topic: str
    field: str
    """The path inside the message; empty for the whole value."""
    expected: Any
    """What run 1 did."""
    found: Any
    """What the other run did."""
    run: str
    """The other run, and its conditions."""

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value}"
            for name, value in (("tick", self.tick), ("node", self.node), ("topic", self.topic), ("field", self.field))
            if value != ""  # a tick may be 0
        )
        return f"{where}: {self.expected!r} in run 1, {self.found!r} in {self.run}"


@define
class Comparison:
    """Reads the frames of all runs side by side.

    Args:
        runs: The conditions of each run.
    """

    runs: Sequence[Variant]
    seed: int = 0
    tick_rate: float = 0.0
    ticks: int = 0
    """Number of ticks in which all runs did the same."""
    messages: int = 0
    """Number of messages that run 1 sent in them."""
    first: int | None = None
    last: int | None = None
    digests: dict[int, str] = field(factory=dict)
    difference: Divergence | None = None
    findings: dict[tuple[str, int, str], GuardFinding] = field(factory=dict)
    ends: list[End] = field(factory=list)
    """How each run ended; empty if the end was not reached."""

    def read(self, sources: Sequence[Iterable[bytes]]) -> Iterator[int]:
        """Compare tick by tick, up to the first difference or the end; yields each tick that is the same in all runs.

        Raises:
            RunDiedError: A run ended without a last frame.
        """
        readers = [iter(source) for source in sources]
        while self.difference is None:
            frames = [self._next(number, reader) for number, reader in enumerate(readers)]
            self.difference = self._compare(frames)
            expected = frames[0]
            if self.difference is not None:
                return
            if isinstance(expected, End):
                self.ends = [frame for frame in frames if isinstance(frame, End)]
                return
            self._same(expected)
            yield expected.tick

    def _next(self, number: int, lines: Iterator[bytes]) -> Frame | End:
        for line in lines:
            head, _, rest = line.partition(b" ")
            if not line.endswith(b"\n"):
                break
            if head == _BEGIN:
                fields = json.loads(rest)
                self.seed, self.tick_rate = fields["seed"], fields["tick_rate"]
            elif head == _FOUND:
                finding = GuardFinding(**orjson.loads(rest))
                self.findings.setdefault((finding.file, finding.line, finding.call), finding)
            elif head == _END:
                return End(**orjson.loads(rest))
            else:
                digest, count, body = rest.split(b" ", 2)
                return Frame(int(head), digest.decode(), int(count), body)
        raise RunDiedError(number)

    def _same(self, frame: Frame) -> None:
        if self.first is None:
            self.first = frame.tick
        elif self.last is not None and self.ticks not in (1, 10, 100, 1000, 10_000, 100_000, 1_000_000):
            self.digests.pop(self.last, None)
        self.last = frame.tick
        self.digests[frame.tick] = frame.digest
        self.ticks += 1
        self.messages += frame.count

    def _compare(self, frames: Sequence[Frame | End]) -> Divergence | None:
        expected = frames[0]
        for frame, run in zip(frames[1:], self.runs[1:], strict=True):
            if isinstance(expected, Frame) and isinstance(frame, Frame):
                if (frame.tick, frame.digest) != (expected.tick, expected.digest):
                    return _diverging_frames(expected, frame, run)
            elif _how(expected) != _how(frame):
                tick = 0 if self.last is None else self.last + 1
                return Divergence(tick, "", "", "", _how(expected), _how(frame), str(run))
        return None


class RunDiedError(HorusError):
    """A run of a check ended without a last frame; ``number`` counts from 0."""

    def __init__(self, number: int) -> None:
        super().__init__(f"run {number + 1} of the check died")
        self.number = number


def _how(frame: Frame | End) -> str:
    return "the run goes on" if isinstance(frame, Frame) else f"the run ended ({frame.reason})"


def _diverging_frames(expected: Frame, found: Frame, run: Variant) -> Divergence:
    if expected.tick != found.tick:
        return Divergence(expected.tick, "", "", "", f"tick {expected.tick}", f"tick {found.tick}", str(run))
    sides = expected.messages(), found.messages()
    for node in dict.fromkeys([*sides[0], *sides[1]]):
        for a, b in itertools.zip_longest(sides[0].get(node, ()), sides[1].get(node, ())):
            if a != b:
                topic, path, left, right = _diverging_messages(a, b)
                return Divergence(expected.tick, node, topic, path, left, right, str(run))
    errors = expected.errors(), found.errors()
    node = min(set(errors[0]) ^ set(errors[1]), default=("",))[0]
    raised = [next((error for name, _, error in side if name == node), "none") for side in errors]
    return Divergence(expected.tick, node, "", "(exception)", raised[0], raised[1], str(run))


def _diverging_messages(
    a: tuple[str, int, int, bytes] | None, b: tuple[str, int, int, bytes] | None
) -> tuple[str, str, Any, Any]:
    if a is None or b is None:
        present = a or b
        assert present is not None
        value = decode(present[3])
        return present[0], "", NO_MESSAGE if a is None else value, NO_MESSAGE if b is None else value
    if a[0] != b[0]:
        return a[0], "", f"sent on {a[0]}", f"sent on {b[0]}"
    if a[3] != b[3]:
        return a[0], *first_difference(decode(a[3]), decode(b[3]))
    index, name = (1, "(seq)") if a[1] != b[1] else (2, "(stamp_ns)")
    return a[0], name, a[index], b[index]


# -- the certificate ---------------------------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Versions of what the runs were made with."""
    found = {"horus-async": __version__, "python": f"{platform.python_implementation()} {platform.python_version()}"}
    found["platform"] = f"{sys.platform}-{platform.machine()}"
    for package in ("trio", "anyio", "orjson", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@frozen(kw_only=True)
class Certificate:
    """The result of a check."""

    app: str
    args: tuple[str, ...]
    seed: int
    tick_rate: float
    ended: str
    """Why run 1 ended."""
    runs: tuple[Variant, ...]
    ticks: int
    """Number of ticks, from the first, in which all runs did the same."""
    messages: int
    """Number of messages that run 1 sent in them."""
    digests: dict[int, str]
    """Maps ticks to the rolling digest after them: every tenfold tick (1, 10, 100 …), and the last."""
    first_tick: int | None
    last_tick: int | None
    """The range of ticks in which the run is replayable, inclusive; None if there is none."""
    difference: Divergence | None
    findings: tuple[GuardFinding, ...] = ()
    versions: dict[str, str] = field(factory=versions)

    @property
    def replayable(self) -> bool:
        """Whether every tick was the same in all runs, and the guard found nothing."""
        return self.difference is None and not self.findings and self.messages > 0

    def why_not(self) -> list[str]:
        """Where the run is not replayable, and why."""
        reasons = []
        if self.difference is not None:
            reasons.append(f"from tick {self.difference.tick} on: {self.difference}")
        if not self.messages:
            reasons.append("nothing was sent, so nothing was compared")
        return [*reasons, *(f"not to be relied on: {finding}" for finding in self.findings)]

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "replayable": self.replayable,
            "from_tick": self.first_tick,
            "to_tick": self.last_tick,
            "why_not": self.why_not(),
            **attrs.asdict(self, filter=attrs.filters.exclude("first_tick", "last_tick")),
        }
