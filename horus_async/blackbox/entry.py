"""Who may touch the ring: one thread at a time, and in that thread one call at a time.

A signal handler or a ``__del__`` runs between any two steps of the very thread that is in the middle of an event. It
cannot wait for that, as it would wait for itself. What it wants to record is kept for the moment when the interrupted
call is through, which is the next thing that happens when the handler returns.

Nor is an event half written when the process forks, and the child keeps its hands off the parent's boxes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol

from horus_async.errors import BlackBoxError
from horus_async.live_objects import LiveObjects
from horus_async.native import core

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_log = logging.getLogger("horus_async.blackbox")


class EntryCore:
    """What the native core has to know of the way to a ring."""

    __slots__ = ("inside",)

    inside: bool
    """Whether the ring is being changed."""


if not TYPE_CHECKING and core is not None:
    EntryCore = core.EntryCore


class Entry(EntryCore):
    """The way to one ring. A context manager; where every nanosecond counts, it is written out.

    ::

        if entry.inside and entry.is_mine():  # we interrupted ourselves
            entry.later.append(again)

    Return:
        try:
            entry.lock.acquire()
            entry.inside = True
            ...
        finally:
            entry.inside = False
            try:
                entry.lock.release()
            except RuntimeError:
                entry.inside = True
            if entry.later:
                entry.catch_up()

    It matters that the lock is acquired inside ``try``: Ctrl-C may strike right after, and a lock that stays taken, or
    a flag that stays set, would hang the robot. If it struck before that, another thread may have the lock, and be in
    the middle. The native core writes an event in one step without the lock and goes by `inside` alone, so that is set
    then: the next event takes the lock, and clears it.
    """

    __slots__ = ("later", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        """Knows its owner, which a plain lock does not."""
        self.inside = False
        self.later: deque[Callable[[], object]] = deque()
        """Calls to make when it no longer is."""

    def is_mine(self) -> bool:
        """Whether this thread has the lock."""
        owned: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined] # noqa: SLF001 - as Condition does
        return owned()

    def __enter__(self) -> None:
        self.lock.acquire()
        self.inside = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.inside = False
        self.lock.release()
        if self.later:
            self.catch_up()

    def catch_up(self) -> None:
        """Make the calls that came in the middle of others, unless the ring is being changed: then its changer will."""
        while self.later and not self.inside:
            try:
                call = self.later.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                call()
            except BlackBoxError as error:
                _log.error("an event from a signal handler is not in the black box: %s", error)


class OpenBox(Protocol):
    """A box that this process writes."""

    def hold(self) -> None:
        """Before the fork: let no event be half written."""

    def go_on(self) -> None:
        """After it, in the parent: record again."""

    def let_go(self) -> None:
        """After it, in the child: forget the file."""


_open_boxes: LiveObjects[OpenBox] = LiveObjects()
_held: list[OpenBox] = []


def prepare(box: OpenBox) -> None:
    """Take an open box through every fork of this process."""
    _open_boxes.add(box)


def forget(box: OpenBox) -> None:
    """Leave a box alone from now on: it is closed."""
    _open_boxes.discard(box)


def _before_fork() -> None:
    _held[:] = _open_boxes
    for box in _held:
        box.hold()


def _after_fork(*, child: bool) -> None:
    for box in _held:
        if child:
            box.let_go()
            _open_boxes.discard(box)
        else:
            box.go_on()
    _held.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=partial(_after_fork, child=False),
    after_in_child=partial(_after_fork, child=True),
)
