"""What publishers of this process that have ended still keep, and who puts an end to it.

The rings stay as they are, mapped and locked by this process, closed: late readers of any process begin with what is
kept. When the process ends, their files stay only if somebody else takes part in the namespace.
"""

from __future__ import annotations

import atexit
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from horus_async.errors import TopicError
from horus_async.topics.external.leftovers import end_life, keep_no_longer

if TYPE_CHECKING:
    from horus_async.topics.ring.memory import SharedFile
    from horus_async.topics.ring.writer import RingWriter

_HANDLE = re.compile(r"topic-[0-9]+")


class Heard(Protocol):
    """Where the readers of this process find rings: a ``Channel``."""

    def remove_writer(self, writer: RingWriter, /) -> None:
        """Forget a closed ring. Its readers still read it to its end."""


@frozen(eq=False)
class _Ended:
    """A ring whose publisher has ended."""

    namespace: str
    topic: str
    publisher: str
    ring: RingWriter
    channel: Heard
    files: tuple[SharedFile, ...]

    @property
    def removed(self) -> bool:
        """Whether another process took its file away: its node was started there, or by ``topic clean``."""
        return not os.path.lexists(self.files[0].path)

    def forget(self, *, leave: bool = False) -> None:
        """Let no late reader find it any more; with ``leave``, others may not have read it to its end."""
        self.ring.keep_no_longer()
        for file in self.files:
            with suppress(OSError):
                if leave:
                    file.leave()
                else:
                    file.unlink()
        self.channel.remove_writer(self.ring)


_ended: list[_Ended] = []


def keeper(publisher: str) -> str:
    """Who keeps: a node by its name; the handles of a topic, which have none, are one and the same."""
    return "topic" if _HANDLE.fullmatch(publisher) else publisher


def hold(namespace: str, ring: RingWriter, publisher: str, channel: Heard, files: list[SharedFile]) -> None:
    """Keep a ring that is closed for late readers; ``files`` is emptied."""
    _ended.append(_Ended(namespace, ring.topic, publisher, ring, channel, tuple(files)))
    files.clear()


def holds(ring: RingWriter) -> bool:
    """Whether late readers find a ring that is closed."""
    return any(ended.ring is ring for ended in _ended)


def replace(namespace: str, topic: str, publisher: str, *, others_listen: bool) -> None:
    """A publisher begins: what one of its name that has ended kept goes, in this and in other processes.

    Who reads it already may go on; ``others_listen`` says whether that may be another process.
    """
    name = keeper(publisher)
    for ended in list(_ended):
        if (ended.namespace, ended.topic, keeper(ended.publisher)) == (namespace, topic, name):
            _ended.remove(ended)
            ended.forget(leave=others_listen)
    with suppress(OSError, TopicError):  # what cannot be looked at is no ring of ours
        keep_no_longer(namespace, topic, lambda other: keeper(other) == name)


def release(namespace: str) -> None:
    """Let go of all that publishers of this process that have ended keep in a namespace, as at the end of a test."""
    for ended in list(_ended):
        if ended.namespace == namespace:
            _ended.remove(ended)
            ended.forget()


def drop_removed(namespace: str) -> None:
    """Before somebody reads: forget what other processes have taken away."""
    for ended in list(_ended):
        if ended.namespace == namespace and ended.removed:
            _ended.remove(ended)
            ended.forget()


def _leave() -> None:
    """At exit: leave the files to others if there are any."""
    for namespace in {ended.namespace for ended in _ended}:
        files = [file for ended in _ended if ended.namespace == namespace for file in ended.files]
        with suppress(OSError, TopicError):
            if not end_life(namespace, mine={file.path.name for file in files}):
                for file in files:
                    file.leave()
    _ended.clear()


atexit.register(_leave)
os.register_at_fork(after_in_child=_ended.clear)
