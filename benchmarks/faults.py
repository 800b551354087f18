"""Disks that fail: each call of the recorder to the operating system in turn, full disks, power cuts at every moment.

The calls are those that `append_file` and `manifest` make by the module ``os``; here something else stands in its
place. Laps for ``python -m benchmarks.soak``; the tests of the recorder take some of them.

Longer than most modules: the three kinds of fault share the disk that is made to fail.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import resource
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from attrs import define, field, frozen

from horus_async import append_file
from horus_async.errors import HorusError, RecordingError
from horus_async.recorder import ExecutionRecord, Fsync, GapRecord, RecordingState, Session, manifest, open_session
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.write import writer

from .small import NODES, SESSION, SmallRun, check_record

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = ("open", "write", "pwrite", "fsync", "ftruncate", "rename", "replace")
_FLUSHES, _TICKS = 6, 5


class Disk:
    """Stands where the recorder has the module ``os``, and does what that does but for `before` and `after` a call."""

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        if name not in CALLS:
            return call

        def through(*arguments: Any) -> Any:
            self.before(name, arguments)
            result = call(*arguments)
            self.after(name, arguments, result)
            return result

        return through

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        """A call is about to be made."""

    def after(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """A call was made."""


@contextlib.contextmanager
def on(disk: Disk) -> Iterator[None]:
    """Record on a disk, and try again at once whenever it fails."""
    level = logging.getLogger("horus_async.recorder").level
    logging.getLogger("horus_async.recorder").setLevel(logging.CRITICAL)  # it says each time that it failed
    try:
        with (
            mock.patch.object(append_file, "os", disk),
            mock.patch.object(manifest, "os", disk),
            mock.patch.object(writer, "RETRY_SECONDS", 0.0),
        ):
            yield
    finally:
        logging.getLogger("horus_async.recorder").setLevel(level)


# -- errors ------------------------------------------------------------------------------------------------------------


@define
class FailingDisk(Disk):
    """Fails from one call on, for some calls. Of a failing write half of the bytes may arrive."""

    first: int
    times: int
    error: int
    torn: bool
    calls: int = 0
    failed: list[str] = field(factory=list)

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Fail if it is time to."""
        self.calls += 1
        if self.first <= self.calls < self.first + self.times:
            self.failed.append(name)
            if self.torn and name == "pwrite":
                descriptor, data, at = arguments
                os.pwrite(descriptor, data[: len(data) // 2], at)
            raise OSError(self.error, os.strerror(self.error))


def fail_each_call(root: Path, seed: int) -> dict[str, float]:
    """Record as often as the recorder makes calls, each time another of them fails: once, for a while, or for good.

    Raises:
        AssertionError: The run was disturbed, something written is gone, or the gap lines are not exact.
    """
    noise = random.Random(seed)
    options: dict[str, Any] = {
        "fsync": noise.choice([Fsync.OFF, Fsync.INTERVAL]),
        "rotate_mb": noise.choice([None, None, 0.0005]),
        "block": noise.random() < 0.5,
    }
    runs = refused = 0
    for times in (1, 1 + noise.randrange(5), 1 << 30):
        for first in range(1, 1000):
            error = noise.choice([errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS])
            disk = FailingDisk(first, times, error, noise.random() < 0.5)
            folder = root / f"{times}_{first}"
            refused += not _record_on(folder, disk, options)
            shutil.rmtree(folder)
            runs += 1
            if not disk.failed:
                break
        else:
            raise AssertionError("the recorder makes calls without end")
    return {"runs": runs, "refused at the start": refused}


def _record_on(root: Path, disk: FailingDisk, options: dict[str, Any]) -> bool:
    root.mkdir()
    readable = 0
    with on(disk):
        try:
            run = SmallRun(root, **options)
        except RecordingError:
            assert not any(root.iterdir()) or disk.times > 1, f"{disk}: a beginning was left"
            return False
        for _ in range(_FLUSHES):
            run.play(_TICKS)
            run.flush()
            if not disk.failed:
                readable = run.flushed
        paths = run.close()
    stats = run.recorder.stats()
    session = open_session(SESSION, root)
    closed = stats.state is RecordingState.OFF
    for path in paths:
        assert path.exists() or not closed, f"{disk}: {path.name} is not there"
    dropped = sum(_account(session, name, run.ticks if closed else None, readable) for name in session.files)
    assert not session.damage, f"{disk}: {session.damage}"
    verdict = check_session(session).verdict
    if closed:
        assert verdict is Verdict.WHOLE, f"{disk}: {check_session(session)}"
        assert dropped <= stats.dropped
    else:
        assert verdict is not Verdict.DAMAGED, f"{disk}: {check_session(session)}"
    return True


def _account(session: Session, node: str, ticks: int | None, readable: int) -> int:
    """Check that lines and gaps of a node follow each other to ``ticks``; the lines that are missing."""
    expected = dropped = 0
    for line in session.executions(node):
        assert line.tick == expected, f"{node}: {line} where tick {expected} should be"
        if isinstance(line, GapRecord):
            assert line.tick >= readable, f"{node}: {line}, and {readable} ticks were written"
            dropped += line.dropped
            expected += line.dropped
        else:
            check_record(node, line)
            expected += 1
    assert expected >= readable, f"{node}: {readable} ticks were written, {expected} are there"
    assert ticks is None or expected == ticks, f"{node}: {expected} ticks of {ticks}"
    return dropped


def fill_the_disk(root: Path, seed: int) -> dict[str, float]:
    """Record, let the system refuse to make files any larger for a while (``RLIMIT_FSIZE``), and again.

    Raises:
        AssertionError: As with `fail_each_call`.
    """
    noise = random.Random(seed)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    dropped = 0
    with on(Disk()):
        run = SmallRun(root, block=noise.random() < 0.5)
        try:
            for _ in range(10):
                largest = max(path.stat().st_size for path in (root / SESSION).iterdir())
                room = largest + noise.randrange(2000)
                resource.setrlimit(resource.RLIMIT_FSIZE, (noise.choice([before[0], room]), before[1]))
                run.play(noise.randrange(40))
                run.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        run.flush()
        run.close()
    session = open_session(SESSION, root)
    for node in session.files:
        dropped += _account(session, node, run.ticks, 0)
    assert check_session(session).verdict is Verdict.WHOLE
    return {"ticks": run.ticks, "lines lost": dropped}


# -- power cuts --------------------------------------------------------------------------------------------------------


@frozen
class Operation:
    """A call that changed something."""

    name: str
    path: Path
    at: int = 0
    data: bytes = b""
    to: Path | None = None
    ticks: int = 0
    """Ticks that were flushed before."""


class LoggingDisk(Disk):
    """Writes down what is done to it."""

    def __init__(self) -> None:
        self.log: list[Operation] = []
        self.ticks = 0
        self._open: dict[int, Path] = {}

    def after(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Write a call down."""
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
    """A file while it is built again: what it holds, and what the disk is known to have of it."""

    now: bytearray = field(factory=bytearray)
    synced: bytes = b""
    named: bool = False
    """Whether the disk is known to have its name."""


def crash_images(root: Path, seed: int, most: int | None = None) -> dict[str, float]:
    """Record, and open what a kill or a power cut would have left after each call.

    Of what was not synced the end is there or missing, cut anywhere, or zeros; names that were not may be missing.

    Args:
        root: A folder for it.
        seed: Of the choices.
        most: No more moments than these; None for all.

    Raises:
        AssertionError: More than what was not synced is missing, or something else than what was recorded came.
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
    """What the disk has of a file."""
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
        # A frame that arrived in part, with zeros for the rest, cannot be told from a damaged one.
        assert kind == "partly zeros", f"{kind}: {session.damage}"
        assert pieces[0].offset >= len(files[name].synced), f"{kind}: {session.damage}"
    verdict = check_session(session).verdict
    assert verdict is not Verdict.DAMAGED or kind != "killed", f"{kind}: {check_session(session)}"
