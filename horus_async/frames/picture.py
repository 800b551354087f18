"""What a tree holds, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.clock.system import NANOSECONDS
from horus_async.spelling import printable

if TYPE_CHECKING:
    from .tree import FrameTree


@frozen
class EdgeInfo:
    """One edge of a tree.

    Attributes:
        parent: The frame above.
        child: The frame below.
        static: It never changes.
        samples: How many are kept; 0 of a static one.
        oldest_ns: Stamp of the oldest sample; None of a static edge.
        newest_ns: Stamp of the newest.
        rate: Samples a second, by their stamps; None with fewer than two.
    """

    parent: str
    child: str
    static: bool
    samples: int
    oldest_ns: int | None
    newest_ns: int | None
    rate: float | None


def edges_of(tree: FrameTree) -> list[EdgeInfo]:
    """All edges, each after the one above it, in alphabetical order."""
    below: dict[str, list[str]] = {}
    for child, edge in tree.edges.items():
        below.setdefault(edge.parent, []).append(child)
    waiting = sorted(below.keys() - tree.edges.keys(), reverse=True)
    found = []
    while waiting:
        name = waiting.pop()
        waiting += sorted(below.get(name, ()), reverse=True)
        if name not in tree.edges:
            continue
        edge = tree.edges[name]
        count = len(edge)
        oldest, newest = (edge.oldest, edge.newest) if count else (None, None)
        spent = (newest or 0) - (oldest or 0)
        rate = (count - 1) * NANOSECONDS / spent if spent else None
        found.append(EdgeInfo(edge.parent, name, edge.fixed is not None, count, oldest, newest, rate))
    return found


def picture_of(edges: list[EdgeInfo], now_ns: int | None = None) -> str:
    """The tree as text, a line a frame; with the age of each edge at ``now_ns``, if that is given."""
    below: dict[str, list[EdgeInfo]] = {}
    for edge in edges:
        below.setdefault(edge.parent, []).append(edge)
    children = {edge.child for edge in edges}
    lines = []
    for root in [parent for parent in below if parent not in children]:
        lines.append(printable(root))
        waiting = [(edge, "", edge is below[root][-1]) for edge in reversed(below[root])]
        while waiting:
            edge, indent, last = waiting.pop()
            lines.append(f"{indent}{'└─ ' if last else '├─ '}{printable(edge.child)}  {_said(edge, now_ns)}")
            under, more = below.get(edge.child, []), indent + ("   " if last else "│  ")
            waiting += [(one, more, one is under[-1]) for one in reversed(under)]
    return "\n".join(lines)


def _said(edge: EdgeInfo, now_ns: int | None) -> str:
    if edge.static:
        return "static"
    rate = "one sample" if edge.rate is None else f"{edge.rate:.1f} Hz"
    if now_ns is None or edge.newest_ns is None:
        return f"{rate}, newest {(edge.newest_ns or 0) / NANOSECONDS:.3f} s"
    return f"{rate}, {(now_ns - edge.newest_ns) / NANOSECONDS:.3f} s old"
