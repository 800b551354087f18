"""Sessions, boxes and pages for the tests of the page."""

from __future__ import annotations

import runpy
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from horus_async import EmergencyStop, Node, Scheduler
from horus_async.recorder import open_session
from horus_async.view.html import embedded

if TYPE_CHECKING:
    from horus_async.recorder import Session
    from horus_async.view.making import PageMaker


EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "overnight_crash.py"


def crash(folder: Path, name: str = "night") -> tuple[Session, Path]:
    """The arm that stopped in the night: its session and its black box."""
    boxes = folder / "boxes"
    robot = Scheduler(
        tick_rate=500, deterministic=True, blackbox_mb=16, max_deadline_misses=3, name="arm", recording=name,
        recordings_dir=folder, blackbox_dir=boxes,
    )  # fmt: skip
    for node in runpy.run_path(str(EXAMPLE))["build"]([]).nodes:
        robot.add(node)
    with suppress(EmergencyStop):
        robot.run_sync(1.0)
    return open_session(folder / name), boxes / "arm.hbb"


def recorded(folder: Path, name: str, *nodes: Node, seconds: float = 1.0, **options: Any) -> Session:
    """A session of some nodes in virtual time."""
    scheduler = Scheduler(tick_rate=100, deterministic=True, recording=name, recordings_dir=folder, **options)
    for node in nodes:
        scheduler.add(node)
    scheduler.run_sync(seconds)
    return open_session(folder / name)


def shown(maker: PageMaker) -> dict[str, Any]:
    """The data as the page has it."""
    data: dict[str, Any] = orjson.loads(embedded(maker.data()))
    return data
