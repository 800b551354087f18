"""What ``horus-async doctor`` asks the machine. These are only answers; ``doctor`` judges what they mean.

Needs no privileges. What a machine does not reveal (another system, a container without ``/sys``) is None or empty.
"""

from __future__ import annotations

import importlib.metadata
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.blackbox.place import default_blackbox_dir
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.errors import HorusError
from horus_async.realtime.system import SYSTEM
from horus_async.recorder.naming import recordings_root
from horus_async.topics.ring import memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TICK_NS = NANOSECONDS // 1000
_TICKS, _BLOCK = 200, 20


@frozen
class Space:
    """Size and free space of a file system, bytes."""

    total: int
    free: int


@frozen
class Ring:
    """A file of a topic's shared memory."""

    path: Path
    size: int
    live: bool | None
    """Whether a live process holds it; None if the system does not say."""


@frozen
class Folder:
    """A folder, or the nearest one above it that exists."""

    path: Path
    exists: bool
    is_folder: bool
    writable: bool
    owner: int
    mode: int
    is_link: bool


class Machine:
    """The machine this process runs on. Tests substitute others."""

    user = os.geteuid()
    real_time = SYSTEM

    def python(self) -> tuple[int, int, int]:
        """Version of the interpreter."""
        return sys.version_info[:3]

    def requirements(self) -> list[str] | None:
        """What this package requires, as in its metadata: ``anyio>=4.9``, ``numpy>=1.26; extra == "numpy"``."""
        try:
            return importlib.metadata.requires("horus-async") or []
        except importlib.metadata.PackageNotFoundError:
            return None

    def version_of(self, package: str) -> str | None:
        """The installed version of a package."""
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def native(self) -> tuple[str, bool]:
        """Why the native core is not in use, empty if it is; and whether it was built and cannot be loaded."""
        from horus_async import native

        return native.reason, native.is_broken()

    def topics_folder(self) -> Path:
        """Where this user's topics keep their memory."""
        return memory.root()

    def recordings_folder(self) -> Path:
        """Where recordings go by default."""
        return recordings_root()

    def blackbox_folder(self) -> Path:
        """Where black boxes go by default."""
        return default_blackbox_dir()

    def folder(self, path: Path) -> Folder | None:
        """What is at ``path``; if nothing is, the nearest existing folder above it."""
        for place in (path, *path.parents):
            try:
                status = place.lstat()
                is_link = stat.S_ISLNK(status.st_mode)
                if is_link:
                    status = place.stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                return None
            return Folder(
                place,
                exists=place == path,
                is_folder=stat.S_ISDIR(status.st_mode),
                writable=os.access(place, os.W_OK | os.X_OK),
                owner=status.st_uid,
                mode=stat.S_IMODE(status.st_mode),
                is_link=is_link,
            )
        return None

    def space(self, path: Path) -> Space | None:
        """The file system of an existing path."""
        try:
            found = os.statvfs(path)
        except OSError:
            return None
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def rings(self) -> list[Ring]:
        """The shared memory of this user's topics. Takes no locks, so that a starting publisher does not notice."""
        locks = self._locks()
        found = []
        for path in (path for namespace in _inside(self.topics_folder()) for path in _inside(namespace)):
            try:
                status = path.lstat()
            except OSError:  # gone meanwhile
                continue
            if stat.S_ISREG(status.st_mode):
                place = os.major(status.st_dev), os.minor(status.st_dev), status.st_ino
                found.append(Ring(path, status.st_size, None if locks is None else place in locks))
        return found

    def unreadable_rings(self) -> list[str]:
        """Files with the names of rings that no topic reads, each with the reason."""
        from horus_async.topics.inspection import survey

        found = []
        for folder in _inside(self.topics_folder()):
            with suppress(OSError, HorusError):
                found += [f"{folder.name}/{left.title}: {left.reason}" for left in survey(folder.name)[1]]
        return found

    def text(self, path: str) -> str | None:
        """The text of a system file."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def governors(self) -> list[str]:
        """The frequency governor of each core."""
        folder = Path("/sys/devices/system/cpu")
        texts = [self.text(str(path)) for path in sorted(folder.glob("cpu[0-9]*/cpufreq/scaling_governor"))]
        return [text for text in texts if text]

    def lateness(self) -> tuple[list[int], list[int]]:
        """How late ticks at 1 kHz start, ns: with our timer, and with plain sleeping. Takes half a second.

        Raises:
            OSError: No timer is available.
        """
        import trio

        return trio.run(_measure)

    def _locks(self) -> frozenset[tuple[int, int, int]] | None:
        """Device and inode of each locked file. Format: proc_locks(5)."""
        text = self.text("/proc/locks")
        if text is None:
            return None
        places = [line.split()[-3].split(":") for line in text.splitlines() if " FLOCK " in line]
        return frozenset((int(major, 16), int(minor, 16), int(inode)) for major, minor, inode in places)


def _inside(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing if it is none, or gone meanwhile, which `Path.glob` does not forgive."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


async def _measure() -> tuple[list[int], list[int]]:
    import trio

    from horus_async.clock.timer import TickTimer

    ours: list[int] = []
    plain: list[int] = []

    async def sleep(deadline_ns: int) -> None:
        left_ns = max(0, deadline_ns - monotonic_ns())  # a busy machine may be past it already
        await trio.sleep(left_ns / NANOSECONDS)

    with TickTimer() as timer:
        await _ticks(timer.wait_until, _BLOCK)  # first lets it learn this machine's latency
        for _ in range(_TICKS // _BLOCK):  # alternating, so that both see the same load
            ours += await _ticks(timer.wait_until, _BLOCK)
            plain += await _ticks(sleep, _BLOCK)
    return ours, plain


async def _ticks(wait: Callable[[int], Awaitable[object]], count: int) -> list[int]:
    deadline = monotonic_ns()
    late = []
    for _ in range(count):
        deadline = max(deadline, monotonic_ns()) + TICK_NS  # a late tick does not delay the next one
        await wait(deadline)
        late.append(monotonic_ns() - deadline)
    return late
