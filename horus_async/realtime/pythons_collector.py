"""Python's own collector, held back while runs say when garbage is collected: one setting for the whole process."""

from __future__ import annotations

import gc
import os
import threading
from functools import cache

from attrs import define, field

NET = 20_000
"""New objects at which Python's own collector comes all the same, even inside a tick."""

_lock = threading.Lock()
_wanted: list[bool] = []
"""By the runs that go on: whether it is to come at all. If one of them wants it, it comes for all."""


@define
class _Before:
    """How it was, and is to be again."""

    enabled: bool = field(factory=gc.isenabled)
    thresholds: tuple[int, int, int] = field(factory=gc.get_threshold)
    frozen: int = field(factory=gc.get_freeze_count)
    """By others."""
    froze: bool = False
    """Whether we have, since."""

    def freeze(self) -> None:
        gc.collect()
        if not self.frozen:  # else what others froze could not be told from ours, and would thaw with it
            gc.freeze()
            self.froze = True

    def restore(self) -> None:
        gc.set_threshold(*self.thresholds)
        if self.froze:
            gc.unfreeze()
        if self.enabled:
            gc.enable()
        else:
            gc.disable()


_before: list[_Before] = []
"""None or one."""


def hold_back(*, collects: bool) -> None:
    """A run begins that collects garbage itself, or wants none collected."""
    _notice_forks()
    with _lock:
        if not _wanted:
            _before.append(_Before())
        _wanted.append(collects)
        if collects and _wanted.count(True) == 1:
            _before[0].freeze()
        _set()


def let_go(*, collects: bool) -> None:
    """A run ends. With the last all is as it was before the first."""
    with _lock:
        if collects not in _wanted:
            return  # in a forked child
        _wanted.remove(collects)
        if _wanted:
            _set()
        else:
            _before.pop().restore()


@cache
def _notice_forks() -> None:
    """Once a process: in children all is as it was before, as nobody collects for them."""
    os.register_at_fork(after_in_child=_end_in_child)


def _end_in_child() -> None:
    global _lock  # noqa: PLW0603 - a thread that is not in the child may have held it
    _lock = threading.Lock()
    _wanted.clear()
    while _before:
        _before.pop().restore()


def _set() -> None:
    if any(_wanted):
        gc.set_threshold(NET, *_before[0].thresholds[1:])
        gc.enable()
    else:
        gc.disable()
