"""`Frames`: what a program asks where things are."""

from __future__ import annotations

import logging
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import attrs

from horus_async.clock.event_loop import event_loop
from horus_async.clock.system import NANOSECONDS
from horus_async.errors import ConfigurationError, ContextError, FramesError
from horus_async.messages import LaserScan, PointCloud, PoseStamped, Time, TransformStamped
from horus_async.nodes.context import current
from horus_async.nodes.node import Node, types_of
from horus_async.topics import check_topic_name
from horus_async.validators import is_not_negative, is_positive

from .arrays import turned
from .clouds import moved_cloud, ray_times, rays
from .intake import Intake
from .names import MOVING, STATIC
from .picture import EdgeInfo, edges_of, picture_of
from .reading import all_in, frame_name, nanoseconds, read, sense, time_of
from .transform import RigidTransform

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from horus_async.messages import Header
    from horus_async.topics import Message

    from .arrays import Motions
    from .tree import Path

_log = logging.getLogger("horus_async")

MOST_TAKEN = 10_000
"""So many messages of a topic are taken for one question: another program may send as fast as they are read."""
_STEP = 0.005
"""Seconds from one look of `Frames.wait` to the next."""
_intakes: WeakKeyDictionary[Any, dict[tuple[str, str], Intake]] = WeakKeyDictionary()
"""What a node has heard in a run, by its access to topics: `init` may run again, and the messages are taken already."""


