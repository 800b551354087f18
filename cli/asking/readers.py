"""Who reads topics: nodes say so themselves, other processes show by the memory that they have open."""

from __future__ import annotations

from attrs import frozen

from horus_async.cli.support.listeners import readers
from horus_async.remote.client import Client
from horus_async.topics.inspection import survey
from horus_async.topics.ring.names import path_component

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


def _is_alive(namespace: str) -> bool:
    """Whether anything runs there: to ask clears up what dead processes left, which is to be seen."""
    return any(ring.live for ring in survey(namespace)[0])


def read_by(namespace: str) -> Readers:
    """Who reads which topic now. Who waits for a topic that nobody publishes, and has no node, cannot be seen."""
    mapped = readers(namespace)  # before we look at any ring ourselves
    nodes: dict[str, list[str]] = {}
    answering = set()
    for row in Client(namespace).uses(_SECONDS) if _is_alive(namespace) else ():
        answering.add(row["pid"])
        reads = row.get("reads")
        for topic in reads if isinstance(reads, list) else ():
            if isinstance(topic, str):
                nodes.setdefault(topic, []).append(str(row["node"]))
    processes = {topic: pids - answering for topic, pids in (mapped or {}).items()}
    return Readers(nodes, processes, mapped is not None)
