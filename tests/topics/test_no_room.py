"""Shared memory that runs out: at each step at which it can, and on a small file system of its own."""

from __future__ import annotations

import errno
import mmap
import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Topic
from horus_async.errors import TopicError
from horus_async.topics.ring import memory

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = (10, 3_000, 60_000, 500, 400_000, 20)
"""Bytes of the messages: some need more memory for the ring, some a larger ring."""


class Failing:
    """A function of the system that fails from its ``first`` call on, or only there, as a full file system does."""

    def __init__(self, function: Callable[..., Any], first: int, *, once: bool, code: int) -> None:
        self._function = function
        self._first = first
        self._once = once
        self._code = code
        self.calls = 0
        self.full = True

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """As the function, or ``OSError``."""
        self.calls += 1
        if self.full and (self.calls == self._first if self._once else self.calls >= self._first):
            raise OSError(self._code, os.strerror(self._code))
        return self._function(*arguments, **options)


PLACES = {
    "posix_fallocate": (os, errno.ENOSPC),
    "ftruncate": (os, errno.ENOSPC),
    "open": (memory, errno.ENOSPC),
    "mkdir": (os, errno.ENOSPC),
    "mkfifo": (os, errno.ENOSPC),
    "mmap": (mmap, errno.ENOMEM),
}


def fail(monkeypatch: pytest.MonkeyPatch, name: str, first: int, *, once: bool) -> Failing:
    """Let one of the functions fail."""
    place, code = PLACES[name]
    if name == "open":  # only where a file is made
        real = os.open
        failing = Failing(real, first, once=once, code=code)
        monkeypatch.setattr(
            os, "open", lambda *args, **kw: failing(*args, **kw) if args[1] & os.O_CREAT else real(*args, **kw)
        )
        return failing
    failing = Failing(getattr(place, name), first, once=once, code=code)
    monkeypatch.setattr(place, name, failing)
    return failing


@pytest.mark.parametrize("once", [True, False], ids=["once", "from then on"])
@pytest.mark.parametrize("name", [name for name in PLACES if name != "mkfifo"])
def test_no_room_at_any_step_is_an_error_and_nothing_more(
    name: str, once: bool, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th call fails, for each n: TopicError, an open topic goes on, what was sent is whole, and then it works."""
    met = 0
    for first in range(1, 40):
        with Topic("open") as goes_on, monkeypatch.context() as patch:
            goes_on.send("before")
            failing = fail(patch, name, first, once=once)
            errors = _send_all(goes_on, failing)
            assert goes_on.recv_all() == ["before", "meanwhile", "after"]
        folder = memory.root() / namespace
        assert not folder.exists()
        met += errors
        if not errors:
            break
    assert met
    assert not errors


def _send_all(goes_on: Topic, failing: Failing) -> int:
    """Send what needs more and more room, try again where there is none; gives how often there was none."""
    errors: list[str] = []
    sent = []
    try:
        topic = Topic("t", capacity=4096)
    except TopicError as error:
        errors.append(str(error))
        failing.full = False
        topic = Topic("t", capacity=4096)
    with topic:
        for size in SIZES:
            try:
                topic.send(bytes(size))
            except TopicError as error:
                errors.append(str(error))
                goes_on.send("meanwhile")
                failing.full = False
                topic.send(bytes(size))
            sent.append(size)
            assert len(topic.latest()) == size
        assert [len(value) for value in topic.recv_all()] == sent
        assert topic.lost == 0
    if not errors:
        goes_on.send("meanwhile")
    goes_on.send("after")
    assert all("no room" in error or "no memory left" in error for error in errors)
    return len(errors)


@pytest.mark.parametrize("name", ["mkdir", "mkfifo"])
@pytest.mark.parametrize("first", [1, 2])
def test_no_room_for_the_first_topic(name: str, first: int, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the folder or the doorbell can be made, opening is a TopicError; later it works."""
    failing = fail(monkeypatch, name, first, once=False)
    if (name, first) != ("mkfifo", 2):
        with pytest.raises(TopicError, match="no room"):
            Topic("t")
    failing.full = False
    with Topic("t") as topic:
        topic.send(1)
        assert topic.recv() == 1
    assert not (memory.root() / namespace).exists()


SMALL_FILE_SYSTEM = """
import gc, os, sys
from horus_async import Topic
from horus_async.errors import TopicError
from horus_async.topics.ring import memory

def fill_and_go_on(step):
    fill = os.open("/dev/shm/fill", os.O_RDWR | os.O_CREAT)
    with Topic("open") as goes_on:
        goes_on.send("before")
        os.posix_fallocate(fill, 0, step * 4096)
        errors, sent = 0, []
        try:
            topic = Topic("t", capacity=4096)
        except TopicError as error:
            assert "no room" in str(error)
            errors += 1
            os.ftruncate(fill, 0)
            topic = Topic("t", capacity=4096)
        with topic:
            for size in (10, 3_000, 60_000, 500, 100_000, 20):
                try:
                    topic.send(bytes(size))
                except TopicError as error:
                    assert "no room" in str(error), error
                    errors += 1
                    goes_on.send("meanwhile")
                    os.ftruncate(fill, 0)
                    topic.send(bytes(size))
                sent.append(size)
            assert [len(value) for value in topic.recv_all()] == sent
        assert goes_on.recv_all() == ["before", *["meanwhile"][:errors]]
    os.close(fill)
    os.unlink("/dev/shm/fill")
    assert os.listdir("/dev/shm") == [], os.listdir("/dev/shm")
    print(errors, flush=True)

def free_pages():
    gc.collect()
    return os.statvfs("/dev/shm").f_bfree

all_pages = free_pages()
for step in map(int, sys.argv[1:]):
    fill_and_go_on(step)
    assert free_pages() == all_pages, step
"""
MOUNT = "mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {command}"


def on_small_shm(size: int, program: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a program whose /dev/shm is a file system of ``size`` bytes of its own."""
    command = " ".join([shlex.quote(word) for word in (sys.executable, "-c", program, *map(str, args))])
    script = MOUNT.format(size=size, command=command)
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, check=False)


def test_a_small_file_system_is_filled_page_by_page() -> None:
    """A /dev/shm of 2 MiB with each number of pages left: an error, never SIGBUS, then it goes on; nothing is left."""
    if shutil.which("unshare") is None or on_small_shm(1 << 20, "").returncode:
        pytest.skip("a file system cannot be mounted here")
    steps = (*range(512 - 34, 512 - 5), 380, 300, 200)
    run = on_small_shm(2 << 20, SMALL_FILE_SYSTEM, *steps)
    errors = [int(line) for line in run.stdout.splitlines()]
    assert (run.returncode, run.stderr, len(errors)) == (0, "", len(steps)), steps[len(errors) :]
    assert sum(errors) >= 29
