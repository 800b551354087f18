"""Looks at a namespace again and again: rings, what runs answer, and what the system says of their processes."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

from attrs import define, field

from horus_async.clock.system import NANOSECONDS, monotonic_ns, wall_ns
from horus_async.nodes.interface.marks import CONTROL
from horus_async.remote.watching import Watch, number_of
from horus_async.topics.inspection import RingInfo, survey

from .look import Anomaly, Look, NodeRow, ProcessRow, TopicRow
from .processes import Process, look_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from horus_async.remote.watching import Answers, RunKey

_SILENT_NS = 2 * NANOSECONDS
"""A run that has not answered for so long is said to be silent."""
_ANOMALIES = 50


@define
class _Ring:
    """What was seen of a ring."""

    at_ns: int
    messages: int
    rate: float | None = None
    mean_bytes: float = 0.0


@define
class Looker:
    """Use it as a context manager, and call `look` as often as you like; rates are those since the last time.

    Args:
        namespace: What to look at.
    """

    namespace: str
    _watch: Watch = field(init=False)
    _rings: dict[str, _Ring] = field(init=False, factory=dict)
    _nodes: dict[tuple[RunKey, str], dict[str, Any]] = field(init=False, factory=dict)
    """Of each node the row before the last one."""
    _last: dict[tuple[RunKey, str], dict[str, Any]] = field(init=False, factory=dict)
    _heads: dict[RunKey, tuple[float, float]] = field(init=False, factory=dict)
    _cpu: dict[tuple[int, int], tuple[int, float]] = field(init=False, factory=dict)
    _began_ns: int = field(init=False, factory=monotonic_ns)

    def __attrs_post_init__(self) -> None:
        self._watch = Watch(self.namespace)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.__exit__(None, None, None)

    def ask(self) -> None:
        """Have the runs answer, for the next look."""
        self._watch.ask("stats")

    def wait(self, timeout: float) -> None:
        """Wait for the answers; at most that many seconds for the first."""
        self._watch.wait(timeout)

    def look(self) -> Look:
        """What there is now.

        Raises:
            TopicPermissionError: The namespace's folder is not ours.
        """
        self._watch.collect()
        found, left_out = survey(self.namespace)
        rings = [ring for ring in found if ring.pid != os.getpid()]
        answers = self._answers(rings)
        processes = {pid: look_at(pid) for pid in {ring.pid for ring in rings} | {key[1] for key in answers}}
        nodes = [row for key, answer in answers.items() for row in self._node_rows(key, answer)]
        rows = self._process_rows(rings, answers, processes)
        notes = [f"not read: {left.title}: {left.reason}" for left in left_out[:5]]
        notes += [f"{len(left_out) - 5} more rings are not read"] if len(left_out) > 5 else []
        notes += self._notes(rows)
        return Look(
            self.namespace,
            wall_ns(),
            tuple(nodes),
            tuple(self._topic_rows(rings)),
            tuple(rows),
            tuple(_anomalies(answers.values())),
            tuple(notes),
            self._cost(answers),
        )

    # Runs

    def _answers(self, rings: Sequence[RingInfo]) -> dict[RunKey, Answers]:
        """What the runs say that go on: such a one has a live ring for its answers."""
        alive = {
            (name, ring.pid)
            for ring in rings
            if ring.topic == f"{CONTROL}/reply" and ring.live
            for name in ring.publishers
        }
        answers = self._watch.answers("stats")
        newest: dict[tuple[str, int], RunKey] = {}
        for key in sorted(answers, key=lambda key: key[2]):
            newest[key[:2]] = key  # a scheduler runs again
        for key in [key for key in answers if key[:2] not in alive or newest[key[:2]] != key]:
            self._watch.forget(key)
            self._heads.pop(key, None)
            self._last = {place: row for place, row in self._last.items() if place[0] != key}
            self._nodes = {place: row for place, row in self._nodes.items() if place[0] != key}
        return dict(answers)

    def _node_rows(self, key: RunKey, answer: Answers) -> Iterable[NodeRow]:
        silent_ns = monotonic_ns() - (answer.whole_ns or self._began_ns)
        for node, row in answer.rows.items():
            place = key, node
            last = self._last.get(place)
            if last is None or last["elapsed_ns"] < row["elapsed_ns"]:
                self._last[place] = row
                if last is not None:
                    self._nodes[place] = last
            yield _node_row(key, row, self._nodes.get(place), silent_ns)

    def _cost(self, answers: dict[RunKey, Answers]) -> float:
        cost = 0.0
        for key, answer in answers.items():
            spent, elapsed = (number_of(answer.head.get(name)) for name in ("spent_ns", "elapsed_ns"))
            before = self._heads.get(key)
            if before is not None and elapsed > before[1]:
                cost = max(cost, 100 * (spent - before[0]) / (elapsed - before[1]))
            self._heads[key] = spent, elapsed
        return cost

    # Topics

    def _topic_rows(self, rings: Sequence[RingInfo]) -> Iterable[TopicRow]:
        by_topic: defaultdict[str, list[RingInfo]] = defaultdict(list)
        for ring in rings:
            by_topic[ring.topic].append(ring)
        seen = {ring.file: self._seen(ring) for ring in rings}
        self._rings = seen
        for topic, its in by_topic.items():
            live = [ring for ring in its if ring.live]
            rates = [(seen[ring.file].rate, seen[ring.file].mean_bytes) for ring in live]
            known = [(rate, size) for rate, size in rates if rate is not None]
            yield TopicRow(
                topic,
                tuple(dict.fromkeys(name for ring in live or its for name in ring.publishers)),
                tuple(sorted({ring.pid for ring in live or its})),
                sum(rate for rate, _ in known) if known or not live else None,
                sum(rate * size for rate, size in known) if known or not live else None,
                sum(ring.messages for ring in its),
                sum(ring.memory for ring in its),
                "live" if live else "kept" if any(ring.keep for ring in its) else "left over",
            )

    def _seen(self, ring: RingInfo) -> _Ring:
        now_ns, before, size = monotonic_ns(), self._rings.get(ring.file), float(ring.newest_bytes or 0)
        if before is None:
            return _Ring(now_ns, ring.messages, None, size)
        rate = max(0, ring.messages - before.messages) * NANOSECONDS / max(1, now_ns - before.at_ns)
        return _Ring(now_ns, ring.messages, rate, (before.mean_bytes + size) / 2 if before.messages else size)

    # Processes

    def _process_rows(
        self, rings: Sequence[RingInfo], answers: dict[RunKey, Answers], processes: dict[int, Process | None]
    ) -> list[ProcessRow]:
        nodes: defaultdict[int, int] = defaultdict(int)
        for key, answer in answers.items():
            nodes[key[1]] += len(answer.rows)
        topics: defaultdict[int, set[str]] = defaultdict(set)
        for ring in rings:
            topics[ring.pid].add(ring.topic)
        living = {ring.pid for ring in rings if ring.live} | nodes.keys()
        found, cpu = [], {}
        for pid, process in sorted(processes.items()):
            if process is None or pid not in living:  # its number may be another one's by now
                found.append(ProcessRow(pid, "", None, len(topics[pid]), None, None, "dead"))
                continue
            part = None
            if process.cpu_seconds is not None:
                now_ns = monotonic_ns()
                before = self._cpu.get((pid, process.began))
                cpu[pid, process.began] = now_ns, process.cpu_seconds
                if before is not None:
                    part = 100 * NANOSECONDS * (process.cpu_seconds - before[1]) / max(1, now_ns - before[0])
            count = nodes.get(pid)
            found.append(ProcessRow(pid, process.program, count, len(topics[pid]), process.memory, part, "running"))
        self._cpu = cpu
        return found

    def _notes(self, rows: Sequence[ProcessRow]) -> list[str]:
        notes = []
        deaf = [str(row.pid) for row in rows if row.nodes is None and row.state == "running"]
        if deaf:
            notes.append(
                f"no run answers in process {', '.join(deaf[:5])}{' and others' if len(deaf) > 5 else ''}: runs that "
                "are deterministic and replays hear nothing from outside, a Topic has no nodes, and a run that is "
                "busy, or just starting, answers later"
            )
        if self._watch.refused:
            notes.append("too many programs look at once: some answers were refused")
        return notes


def _node_row(key: RunKey, row: dict[str, Any], before: dict[str, Any] | None, silent_ns: int) -> NodeRow:
    ticks, total_us = int(number_of(row.get("ticks"))), number_of(row.get("total_us"))
    rate, mean_us = None, total_us / ticks if ticks > 0 else None
    if before is not None:
        more = ticks - number_of(before.get("ticks"))
        seconds = (row["elapsed_ns"] - before["elapsed_ns"]) / NANOSECONDS
        if more >= 0 and seconds > 0:
            rate = more / seconds
        if more > 0:
            mean_us = (total_us - number_of(before.get("total_us"))) / more
    on = row.get("on")
    return NodeRow(
        node=str(row["node"]),
        run=key[0],
        pid=key[1],
        wanted=None if row.get("rate") is None else number_of(row.get("rate")),
        on=tuple(map(str, on)) if isinstance(on, list) else (),
        rate=rate,
        mean_us=mean_us,
        max_us=number_of(row.get("max_us")),
        ticks=ticks,
        state=f"silent {silent_ns // NANOSECONDS} s" if silent_ns > _SILENT_NS else str(row.get("state")),
        **{name: int(number_of(row.get(name))) for name in _COUNTS},
    )


_COUNTS = ("misses", "overruns", "errors", "restarts", "lost", "refused")


def _anomalies(answers: Iterable[Answers]) -> list[Anomaly]:
    found = []
    for answer in answers:
        said = answer.head.get("anomalies")
        for one in said if isinstance(said, list) else ():
            if isinstance(one, dict):
                node = one.get("node")
                texts = str(one.get("kind")), str(one.get("text"))
                numbers = (int(number_of(one.get(name))) for name in ("tick", "now_ns", "count"))
                found.append(Anomaly(answer.run, answer.pid, None if node is None else str(node), *texts, *numbers))
    return sorted(found, key=lambda one: -one.now_ns)[:_ANOMALIES]
