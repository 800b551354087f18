"""Whatever other programs send where nodes are asked, a run goes on and answers those who make sense."""

from __future__ import annotations

import random
from typing import Any

import pytest

from horus_async import Node, Param, Topic, action, service, sleep
from horus_async.remote.client import Client
from horus_async.topics.codec import decode, encode
from tests.interface.programs import scheduler_of

NONSENSE: list[Any] = [
    None, True, -1, 2**70, 1.5, float("nan"), "", "x" * 5000, b"\0", [], [[]], {}, {"node": "arm"}, {"node": []},
    {"node": "arm", "set": 3}, {"node": "arm", "set": {"gain": "x"}}, {"node": "arm", "set": {"": 1, "gain": 1}},
    {"node": "arm", "set": {3: 1}}, {"do": "list"}, {"do": "pause"}, {"do": "pause", "node": {}}, {"do": []},
    {"do": [], "node": "arm"}, {"do": "stats"}, {"do": "uses"},
    {"do": "info", "node": "arm"}, {"do": "info", "node": 1}, {"do": "log"}, {"do": "log", "seconds": float("nan")},
    {"do": "log", "seconds": 10**400, "level": 10**400}, {"do": "log", "seconds": 1, "level": "x"}, {"do": 3},
    {"do": "log", "seconds": 1, "level": -(2**70)},
    {"publisher": "x", "seq": 0}, {"publisher": 1, "seq": "x", "stamp_ns": []},
    {"publisher": "x", "seq": -1, "stamp_ns": 0}, {"publisher": "arm", "seq": 0, "stamp_ns": None, "value": [1]},
    {"state": "succeeded"}, (1, 2), {"$type": "os.system", "value": 1}, {"a": {"b": {"c": [None] * 50}}},
]  # fmt: skip
TOPICS = (
    "nodes/request", "nodes/reply", "nodes/log", "params/request", "params/reply", "arm.home/request", "arm.home/reply",
    "arm.move/goal", "arm.move/cancel", "arm.move/status", "interfaces",
)  # fmt: skip


class Arm(Node):
    """Has one of everything, and asks itself for all of it."""

    name, rate = "arm", 100
    gain = Param(1.0)

    def init(self) -> None:
        """Ask as well."""
        self.background(self.ask)

    async def ask(self) -> None:
        """Over and over."""
        for number in range(10**6):
            assert await self.call("arm.home", number, timeout=None) == number
            async with self.goal("arm.move", 0, timeout=None) as move:
                async for _ in move:
                    pass
            await sleep(0.01)

    @service("arm.home")
    def home(self, request: Any) -> Any:
        """Gives it back."""
        return request

    @action("arm.move")
    async def move(self, goal: Any, handle: Any) -> Any:
        """Ends soon."""
        await sleep(0.001)
        handle.feedback(goal)

    def tick(self) -> None:
        """Nothing."""


@pytest.mark.usefixtures("quiet")
def test_nonsense_from_other_programs_ends_no_run() -> None:
    """On each topic of requests, answers and announcements."""
    scheduler = scheduler_of([Arm()], deterministic=False)
    namespace = scheduler._options.namespace
    got: list[Any] = []
    for value in NONSENSE:  # so that nothing is imported in a thread, where pytest would rewrite it
        payload = encode(value)
        decode(payload if isinstance(payload, bytes) else b"".join(payload))

    def attack() -> None:
        rng = random.Random(17)
        topics = [Topic(name, namespace=namespace) for name in TOPICS]
        try:
            for _ in range(400):
                rng.choice(topics).send(rng.choice(NONSENSE))
            client = Client(namespace)
            got.extend([client.call("arm.home", 7, timeout=60.0), client.set_params("arm", {"gain": 2}, timeout=60.0)])
            client.interfaces()
            client.nodes(timeout=0.2)
            got.append(client.resume("arm", timeout=60.0)["paused"])
        finally:
            for topic in topics:
                topic.close()
            scheduler.stop()

    scheduler.add(Node("attacker", tick=lambda _: None, init=lambda node: node.in_thread(attack))).run_sync(240)
    assert got == [7, {"gain": 2.0}, False]
    assert scheduler.stats().nodes["arm"].ticks > 0
