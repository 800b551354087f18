"""One session that is to be made of a window, and making it: in whichever process."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import SessionExistsError
from horus_async.recorder.edit.cut import cut_session
from horus_async.recorder.manifest import sync_folder
from horus_async.recorder.read.listing import delete_session, keep_within
from horus_async.recorder.read.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable


@frozen
class Order:
    """What is to be made; of values that JSON has."""

    window: str
    """The folder."""
    name: str
    """The new session's, without its number."""
    first: int
    last: int
    complete_from: int
    """The tick from which on the window has everything for certain."""
    trigger: dict[str, Any]
    """For its manifest."""
    replaces: str | None
    """The session that it has all of, and that goes then."""
    sync: bool
    """Whether the disk itself is to have it."""
    keep_bytes: int | None
    keep_sessions: int | None


@frozen
class Made:
    """What was made."""

    session: str
    notes: list[str] = field(factory=list)
    """What is missing from it."""


def make(order: Order, progress: Callable[[int], None]) -> Made:
    """Make a session of some ticks of a window.

    Args:
        order: Which.
        progress: Called now and then.

    Raises:
        RecordingError: It cannot be made; nothing of it is left then.
    """
    window = Session(Path(order.window))
    root = window.path.parent
    first = max(order.first, window.first_tick or 0)
    for number in itertools.count(_newest(root, order.name) + 1):
        try:
            made = cut_session(
                window,
                f"{order.name}-{number}",
                start=first,
                stop=order.last,
                root=root,
                progress=progress,
                also={"trigger": order.trigger},
                complete_from=order.complete_from,
            )
        except SessionExistsError:
            continue  # another program has just taken it
        break
    if order.sync:
        _sync(made.path)
    notes = list(made.notes)
    if order.replaces is not None:
        delete_session(order.replaces, root)
    if order.keep_bytes is not None or order.keep_sessions is not None:
        keep_within(made.path, order.keep_bytes, order.keep_sessions)
    return Made(made.session, notes)


def _newest(root: Path, name: str) -> int:
    """The highest number that a session of this name has; 0 for none."""
    form = re.compile(rf"{re.escape(name)}-([1-9][0-9]{{0,8}})")
    found = (form.fullmatch(folder.name) for folder in root.iterdir())
    return max((int(match[1]) for match in found if match is not None), default=0)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    sync_folder(folder)
    sync_folder(folder.parent)
