"""The node that holds up the event loop is named, not those that are late because of it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, sleep
from tests.engine.programs import run_nodes, scheduler_of

if TYPE_CHECKING:
    from collections.abc import Callable

HELD = 0.05
"""Seconds: five periods of the others."""


def _sleeps(_: Node) -> None:
    time.sleep(HELD)  # noqa: TID251 - the mistake


async def _sleeps_async(_: Node) -> None:
    time.sleep(HELD)  # noqa: ASYNC251, TID251 - the mistake


async def _awaits_first(_: Node) -> None:
    await sleep(0.001)
    time.sleep(HELD)  # noqa: ASYNC251, TID251


class Sleeper(Node):
    """A node by a class."""

    def tick(self) -> None:
        """Hold everybody up."""
        time.sleep(HELD)  # noqa: TID251


def _somewhere_else() -> None:
    time.sleep(HELD)  # noqa: TID251 - the mistake


def _indirectly(_: Node) -> None:
    _somewhere_else()


def _node(tick: Callable[..., Any]) -> Node:
    return Node("culprit", tick=tick, rate=100)


@pytest.mark.parametrize(
    "culprit",
    [_node(_sleeps), _node(_sleeps_async), _node(_awaits_first), Sleeper("culprit", rate=100)],
    ids=["plain", "async", "after an await", "class"],
)
def test_time_sleep_in_a_tick(culprit: Node, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, with node, tick, line and what to write instead (user/blocking_sleep)."""
    others = [Node(f"other{n}", tick=lambda _: None, rate=100) for n in range(2)]
    run_nodes(*others, culprit, deterministic=False, duration=0.5)
    said = [message for message in caplog.messages if "'culprit' held up the event loop" in message]
    assert len(said) == 1
    assert f"time.sleep() at {__file__}:" in said[0]
    assert "await horus_async.sleep" in said[0]


def test_what_blocks_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    """Where the line is not plain to see there is general advice."""
    run_nodes(_node(_indirectly), Node("other", tick=lambda _: None), deterministic=False, duration=0.3)
    said = [message for message in caplog.messages if "'culprit' held up the event loop" in message]
    assert len(said) == 1
    assert "compute=True" in said[0]


def test_those_that_wait_or_have_a_thread_are_innocent() -> None:
    """A tick that awaits keeps the event loop for the rest of it only, and one in a thread of its own not at all."""
    held: list[tuple[int, int, int]] = []

    async def waits(_: Node) -> None:
        await sleep(HELD)

    def look(_: Node) -> None:
        assert scheduler._runtime is not None
        waiting, computing = (scheduler._runtime.runs[name] for name in ("waits", "computes"))
        if waiting.durations.count:
            held.append((waiting.held_loop_ns(), waiting.durations.longest, computing.held_loop_ns()))

    scheduler = scheduler_of(
        Node("waits", tick=waits, rate=100),
        Node("computes", tick=_sleeps, rate=100, compute=True),
        Node("looks", tick=look, rate=100),
        deterministic=False,
    )
    scheduler.run_sync(0.3)
    assert held
    assert all(ours <= longest - 0.9 * HELD * 1e9 and other == 0 for ours, longest, other in held)
