"""Tasks and threads of a node's own, and that callbacks see only their own context variables."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import anyio
import anyio.to_thread
import pytest
import trio

from horus_async import ContextError, Node, NodeFailure, Restart, Scheduler, elapsed, sleep, tick
from horus_async.observe import Observer, Sent
from tests.engine.programs import both_modes, run_nodes, scheduler_of

variable: ContextVar[str] = ContextVar("variable", default="nobody")
LOOPS = ("trio", "asyncio", "deterministic")


def run_in(loop: str, scheduler: Scheduler, duration: float | None) -> None:
    """Run it so."""
    if loop == "asyncio":
        asyncio.run(scheduler.run(duration))
    else:
        scheduler.run_sync(duration)


class Told(Observer):
    """Hears of messages."""

    hears_messages = True

    def __init__(self) -> None:
        self.sent_by: list[tuple[str, str, int]] = []

    def sent(self, message: Sent) -> None:
        """Note it."""
        self.sent_by.append((message.node, message.topic, message.seq))


# Context variables


@pytest.mark.parametrize("loop", LOOPS)
def test_no_node_sees_the_context_variables_of_another(loop: str) -> None:
    """Whatever a node sets, in whichever callback, others see what was there when the run began."""
    seen: list[tuple[str, str, str]] = []

    def look(node: Node, where: str) -> None:
        seen.append((node.name, where, variable.get()))
        variable.set(node.name)

    async def waits(node: Node) -> None:
        look(node, "tick")
        await sleep(0.002)
        look(node, "tick")

    async def task(node: Node) -> None:
        look(node, "task")
        await sleep(0.005)
        look(node, "task")

    def start(node: Node) -> None:
        look(node, "init")
        node.background(task, node)
        if loop != "deterministic":
            node.in_thread(look, node, "thread")

    def make(name: str, **options: Any) -> Node:
        tick = options.pop("tick", lambda node: look(node, "tick"))
        return Node(name, tick=tick, init=start, shutdown=lambda node: look(node, "shutdown"), **options)

    scheduler = scheduler_of(
        make("plain"), make("waits", tick=waits), make("compute", compute=True), deterministic=loop == "deterministic"
    )
    variable.set("outside")
    run_in(loop, scheduler, 0.05)
    assert variable.get() == "outside"
    assert {where for _, where, _ in seen} >= {"init", "tick", "task", "shutdown"}
    for name, where, found in seen:
        assert found in ("outside", name), (name, where, found)
    assert {found for name, where, found in seen if where == "init"} == {"outside"}
    variable.set("nobody")


async def test_tick_once_leaves_no_context_variables_behind() -> None:
    """Neither with the caller nor with the next node."""
    seen: list[str] = []

    async def tick(node: Node) -> None:
        seen.append(variable.get())
        variable.set(node.name)
        if node.name == "b":
            await sleep(0.001)

    async with scheduler_of(Node("a", tick=tick), Node("b", tick=tick), deterministic=True) as scheduler:
        for _ in range(2):
            await scheduler.tick_once()
    assert seen == ["nobody", "nobody", "a", "b"]
    assert variable.get() == "nobody"


def test_a_context_manager_lasts_over_a_wait() -> None:
    """What a tick sets around an await holds after it, whoever ticked meanwhile."""
    import decimal

    found: list[int] = []

    async def precise(node: Node) -> None:
        with decimal.localcontext(prec=50):
            await sleep(0.015)
            found.append(decimal.getcontext().prec)

    def other(node: Node) -> None:
        found.append(decimal.getcontext().prec)

    run_nodes(Node("precise", tick=precise, rate=50), Node("other", tick=other, rate=100, order=1), duration=0.04)
    assert set(found) == {28, 50}
    assert found.count(28) == 4


# Background tasks


@both_modes
def test_tasks_end_before_shutdown(deterministic: bool) -> None:
    """Also those that take their time to clean up; what they send meanwhile goes out."""
    log: list[str] = []

    async def task(node: Node) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await sleep(0.02)
            node.send("t", "last word")
            log.append("task")

    node = Node(
        "n",
        tick=lambda _: None,
        init=lambda node: node.background(task, node),
        shutdown=lambda _: log.append("shutdown"),
    )
    told = Told()
    scheduler = scheduler_of(node, deterministic=deterministic).observe(told)
    scheduler.run_sync(0.05)
    assert log == ["task", "shutdown"]
    assert told.sent_by == [("n", "t", 0)]


def test_init_waits_for_the_tasks_of_the_life_before() -> None:
    """A node that is started again has one driver at a time."""
    log: list[str] = []

    async def driver(number: int) -> None:
        log.append(f"open {number}")
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await sleep(0.015)
            log.append(f"close {number}")

    def init(node: Node) -> None:
        node.state = (node.state or 0) + 1
        log.append(f"init {node.state}")
        node.background(driver, node.state)

    def work(node: Node) -> None:
        if tick() == 3:
            raise OSError("gone")

    node = Node("n", tick=work, init=init, failure_policy=Restart(backoff=0.01))
    scheduler = run_nodes(node, duration=0.2)
    assert log == ["init 1", "open 1", "close 1", "init 2", "open 2", "close 2"]
    assert scheduler.stats().nodes["n"].restarts == 1


def test_a_failing_task_is_a_failure_of_the_node() -> None:
    """With its policy; and each start counts."""

    async def task() -> None:
        await sleep(0.015)
        raise OSError("gone")

    def node(**options: Any) -> Node:
        return Node("n", tick=lambda _: None, init=lambda node: node.background(task), **options)

    with pytest.raises(NodeFailure, match="'n'") as caught:
        run_nodes(node(), duration=1)
    assert [type(error) for error in caught.value.exceptions] == [OSError]
    scheduler = run_nodes(node(failure_policy=Restart(max_retries=3, backoff=0.01)), duration=0.2)
    assert scheduler.stats().nodes["n"].restarts >= 2


def test_only_coroutine_functions_run_in_the_background() -> None:
    """Others are refused with what to use instead."""
    node = Node("n", tick=lambda _: None, init=lambda node: node.background(print))
    with pytest.raises(NodeFailure) as caught:
        run_nodes(node)
    assert "in_thread()" in str(caught.value.exceptions[0])


_WORK = {"background": anyio.sleep_forever, "in_thread": threading.get_ident}


@pytest.mark.parametrize("method", ["background", "in_thread"])
async def test_single_ticks_in_real_time_have_no_work_beside_them(method: str) -> None:
    """It is refused, and said so."""
    node = Node("n", tick=lambda _: None, init=lambda node: getattr(node, method)(_WORK[method]))
    scheduler = scheduler_of(node, deterministic=False)
    with pytest.raises(NodeFailure) as caught:
        await scheduler.tick_once()
    assert f"{method}() of node 'n': tick_once() in real time" in str(caught.value.exceptions[0])
    await scheduler.aclose()


@both_modes
@pytest.mark.parametrize("method", ["background", "in_thread"])
async def test_shutdown_is_too_late_for_work(method: str, *, deterministic: bool) -> None:
    """It says that, and nothing of single ticks."""
    node = Node("n", tick=lambda _: None, shutdown=lambda node: getattr(node, method)(_WORK[method]))
    with pytest.raises(NodeFailure) as caught:
        await scheduler_of(node, deterministic=deterministic).run(0.02)
    assert f"{method}() of node 'n': the run ends" in str(caught.value.exceptions[0])


# Threads


def test_a_thread_of_the_life_before_may_not_send() -> None:
    """After `init` ran again the old thread's sends are refused, which ends it without a word."""
    ended = threading.Event()
    second = threading.Event()
    log: list[str] = []

    def driver(node: Node, life: int) -> None:
        if life == 1:
            second.wait(300)
            try:
                node.send("t", life)
            except ContextError:
                log.append("refused")
                raise
            finally:
                ended.set()
        node.send("t", life)
        node.request_stop()

    def init(node: Node) -> None:
        node.state = (node.state or 0) + 1
        if node.state == 2:
            second.set()
            assert ended.wait(300)
        node.in_thread(driver, node, node.state)

    def work(node: Node) -> None:
        if node.state == 1:
            raise OSError("gone")

    told = Told()
    node = Node("n", tick=work, init=init, failure_policy=Restart(backoff=0.0))
    scheduler_of(node, deterministic=False).observe(told).run_sync()
    assert log == ["refused"]
    assert told.sent_by == [("n", "t", 0)]


