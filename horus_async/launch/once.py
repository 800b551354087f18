"""A launch file runs once at a time in a namespace: twice the same drivers on the same devices helps nobody."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from horus_async.errors import LaunchError
from horus_async.folders import NoHomeError, make_private, user_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def only_once(file: Path, namespace: str) -> Iterator[None]:
    """Hold the lock of a file in a namespace; the system releases it when this process dies.

    Where there is no place for it (no home, a read-only one, no locks), nothing is held: a robot runs there, too.

    Raises:
        LaunchError: Another process has it.
    """
    descriptor = _open(file, namespace)
    try:
        if descriptor >= 0:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
                raise LaunchError(
                    f"{file} runs already in namespace {namespace!r} (process {pid}): end that one, or give this one "
                    "another --namespace"
                ) from None
            except OSError:
                pass
            else:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _open(file: Path, namespace: str) -> int:
    name = hashlib.sha256(f"{file}\0{namespace}".encode(errors="surrogateescape")).hexdigest()[:32]
    try:
        folder = user_folder("state") / "launch"
        make_private(folder)
        return os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except (NoHomeError, OSError):
        return -1
