"""Runs with a black box, and what it holds of them afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async import HorusError, Node, Scheduler, tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.blackbox import Record

MS = 1_000_000


def run(*nodes: Node, duration: float | None = 0.1, deterministic: bool = True, **options: Any) -> Scheduler:
    """Run nodes with a box to the end, whatever that is."""
    scheduler = Scheduler(deterministic=deterministic, blackbox_mb=1, **options)
    for node in nodes:
        scheduler.add(node)
    try:
        scheduler.run_sync(duration)
    except HorusError as error:
        scheduler.error = error  # type: ignore[attr-defined]
    return scheduler


def error_of(scheduler: Scheduler) -> Any:
    """What the run raised, if it was one of ours."""
    return getattr(scheduler, "error", None)


def events(scheduler: Scheduler, *kinds: str) -> list[Record]:
    """What the box holds of some kinds."""
    assert scheduler.blackbox is not None
    return scheduler.blackbox.events(kind=kinds or None)


def kinds(scheduler: Scheduler, *wanted: str) -> list[str]:
    """The kinds of what the box holds, in order."""
    return [record.kind for record in events(scheduler, *wanted)]


def reason(scheduler: Scheduler) -> str:
    """Why the run ended."""
    (stop,) = events(scheduler, "SchedulerStop")
    return str(stop.reason)


def transitions(scheduler: Scheduler) -> list[tuple[int, str, str]]:
    """Tick, from and to of each change of a failure policy."""
    return [(record.tick, record.from_, record.to) for record in events(scheduler, "FailurePolicy")]


def failing(*ticks: int, **options: Any) -> tuple[Node, list[Any]]:
    """A node that fails in these scheduler ticks, and what it writes down."""
    log: list[Any] = []

    def init(node: Node) -> None:
        log.append("init")

    def work(node: Node) -> None:
        log.append(tick())
        if tick() in ticks:
            raise ValueError(f"tick {tick()}")

    return Node("arm", tick=work, init=init, rate=100, **options), log


def busy_for(milliseconds: Callable[[int], float], **options: Any) -> tuple[Node, list[int]]:
    """A node whose tick takes so long, and the scheduler ticks in which it began one."""
    from horus_async import sleep

    ticks: list[int] = []

    async def work(node: Node) -> None:
        ticks.append(tick())
        await sleep(milliseconds(tick()) / 1000)

    return Node(options.pop("name", "arm"), tick=work, rate=100, **options), ticks
