"""A viewer of a running robot: how long a message takes to it, at a thousand messages a second.

``python -m benchmarks.viewing COUNT`` is the robot.
"""

from __future__ import annotations

import json
import struct
import subprocess
import sys

from horus_async import Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns, sleep_until_monotonic

_COUNT = 4000
_FIRST = 500
"""So many are not counted: both sides are still settling."""
_RATE = 1000


def to_a_viewer(scale: float) -> list[float]:
    """Milliseconds from just before a send to a client of ``horus-async foxglove``, the 99th percentile."""
    from websockets.sync.client import connect
    from websockets.typing import Subprotocol

    count = round(_COUNT * scale) + _FIRST
    command = [sys.executable, "-m", "horus_async", "foxglove", "--port", "0", "--json"]
    robot = subprocess.Popen([sys.executable, "-m", "benchmarks.viewing", str(count)])
    server = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["url"]
        with connect(url, subprotocols=[Subprotocol("foxglove.sdk.v1")]) as viewer:
            times: list[float] = []
            while len(times) < count - _FIRST:
                came = viewer.recv(timeout=20)
                now_ns = monotonic_ns()
                if isinstance(came, bytes) and came[0] == 1:
                    number, sent_ns = struct.unpack("<qq", bytes.fromhex(json.loads(came[13:])["at"]))
                    if number >= _FIRST:
                        times.append((now_ns - sent_ns) / 1e6)
                elif isinstance(came, str) and '"advertise"' in came:
                    for channel in json.loads(came)["channels"]:
                        # the SDK advertises a channel a moment before it takes subscriptions
                        sleep_until_monotonic(monotonic_ns() + NANOSECONDS // 20)
                        pair = {"id": channel["id"], "channelId": channel["id"]}
                        viewer.send(json.dumps({"op": "subscribe", "subscriptions": [pair]}))
    finally:
        for process in (robot, server):
            process.kill()
            process.communicate()
    return [sorted(times)[round(len(times) * 0.99) - 1]]


def _send(count: int) -> None:
    with Topic("bench.viewed") as topic:
        topic.send({"at": struct.pack("<qq", 0, 0).hex()})
        start = monotonic_ns() + 3 * NANOSECONDS  # when the server and its client are there
        for number in range(1, count + 1000):
            sleep_until_monotonic(start + number * NANOSECONDS // _RATE)
            topic.send({"at": struct.pack("<qq", number, monotonic_ns()).hex()})
            topic.recv()
        sleep_until_monotonic(monotonic_ns() + 30 * NANOSECONDS)


if __name__ == "__main__":
    _send(int(sys.argv[1]))
