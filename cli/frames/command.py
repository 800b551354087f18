"""``horus-async frames``: the tree of frames that is published, or that was recorded."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import attrs
import click

from horus_async.cli.support.errors import FOUND, clear_errors
from horus_async.cli.support.render import print_json
from horus_async.cli.terminal import completion
from horus_async.cli.terminal.options import JSON, NAMESPACE
from horus_async.cli.terminal.text import tell
from horus_async.clock.system import NANOSECONDS, wall_ns
from horus_async.errors import FramesError, TopicError
from horus_async.frames import MOVING, STATIC, Frames
from horus_async.topics import check_namespace, check_topic_name, default_namespace

from .sources import LeftOut, hear, read, silence

if TYPE_CHECKING:
    from horus_async.frames import EdgeInfo, RigidTransform

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
@NAMESPACE
@JSON
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
        left_out = LeftOut()
        if session is None:
            namespace = check_namespace(default_namespace() if namespace is None else namespace)
            newest = hear(tree, topics, namespace, round(window * NANOSECONDS), left_out)
            now_ns = wall_ns()
            if newest is None:
                raise TopicError(silence(namespace, topics))
            if abs(now_ns - newest) > DAY_NS:
                now_ns = newest  # of a run in virtual time
        else:
            now_ns = read(tree, topics, session, left_out)
        found, reason = _looked_up(tree, lookup)
        _show(tree.edges(), tree.picture(now_ns), left_out, found, as_json=as_json)
        if reason is not None:
            tell(reason, err=True)
        if left_out.count or reason is not None:
            sys.exit(FOUND)


def _looked_up(tree: Frames, lookup: tuple[str, str] | None) -> tuple[RigidTransform | None, str | None]:
    if not lookup:
        return None, None
    try:
        return tree.lookup(*lookup), None
    except FramesError as error:
        return None, str(error)


def _show(
    edges: list[EdgeInfo], picture: str, left_out: LeftOut, found: RigidTransform | None, *, as_json: bool
) -> None:
    if as_json:
        shown: dict[str, Any] = {"edges": list(map(attrs.asdict, edges)), "left_out": left_out.count}
        shown["reasons"] = [*left_out.reasons]
        if found is not None:
            shown["lookup"] = {**attrs.asdict(found), "yaw": found.yaw}
        print_json(shown)
        return
    for line in picture.split("\n"):
        tell(line)
    for reason in left_out.reasons:
        tell(f"left out: {reason}", err=True)
    if found is not None:
        x, y, z, i, j, k, w = found.motion
        when = "at all times" if found.stamp_ns is None else f"at {found.stamp_ns / NANOSECONDS:.6f} s"
        tell(f"{found.target} from {found.source}, {when}")
        tell(f"translation  {x:.6f} {y:.6f} {z:.6f} m")
        tell(f"rotation     {i:.6f} {j:.6f} {k:.6f} {w:.6f} (x y z w), yaw {found.yaw:.6f} rad")