class Frames:
    """A tree of named frames: who is where in whom, over the last seconds.

    ::

        map ─── odom ─── base_link ─┬─ laser          lookup("map", "laser") takes a point that the laser
                                    └─ camera         sees to where it is on the map

    In a node, make it in ``init``: ``self.frames = Frames(self)``. Each question then first takes what has arrived on
    the node's topics ``frames`` and ``frames.static``. Declare them in ``subs`` (`send` needs ``pubs``), so that nodes
    that send frames tick before those that ask. Without a node, fill it with `add`.

    Args:
        node: The node whose topics it is fed from; None for none.
        history: How many seconds of moving edges are kept.
        reparent: Whether a frame may get another parent, as a cup does that is lifted from a table, or move where it
            was fixed. By default the second parent is refused: two programs that both place one frame are a mistake.
        moving: The topic of edges that move.
        static: The topic of edges that never change.

    Raises:
        ConfigurationError: An option is invalid, or the node's other `Frames` on these topics has other ones.
    """

    def __init__(
        self,
        node: Node | None = None,
        *,
        history: float = 10.0,
        reparent: bool = False,
        moving: str = MOVING,
        static: str = STATIC,
    ) -> None:
        if node is not None and not isinstance(node, Node):
            raise ConfigurationError(f"Frames({node!r:.60}): give the node, Frames(self), or nothing; see history=")
        if not is_positive(history) or history > 1e6:
            raise ConfigurationError(f"history={history!r}; give seconds above 0 and up to a million")
        self._node = node
        self._topics = check_topic_name(moving), check_topic_name(static)
        self._options = round(history * NANOSECONDS), bool(reparent)
        self._intake = self._in_this_run()
        self._tree = self._intake.tree

    def _in_this_run(self) -> Intake:
        node = self._node
        ports = None if node is None else node._ports  # noqa: SLF001 - what stands for the node's run
        if ports is None:
            return Intake(*self._options, _log.warning if node is None else partial(node.log.warning, "%s"))
        assert node is not None
        of_node = _intakes.setdefault(ports, {})
        found = of_node.get(self._topics)
        if found is None:
            found = of_node[self._topics] = Intake(*self._options, partial(node.log.warning, "%s"))
        elif found.options != self._options:
            raise ConfigurationError(
                f"node {node.name!r} has Frames on {self._topics[0]!r} already, with another history or reparent: give "
                "both the same"
            )
        return found

    # Filling it

    def add(self, transform: Any, *, static: bool = False) -> None:
        """Add an edge, or several: a `TransformStamped`, a list of them, or tf2's ``TFMessage`` as a dict.

        Args:
            transform: ``child_frame_id`` is where ``transform`` says, in ``header.frame_id``, at ``header.stamp``.
            static: It holds for all times; the stamp means nothing.

        Raises:
            FramesError: It is no rigid motion between two frames, would close a loop, gives a frame a second parent,
                or is older than all that is kept. Of several, those before it have been added.
        """
        for one in all_in(transform):
            self._intake.add(read(one), static=static)

    def send(self, transform: Any, *, static: bool = False) -> None:
        """Publish an edge, or a list of them, on the node's topic ``frames``, or ``frames.static``.

        Edges that move go as a message each. Static ones travel together, so that the newest message of a node has all
        that it has sent so far; unless the topic is declared with `TransformStamped`, which is one edge. A node with
        ``frames.static`` (or ``tf_static``) in its ``pubs`` keeps them for late readers, as if by `Keep`.

        Raises:
            FramesError: One of them is no rigid motion between two frames; none is sent.
            ContextError: There is no node, or it is not running.
        """
        node = self._node
        if node is None:
            raise ContextError(
                "these Frames have no node to send with: make them in its init, Frames(self), or use add()"
            )
        given = list(all_in(transform))
        edges = [(read(one), one) for one in given]
        topic = self._topics[static]
        if static and types_of(node)[0].get(topic) is not TransformStamped:
            kept = self._in_this_run().sent_static
            kept.update((edge.child, one) for edge, one in edges)
            all_kept = list(kept.values())
            given = [all_kept] if given and len(all_kept) > 1 else given
        for one in given:
            node.send(topic, one)

    def take(self) -> None:
        """Take what has arrived; each question does so first."""
        node = self._node
        if node is None:
            return
        intake = self._intake
        context = current.get(None)
        end_ns = None if context is None or context.tick is None else intake.clock(context.now_ns)
        moving, static = self._topics
        for _ in range(MOST_TAKEN):
            if (message := node.recv_message(static)) is None:
                break
            intake.take(message, static=True)
        for _ in range(MOST_TAKEN):
            if (message := node.recv_message(moving)) is None:
                break
            intake.take(message, static=False, end_ns=end_ns)

    def clear(self) -> None:
        """Forget all edges."""
        self._tree.clear()

    # Asking

    def lookup(
        self,
        target: str,
        source: str,
        at: float | Time | None = None,
        *,
        source_at: float | Time | None = None,
        fixed: str | None = None,
    ) -> RigidTransform:
        """What takes points of ``source`` into ``target``; the order of names is that of tf2's ``lookup_transform``.

        ::

            map_from_laser = frames.lookup("map", "laser", scan.header.stamp)
            on_the_map = map_from_laser.points(seen_by_the_laser)

        Between two samples an edge moves straight and turns evenly, the shorter way. Beyond them nothing is guessed.

        Args:
            target: The frame that points are taken into.
            source: The frame that they are in.
            at: Seconds as ``now()`` gives them, or a message's stamp. None: the newest time that all edges on the way
                have.
            source_at: With ``fixed``: the time of the points, where ``at`` is the time of the target.
            fixed: A frame that does not move meanwhile, such as ``odom``: where was in ``target`` at ``at`` what was in
                ``source`` at ``source_at``?

        Raises:
            FramesError: No such frame, or no way between them.
            ExtrapolationError: An edge on the way holds nothing of that time; its ``gap`` says how far off it is.
        """
        if fixed is not None:
            there = self.lookup(target, fixed, at)
            return there @ self.lookup(fixed, source, source_at)
        if source_at is not None:
            raise FramesError("source_at needs fixed=: the frame in which both times are compared, such as 'odom'")
        if self._node is not None:
            self.take()
        tree = self._tree
        try:
            path = tree.paths[target, source]
        except (KeyError, TypeError):
            path = self._path(target, source)
            target, source = frame_name(target), frame_name(source)
        if at is None:
            ns = tree.newest_common(path)
            return RigidTransform(target, source, ns, tree.motion(path, ns or 0))
        ns, step = time_of(at)
        return RigidTransform(target, source, ns, tree.motion(path, ns, step))

    def _path(self, target: str, source: str) -> Path:
        return self._tree.path(frame_name(target, "target"), frame_name(source, "source"))

    def can_lookup(self, target: str, source: str, at: float | Time | None = None) -> bool:
        """Whether `lookup` would answer; it takes what has arrived first.

        Raises:
            FramesError: ``at`` is no time.
        """
        if at is not None:
            time_of(at)
        try:
            self.lookup(target, source, at)
        except FramesError:
            return False
        return True

    async def wait(
        self,
        target: str,
        source: str,
        at: float | Time | None = None,
        *,
        timeout: float = 1.0,  # noqa: ASYNC109 - of the run's time
    ) -> RigidTransform:
        """Wait until `lookup` answers, at most ``timeout`` seconds of the run's time.

        Raises:
            FramesError: It does not answer in time, for the reason that `lookup` gave last.
        """
        if not is_not_negative(timeout):
            raise ConfigurationError(f"timeout={timeout!r}; give seconds, 0 or more")
        if at is not None:
            time_of(at)
        frame_name(target, "target")
        frame_name(source, "source")
        sleep = event_loop().sleep
        for _ in range(ceil(timeout / _STEP)):
            try:
                return self.lookup(target, source, at)
            except FramesError:
                await sleep(_STEP)
        try:
            return self.lookup(target, source, at)
        except FramesError as error:
            error.args = (f"{error.args[0]} (after {timeout:g} s)", *error.args[1:])
            raise

    # Moving things

    def transform(self, message: Any, target: str, at: float | Time | None = None, *, fixed: str | None = None) -> Any:
        """Take a message into another frame: a `PoseStamped`, a `PointCloud` or a `TransformStamped`.

        The frame and the time are those of its header. A `LaserScan` is made into points by `scan_points`.

        Args:
            message: What it is given stays as it is.
            target: The frame to take it into.
            at: The target's time, where it is another than the message's; it needs ``fixed``.
            fixed: As in `lookup`.

        Returns:
            A new message with ``target`` as its frame; its stamp stays, or is ``at``.

        Raises:
            FramesError: As of `lookup`; or it is another kind of message.
        """
        if not isinstance(message, (PoseStamped, PointCloud, TransformStamped)):
            way_out = "give a PoseStamped, PointCloud or TransformStamped; lookup(…).apply takes the rest"
            if isinstance(message, LaserScan):
                way_out = "scan_points(scan, target) gives its points"
            raise FramesError(f"a {type(message).__name__} cannot be taken by its header: {way_out}")
        with sense(message):
            found = self._of_header(message.header, target, at, fixed)
            stamp = message.header.stamp if at is None else Time.from_ns(found.stamp_ns or 0)
            header = attrs.evolve(message.header, frame_id=found.target, stamp=stamp)
            if isinstance(message, PointCloud):
                return attrs.evolve(moved_cloud(message, found), header=header)
            if isinstance(message, PoseStamped):
                return PoseStamped(header, found.apply(message.pose))
            moved = found @ RigidTransform.of(message)
            return TransformStamped(header, message.child_frame_id, moved.transform)

    def _of_header(self, header: Header, target: str, at: Any, fixed: str | None) -> RigidTransform:
        if at is None:
            return self.lookup(target, header.frame_id, header.stamp)
        if fixed is None:
            raise FramesError(
                "at= is the target's time: give fixed=, the frame that does not move from the message's to it"
            )
        found = self.lookup(target, header.frame_id, at, source_at=header.stamp, fixed=fixed)
        return attrs.evolve(found, stamp_ns=time_of(at)[0])

    def scan_points(
        self, scan: LaserScan, target: str, at: float | Time | None = None, *, fixed: str | None = None
    ) -> NDArray[np.float64]:
        """The points that a scan hit, in ``target``: an array (N, 3) of metres, in the order of the rays.

        Each ray is taken from where the sensor was when it was measured, by the scan's ``time_increment``. Rays
        beyond the scan's limits hit nothing and have no point.

        Args:
            scan: Its header says which frame it is in, and when the first ray was measured.
            target: A frame that does not move with the sensor, such as ``odom``; or with ``fixed`` any other.
            at: With ``fixed``: the time of the target; by default that of the first ray.
            fixed: A frame that does not move during the scan.

        Raises:
            FramesError: As of `lookup`; or the scan holds no numbers.
        """
        with sense(scan):
            points, which = rays(scan)
            stamp, frame = nanoseconds(scan.header.stamp), scan.header.frame_id
            moves = bool(scan.time_increment) and len(which) > 0
            times = ray_times(scan, stamp, which) if moves else which
        before = None
        if fixed is not None:
            before, target = self.lookup(target, fixed, scan.header.stamp if at is None else at), fixed
        elif at is not None:
            raise FramesError("at= is the target's time: give fixed=, a frame that does not move during the scan")
        if not moves:
            points = self.lookup(target, frame, scan.header.stamp).points(points)
        else:
            motions = self.lookups(target, frame, times)
            points = turned(motions, points) + motions[:, :3]
        return points if before is None else before.points(points)

    def lookups(self, target: str, source: str, times: NDArray[np.int64]) -> Motions:
        """`lookup` for many times at once.

        Args:
            target: As of `lookup`.
            source: As of `lookup`.
            times: Nanoseconds, as ``now_ns()`` gives them: an array of integers.

        Returns:
            An array (N, 7): for each time translation x, y, z in metres and rotation x, y, z, w.

        Raises:
            FramesError: As of `lookup`; or the times are no row of integers.
        """
        import numpy as np

        times = np.asarray(times)
        if times.ndim != 1 or times.dtype.kind not in "iu":
            raise FramesError(f"times of shape {times.shape} and {times.dtype}: give a row of integers, nanoseconds")
        self.take()
        path = self._path(target, source)
        if not len(times):
            return np.empty((0, 7))
        motions = self._tree.motions(path, times.astype(np.int64))
        motions[:, 3:] /= np.linalg.norm(motions[:, 3:], axis=1, keepdims=True)
        return motions

    # What there is

    def names(self) -> list[str]:
        """All frames, in alphabetical order."""
        self.take()
        return sorted(self._tree.names())

    def edges(self) -> list[EdgeInfo]:
        """All edges, parents first, in alphabetical order."""
        self.take()
        return edges_of(self._tree)

    def picture(self, now_ns: int | None = None) -> str:
        """The tree as text, a line a frame; with how old each edge is at ``now_ns``, if that is given."""
        return picture_of(self.edges(), now_ns)

    def add_all(self, message: Message, *, static: bool) -> list[str]:
        """Add what edges a topic's message has; returns why some were left out, if any were."""
        return [reason for _, reason in self._intake.add_all(message, static=static)]

    @property
    def refused(self) -> int:
        """Edges and messages from the topics that were left out, because they make no sense in this tree."""
        return self._intake.refused

    @property
    def moved(self) -> int:
        """How often a frame got another parent, with ``reparent=True``."""
        return self._tree.moved

    @property
    def went_back(self) -> int:
        """How often time went back, of an edge or of the run, and what was later was forgotten."""
        return self._intake.went_back
