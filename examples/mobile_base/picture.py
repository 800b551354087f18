"""Draws a recorded run: the map, the ways that were planned, where the robot went, and what it saw last.

    python examples/mobile_base/picture.py SESSION [FILE.png]

Needs ``pip install matplotlib``.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import matplotlib as mpl
import numpy as np
from PIL import Image

from horus_async.frames import Frames
from horus_async.recorder import open_session


def draw(name: str, file: str) -> None:
    """Draw a session into a file."""
    mpl.use("agg")
    from matplotlib import pyplot as plt

    sent: dict[str, list[Any]] = {}
    session = open_session(name)
    frames = Frames(history=1e5)
    for node in ("simulation", "odometry", "mapper", "navigator"):
        for message in session.outputs(node):
            if message.topic.startswith("frames"):
                frames.add(message.value, static=message.topic.endswith("static"))
            else:
                sent.setdefault(message.topic, []).append(message.value)
    grid = sent["map"][-1]
    about = grid.info
    left, bottom = about.origin.position.x, about.origin.position.y
    extent = (left, left + about.width * about.resolution, bottom, bottom + about.height * about.resolution)
    data = np.asarray(grid.data, float).reshape(about.height, about.width)
    figure, axes = plt.subplots(figsize=(7, 5), layout="tight")
    axes.imshow(np.where(data < 0, 45, data), cmap="gray_r", origin="lower", extent=extent, vmin=0, vmax=100)
    for number, path in enumerate(path for path in sent.get("path", []) if path.poses):
        points = [(pose.pose.position.x, pose.pose.position.y) for pose in path.poses]
        axes.plot(*zip(*points, strict=True), "--", color="tab:blue", lw=1.2, label="planned" if not number else None)
        axes.plot(*points[-1], "*", color="tab:blue", ms=11)
    axes.plot([p.x for p in sent["truth"]], [p.y for p in sent["truth"]], color="tab:green", lw=2, label="driven")
    by_wheels = [(odom.pose.pose.position.x, odom.pose.pose.position.y) for odom in sent["odom"][::5]]
    axes.plot(*zip(*by_wheels, strict=True), color="tab:orange", lw=1, label="by wheels and gyroscope")
    scan = sent["scan"][-1]
    hits = (frames.lookup("map", "odom") @ frames.lookup("odom", "laser", scan.header.stamp)).points(
        frames.scan_points(scan, "laser")
    )
    axes.plot(hits[:, 0], hits[:, 1], ".", color="tab:red", ms=3, label="last scan")
    axes.set(xlabel="m", ylabel="m", xlim=(-1.8, 8.8), ylim=(-2.3, math.ceil(extent[3]) - 0.7))
    axes.legend(loc="upper left", fontsize=8)
    figure.savefig(file, dpi=75)
    Image.open(file).quantize(48).save(file, optimize=True)  # a tenth of the colours will do


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "mobile_base.png")
