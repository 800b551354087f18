"""What every test gets: a corner of its own for shared memory, recordings and black boxes, and a check for leaks."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

os.environ["HORUS_CHECK_LOCKS"] = "1"  # before anything of ours is imported, also in the processes that tests start

# No test judges by how long it takes.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

_SHARED_MEMORY = Path("/dev/shm")

# Worker threads that trio and anyio keep for reuse end by themselves after ten idle seconds.
_POOL_THREADS = ("Trio thread", "AnyIO worker thread", "asyncio_")


def pytest_configure() -> None:
    """Make Ctrl-C an exception, as tests that send it expect, also where pytest was started in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave out the modules and tests themselves where garbage is looked for: that takes longer than most tests do."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where bytecode is not to be written beside its source, the hundreds of processes that tests start share a folder.

    Each of them would compile the package again, which takes longer than most do for their task.
    """
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("PYTHONDONTWRITEBYTECODE") and not os.environ.get("PYTHONPYCACHEPREFIX"):
            mine = tmp_path_factory.getbasetemp()
            shared = mine.parent if "PYTEST_XDIST_WORKER" in os.environ else mine
            patch.delenv("PYTHONDONTWRITEBYTECODE")
            patch.setenv("PYTHONPYCACHEPREFIX", str(shared / "bytecode"))
        yield


@pytest.fixture(autouse=True)
def namespace(monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic namespace that no other test uses, also for the processes that the test starts."""
    name = f"test{uuid.uuid4().hex[:12]}"
    monkeypatch.setenv("HORUS_NAMESPACE", name)
    return name


@pytest.fixture(autouse=True)
def recordings_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's recordings go."""
    folder = tmp_path / "recordings"
    monkeypatch.setenv("HORUS_RECORDINGS_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def blackbox_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's black boxes go."""
    folder = tmp_path / "blackbox"
    monkeypatch.setenv("HORUS_BLACKBOX_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def quiet() -> Iterator[None]:
    """For models whose nodes fail by the hundred: the runtime says nothing of it."""
    log = logging.getLogger("horus_async")
    level = log.level
    log.setLevel(logging.CRITICAL)
    yield
    log.setLevel(level)


@pytest.fixture(autouse=True)
def no_leaks(namespace: str) -> Iterator[None]:
    """Fail a test that leaves shared memory, threads or file descriptors behind."""
    threads_before = set(threading.enumerate())
    files_before = _open_files()
    yield
    locks = sys.modules.get("horus_async.topics.ring.locks")
    assert locks is None or not locks.violations, locks.violations
    ended = sys.modules.get("horus_async.topics.keeping.ended")
    if ended is not None:
        ended.release(namespace)  # what is kept stays as long as the process
    left = _leaks(namespace, threads_before, files_before)
    if left:
        gc.collect()  # An object in a reference cycle is not a leak.
        left = _leaks(namespace, threads_before, files_before)
    assert not left, "left behind by this test: " + ", ".join(left)


def _leaks(namespace: str, threads_before: set[threading.Thread], files_before: dict[int, str]) -> list[str]:
    # A library's thread that began while the tests were collected opens event descriptors when it gets a processor. A
    # timer of ours that is left behind shows its timer descriptor as well.
    new_files = {file for file in _open_files().items() - files_before.items() if file[1] != "anon_inode:[eventfd]"}
    return [
        *(f"shared memory {path}" for path in _shared_memory_of(namespace)),
        *(f"thread {thread.name}" for thread in _lasting_threads(threads_before)),
        *(f"file descriptor {number} -> {target}" for number, target in sorted(new_files)),
    ]


def _shared_memory_of(namespace: str) -> list[Path]:
    if not _SHARED_MEMORY.is_dir():
        return []
    tops = [top for top in _SHARED_MEMORY.iterdir() if top.name.startswith(("horus", namespace))]
    mine = [top for top in tops if namespace in top.name]
    mine += [path for top in tops if top not in mine for path in _inside(top, f"*{namespace}*")]
    return [path for path in mine if path.is_file() or any(inside.is_file() for inside in _inside(path, "**/*"))]


def _inside(folder: Path, pattern: str) -> list[Path]:
    try:
        return [*folder.glob(pattern)]
    except (FileNotFoundError, NotADirectoryError):
        return []  # Not a folder, or gone by now: a test in another process used it.


def _lasting_threads(before: set[threading.Thread]) -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.is_alive() and not thread.name.startswith(_POOL_THREADS)
    ]


def _open_files() -> dict[int, str]:
    """What each open descriptor of this process stands for; empty where the system does not tell."""
    if sys.platform != "linux":
        return {}
    found = {}
    for link in Path("/proc/self/fd").iterdir():
        try:
            found[int(link.name)] = str(link.readlink())
        except FileNotFoundError:
            continue  # The descriptor that listed the folder.
    return found
