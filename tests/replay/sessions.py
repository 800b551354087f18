"""Recorded sessions for the tests beside this file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async import Node, Scheduler, Topic, dt, elapsed, now, rng, sleep, tick

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def sensor_tick(n: Node) -> None:
    """Sends a noisy reading."""
    n.send("sensor.reading", {"value": rng().random(), "count": tick()})


def controller_tick(gain: float) -> Callable[[Node], None]:
    """Answers a reading with a command."""

    def control(n: Node) -> None:
        reading = n.recv("sensor.reading")
        if reading is not None:
            n.send("ctrl.cmd", {"output": gain * reading["value"], "now": now(), "dt": dt(), "noise": rng().random()})

    return control


def sensor() -> Node:
    """The sensor of the documentation."""
    return Node("sensor", tick=sensor_tick, pubs="sensor.reading")


def controller(gain: float = 0.5, name: str = "controller", **options: Any) -> Node:
    """The controller of the documentation."""
    return Node(name, tick=controller_tick(gain), subs="sensor.reading", pubs="ctrl.cmd", **options)


def pair() -> list[Node]:
    """A sensor and its controller."""
    return [sensor(), controller()]


def multi_rate() -> list[Node]:
    """Nodes of several rates, one of which reads what others send."""
    return [
        controller(name="slow", rate=33.3),
        Node("fast", tick=sensor_tick, pubs="sensor.reading", rate=100),
        Node("ten", tick=lambda n: n.send("ten", (tick(), n.recv_all("ctrl.cmd"), dt(), elapsed())), rate=10),
    ]


def events() -> list[Node]:
    """Event nodes in a chain, some of whose messages are drained."""

    def burst(n: Node) -> None:
        for index in range(tick() % 4):
            n.send("burst", (tick(), index))

    def drain(n: Node) -> None:
        n.send("drained", n.recv_all("burst"))

    return [
        Node("one", on="burst", tick=lambda n: n.send("one", n.recv("burst"))),
        Node("drain", on="burst", tick=drain, pubs="drained"),
        Node("burst", tick=burst),
        Node("both", on=["one", "drained"], tick=lambda n: n.send("both", (n.recv("one"), n.latest("drained"), dt()))),
    ]


def suspended() -> list[Node]:
    """Ticks that send before, between and after waits, across scheduler ticks."""

    async def slow(n: Node) -> None:
        n.send("slow", ("begin", tick()))
        await sleep(0.0042)
        n.send("slow", ("middle", rng().random()))
        await sleep(0.0213)
        n.send("slow", ("end", tick(), n.recv_all("quick")))

    async def asker(n: Node) -> None:
        n.send("question", tick())
        n.send("asked", await n.receive("answer"))

    async def answerer(n: Node) -> None:
        question = await n.receive("question")
        await sleep(0.0033)
        n.send("answer", question)

    return [
        Node("slow", tick=slow, pubs="slow", subs="quick"),
        Node("quick", tick=lambda n: n.send("quick", (tick(), n.recv("slow"))), pubs="quick", subs="slow"),
        Node("event", on="slow", tick=lambda n: n.send("heard", n.recv("slow"))),
        Node("asker", tick=asker, pubs=["question", "asked"], subs="answer", rate=20),
        Node("answerer", tick=answerer, pubs="answer", subs="question", rate=20),
    ]


def feedback() -> list[Node]:
    """A plant and its controller, closed by add."""

    def plant(n: Node) -> None:
        n.send("state", (tick(), n.recv("cmd")))

    def control(n: Node) -> None:
        n.send("cmd", (tick(), n.recv("state")))

    return [
        Node("plant", tick=plant, pubs="state", subs="cmd"),
        Node("control", tick=control, pubs="cmd", subs="state"),
    ]


def talkative() -> list[Node]:
    """Messages from init and shutdown, many and none in a tick, bytes and None."""

    def chat(n: Node) -> None:
        for index in range(tick() % 3):
            n.send("chat", [b"bytes", None, {"i": index}][index])

    return [
        Node("chatter", init=lambda n: n.send("chat", "hi"), tick=chat, shutdown=lambda n: n.send("chat", "bye")),
        Node("echo", tick=lambda n: [n.send("echo", value) for value in n.recv_all("chat")], subs="chat", pubs="echo"),
    ]


def compute() -> list[Node]:
    """A node that computes in a thread, and one that waits for threads."""
    import trio

    async def threaded(n: Node) -> None:
        n.send("threaded", await trio.to_thread.run_sync(rng().random))

    return [
        Node("compute", compute=True, tick=lambda n: n.send("computed", rng().random()), pubs="computed"),
        Node("threaded", tick=threaded, pubs="threaded"),
        Node(
            "sum", tick=lambda n: n.send("sum", (n.recv("computed"), n.recv("threaded"))), subs=["computed", "threaded"]
        ),
    ]


PROGRAMS: dict[str, Callable[[], list[Node]]] = {
    make.__name__: make for make in (pair, multi_rate, events, suspended, feedback, talkative, compute)
}


def record(
    name: str, nodes: Sequence[Node], *, duration: float = 0.5, deterministic: bool = True, seed: int = 3
) -> list[str]:
    """Record a run; gives the files."""
    scheduler = Scheduler(deterministic=deterministic, seed=seed, recording=name)
    for node in nodes:
        scheduler.add(node)
    scheduler.run_sync(duration)
    return scheduler.stop_recording()


def heard(scheduler: Scheduler, *topics: str, duration: float | None = None) -> list[Any]:
    """What handles outside a run hear: topic, value, sequence number, stamp, publisher, in order for each topic."""
    handles = [Topic(topic) for topic in topics]
    try:
        scheduler.run_sync(duration)
        found = []
        for topic, handle in zip(topics, handles, strict=True):
            while (m := handle.recv_message()) is not None:
                found.append((topic, m.value, m.seq, m.stamp_ns, m.publisher))
        return found
    finally:
        for handle in handles:
            handle.close()


def file_of(files: Sequence[str], node: str) -> str:
    """A node's file among those of a session."""
    return next(file for file in files if f"/{node}@" in file)
