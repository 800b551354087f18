"""Disks that fail: each call of the recorder to the operating system in turn, and full disks.

The calls are those that ``append_file`` and ``manifest`` make through the module ``os``, which is replaced here. Laps
for ``python -m benchmarks.soak``; the tests of the recorder take some of them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import random
import resource
import shutil
from typing import TYPE_CHECKING, Any
from unittest import mock

from attrs import define, field

from horus_async import append_file
from horus_async.errors import RecordingError
from horus_async.recorder import Fsync, GapRecord, RecordingState, Session, manifest, open_session
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.write import writer

from .small import SESSION, SmallRun, check_record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CALLS = ("open", "write", "pwrite", "fsync", "ftruncate", "rename", "replace")
_FLUSHES, _TICKS = 6, 5


class Disk:
    """Stands in for the module ``os`` in the recorder: does the same, and calls `before` and `after` around it."""

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
        """Called before each call."""

    def after(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """Called after each call."""


@contextlib.contextmanager
def on(disk: Disk) -> Iterator[None]:
    """Record on a disk, retrying at once whenever it fails."""
    level = logging.getLogger("horus_async.recorder").level
    logging.getLogger("horus_async.recorder").setLevel(logging.CRITICAL)  # it logs every failure
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
    """Fails a number of calls from one on. Of a failing write half of the bytes may arrive."""

    first: int
    times: int
    error: int
    torn: bool
    calls: int = 0
    failed: list[str] = field(factory=list)

    def before(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Raise if this call is to fail."""
        self.calls += 1
        if self.first <= self.calls < self.first + self.times:
            self.failed.append(name)
            if self.torn and name == "pwrite":
                descriptor, data, at = arguments
                os.pwrite(descriptor, data[: len(data) // 2], at)
            raise OSError(self.error, os.strerror(self.error))


def fail_each_call(root: Path, seed: int) -> dict[str, float]:
    """Record once for each call that the recorder makes, with that call failing: once, for a while, or for good.

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
    """Check that the lines and gaps of a node add up to ``ticks``. Returns how many lines are missing."""
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
    """Record while the system refuses, on and off, to let files grow (``RLIMIT_FSIZE``).

    Raises:
        AssertionError: As `fail_each_call`.
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
