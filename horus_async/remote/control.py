"""What other processes may ask of a run itself. It answers as its scheduler ticks begin, a little in each.

A request on ``nodes/request`` is a dict whose ``do`` says what is asked:

========== ==========================================================================================================
``list``   a row for each node
``stats``  the figures of each node, and what went wrong last: `facts.FIGURES`
``uses``   the topics that each node sends on and reads
``info``   all of one ``node``
``log``    the newest warnings, and for ``seconds`` all that is logged from ``level`` on, on the topic ``nodes/log``
``pause``  one ``node`` is to enter its safe state and tick no more; ``resume``: to go on
========== ==========================================================================================================

Answers to ``stats`` and ``uses`` come in pages of `PAGE` nodes, one in a scheduler tick, so that a robot of a thousand
nodes is no later for being looked at than one of fifty.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.clock.system import NANOSECONDS, monotonic_ns, perf_ns
from horus_async.errors import TopicError
from horus_async.nodes.interface.marks import CONTROL
from horus_async.topics.codec import decode, encode

from . import facts
from .recent import Recent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.rules.schedule import Step
    from horus_async.engine.runtime import Runtime
    from horus_async.topics.values.payload import Payload

_log = logging.getLogger("horus_async")

PAGE = 50
"""Nodes of which a message tells."""
_AT_ONCE = 20
"""Requests that are looked at in a scheduler tick."""
_ASKERS = 8
"""Answers that may be half given."""
_LINES = 50
"""Log lines that are sent in a scheduler tick."""
_MOST_SECONDS = 60.0
"""For so long somebody may ask for log lines."""


class Control:
    """Looks for such requests as each scheduler tick begins."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._subscriber = runtime.bus.subscriber(f"{CONTROL}/request", from_start=True)
        self._pages: deque[tuple[dict[str, Any], Iterator[dict[str, Any]]]] = deque()
        """Answers that are half given, with the names of their requests."""
        self._spent_ns = 0
        self._failed = False
        self._recent = Recent(self._send_log)
        runtime.observe(self._recent)
        runtime.at_step.append(self.look)

    def look(self, step: Step) -> None:
        """A scheduler tick begins."""
        del step
        if not self._subscriber.has_message() and not self._pages and not self._recent.followed:
            return
        began_ns = perf_ns()
        for _ in range(_AT_ONCE):
            taken = self._subscriber.take()
            if taken is None:
                break
            payload, publisher, seq, stamp_ns = taken
            try:
                asked = decode(payload)
            except TopicError:
                continue  # nobody's request
            if isinstance(asked, dict):
                self._answer({"publisher": publisher, "seq": seq, "stamp_ns": stamp_ns}, asked)
        if self._pages:
            self._turn_a_page()
        if self._recent.followed:
            if self._recent.over(monotonic_ns()):
                self._runtime.audience.ask_for_levels()
            self._recent.send(_LINES)
        self._spent_ns += perf_ns() - began_ns

    def _answer(self, named: dict[str, Any], asked: dict[str, Any]) -> None:
        """Give an answer, or begin one; none if another run is meant."""
        do, runs = asked.get("do"), self._runtime.runs
        if not isinstance(do, str):
            return
        if do in _BY_PAGE:
            if len(self._pages) < _ASKERS:
                self._pages.append((named, self._in_pages(*_BY_PAGE[do])))
            else:
                self._reply(named, {"error": f"{_ASKERS} programs ask at once; ask again"})
        elif do == "list":
            whose = {"run": self._runtime.info.name, "pid": os.getpid()}
            self._reply(named, {"value": [{**facts.listed(run), **whose} for run in runs.values()]})
        elif do == "log":
            self._reply(named, {"value": {**self._run(), "lines": self._follow(asked), "next": self._recent.heard}})
        else:
            run = runs.get(asked["node"]) if isinstance(asked.get("node"), str) else None
            value = None if run is None else self._of_node(do, run)
            if value is not None:
                self._reply(named, {"value": value})

    def _of_node(self, do: str, run: NodeRun) -> dict[str, Any] | None:
        if do == "info":
            topics = self._runtime.topics.get(run.name, ((), ()))
            return {**self._run(), **facts.whole(run, topics), "last_error": self._recent.last_errors.get(run.name)}
        if do not in ("pause", "resume"):
            return None
        changed = self._runtime.pause(run) if do == "pause" else self._runtime.resume(run)
        return {"node": run.name, "paused": run.paused, "changed": changed}

    def _run(self) -> dict[str, Any]:
        runtime = self._runtime
        return {
            "run": runtime.info.name,
            "pid": os.getpid(),
            "began_ns": runtime.info.started_at_ns,
            "tick_rate": runtime.info.tick_rate,
            "tick": runtime.tick,
        }

    # By the page

    def _in_pages(self, columns: Sequence[str], row: Callable[[Runtime, NodeRun], list[Any]]) -> Iterator[Any]:
        runtime = self._runtime
        runs = [*runtime.runs.values()]
        pages = max(1, -(-len(runs) // PAGE))
        for page in range(pages):
            about = {**self._run(), "page": page, "pages": pages, "nodes": len(runs), "columns": [*columns]}
            about |= {"elapsed_ns": runtime.elapsed_ns(), "spent_ns": self._spent_ns}
            rows = [row(runtime, run) for run in runs[page * PAGE : (page + 1) * PAGE]]
            yield {**about, "rows": rows} | ({"anomalies": self._recent.anomalies()} if page == 0 else {})

    def _turn_a_page(self) -> None:
        named, pages = self._pages.popleft()
        page = next(pages)
        self._reply(named, {"value": page})
        if page["page"] + 1 < page["pages"]:
            self._pages.append((named, pages))

    # Log lines

    def _follow(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """What was kept of the log; and let it be heard for a while, if that is asked for."""
        seconds, level = asked.get("seconds"), asked.get("level")
        if isinstance(seconds, int | float) and 0 < seconds <= _MOST_SECONDS:
            until_ns = monotonic_ns() + round(seconds * NANOSECONDS)
            self._recent.follow(level if type(level) is int else None, until_ns)
            self._runtime.audience.ask_for_levels()
        return self._recent.kept_lines()

    def _send_log(self, lines: list[dict[str, Any]]) -> None:
        self._publish("log", {**self._run(), "lines": lines})

    def _reply(self, named: dict[str, Any], answer: dict[str, Any]) -> None:
        self._publish("reply", {**named, **answer})

    def _publish(self, topic: str, value: dict[str, Any]) -> None:
        runtime = self._runtime
        publisher = runtime.bus.publisher(f"{CONTROL}/{topic}", runtime.info.name)
        try:
            publisher.publish(_packed(value, publisher.forms), runtime.stamp_ns(), None, monotonic_ns())
        except TopicError as error:  # who looks must not end the run; he hears nothing, and says so
            if not self._failed:
                self._failed = True
                _log.warning("an answer to another program could not be sent: %s", error)


def _packed(value: dict[str, Any], forms: Any) -> Payload:
    """A message of plain values, without the codec's look at each of them where JSON has them all."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return encode(value, forms)


_BY_PAGE: dict[str, tuple[Sequence[str], Callable[[Runtime, NodeRun], list[Any]]]] = {
    "stats": (facts.FIGURES, facts.figures),
    "uses": (facts.USES, facts.uses),
}
