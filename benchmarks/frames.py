"""A recorded topic as a data frame, beside a loop that reads the same messages from MCAP."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from horus_async import Node, RecordingOptions, Scheduler, tick
from horus_async.clock.system import perf_ns
from horus_async.recorder import open_session
from horus_async.recorder.exports.export import ExportFormat, export_session

_MESSAGES = 1_000_000


def to_pandas(scale: float) -> list[float]:
    """Microseconds a message, with opening the session."""
    path, count = _session(scale)
    import pandas as _  # noqa: F401 - pandas and Arrow take their time to load, once
    import pyarrow.json as _json  # noqa: F401

    start = perf_ns()
    frame = open_session(path)["odom"].to_pandas()
    took = perf_ns() - start
    if len(frame) != count:
        raise AssertionError(f"{len(frame)} messages")
    return [took / 1000 / count]


def mcap_loop(scale: float) -> list[float]:
    """Microseconds a message to see each as a dict; nothing is kept."""
    from mcap.reader import make_reader

    path, count = _session(scale)
    seen = 0
    with path.with_suffix(".mcap").open("rb") as stream:
        start = perf_ns()
        reader: Any = make_reader(stream)  # its type information is incomplete
        for _, _, message in reader.iter_messages():
            json.loads(message.data)
            seen += 1
        took = perf_ns() - start
    if seen != count:
        raise AssertionError(f"{seen} messages")
    return [took / 1000 / count]


def _session(scale: float) -> tuple[Path, int]:
    """A recording of a base's odometry, and the same as an MCAP file beside it. Made once for all rounds."""
    count = round(_MESSAGES * scale)
    folder = Path(os.environ["HORUS_BENCH_SHARED"])
    path = folder / f"odometry_{count}"
    if path.with_suffix(".mcap").exists():
        return path, count

    def step(node: Node) -> None:
        at = tick() * 0.01
        pose = {"x": math.sin(at), "y": math.cos(at), "theta": at}
        speed = {"linear": 0.5 * math.cos(at), "angular": 0.1 * math.sin(at)}
        node.send("odom", {"pose": pose, "speed": speed, "count": tick(), "frame": "odom", "slips": False, "slip": 0.0})

    scheduler = Scheduler(
        tick_rate=100, deterministic=True, recording=RecordingOptions(name=path.name), recordings_dir=folder
    )
    scheduler.add(Node(name="base", tick=step, pubs=["odom"])).run_sync(count / 100)
    export_session(open_session(path), path.with_suffix(".mcap"), ExportFormat.MCAP)
    return path, count
