"""Planted fault: what is sent depends on the order of a set of strings, which changes with PYTHONHASHSEED."""

from __future__ import annotations

from horus_async import Node, Scheduler, node, rng

ZONES = {"dock", "aisle", "ramp", "gate", "yard", "shelf", "lift"}


@node(rate=20, pubs=["sightings"])
async def camera(node: Node) -> None:
    """Sees people in some of the zones."""
    node.send("sightings", {zone: rng().random() for zone in sorted(ZONES)})


@node(rate=20, subs=["sightings"], pubs=["patrol"])
async def planner(node: Node) -> None:
    """Sends the robot to where people are."""
    sightings = node.recv("sightings")
    busy = {zone for zone in ZONES if sightings[zone] > 0.5}
    node.send("patrol", {"route": list(busy)})  # the fault: a set has no order of its own


def build() -> Scheduler:
    """The program, ready to run."""
    return Scheduler(tick_rate=20, deterministic=True).add(camera).add(planner)


if __name__ == "__main__":
    build().run_sync(2.0)
