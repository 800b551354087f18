"""The tree: frames, the edges between them, and the way from one to another.

Pure: no topics, no clock, no log. What it answers depends on what was added, in its order, and on nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from horus_async.errors import ExtrapolationError, FramesError
from horus_async.native import core
from horus_async.spelling import did_you_mean

from .edge import Edge, milliseconds, seconds
from .rigid import STILL, compose, inverse, normalised

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray

    from .arrays import Motions
    from .reading import Read
    from .rigid import Motion

MOST_EDGES = 10_000
"""Edges of one tree; more are refused."""
MOST_SAMPLES = 500_000
"""Samples of all edges together, some 150 MB: from there on an edge that gets one loses its oldest."""
_MOST_PATHS = 4_000
"""Ways that are kept in mind."""
_MOST_NAMED = 12
"""Names of frames in an error."""


class Path(NamedTuple):
    """The way between two frames, through the nearest one that is above both."""

    up: tuple[Edge, ...]
    """From the source upwards."""
    down: tuple[Edge, ...]
    """From the target upwards."""
    moving: tuple[Edge, ...]


class FrameTree:
    """Frames by the edges above them.

    Args:
        history_ns: How long samples are kept, ns.
        reparent: Whether a frame may get another parent, or move where it was fixed.
    """

    def __init__(self, history_ns: int, *, reparent: bool) -> None:
        self.history_ns = history_ns
        self.reparent = reparent
        self.edges: dict[str, Edge] = {}
        """By child, in the order in which they came."""
        self.samples = 0
        self.moved = 0
        """How often a frame got another parent."""
        self._parents: dict[str, int] = {}
        self.paths: dict[tuple[str, str], Path] = {}
        """The ways that were asked for, until an edge comes or goes."""

    def names(self) -> set[str]:
        """All frames."""
        return {*self.edges, *self._parents}

    def add(self, read: Read, *, static: bool) -> bool:
        """Take an edge.

        Returns:
            Whether time has gone back for it, so that it begins anew.

        Raises:
            FramesError: It would close a loop, give a frame a second parent, or is older than all that is kept; or
                there are too many.
        """
        edge = self.edges.get(read.child)
        if edge is None or edge.parent != read.parent or (edge.fixed is None) is static:
            edge = self._new_edge(edge, read, static=static)
        if static:
            edge.fixed = read.motion
            return False
        before = len(edge)
        began_anew = edge.add(read.ns, read.motion)
        self.samples += len(edge) - before
        if self.samples > MOST_SAMPLES and len(edge) > 1:
            edge.drop_oldest()
            self.samples -= 1
        return began_anew

    def _new_edge(self, old: Edge | None, read: Read, *, static: bool) -> Edge:
        parent, child = read.parent, read.child
        if old is not None and not self.reparent:
            self._refuse_other(old, read, static=static)
        if old is None and len(self.edges) >= MOST_EDGES:
            raise FramesError(f"edge {parent} → {child} is one too many: {MOST_EDGES} are possible")
        above: str | None = parent
        way = [child]
        while above is not None:
            way.append(above)
            if above == child:
                raise FramesError(f"edge {parent} → {child} would close a loop: {' → '.join(reversed(way))}")
            upper = self.edges.get(above)
            above = None if upper is None else upper.parent
        if old is not None:
            self._drop(old)
            self.moved += 1
        edge = Edge(parent, child, self.history_ns, fixed=read.motion if static else None)
        self.edges[child] = edge
        self._parents[parent] = self._parents.get(parent, 0) + 1
        self.paths.clear()
        return edge

    def _refuse_other(self, old: Edge, read: Read, *, static: bool) -> None:
        way_out = "if it is meant to change, make Frames(reparent=True)"
        if old.parent != read.parent:
            raise FramesError(
                f"edge {read.parent} → {read.child} would be a second parent of {read.child!r}, which is under "
                f"{old.parent!r}; {way_out}"
            )
        was, came = ("moves", "fixed") if static else ("is fixed", "moving")
        raise FramesError(f"edge {old} {was}, and now comes as {came}; {way_out}")

    def _drop(self, edge: Edge) -> None:
        del self.edges[edge.child]
        self.samples -= len(edge)
        self._parents[edge.parent] -= 1
        if not self._parents[edge.parent]:
            del self._parents[edge.parent]
        self.paths.clear()

    def forget_after(self, ns: int) -> int:
        """Forget what moving edges hold of later than that. Returns how many samples."""
        forgotten = 0
        for edge in [edge for edge in self.edges.values() if edge.fixed is None]:
            gone = edge.forget_after(ns)
            forgotten += gone
            self.samples -= gone
            if not len(edge):
                self._drop(edge)
        return forgotten

    def clear(self) -> None:
        """Forget everything."""
        self.edges.clear()
        self._parents.clear()
        self.paths.clear()
        self.samples = 0

    # The way from one frame to another

    def path(self, target: str, source: str) -> Path:
        """The way from ``source`` to ``target``.

        Raises:
            FramesError: There is no such frame, or none is above both.
        """
        known = self.paths.get((target, source))
        if known is not None:
            return known
        for name in (target, source):
            if name not in self.edges and name not in self._parents:
                raise FramesError(f"no frame {name!r}{self._others(name)}")
        up, down = self._above(source), self._above(target)
        roots = [edges[-1].parent if edges else name for edges, name in ((up, source), (down, target))]
        if roots[0] != roots[1]:
            raise FramesError(
                f"{source!r} and {target!r} are not connected: {self._under(source, roots[0])}, "
                f"{self._under(target, roots[1])}, and no edge leads from one tree to the other"
            )
        while up and down and up[-1] is down[-1]:
            up.pop()
            down.pop()
        moving = tuple(edge for edge in (*up, *down) if edge.fixed is None)
        if len(self.paths) >= _MOST_PATHS:
            self.paths.clear()
        path = self.paths[target, source] = Path(tuple(up), tuple(down), moving)
        return path

    def _above(self, name: str) -> list[Edge]:
        found: list[Edge] = []
        while (edge := self.edges.get(name)) is not None:
            found.append(edge)
            name = edge.parent
        return found

    def _under(self, name: str, root: str) -> str:
        return f"{name!r} is a root" if name == root else f"{name!r} is under the root {root!r}"

    def _others(self, name: str) -> str:
        names = sorted(self.names())
        if not names:
            return ": no edge has come yet"
        shown = ", ".join(names[:_MOST_NAMED]) + (
            f" and {len(names) - _MOST_NAMED} more" if names[_MOST_NAMED:] else ""
        )
        return f"; known: {shown}{did_you_mean(name, names)}"

    # Where frames are

    def newest_common(self, path: Path) -> int | None:
        """The newest time that all moving edges of a way have, ns; None if none moves.

        Raises:
            ExtrapolationError: One ends before another begins.
        """
        moving = path.moving
        if not moving:
            return None
        first = min(moving, key=_newest)
        last = max(moving, key=_oldest)
        if last.oldest > first.newest:
            gap = last.oldest - first.newest
            raise ExtrapolationError(
                f"edges {first} and {last} have no time in common: the one ends at {seconds(first.newest)}, the other "
                f"begins {milliseconds(gap)} later, at {seconds(last.oldest)}",
                gap / 1e9,
            )
        return first.newest

    def motion(self, path: Path, ns: int, step: int = 0) -> Motion:
        """Takes points of the way's source into its target, at a time that the question could name to ``step`` ns.

        Raises:
            ExtrapolationError: An edge holds nothing of that time.
        """
        try:
            return chain(path, ns)
        except ExtrapolationError:
            nearest = self._nearest(path, ns)
            if not step or abs(nearest - ns) > step:
                raise
        return chain(path, nearest)

    def _nearest(self, path: Path, ns: int) -> int:
        return max(min(ns, *(edge.newest for edge in path.moving)), *(edge.oldest for edge in path.moving))

    def motions(self, path: Path, times: NDArray[np.int64]) -> Motions:
        """The same for many times, a row each.

        Raises:
            ExtrapolationError: An edge holds nothing of one of them.
        """
        from .arrays import compose_many, inverse_many

        there, back = (_many(edges, times) for edges in (path.up, path.down))
        return compose_many(inverse_many(back), there)


def _newest(edge: Edge) -> int:
    return edge.newest


def _oldest(edge: Edge) -> int:
    return edge.oldest


def chain_slowly(path: Path, ns: int) -> Motion:
    """Up from the source to the frame above both, and down to the target.

    Raises:
        ExtrapolationError: An edge holds nothing of that time.
    """
    there = back = None
    for edge in path.up:
        motion = edge.fixed or edge.at(ns)
        there = motion if there is None else compose(motion, there)
    for edge in path.down:
        motion = edge.fixed or edge.at(ns)
        back = motion if back is None else compose(motion, back)
    if back is None:
        return normalised(there) if there is not None else STILL
    return normalised(inverse(back) if there is None else compose(inverse(back), there))


def _chain(path: Path, ns: int) -> Motion:
    found: Motion | None = native_chain(path.up, path.down, ns)
    return chain_slowly(path, ns) if found is None else found


native_chain: Any = None if core is None else core.chain
chain = chain_slowly if native_chain is None else _chain


def _many(edges: Iterable[Edge], times: NDArray[np.int64]) -> Motions:
    import numpy as np

    from .arrays import compose_many

    found = np.broadcast_to(np.array(STILL), (len(times), 7))
    for edge in edges:
        found = compose_many(edge.many(times), found)
    return found
