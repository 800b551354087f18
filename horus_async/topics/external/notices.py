"""What is said about rings of other processes that cannot be read, or were spoilt: once each, by the log of the run.

The logger is that of the run itself, so the black box and the recording have it, too.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from horus_async.spelling import printable
from horus_async.topics.ring.guard import cut_files

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

_log = logging.getLogger("horus_async")

UNFINISHED = "its header was never finished, or it is not ours"
"""Why a file with the name of a ring is not read that is none, or not yet."""

MOST_SAID = 20
"""So many rings of a namespace are named one by one."""


def ring_title(name: str) -> str:
    """A ring file for people: its name, and the process that wrote it as far as the name tells."""
    ring = name.rpartition("@")[2]
    process = ring.partition("-")[0]
    shown = printable(name)
    try:
        return f"{shown} of process {int(process, 16)}"
    except ValueError:
        return shown


def say_left_out(name: str, reason: str) -> None:
    """Tell the user that a ring of another process is not read for now."""
    _log.warning("the ring %s is left out for now, and tried again: %s", ring_title(name), reason, extra={"ring": name})


def say_more_left_out(namespace: str) -> None:
    """The same of all further ones, so that a folder full of other things does not fill the log."""
    _log.warning("more rings are left out in namespace %r: 'topic list' names them", namespace)


def say_damaged(name: str, reason: str, said: AbstractSet[str]) -> bool:
    """Tell the user, unless it is in ``said``, that a ring is damaged; returns whether it was told."""
    if name in said:
        return False
    _log.warning(
        "the ring %s is damaged: %s; its readers go on with its newest message, and count the others as lost",
        ring_title(name),
        reason,
        extra={"ring": name},
    )
    return True


def say_cut() -> None:
    """Tell the user of rings whose memory somebody cut short."""
    for guarded in cut_files():
        outcome = (
            "what nobody had read of it is lost; its topic goes on in a new ring with the next message"
            if guarded.own
            else "it is left out, and what was unread of it is lost"
        )
        _log.warning(
            "somebody cut the file of the ring %s short while it was in use: %s",
            ring_title(guarded.name),
            outcome,
            extra={"ring": guarded.name},
        )


def say_removed(topic: str, path: Path) -> None:
    """Tell the user that somebody removed the file of a ring of this process."""
    _log.warning(
        "somebody removed %s: topic %r goes on in a new ring, which others find soon",
        path,
        topic,
        extra={"ring": path.name},
    )
