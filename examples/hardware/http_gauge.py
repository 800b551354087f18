"""A device on the network, through a library for asyncio: aiohttp's WebSocket, in a task of the node.

    horus-async run --asyncio --record drive examples/hardware/http_gauge.py -- http://192.168.0.20/live
    horus-async replay drive --speed max --verify examples/hardware/http_gauge.py --nodes valve

Needs more: ``pip install '.[hardware]'``. The device sends ``{"bar": 1.2}``, as often as it likes.
"""

import json

import aiohttp

from horus_async import Node, Scheduler, elapsed, now_ns, sleep


class Gauge(Node):
    """The task connects again by itself, after 0.1 to 5 s."""

    name, rate, pubs = "gauge", 1, ["pressure", "gauge.health"]

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.count = {"connected": 0, "good": 0, "garbage": 0}

    def init(self) -> None:
        """It does not matter whether the device is there."""
        self.background(self.keep_listening)

    async def keep_listening(self) -> None:
        """A task; it is cancelled when the run ends."""
        wait = 0.1
        async with aiohttp.ClientSession() as session:
            while True:
                before = self.count["good"]
                try:
                    await self.listen(session)
                    self.log.warning("the gauge has hung up")
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.log.warning("no gauge: %s", error)
                wait = 0.1 if self.count["good"] > before else min(2 * wait, 5.0)
                await sleep(wait)

    async def listen(self, session: aiohttp.ClientSession) -> None:
        """Until the device hangs up. ``heartbeat`` notices one that is gone without a word."""
        patience = aiohttp.ClientWSTimeout(ws_close=0.5)
        async with session.ws_connect(self.url, heartbeat=5.0, timeout=patience) as device:
            self.count["connected"] += 1
            async for message in device:
                stamp_ns = now_ns()
                try:
                    bar = float(json.loads(message.data)["bar"])
                except (ValueError, TypeError, KeyError):
                    self.count["garbage"] += 1
                    continue
                self.count["good"] += 1
                self.send("pressure", {"bar": bar, "stamp_ns": stamp_ns})

    def tick(self) -> None:
        """Say how it goes."""
        self.send("gauge.health", dict(self.count))


class Valve(Node):
    """Opens above 2 bar, and when it has heard nothing for a second: its safe state."""

    name, rate, subs, pubs = "valve", 20, ["pressure"], ["valve.open"]

    def init(self) -> None:
        """Nothing heard yet."""
        self.bar, self.heard = 0.0, float("-inf")

    def tick(self) -> None:
        """The newest counts."""
        while (pressure := self.recv("pressure")) is not None:
            self.bar, self.heard = pressure["bar"], elapsed()
        self.send("valve.open", self.bar > 2.0 or elapsed() - self.heard > 1.0)


def build(args: list[str]) -> Scheduler:
    """With the device's address. A verification connects to none."""
    return Scheduler(tick_rate=100).add(Gauge(*args or ["http://localhost:8080/live"])).add(Valve())
