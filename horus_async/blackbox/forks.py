"""Forks: no event is half written when one happens, and the child keeps its hands off the parent's boxes."""

from __future__ import annotations

import os
import weakref
from functools import partial
from typing import Protocol


class OpenBox(Protocol):
    """A box that this process writes."""

    def hold(self) -> None:
        """Before the fork: let no event be half written."""

    def go_on(self) -> None:
        """After it, in the parent: record again."""

    def let_go(self) -> None:
        """After it, in the child: forget the file."""


_open_boxes: weakref.WeakSet[OpenBox] = weakref.WeakSet()
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
