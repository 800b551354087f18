"""The tasks that a tick starts in its own nursery: the same order each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from horus_async import Node, Scheduler
from horus_async.clock import trio_order

if TYPE_CHECKING:
    import pytest


def _orders() -> tuple[int, ...]:
    order: list[int] = []

    async def child(number: int) -> None:
        for _ in range(3):
            await trio.sleep(0.001)
            order.append(number)

    async def tick(node: Node) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(child, number)

    Scheduler(tick_rate=100, deterministic=True).add(Node("parent", tick=tick)).run_sync(0.01)
    return tuple(order)


def test_this_version_of_trio_has_the_switch() -> None:
    """The private names are there, and do what `trio_order` says they do; if trio changes them, this fails."""
    assert trio_order.supported()
    assert {_orders() for _ in range(20)} == {(0, 1, 2, 3, 4) * 3}


async def test_under_another_trio_run_too() -> None:
    """A run in a thread of its own has the order; trio's own choice in the loop around it is left alone."""
    inside = trio._core._run
    before = (inside._ALLOW_DETERMINISTIC_SCHEDULING, inside._r)
    orders = {await trio.to_thread.run_sync(_orders) for _ in range(5)}

    assert orders == {(0, 1, 2, 3, 4) * 3}
    assert (inside._ALLOW_DETERMINISTIC_SCHEDULING, inside._r) == before


def test_other_threads_are_shuffled_as_ever() -> None:
    """While a run of ours goes on, another thread's trio keeps its random order."""
    with trio_order.tasks_in_order():
        orders = set()

        def elsewhere() -> None:
            for _ in range(30):
                order: list[int] = []

                async def main(order: list[int] = order) -> None:
                    async def child(number: int) -> None:
                        order.append(number)

                    async with trio.open_nursery() as nursery:
                        for number in range(5):
                            nursery.start_soon(child, number)

                trio.run(main)
                orders.add(tuple(order))

        trio.run(trio.to_thread.run_sync, elsewhere)

    assert len(orders) > 1


def test_without_the_switch_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trio that lacks the names runs as it does."""
    monkeypatch.setattr(trio_order, "_inside", object)
    orders = _orders()

    assert not trio_order.supported()
    assert sorted(orders) == sorted((0, 1, 2, 3, 4) * 3)