def test_what_threads_send_is_told_or_counted() -> None:
    """Four threads of a node while the loop stands still: told and missed together are all that was sent."""
    told: list[Sent] = []
    missed: list[int] = []
    number, threads = 6000, 4
    done = threading.Barrier(threads + 1)

    class Watching(Observer):
        hears_messages = True

        def sent(self, message: Sent) -> None:
            told.append(message)

        def missed(self, node: str, count: int) -> None:
            missed.append(count)

    def driver(node: Node, which: int) -> None:
        for _ in range(number):
            node.send(f"t{which}", b"x" * 50)
        done.wait()

    def init(node: Node) -> None:
        for which in range(threads):
            node.in_thread(driver, node, which)
        done.wait()  # the loop stands still meanwhile

    node = Node("n", tick=lambda node: node.request_stop(), init=init)
    scheduler_of(node, deterministic=False).observe(Watching()).run_sync()
    assert len(told) + sum(missed) == number * threads
    assert sum(missed) > 0
    for which in range(threads):
        seqs = [message.seq for message in told if message.topic == f"t{which}"]
        assert seqs == sorted(seqs)


def test_large_messages_of_threads_are_bounded_by_size() -> None:
    """While the loop stands still a few megabytes of them wait, not ten thousand however large."""
    from horus_async.engine.audience import ELSEWHERE_BYTES, Audience

    audience = Audience([Told()])
    payload = b"x" * (1 << 20)
    for seq in range(ELSEWHERE_BYTES // len(payload) + 100):
        audience.sent_elsewhere(Sent("driver", "t", seq, 0, payload, 0))
    assert len(audience._elsewhere) <= ELSEWHERE_BYTES // len(payload) + 1
    audience.collect()
    assert audience._elsewhere_bytes == 0


def test_each_message_of_a_thread_wakes_the_loop() -> None:
    """However it comes between the loop's looks: nothing waits for the next tick."""
    from horus_async.engine.audience import Audience

    told = Told()
    audience = Audience([told])
    woken: list[int] = []

    def wake() -> None:
        woken.append(len(told.sent_by))

    audience.wake = wake

    class Slipping(type(audience._elsewhere)):  # type: ignore[misc] # a deque
        """The loop looks just before the second message is put."""

        def append(self, message: Sent) -> None:
            if message.seq == 1:
                audience.collect()
            super().append(message)

    audience._elsewhere = Slipping()
    for seq in range(2):
        audience.sent_elsewhere(Sent("driver", "t", seq, 0, b"1", 0))
    assert len(woken) == 2


async def test_another_task_of_the_loop_goes_on_while_a_thread_hangs() -> None:
    """The end of a run waits for a thread without holding up the event loop."""
    release = threading.Event()
    rounds = 0

    async def other() -> None:
        nonlocal rounds
        while True:
            await trio.sleep(0.001)
            rounds += 1

    node = Node("n", tick=lambda node: node.request_stop(), init=lambda node: node.in_thread(release.wait))
    try:
        async with trio.open_nursery() as nursery:
            await Scheduler(grace=0.3).add(node).run()
            before = rounds
            nursery.start_soon(other)
            await Scheduler(grace=0.3).add(node).run()
            assert rounds - before > 10
            nursery.cancel_scope.cancel()
    finally:
        release.set()
        for thread in [thread for thread in threading.enumerate() if thread.name == "n: Event.wait"]:
            thread.join()


def test_the_time_goes_on_in_tasks() -> None:
    """`elapsed` in a background task is the run's."""
    found: list[float] = []

    async def task() -> None:
        for _ in range(3):
            await sleep(0.01)
            found.append(elapsed())

    run_nodes(Node("n", tick=lambda _: None, init=lambda node: node.background(task)), duration=0.1)
    assert found == pytest.approx([0.01, 0.02, 0.03])
