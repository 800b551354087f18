"""Frames that never move reach programs that start later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import Frames, Keep, Node, Scheduler, Topic
from horus_async.frames import STATIC, stamped
from horus_async.messages import TransformStamped
from horus_async.nodes.node import keeps

if TYPE_CHECKING:
    from pathlib import Path


def mounts(pubs: Any) -> Node:
    """A node that says once where two sensors are."""

    def init(node: Node) -> None:
        frames = Frames(node)
        frames.send(stamped("base_link", "laser", (0.2, 0.0, 0.1)), static=True)
        frames.send(stamped("base_link", "camera", (0.3, 0.0, 0.5)), static=True)

    return Node("mounts", tick=lambda _: None, init=init, pubs=pubs)


def mapper() -> Node:
    """A node that asks in its first tick."""

    def tick(node: Node) -> None:
        frames = Frames(node)
        node.send("seen", [frames.can_lookup("camera", "laser"), frames.can_lookup("laser", "base_link")])

    return Node("mapper", tick=tick, subs=["frames", STATIC])


@pytest.mark.parametrize("pubs", [[STATIC], {STATIC: TransformStamped}, {STATIC: Keep(None, 2)}])
def test_static_frames_are_kept_for_programs_that_start_later(pubs: Any, tmp_path: Path) -> None:
    """Sent once, in a run that is over; what the later one heard is recorded, and verified."""
    with Topic("here"):  # as long as the namespace lives
        Scheduler(tick_rate=100).add(mounts(pubs)).run_sync(0.05)
        with Topic(STATIC) as late:
            assert late.recv() is not None
        later = Scheduler(tick_rate=100, recording="later", recordings_dir=tmp_path).add(mapper())
        got: list[Any] = []
        later.add(Node("keep", tick=lambda node: got.extend(node.recv_all("seen")), subs=["seen"]))
        later.run_sync(0.1)
    assert got[0] == [True, True]

    async def verify() -> Any:
        live = Scheduler(deterministic=True).add(mapper())
        return await Scheduler.verify(tmp_path / "later", live, nodes=("mapper",))

    report = trio.run(verify)
    assert (report.differences, report.compared > 1) == (0, True), report


def test_how_many_are_kept() -> None:
    """One message with all edges, or a hundred with one each, unless it is said."""
    assert keeps(mounts([STATIC]))[STATIC] == 1
    assert keeps(mounts({STATIC: TransformStamped}))[STATIC] == 100
    assert keeps(mounts({STATIC: Keep(TransformStamped, 7)}))[STATIC] == 7
    assert STATIC not in keeps(mounts("frames"))
