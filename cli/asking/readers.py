"""Who reads topics: nodes say so themselves, other processes show by the memory that they have open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.cli.support.listeners import readers
from horus_async.remote.client import Client
from horus_async.topics.ring.names import path_component

if TYPE_CHECKING:
    from collections.abc import Iterable

    from horus_async.topics.inspection import RingInfo

UNKNOWN = "other processes that read it are not known on this system"
_SECONDS = 0.5


@frozen
class Readers:
    """The readers of a namespace's topics, as far as they are known."""

    nodes: dict[str, list[str]]
    """By topic, those of runs that answer."""
    processes: dict[str, set[int]]
    """By topic, as `path_component` writes it: those in which no run answers."""
    complete: bool
    """Whether the system says which processes read."""

    def named(self, topic: str) -> list[str]:
        """The readers of a topic, as people call them."""
        others = sorted(self.processes.get(path_component(topic), ()))
        return [*self.nodes.get(topic, ()), *(f"process {pid}" for pid in others)]


def read_by(namespace: str, found: Iterable[RingInfo]) -> Readers:
    """Who reads which topic now. Who waits for a topic that nobody publishes, and has no node, cannot be seen.

    Args:
        namespace: Its topics.
        found: Its rings. Where none is live nobody is asked: that would clear up what dead processes left.
    """
    mapped = readers(namespace)
    nodes: dict[str, list[str]] = {}
    answering = set()
    is_alive = any(ring.live for ring in found)
    for row in Client(namespace).uses(_SECONDS) if is_alive else ():
        answering.add(row["pid"])
        reads = row.get("reads")
        for topic in reads if isinstance(reads, list) else ():
            if isinstance(topic, str):
                nodes.setdefault(topic, []).append(str(row["node"]))
    processes = {topic: pids - answering for topic, pids in (mapped or {}).items()}
    return Readers(nodes, processes, mapped is not None)
