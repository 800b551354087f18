"""Random robots whose nodes have tasks and threads of their own, and ticks that never end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen
from hypothesis import strategies as st

from horus_async import Node, Restart, elapsed, rng, sleep
from tests.replay.graphs import TOPICS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KINDS = ("beat", "beat", "few", "echo", "wait first")
ENDLESS = ("beat", "echo")


@frozen
class Job:
    """Something that goes on beside the ticks, or instead of them."""

    kind: str
    topic: str
    """Where it sends."""
    heard: str
    """What it listens to."""
    pause_ms: float
    from_tick: int | None = None
    """The tick that starts it; None for ``init``."""


@frozen
class Worker:
    """A node."""

    index: int
    rate: float | None
    jobs: tuple[Job, ...]
    endless: Job | None
    sends: int
    """Messages a tick."""
    fails_at: int | None
    threads: int = 0
    """In real time: threads that send."""
    bad: bool = False
    """It sends something else: the planted change."""
    change: str = ""
    """Another planted change, of its endless tick, else of its first task: one message more, or one on a new topic."""

    @property
    def name(self) -> str:
        """Its name."""
        return f"w{self.index}"

    def build(self) -> Node:
        """The node, anew."""
        return _Robot(self).node()


class _Robot:
    def __init__(self, plan: Worker) -> None:
        self._plan = plan
        self._ticks = 0
        self._lives = 0
        self.sent = 0

    def node(self) -> Node:
        plan = self._plan
        tick: Any = self._tick if plan.endless is None else self._never_ends
        return Node(
            plan.name,
            tick=tick,
            init=self._init,
            shutdown=self._shutdown,
            rate=plan.rate,
            failure_policy=Restart(max_retries=1000, backoff=0.007),
        )

    def _init(self, node: Node) -> None:
        self._lives += 1
        for number, job in enumerate(self._plan.jobs):
            if job.from_tick is None:
                self._start(node, number, job)
        for number in range(self._plan.threads):
            node.in_thread(self._thread, node, number)

    def _start(self, node: Node, number: int, job: Job) -> None:
        work: Callable[..., Awaitable[None]] = self._work
        node.background(work, node, f"job {number}.{self._lives}", job)

    def _shutdown(self, node: Node) -> None:
        node.send("end", (self._plan.name, self._plan.bad))

    def _tick(self, node: Node) -> None:
        self._ticks += 1
        for number, job in enumerate(self._plan.jobs):
            if job.from_tick == self._ticks:
                self._start(node, number, job)
        for number in range(self._plan.sends):
            node.send("ticks", (self._plan.name, self._ticks, number, rng().random(), self._plan.bad))
        if self._plan.fails_at == self._ticks:
            raise OSError("gone")

    async def _never_ends(self, node: Node) -> None:
        self._tick(node)
        assert self._plan.endless is not None
        await self._work(node, f"endless {self._ticks}", self._plan.endless)

    async def _work(self, node: Node, name: str, job: Job) -> None:
        pause = job.pause_ms / 1000
        if job.kind == "wait first":
            heard = await node.receive(job.heard)
            self._send(node, name, job, 0, heard)
        elif job.kind == "echo":
            count = 0
            async for heard in node.subscribe(job.heard):
                self._send(node, name, job, count, heard)
                count += 1
        elif job.kind == "few":
            for count in range(3):
                self._send(node, name, job, count)
                await sleep(pause)
        else:
            count = 0
            while True:
                self._send(node, name, job, count)
                count += 1
                await sleep(pause)

    def _send(self, node: Node, name: str, job: Job, count: int, heard: object = None) -> None:
        if count == 0 and self._plan.change and job is (self._plan.endless or self._plan.jobs[0]):
            node.send(job.topic if self._plan.change == "more" else "new", None)
        when = elapsed() if self.virtual else None
        node.send(job.topic, {"by": name, "n": count, "heard": heard, "at": when, "bad": self._plan.bad})

    virtual = True

    def _thread(self, node: Node, number: int) -> None:
        import threading

        pause = threading.Event()
        count = 0
        while True:
            node.send(f"thread{number}", {"n": count, "bad": self._plan.bad})
            count += 1
            pause.wait(0.002)


@st.composite
def _jobs(draw: st.DrawFn, index: int, kinds: tuple[str, ...], heard: tuple[str, ...]) -> Job:
    kind = draw(st.sampled_from(kinds if heard else ("beat", "few")))
    return Job(
        kind,
        f"out{index}" if kind in ("echo", "wait first") else draw(st.sampled_from((*TOPICS, f"out{index}"))),
        draw(st.sampled_from(heard)) if heard else "",
        draw(st.sampled_from((0.7, 1.3, 3.0, 10.0, 12.5))),
        draw(st.sampled_from((None, None, 1, 2, 4))),
    )


@st.composite
def workers(draw: st.DrawFn, *, threads: bool = False) -> list[Worker]:
    """Some nodes. What tasks listen to comes from tasks that listen to nothing."""
    made = []
    for index in range(draw(st.integers(1, 3))):
        heard = draw(st.permutations(TOPICS))
        jobs = [
            evolve(draw(_jobs(index, KINDS, heard=(heard[number],))), topic=_topic(draw, index, number, heard))
            for number in range(draw(st.integers(0, 3)))
        ]
        jobs = [job if job.kind in ("beat", "few") else evolve(job, topic=f"out{index}") for job in jobs]
        endless = draw(st.one_of(st.none(), _jobs(index, ENDLESS, heard=(heard[3],))))
        made.append(
            Worker(
                index,
                draw(st.sampled_from((None, 50.0, 33.3))),
                tuple(jobs),
                endless,
                draw(st.integers(0, 2)),
                draw(st.sampled_from((None, None, 2, 3))),
                draw(st.integers(0, 2)) if threads else 0,
            )
        )
    return made


def _topic(draw: st.DrawFn, index: int, number: int, heard: list[str] | tuple[str, ...]) -> str:
    del number, heard
    return draw(st.sampled_from((*TOPICS, f"out{index}")))
