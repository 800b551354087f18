"""Recordings for tests: small runs in which something happens."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, NodeFailure, RecordingOptions, Scheduler, sleep, tick

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Arm(Node):
    """Misses a deadline, fails, or logs, as it is told."""

    name = "arm"
    rate = 100
    pubs = ("battery",)
    deadline = 0.001

    def __init__(self, what: str, volts: float) -> None:
        super().__init__()
        self.what, self.volts = what, volts

    async def tick(self) -> None:
        """Do it."""
        self.send("battery", {"volts": self.volts - 0.01 * tick(), "pose": {"x": 1}})
        if tick() != 3:
            return
        if self.what == "late":
            await sleep(0.005)
        elif self.what == "fails":
            raise ValueError("no")
        elif self.what == "logs":
            self.log.warning("low")


def record(root: Path, name: str, what: str = "", volts: float = 12.0, **options: Any) -> Path:
    """Record a run; ``late``, ``fails`` or ``logs`` in tick 3."""
    scheduler = Scheduler(
        deterministic=True,
        recording=RecordingOptions(name=name, log_level=30),
        recordings_dir=root,
        name="robot",
        tick_rate=100,
        **options,
    ).add(Arm(what, volts))
    if what == "fails":
        with pytest.raises(NodeFailure):
            scheduler.run_sync(0.1)
    else:
        scheduler.run_sync(0.1)
    return root / name


def kill(folder: Path) -> None:
    """Leave what a kill leaves: no end in the manifest, nor in any file."""
    import orjson

    manifest = orjson.loads((folder / "session.json").read_bytes())
    manifest.pop("happenings", None)
    (folder / "session.json").write_bytes(orjson.dumps({**manifest, "ended_at": None, "reason": None}))
    for path in folder.glob("*.lz4"):
        data = path.read_bytes()
        path.write_bytes(data[: len(data) - 90])


def templates(folder: Path) -> dict[str, Callable[[Path], object]]:
    """Sessions that are quickly made, by copying."""
    made = {}
    for what in ("", "late", "fails", "logs"):
        made[what or "plain"] = record(folder, what or "plain", what)
    return {what: lambda to, path=path: shutil.copytree(path, to) for what, path in made.items()}  # type: ignore[misc]
