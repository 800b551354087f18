"""Reading a ring: one reader's place in it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from horus_async.errors import TopicError
from horus_async.topics.values.payload import LARGE

from .core import ReaderCore, unpackers
from .layout import ALIGNMENT, INDEX_WORD, ORDER_WORD, PAD, RECORD
from .region import CLOSED, LATEST, NEXT, OLDEST, SMALL, Cursor

if TYPE_CHECKING:
    from collections.abc import Callable

    from .region import Region, Taken

    Loan = tuple[Taken, Cursor | None]
    """A message, and the place in the ring where its payload lies; None if the payload is a copy."""


PATIENCE = 1000
"""How often a reader looks for what should become visible any moment, before it does without."""


class RingReader(ReaderCore):
    """One reader's place in one ring. For one thread at a time."""

    __slots__ = (
        "_after",
        "_checked",
        "_damage",
        "_first",
        "_follow",
        "_known",
        "_lent",
        "_looks",
        "_lost",
        "_say_damaged",
        "region",
        "source",
    )

    def __init__(
        self,
        cursor: Cursor,
        follow: Callable[[int], Region | None],
        source: object = None,
        say_damaged: Callable[[str], object] = bool,
    ) -> None:
        """Begin at ``cursor``.

        Args:
            cursor: the first message to be read.
            follow: finds a later generation by its number; None if it is gone.
            source: identifies the ring.
            say_damaged: called with what is wrong with the ring, each time something is.
        """
        super().__init__()
        self._follow = follow
        self.source = source
        self._lost = 0
        self._first = self.index = cursor.index
        self._after = cursor.position if cursor.after else -1
        self._looks = 0
        self._say_damaged = say_damaged
        self._damage: tuple[int, int] | None = None
        """``LATEST`` and ``OLDEST`` where the ring makes no sense: there is nothing to read until they change."""
        self._known: tuple[int, Taken] | None = None
        """Order and message of the newest one, as far as it was seen whole; only where ``CHECKED``."""
        self._lent: Cursor | None = None
        """Where the message lies that was borrowed last."""
        self._enter(cursor.region)
        self.position = cursor.position

    @property
    def lost(self) -> int:
        """Messages that were overwritten before this reader got to them."""
        self._locate()
        lost = self._lost
        region: Region | None = self.region
        while region is not None and (following := region.following()):
            region = self._following(following)
            lost += region.overwritten() if region is not None else 0
        return lost

    @property
    def consumed(self) -> int:
        """Messages that this reader is past: taken or lost."""
        return self.index - self._first

    @property
    def arrived(self) -> int:
        """Messages written since this reader began, lost ones included."""
        newest = self._newest()
        return max(self.index, newest.index + 1 if newest else 0) - self._first

    @property
    def ended(self) -> bool:
        """Whether the ring is closed and read to its end."""
        words = self.words
        closed = words[CLOSED]
        if not closed or words[LATEST] >= self.position:
            return False
        if self._checked and self.index + 1 < closed and self._should_look_again():
            return False  # the last messages are not visible to this processor yet
        try:
            following = self.region.following()
            return not following or self._follow(following) is None
        except (OSError, TopicError):  # it cannot be opened now
            return False

    @property
    def closed(self) -> bool:
        """Whether no more messages will come, or hardly any, as its file is gone."""
        return bool(self.words[CLOSED]) or bool(getattr(self.source, "gone", False))

    def has_message(self) -> bool:
        """Whether ``take`` would return one."""
        if self.careful:
            return self._locate() is not None
        words = self.words
        latest = words[LATEST]
        if latest >= self.position and latest >= words[OLDEST]:
            return True
        return bool(words[NEXT]) and self._locate() is not None

    def borrow(self) -> Loan | None:
        """The next message, or None. A binary payload stays where it is."""
        lent, self._lent = self._lent, None
        if lent is not None and lent.torn:
            self._go_ahead()
        record = self._next(borrow=not self._checked)
        if record is None:
            return None
        message, size, _ = record
        if self._checked or isinstance(message[0], bytes):
            return message, None  # there, what is in the ring may change before OLDEST is seen to
        self._lent = Cursor(self.region, self.position - size, self.index - 1)
        return message, self._lent

    def next_order(self) -> int | None:
        """The order (ns, see ``layout``) of the message that ``take`` would return, or None."""
        order: int
        words, position = self.words, self.position
        if not self.careful and words[LATEST] >= position:  # most often
            word = (self.data_at + (position & self.mask)) >> 3
            try:
                length, index, order = words[word], words[word + INDEX_WORD], words[word + ORDER_WORD]
            except IndexError:
                length = PAD
            if length < PAD and index == self.index and words[OLDEST] <= position:
                return order - 2**64 if order >= 2**63 else order
        at = self._locate()
        if at is None:
            return None
        order = self.words[(at >> 3) + ORDER_WORD]
        return order - 2**64 if order >= 2**63 else order

    def latest(self) -> Taken | None:
        """The newest message of the ring, also one from before this reader began. Moves nothing."""
        words = self.words
        position = words[LATEST]
        # most often; the same as below, with fewer calls
        if position and not position & (ALIGNMENT - 1) and not words[NEXT] and not self.careful:
            at = self.data_at + (position & self.mask)
            try:
                unpack, _ = unpackers[words[at >> 3]]
                index, seq, stamp_ns, publisher, payload = unpack(self.region.map, at)
                message = payload, self.region.names[publisher], seq, stamp_ns
            except (LookupError, struct.error):
                pass
            else:
                if words[OLDEST] <= position and index + 1 >= self.index:
                    return message
        found = self.newest()
        return None if found is None else found[1]

    def newest(self) -> tuple[int, Taken] | None:
        """The same with its order."""
        for _ in range(PATIENCE):
            newest = self._newest()
            if newest is None:
                return None
            try:
                record = newest.region.copy(newest.position)
            except TopicError as error:
                self._say_damaged(str(error))
                return None
            if record is not None:
                found = record[2], record[0]
                if self._checked:
                    self._known = found[0], (bytes(record[0][0]), *record[0][1:])
                return found
            if self._checked:
                return self._known
        return None

    def _enter(self, region: Region) -> None:
        self.region = region
        self.enter(region.map, region.data_at, region.capacity)
        self.words = region.words
        self._checked = self.careful = region.checked
        self._damage = self._lent = None
        self.position = region.capacity
        self._looks = 0

    def _newest(self) -> Cursor | None:
        region: Region | None = self.region
        newest = None
        while region is not None:
            newest = region.newest() or newest
            following = region.following()
            region = self._following(following) if following else None
        return newest

    def _following(self, generation: int) -> Region | None:
        """A later generation; None if it is gone, or cannot be opened now."""
        try:
            return self._follow(generation)
        except (OSError, TopicError):
            return None

    def _should_look_again(self) -> bool:
        """Whether something that is not visible to this processor yet may still become so."""
        self._looks += 1
        return self._looks < PATIENCE

    def _locate(self) -> int | None:
        """Skip lost messages, padding and finished generations; the next record's offset, None if there is none."""
        for _ in range(PATIENCE):  # each time it gets further, but perhaps not as fast as a writer
            words = self.words
            following = (
                self.region.following()
            )  # before LATEST: a ring that has a next generation is never written again
            latest = words[LATEST]
            if latest < self.position:
                region = self._next_generation(following)
                if region is None:
                    return None
                self._enter(region)
                continue
            oldest = words[OLDEST]
            if self._damage is not None and not self._is_mended(latest, oldest):
                return None
            position = max(oldest, self.position)
            if latest < position:
                return None  # a message as large as the ring is being written
            at = self.region.offset(position & -ALIGNMENT)
            padding = words[at >> 3] == PAD | position
            if words[OLDEST] > position:  # first of all: that word may be the last of the data
                continue
            if padding and position == self.position:
                self.position += self.region.capacity - (position & self.mask)
                continue
            examined = self._examine(position)
            if examined is None:
                return None
            if examined:
                return at
        return None

    def _examine(self, position: int) -> bool | None:
        """Whether there is a message to be read here; None if not yet, False if one has to look once more."""
        found = self.region.whole(position)
        if self.words[OLDEST] > position:
            return False
        if self._checked:
            self.position = position
            if found is not None:
                return self._settle(*found)
            # not all of it is visible to this processor yet
            return None if self._should_look_again() or not self._skip_damage() else False
        first = max(self.index, self.region.first_index)
        if found is None or not 0 <= found[0] - first <= (position - self.position) // RECORD.size:
            return self._is_damaged(f"there is no message where number {first} should be")
        self.position = position
        return self._settle(*found)

    def _is_damaged(self, what: str) -> bool | None:
        """Say it, and go to the newest message; what is before it counts as lost. None if even that makes no sense."""
        self._say_damaged(what)
        newest = self.region.newest()
        if newest is None or newest.position <= self.position or newest.index < self.index:
            self._damage = self.words[LATEST], self.words[OLDEST]
            self.careful = True
            return None
        self.position = newest.position
        self._settle(newest.index, 0)
        return False

    def _is_mended(self, latest: int, oldest: int) -> bool:
        """Whether a ring that made no sense was written since, and can be read again from its newest message on."""
        if (latest, oldest) == self._damage:
            return False
        newest = self.region.newest()
        if newest is None or newest.position < self.position or newest.index < self.index:
            self._damage = latest, oldest
            return False
        self.position = newest.position
        self._settle(newest.index, 0)
        self._damage, self.careful = None, self._checked
        return True

    def _settle(self, index: int, size: int) -> bool:
        """Count what was lost before the message ``index``; returns whether it is one to be read."""
        if self._after == self.position:  # who began to read when it was sent hears those after it
            self._after = -1
            self._first = self.index = index + 1
            self.position += size
            return False
        if index < self.index:  # it began to read when not all was visible
            self._first -= self.index - index
        else:
            self._lost += index - self.index
        self.index = index
        return True

    def _next_generation(self, following: int) -> Region | None:
        """Where to go on after the end of a generation; None if that is not known yet."""
        region = self._following(following) if following else None
        if region is not None and self._checked and self.index < region.first_index and self._should_look_again():
            return None  # the last messages of this one are not visible to this processor yet
        return region

    def _skip_damage(self) -> bool:
        """Go to the newest message if there is one; those before it count as lost."""
        newest = self.region.newest()
        if newest is None or newest.position <= self.position:
            return False
        self.position = newest.position
        return True

    def take_slowly(self) -> Taken | None:
        """The next message, whatever is in the way, or None."""
        record = self._next(borrow=False)
        return None if record is None else record[0]

    def _next(self, *, borrow: bool) -> tuple[Taken, int, int] | None:
        """The next message, its size in the ring and its order."""
        for _ in range(PATIENCE):
            if self._locate() is None:
                break
            last_try = self._checked and not self._should_look_again()
            try:
                record = self.region.copy(self.position, borrow=borrow, last_try=last_try)
            except TopicError as error:
                if self._is_damaged(str(error)) is None:
                    break
                continue
            if record is not None:
                self.position += record[1]
                self.index += 1
                self._looks = 0
                self.names = self.region.names
                self._learn(*record[:2])
                return record
            if self._checked:
                return None  # not all of it is visible to this processor yet
            self._go_ahead()
        return None

    def _go_ahead(self) -> None:
        """A message was overwritten while it was read: if they are large, go on in the middle of what is left.

        The writer is faster than that, so the oldest one left is the next to go.
        """
        region, words = self.region, self.words
        latest, position = words[LATEST], max(words[OLDEST], self.position)
        goal = position + (latest - position) // 2
        for _ in range(PATIENCE):
            if words[region.offset(position & -ALIGNMENT) >> 3] == PAD | position:
                position += region.capacity - (position & self.mask)
            found = region.whole(position)
            if found is None or found[1] < LARGE or position >= goal:
                break
            position += found[1]
        if found is None or found[1] < LARGE or words[OLDEST] > position:
            return  # what that means is for the usual way to say
        if 0 <= found[0] - max(self.index, region.first_index) <= (position - self.position) // RECORD.size:
            self.position = position
            self._settle(found[0], 0)

    @staticmethod
    def _learn(message: Taken, size: int) -> None:
        """Make the next message of this length faster to take."""
        length = len(message[0])
        if length <= SMALL and length not in unpackers:
            unpackers[length] = struct.Struct(f"<8xQQq8xI4x{length}s").unpack_from, size
