"""The conditions under which the runs of a check take place: each in a process of its own."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.engine.rules.order import topic_edges

if TYPE_CHECKING:
    from collections.abc import Sequence

    from horus_async.nodes.node import Node


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
