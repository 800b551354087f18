"""Power cuts at every moment of a recording: which bytes may be left on disk, and what readers make of them.

A lap for ``python -m benchmarks.soak``; the tests of the recorder take some moments of it.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from horus_async.errors import HorusError
from horus_async.recorder import ExecutionRecord, Fsync, open_session
from horus_async.recorder.read.check import Verdict, check_session

from .faults import Disk, on
from .small import NODES, SESSION, SmallRun, check_record


@frozen
class Operation:
    """A call that changed something."""

    name: str
    path: Path
    at: int = 0
    data: bytes = b""
    to: Path | None = None
    ticks: int = 0
    """Ticks flushed before it."""


class LoggingDisk(Disk):
    """Logs what is done to it."""

    def __init__(self) -> None:
        self.log: list[Operation] = []
        self.ticks = 0
        self._open: dict[int, Path] = {}

    def after(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Log the call."""
        if name == "open":
            self._open[result] = Path(arguments[0])
            if arguments[1] & os.O_CREAT:
                self._note(name, Path(arguments[0]))
        elif name in {"rename", "replace"}:
            source, target = Path(arguments[0]), Path(arguments[1])
            self._open = {number: target if path == source else path for number, path in self._open.items()}
            self.log.append(Operation("rename", source, to=target, ticks=self.ticks))
        elif name == "fsync":
            self._note(name, self._open[arguments[0]])
        elif name == "ftruncate":
            self._note(name, self._open[arguments[0]], arguments[1])
        else:
            at = arguments[2] if name == "pwrite" else 0
            self._note("write", self._open[arguments[0]], at, bytes(arguments[1][:result]))

    def _note(self, name: str, path: Path, at: int = 0, data: bytes = b"") -> None:
        self.log.append(Operation(name, path, at, data, ticks=self.ticks))


@define
class Bytes:
    """A file being rebuilt: what it holds, and what of it is known to be on disk."""

    now: bytearray = field(factory=bytearray)
    synced: bytes = b""
    named: bool = False
    """Whether its name is known to be on disk."""


def crash_images(root: Path, seed: int, most: int | None = None) -> dict[str, float]:
    """Record, and open what a kill or a power cut would have left after each call.

    Data that was not synced is there, missing, cut anywhere, or zeros; names that were not synced may be missing.

    Args:
        root: A folder to work in.
        seed: Seed of the random choices.
        most: The most moments to try; None for all.

    Raises:
        AssertionError: Something synced is missing, or a reader returned something that was not recorded.
    """
    noise = random.Random(seed)
    disk = LoggingDisk()
    options: dict[str, Any] = {"fsync": Fsync.INTERVAL, "rotate_mb": noise.choice([None, 0.0005])}
    options["block"] = noise.random() < 0.5
    with on(disk):
        run = SmallRun(root / "original", **options)
        for _ in range(noise.randrange(2, 5)):
            run.play(noise.randrange(1, 6))
            run.flush()
            disk.ticks = run.flushed
        run.close()
    folder = root / "original" / SESSION
    moments = list(range(len(disk.log) + 1))
    if most is not None and most < len(moments):
        moments = sorted(noise.sample(moments, most))
    images = 0
    for moment in moments:
        files = _replayed(disk.log[:moment], folder)
        for kind in ("killed", "dropped", "nameless", "cut", "zeros", "partly zeros"):
            image = root / "image" / SESSION
            shutil.rmtree(image, ignore_errors=True)
            image.mkdir(parents=True)
            for path, content in files.items():
                if path.parent == folder and (content.named or kind != "nameless"):
                    (image / path.name).write_bytes(_left(content, kind, noise))
            flushed = disk.log[moment - 1].ticks if moment else 0
            _judge_image(image, {path.name: content for path, content in files.items()}, kind, flushed)
            images += 1
    return {"images": images}


def _replayed(log: list[Operation], folder: Path) -> dict[Path, Bytes]:
    files: dict[Path, Bytes] = {}
    for operation in log:
        if operation.name == "rename":
            assert operation.to is not None
            files[operation.to] = files.pop(operation.path)
            continue
        if operation.name == "fsync" and operation.path not in files:
            if operation.path == folder:
                for content in files.values():
                    content.named = True
            continue
        content = files.setdefault(operation.path, Bytes())
        if operation.name == "write":
            content.now[operation.at : operation.at + len(operation.data)] = operation.data
        elif operation.name == "ftruncate":
            del content.now[operation.at :]
        elif operation.name == "fsync":
            content.synced = bytes(content.now)
    return files


def _left(content: Bytes, kind: str, noise: random.Random) -> bytes:
    """What is on disk of a file."""
    now, synced = bytes(content.now), content.synced
    tail = now[len(synced) :]
    if kind == "killed" or not tail or not now.startswith(synced):
        return now
    somewhere = noise.randrange(len(tail) + 1)
    left = {
        "dropped": b"",
        "nameless": b"",
        "cut": tail[:somewhere],
        "zeros": bytes(len(tail)),
        "partly zeros": tail[:somewhere] + bytes(len(tail) - somewhere),
    }
    return synced + left[kind]


def _judge_image(image: Path, files: dict[str, Bytes], kind: str, flushed: int) -> None:
    try:
        session = open_session(image)
    except HorusError:
        assert not flushed, f"{kind}: {flushed} ticks were flushed, and the session cannot be opened"
        return
    assert set(session.files) == set(NODES) or not flushed, f"{kind}: only {list(session.files)} are there"
    for node in session.files:
        ticks = [line.tick for line in session.executions(node) if isinstance(line, ExecutionRecord)]
        for line in session.executions(node):
            check_record(node, line)
        assert ticks == list(range(len(ticks))), f"{kind}: {node} has ticks {ticks}"
        assert len(ticks) >= flushed, f"{kind}: {node} has {len(ticks)} ticks, {flushed} were flushed"
    for name, pieces in session.damage.items():
        # A frame written in part, with zeros for the rest, cannot be told from a damaged one.
        assert kind == "partly zeros", f"{kind}: {session.damage}"
        assert pieces[0].offset >= len(files[name].synced), f"{kind}: {session.damage}"
    verdict = check_session(session).verdict
    assert verdict is not Verdict.DAMAGED or kind != "killed", f"{kind}: {check_session(session)}"
