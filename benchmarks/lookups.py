"""Where frames are: a lookup through five edges, all of which move."""

from __future__ import annotations

from itertools import pairwise

from horus_async import Frames, Node
from horus_async.frames import stamped
from horus_async.messages import Time
from horus_async.testing import run_nodes

from .sampling import microseconds_a_call

_EDGES = ("map", "odom", "base", "arm", "hand", "tool")
_AT = Time.from_ns(4_505_000_000)
"""Between two samples of each edge, in the middle of ten seconds."""


def _tree(frames: Frames) -> Frames:
    for sample in range(1000):
        at = sample / 100
        frames.add(
            [
                stamped(parent, child, (at, index, 0.5), rpy=(0.1 * index, 0.01 * sample, 0.02 * sample), at=at)
                for index, (parent, child) in enumerate(pairwise(_EDGES))
            ]
        )
    return frames


def five_edges(scale: float) -> list[float]:
    """At a time between the samples of each."""
    frames = _tree(Frames())

    def call() -> None:
        if frames.lookup("map", "tool", _AT).target != "map":
            raise AssertionError("that is another frame")

    return [microseconds_a_call(call, scale=scale)]


def in_a_node(scale: float) -> list[float]:
    """The same from a node's tick, which first looks whether something has arrived."""
    samples: list[float] = []

    class Asker(Node):
        name, subs = "asker", ("frames", "frames.static")

        async def tick(self) -> None:
            frames = _tree(Frames(self))
            samples.append(microseconds_a_call(lambda: frames.lookup("map", "tool", _AT), scale=scale))

    run_nodes(Asker(), ticks=1)
    return samples
