"""What a run tells others of its nodes, in plain values. Times are of the wall clock."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.runtime import Runtime

FIGURES = (
    "node",
    "rate",
    "on",
    "ticks",
    "total_us",
    "max_us",
    "misses",
    "overruns",
    "errors",
    "restarts",
    "lost",
    "refused",
    "state",
)
"""What `figures` gives of a node."""
USES = ("node", "sends", "reads", "more")
"""What `uses` gives of a node."""
_MOST_TOPICS = 100


def listed(run: NodeRun) -> dict[str, Any]:
    """A node among all."""
    return {
        "node": run.name,
        "rate": run.rate,
        "ticks": run.durations.count,
        "errors": run.errors,
        "deadline_misses": run.misses,
        "state": _state(run),
    }


def figures(runtime: Runtime, run: NodeRun) -> list[Any]:
    """How a node fares, by `FIGURES`: nothing that takes more than a look. ``rate`` is None on messages."""
    durations = run.durations
    return [
        run.name,
        None if run.on else run.rate or runtime.info.tick_rate,
        list(islice(run.node.on or (), _MOST_TOPICS)) if run.on else (),
        durations.count,
        durations.total / 1000,
        durations.longest / 1000,
        run.misses,
        run.overruns,
        run.errors,
        run.restarts,
        run.ports.lost_in_all(),
        run.ports.refused,
        _state(run),
    ]


def uses(runtime: Runtime, run: NodeRun) -> list[Any]:
    """The topics that a node sends on and those that it reads, declared or used so far, and how many more there are."""
    sends, reads = map(list, runtime.topics.get(run.name, ((), ())))
    more = max(0, len(sends) - _MOST_TOPICS) + max(0, len(reads) - _MOST_TOPICS)
    return [run.name, sends[:_MOST_TOPICS], reads[:_MOST_TOPICS], more]


def whole(run: NodeRun, topics: tuple[Iterable[str], Iterable[str]]) -> dict[str, Any]:
    """All that is to be said of a node."""
    node = run.node
    return {
        **listed(run),
        "on": list(node.on or ()),
        "class": f"{type(node).__module__}.{type(node).__qualname__}",
        "sends": list(topics[0]),
        "reads": list(topics[1]),
        "failure_policy": repr(run.failure.policy),
        "budget": node.budget,
        "deadline": node.deadline,
        "on_miss": node.on_miss.name,
        "watchdog": node.watchdog,
        "order": node.order,
        "compute": node.compute,
        "mean_us": run.durations.mean_us(),
        "p99_us": run.durations.p99_us(),
        "max_us": run.durations.longest / 1000,
        "budget_overruns": run.overruns,
        "restarts": run.restarts,
        "lost": run.ports.lost_in_all(),
        "refused": run.ports.refused,
        "unmatched": run.ports.unmatched,
    }


def _state(run: NodeRun) -> str:
    return "paused" if run.paused else run.failure.state.value
