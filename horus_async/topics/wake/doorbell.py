"""Waking processes that sleep: each has FIFOs beside the rings. ``ring.layout`` documents who rings when."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from horus_async.errors import TopicError
from horus_async.limits.open_files import open_file, why
from horus_async.topics.ring import memory
from horus_async.topics.ring.layout import FOR_ALL, FOR_NOBODY, SLOTS
from horus_async.topics.ring.names import path_component

if TYPE_CHECKING:
    from collections.abc import Container, Iterable
    from pathlib import Path

PREFIX = "bell-"

_RING_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC

_LARGEST_PIPE, _SMALLEST_PIPE = 65536, 4096
"""Bytes that a FIFO can hold: usually the first, but one page where the user has very many FIFOs; see pipe(7)."""

_NAMES = {f"{PREFIX}{slot}": slot for slot in range(SLOTS)}

_log = logging.getLogger("horus_async.topics")
_said_unrung = False

_NO_BELL = (errno.ENOENT, errno.ENXIO, errno.ELOOP, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENODEV)
"""Nobody has it open, or it is something else."""

_open: dict[tuple[str, int], int] = {}
"""Descriptors of the doorbells that this process has rung, by namespace and slot."""


class Doorbell:
    """A doorbell of this process in one namespace, held until ``close``."""

    def __init__(self, namespace: str) -> None:
        """Take the first free slot.

        Raises:
            TopicPermissionError: the namespace's folder is not ours.
        """
        self.namespace = namespace
        self.slot: int | None = None
        """None if all slots are taken: then other processes cannot ring."""
        for slot in range(SLOTS):
            descriptor = _claim(namespace, slot)
            if descriptor is not None:
                self.slot, self.descriptor = slot, descriptor
                self._other_end = None
                return
        try:
            self.descriptor, self._other_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise TopicError(f"cannot make a pipe to be woken by: {why(error)}") from error

    def drain(self) -> bytes:
        """The bytes that were rung since the last time."""
        try:
            rung = os.read(self.descriptor, _SMALLEST_PIPE)
            if len(rung) < _SMALLEST_PIPE:
                return rung
        except BlockingIOError:
            return b""
        with suppress(BlockingIOError):
            os.read(self.descriptor, _LARGEST_PIPE)
        return FOR_ALL  # it may have been full, and other bytes lost

    def ring(self) -> None:
        """Wake the task or thread of this process that waits here."""
        with suppress(BlockingIOError):  # rung often enough
            os.write(self.descriptor if self._other_end is None else self._other_end, FOR_NOBODY)

    def withdraw(self) -> None:
        """Let no other process ring from now on."""
        if self.slot is not None:
            # Whatever keeps it there: without a listener it is nobody's, and cleared up like a dead process's.
            with suppress(OSError, TopicError):
                folder = memory.open_namespace(self.namespace, make=False)
                try:
                    os.unlink(f"{PREFIX}{self.slot}", dir_fd=folder)
                finally:
                    os.close(folder)

    def close(self) -> None:
        """Close the descriptors. Nobody may be waiting at them."""
        if self._other_end is not None:
            os.close(self._other_end)
        os.close(self.descriptor)


def ring_bells(namespace: str, slots: Iterable[int], kind: bytes) -> None:
    """Ring doorbells with the byte ``kind``, except those of processes that have ended."""
    for slot in slots:
        key = namespace, slot
        for _ in "12":  # a second time if the process for which it was opened has ended
            descriptor = _open.get(key)
            if descriptor is None:
                try:
                    descriptor = _open_bell(namespace, slot)
                except (OSError, TopicError) as error:  # the sleeper soon looks by itself
                    _say_unrung(error)
                    break
                if descriptor is None:
                    break
                _open[key] = descriptor
            try:
                os.write(descriptor, kind)
            except BlockingIOError:  # rung often enough
                break
            except OSError:
                if _open.pop(key, None) is not None:
                    os.close(descriptor)
                continue
            break


def _say_unrung(error: Exception) -> None:
    global _said_unrung  # noqa: PLW0603 - said once a process
    if not _said_unrung:
        _said_unrung = True
        _log.warning("cannot wake other processes, which look for messages 5 times a second: %s", str(error))


def is_bell(name: str) -> bool:
    """Whether a file of that name is a doorbell, and not the ring of a topic with such a name."""
    return name in _NAMES


def others_listen(names: Iterable[str], namespace: str, own: Container[int]) -> list[int]:
    """The slots of the other processes whose doorbells are among the file ``names`` of a namespace's folder."""
    slots = [_NAMES[name] for name in names if name in _NAMES]
    found = []
    for slot in slots:
        if slot not in own and (descriptor := _open_bell(namespace, slot)) is not None:
            os.close(descriptor)
            found.append(slot)
    return found


def forget(namespace: str | None = None) -> None:
    """Close the doorbells of other processes in a namespace, or in all."""
    for key in [key for key in list(_open) if namespace in (None, key[0])]:
        descriptor = _open.pop(key, None)
        if descriptor is not None:
            os.close(descriptor)


def _open_bell(namespace: str, slot: int) -> int | None:
    try:
        folder = memory.open_namespace(namespace, make=False)
    except FileNotFoundError:
        return None
    try:
        descriptor = open_file(f"{PREFIX}{slot}", _RING_FLAGS, folder=folder)
    except OSError as error:
        if error.errno in _NO_BELL:
            return None
        raise
    finally:
        os.close(folder)
    if _is_fifo(descriptor):
        return descriptor
    os.close(descriptor)
    return None


def _is_fifo(descriptor: int) -> bool:
    """Whether it is a FIFO of ours; anything else of that name is no doorbell, and would not take a byte for ever."""
    status = os.fstat(descriptor)
    return stat.S_ISFIFO(status.st_mode) and status.st_uid == os.geteuid()


def _claim(namespace: str, slot: int) -> int | None:
    """Take a doorbell: make it, or take over the one that a dead process left; None if it is in use."""
    name = f"{PREFIX}{slot}"
    while True:
        with suppress(FileNotFoundError):  # the folder, or the doorbell, was removed just now
            folder = memory.open_namespace(namespace, make=True)
            try:
                descriptor = _made(name, folder, memory.root() / path_component(namespace))
                if descriptor is None or not _is_fifo(descriptor):  # something else has the name
                    if descriptor is not None:
                        os.close(descriptor)
                    return None
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if os.fstat(descriptor).st_nlink:
                        return descriptor
                except BlockingIOError:
                    os.close(descriptor)
                    return None
                os.close(descriptor)
            finally:
                os.close(folder)


def _made(name: str, folder: int, path: Path) -> int | None:
    """A descriptor of the doorbell, made if there is none; None if something else has its name."""
    try:
        with suppress(FileExistsError):
            os.mkfifo(name, 0o600, dir_fd=folder)
            os.chmod(name, 0o600, dir_fd=folder)  # whatever the umask
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not stat.S_ISFIFO(there.st_mode):
            return None
        return open_file(name, memory.EXISTING_FLAGS, folder=folder)
    except FileNotFoundError:  # to another process it was one that a dead process left
        raise
    except OSError as error:
        raise memory.no_room(0, path / name, error) from error
