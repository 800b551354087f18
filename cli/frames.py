"""``horus-async frames``: the tree of frames that is published, or that was recorded."""

from __future__ import annotations

import heapq
import sys
from typing import TYPE_CHECKING, Any

import attrs
import click

from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic, wall_ns
from horus_async.errors import FramesError, RecordingError, TopicError
from horus_async.frames import MOVING, STATIC, Frames
from horus_async.hints.installed import command
from horus_async.recorder import open_session
from horus_async.spelling import did_you_mean
from horus_async.topics import Bus, Message, check_namespace, check_topic_name, default_namespace
from horus_async.topics.codec import decode
from horus_async.topics.inspection import rings

from .support.errors import FOUND, clear_errors
from .support.render import print_json
from .support.shared_memory import other_users
from .support.windows import LOOK_NS
from .terminal import completion
from .terminal.text import tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.frames import EdgeInfo, RigidTransform
    from horus_async.topics.ring.region import Taken

DAY_NS = 86_400 * NANOSECONDS


@click.command()
@click.argument("session", required=False, shell_complete=completion.session)
@click.option("--lookup", nargs=2, metavar="TARGET SOURCE", help="Also print what takes points of SOURCE into TARGET.")
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Seconds to listen, without SESSION.",
)
@click.option("--moving", default=MOVING, show_default=True, metavar="TOPIC", help="Where edges come that move.")
@click.option(
    "--static", default=STATIC, show_default=True, metavar="TOPIC", help="Where edges come that never change."
)
@click.option(
    "--namespace",
    metavar="N",
    shell_complete=completion.namespace,
    help="Namespace of the topics. Default: HORUS_NAMESPACE, else default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def frames(
    session: str | None,
    *,
    lookup: tuple[str, str] | None,
    window: float,
    moving: str,
    static: str,
    namespace: str | None,
    as_json: bool,
) -> None:
    """Show the tree of frames that running programs publish, or that SESSION ended with.

    Exit code 1 if edges were left out because they make no sense, or if there is no way for --lookup; 2 if nobody
    publishes any.

    Example: horus-async frames --lookup map laser
    """
    with clear_errors():
        topics = check_topic_name(moving), check_topic_name(static)
        tree = Frames(moving=moving, static=static)
        left_out: list[str] = []
        if session is None:
            namespace = check_namespace(default_namespace() if namespace is None else namespace)
            newest = _hear(tree, topics, namespace, round(window * NANOSECONDS), left_out)
            now_ns = wall_ns()
            if newest is None:
                raise TopicError(_silence(namespace, topics))
            if abs(now_ns - newest) > DAY_NS:
                now_ns = newest  # of a run in virtual time
        else:
            now_ns = _read(tree, topics, session, left_out)
        found, reason = _looked_up(tree, lookup)
        _show(tree.edges(), tree.picture(now_ns), left_out, found, as_json=as_json)
        if reason is not None:
            tell(reason, err=True)
        if left_out or reason is not None:
            sys.exit(FOUND)


def _hear(tree: Frames, topics: tuple[str, str], namespace: str, window_ns: int, left_out: list[str]) -> int | None:
    """Listen for that long. Returns the stamp of the newest message; None if there was none."""
    newest: int | None = None

    def take(found: Taken, *, static: bool) -> None:
        nonlocal newest
        payload, publisher, seq, stamp_ns = found
        newest = stamp_ns if newest is None else max(newest, stamp_ns)
        try:
            value = decode(payload)
        except TopicError as error:
            left_out.append(f"message {seq} of {publisher!a}: {error}")
            return
        left_out.extend(tree.add_all(Message(value, topics[static], seq, stamp_ns, publisher), static=static))

    with Bus(namespace, from_start=False) as bus:
        subscribers = [(bus.subscriber(topic), static) for static, topic in enumerate(topics)]
        for subscriber, static in subscribers:
            before = subscriber.latest()
            if before is not None:
                take(before, static=bool(static))
        end = monotonic_ns() + window_ns
        while (now := monotonic_ns()) < end:
            some = False
            for subscriber, static in subscribers:
                found = subscriber.take()
                if found is not None:
                    some = True
                    take(found, static=bool(static))
            if not some:
                sleep_until_monotonic(min(end, now + LOOK_NS))
    return newest


def _read(tree: Frames, topics: tuple[str, str], session: str, left_out: list[str]) -> int:
    """Take all edges of a session, static ones first. Returns when the last message was sent."""
    opened = open_session(session)
    newest = None
    for topic, static in ((topics[1], True), (topics[0], False)):
        rows = [_named(opened.outputs(node), node) for node in opened.nodes if topic in opened.output_topics(node)]
        outside = ((one.stamp_ns, one.publisher, one) for one in opened.external())
        for stamp_ns, publisher, one in heapq.merge(*rows, outside, key=lambda row: row[0]):
            if one.topic != topic:
                continue
            newest = stamp_ns if newest is None else max(newest, stamp_ns)
            message = Message(one.value, topic, one.seq, stamp_ns, publisher)
            left_out.extend(tree.add_all(message, static=static))
    if newest is None:
        known = {topic for node in opened.nodes for topic in opened.output_topics(node)}
        raise RecordingError(
            f"session {opened.name!r} has no message on {topics[0]!r} or {topics[1]!r}{did_you_mean(topics[0], known)}"
        )
    return newest


def _named(outputs: Iterator[Any], node: str) -> Iterator[tuple[int, str, Any]]:
    return ((one.stamp_ns, node, one) for one in outputs)


def _silence(namespace: str, topics: tuple[str, str]) -> str:
    known = {ring.topic for ring in rings(namespace)}
    hint = did_you_mean(topics[0], known - set(topics)) or f"; {other_users() or 'see ' + command('topic list')}"
    return f"nobody publishes {topics[0]!r} or {topics[1]!r} in namespace {namespace!r}{hint}"


def _looked_up(tree: Frames, lookup: tuple[str, str] | None) -> tuple[RigidTransform | None, str | None]:
    if not lookup:
        return None, None
    try:
        return tree.lookup(*lookup), None
    except FramesError as error:
        return None, str(error)


def _show(
    edges: list[EdgeInfo], picture: str, left_out: list[str], found: RigidTransform | None, *, as_json: bool
) -> None:
    once = list(dict.fromkeys(left_out))
    if as_json:
        shown: dict[str, Any] = {"edges": list(map(attrs.asdict, edges)), "left_out": len(left_out), "reasons": once}
        if found is not None:
            shown["lookup"] = {**attrs.asdict(found), "yaw": found.yaw}
        print_json(shown)
        return
    for line in picture.split("\n"):
        tell(line)
    for reason in once:
        tell(f"left out: {reason}", err=True)
    if found is not None:
        x, y, z, i, j, k, w = found.motion
        when = "at all times" if found.stamp_ns is None else f"at {found.stamp_ns / NANOSECONDS:.6f} s"
        tell(f"{found.target} from {found.source}, {when}")
        tell(f"translation  {x:.6f} {y:.6f} {z:.6f} m")
        tell(f"rotation     {i:.6f} {j:.6f} {k:.6f} {w:.6f} (x y z w), yaw {found.yaw:.6f} rad")
