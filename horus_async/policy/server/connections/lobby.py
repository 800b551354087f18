"""How many connections there may be, and how long a client may take to read its answer."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from horus_async.limits.open_files import files_allowed

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("horus_async.policy.http")

PIECE = 1 << 16
"""Bytes that a client has to take within the time for it."""
_PIECE_S = 20.0
_PIECE_WHILE_STOPPING_S = 1.0
_OTHER_FILES = 256


@define(eq=False)
class Lobby:
    """The connections of a server, ``limit`` of them.

    Where one comes beyond that, the one that has been without a request for longest makes place: a client that only
    connects, or never ends the head of its request, keeps nobody out.
    """

    limit: int
    _open: set[trio.CancelScope] = field(factory=set)
    _idle: dict[trio.CancelScope, None] = field(factory=dict)

    def enter(self, scope: trio.CancelScope) -> bool:
        """Take a place for a connection; False: all places are taken by connections with a request."""
        if len(self._open) >= self.limit:
            if not self._idle:
                return False
            longest = next(iter(self._idle))
            self.leave(longest)
            longest.cancel()
        self._open.add(scope)
        self._idle[scope] = None
        return True

    def mark(self, scope: trio.CancelScope, *, idle: bool) -> None:
        """Say whether a connection is without a request."""
        self._idle.pop(scope, None)
        if idle and scope in self._open:
            self._idle[scope] = None

    def leave(self, scope: trio.CancelScope) -> None:
        """Give the place back."""
        self._open.discard(scope)
        self._idle.pop(scope, None)


@define(eq=False)
class Patience:
    """How long is waited for clients to take pieces of their answers; less while the server stops."""

    _waiting: set[trio.CancelScope] = field(factory=set)
    _hurried: bool = False

    @contextmanager
    def one_piece(self) -> Iterator[trio.CancelScope]:
        """A scope in which one piece is sent; it is cancelled when that takes too long."""
        with trio.move_on_after(_PIECE_WHILE_STOPPING_S if self._hurried else _PIECE_S) as scope:
            self._waiting.add(scope)
            try:
                yield scope
            finally:
                self._waiting.discard(scope)

    def hurry(self) -> None:
        """The server stops."""
        self._hurried = True
        soon = trio.current_time() + _PIECE_WHILE_STOPPING_S
        for scope in self._waiting:
            scope.deadline = min(scope.deadline, soon)


def places_for(connections: int) -> int:
    """For how many connections there are files; this process's limit of open files is raised as far as needed."""
    files = files_allowed(connections + _OTHER_FILES)
    places = min(connections, max(1, files // 2, files - _OTHER_FILES))
    if places < connections:
        logger.warning("few-files: this process may open %d files, so it takes %d connections at once", files, places)
    return places
