"""In which order nodes tick: producers before consumers. Pure."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def topic_edges(pubs: Mapping[str, Iterable[str]], subs: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Who must tick after whom: for each node the set of nodes that read what it writes.

    Args:
        pubs: Node name to the topics it writes.
        subs: Node name to the topics it reads.
    """
    readers: dict[str, set[str]] = {}
    for name, topics in subs.items():
        for topic in topics:
            readers.setdefault(topic, set()).add(name)
    edges: dict[str, set[str]] = {}
    for name, topics in pubs.items():
        followers = set().union(*(readers.get(topic, ()) for topic in topics))
        edges[name] = followers - {name}
    return edges


def causal_order(names: Sequence[str], edges: Mapping[str, Iterable[str]]) -> list[str]:
    """Sort ``names`` so that each comes after those it depends on, as far as that is possible.

    Where edges leave it open, and where a loop has to be entered, the earlier one in ``names`` goes first. In a loop
    that means: the edge back to the node that goes first is the one that carries the previous tick's message.

    Args:
        names: All nodes, by preference (the scheduler's: ``order``, then when they were added).
        edges: Node to those that must come after it.
    """
    rank = {name: index for index, name in enumerate(names)}
    after = {name: {n for n in edges.get(name, ()) if n in rank and n != name} for name in names}
    waiting_for: dict[str, set[str]] = {name: set() for name in names}
    for name, followers in after.items():
        for follower in followers:
            waiting_for[follower].add(name)
    ready = [rank[name] for name in names if not waiting_for[name]]
    heapq.heapify(ready)
    done: list[str] = []
    left = dict.fromkeys(names)
    while left:
        if not ready:
            still = {name: after[name] & left.keys() for name in left}
            ready.append(rank[_loop_entry(left, still, waiting_for, rank)])
        name = names[heapq.heappop(ready)]
        done.append(name)
        del left[name]
        for follower in after[name]:
            waiting_for[follower].discard(name)
            if follower in left and not waiting_for[follower] and rank[follower] not in ready:
                heapq.heappush(ready, rank[follower])
    return done


def _loop_entry(
    left: Iterable[str], after: Mapping[str, set[str]], waiting_for: Mapping[str, set[str]], rank: Mapping[str, int]
) -> str:
    """The node to begin with when all that are left wait: the first of a loop that waits for nobody outside it."""
    for name in sorted(left, key=rank.__getitem__):
        upstream = _reachable(name, waiting_for)
        if upstream <= _reachable(name, after) | {name}:
            return name
    raise AssertionError("a finite graph has a loop that nothing outside leads into")


def _reachable(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = [start]
    while todo:
        for neighbour in edges.get(todo.pop(), ()):
            if neighbour not in found:
                found.add(neighbour)
                todo.append(neighbour)
    return found
