"""What is measured, against whom, and what it should come to."""

from __future__ import annotations

from attrs import frozen


@frozen
class Side:
    """One half of a comparison: a function of this package that returns samples."""

    label: str
    module: str
    function: str


@frozen
class Figure:
    """A figure of ours beside a peer's; less is better in all of them."""

    name: str
    title: str
    unit: str
    ours: Side
    peer: Side
    max_ratio: float | None = None
    """The ratio ours / peer's that is wanted at most."""
    max_ours: float | None = None
    """The figure of ours that is wanted at most, whatever the peer's is."""
    percentiles: tuple[int, ...] = (50,)
    """What is shown of the samples of all rounds."""


def _beside_horus(
    name: str, title: str, unit: str, *, max_ratio: float | None = None, max_ours: float | None = None
) -> Figure:
    ours = Side("horus-async", "benchmarks.ours", name)
    peer = Side("HORUS 0.4.1", "benchmarks.horus_peer", name)
    return Figure(name, title, unit, ours, peer, max_ratio, max_ours)


FIGURES = (
    _beside_horus("dict_send_recv", 'dict {"value", "tick"}: send and receive, one process', "µs", max_ratio=0.6),
    _beside_horus("large_dict_send_recv", "360 floats in a dict: send and receive, one process", "µs", max_ratio=0.5),
    _beside_horus(
        "deterministic_tick", "deterministic run, two nodes, a dict a tick: time a tick", "µs", max_ratio=1.0
    ),
    _beside_horus("recording_extra", "the same: what recording adds to a tick", "µs", max_ratio=0.1),
    _beside_horus("recorded_bytes", "the same: bytes recorded a tick", "B", max_ours=100.0),
    Figure(
        "lateness",
        "1 kHz node in real time: lateness of a tick's start",
        "µs",
        Side("horus-async", "benchmarks.ours", "lateness"),
        Side("trio.sleep_until loop", "benchmarks.plain_trio", "lateness"),
        percentiles=(50, 99, 100),
    ),
)
