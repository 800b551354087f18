"""What other processes may ask of a run itself: which nodes it has, and to pause one or let it go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.clock.system import monotonic_ns
from horus_async.errors import TopicError
from horus_async.nodes.interface.marks import CONTROL
from horus_async.topics.codec import decode, encode

if TYPE_CHECKING:
    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.rules.schedule import Step
    from horus_async.engine.runtime import Runtime


class Control:
    """Looks for such requests as each scheduler tick begins."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._subscriber = runtime.bus.subscriber(f"{CONTROL}/request", from_start=True)
        runtime.at_step.append(self.look)

    def look(self, step: Step) -> None:
        """A scheduler tick begins."""
        del step
        while self._subscriber.has_message():
            taken = self._subscriber.take()
            if taken is None:
                return
            payload, publisher, seq, stamp_ns = taken
            try:
                asked = decode(payload)
            except TopicError:
                continue  # nobody's request
            answer = self._answer(asked) if isinstance(asked, dict) else None
            if answer is not None:
                self._send({"publisher": publisher, "seq": seq, "stamp_ns": stamp_ns, **answer})

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any] | None:
        """What to say; None if another run is meant."""
        do, runs = asked.get("do"), self._runtime.runs
        if do == "list":
            return {"value": [_row(run) for run in runs.values()]}
        run = runs.get(asked["node"]) if isinstance(asked.get("node"), str) else None
        if run is None or do not in ("pause", "resume"):
            return None
        changed = self._runtime.pause(run) if do == "pause" else self._runtime.resume(run)
        return {"value": {"node": run.name, "paused": run.paused, "changed": changed}}

    def _send(self, answer: dict[str, Any]) -> None:
        runtime = self._runtime
        publisher = runtime.bus.publisher(f"{CONTROL}/reply", runtime.info.name)
        publisher.publish(encode(answer, publisher.forms), runtime.stamp_ns(), None, monotonic_ns())


def _row(run: NodeRun) -> dict[str, Any]:
    return {
        "node": run.name,
        "rate": run.rate,
        "ticks": run.durations.count,
        "errors": run.errors,
        "deadline_misses": run.misses,
        "state": "paused" if run.paused else run.failure.state.value,
    }
