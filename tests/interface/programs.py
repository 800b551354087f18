"""Small robots whose nodes ask each other, in both modes, recorded and verified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import Node, Scheduler
from horus_async.testing import unique_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from horus_async import VerifyReport

both_modes = pytest.mark.parametrize("deterministic", [True, False], ids=["deterministic", "real time"])


def scheduler_of(nodes: Iterable[Node], **options: Any) -> Scheduler:
    """A scheduler of these, in a namespace of its own."""
    scheduler = Scheduler(**{"namespace": unique_namespace(), **options})
    for node in nodes:
        scheduler.add(node)
    return scheduler


def run_and_verify(
    make: Callable[[], list[Node]], folder: Path, *, deterministic: bool, duration: float = 0.4, **options: Any
) -> VerifyReport:
    """Run what ``make`` makes, recorded, and verify it anew against the recording."""
    scheduler = scheduler_of(make(), deterministic=deterministic, recording="run", recordings_dir=folder, **options)
    scheduler.run_sync(duration if deterministic else 4 * duration)  # as machines are busy

    async def verify() -> VerifyReport:
        return await Scheduler.verify(folder / "run", scheduler_of(make(), deterministic=True))

    return trio.run(verify)


def count(node: Node) -> int:
    """Which tick of the node this is, from 0; in real time the scheduler may leave some of its own out."""
    node.state = -1 if node.state is None else node.state
    node.state += 1
    number: int = node.state
    return number


def collector(got: list[Any], *topics: str, name: str = "collector") -> Node:
    """A node that keeps what is sent on these topics."""

    def collect(node: Node) -> None:
        for topic in topics:
            got.extend(node.recv_all(topic))

    return Node(name, tick=collect, subs=topics)
