"""zenoh's side: one session, so that nothing leaves the process."""

from __future__ import annotations

import zenoh

from .sampling import BYTES, microseconds_a_call

_ALONE = '{mode: "peer", scouting: {multicast: {enabled: false}}, listen: {endpoints: []}}'


def bytes_send_recv(scale: float) -> list[float]:
    """64 bytes from a publisher to a subscriber."""
    with zenoh.open(zenoh.Config.from_json5(_ALONE)) as session:
        subscriber = session.declare_subscriber("bench/bytes", zenoh.handlers.FifoChannel(16))
        publisher = session.declare_publisher("bench/bytes")

        def call() -> None:
            publisher.put(BYTES)
            bytes(subscriber.recv().payload)

        return [microseconds_a_call(call, scale=scale)]
