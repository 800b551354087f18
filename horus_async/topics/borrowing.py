"""Messages that are read in place: in the ring, in shared memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import MessageOverwrittenError, SchemaMismatchError, TopicError

from .codec import decode_borrowed
from .message import Message

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .ring.reader import Loan
    from .ring.region import Cursor, Taken


MOST_REFUSED = 1000
"""So many messages that are none are left out in one call; others may be written as fast."""


@frozen
class BorrowedMessage(Message):
    """A message whose arrays are read-only views of shared memory. Copy what you keep."""

    _place: Cursor | None = field(repr=False, eq=False)
    """Where it lies; None if it cannot be overwritten."""

    @property
    def valid(self) -> bool:
        """Whether nothing of it has been overwritten so far."""
        return self._place is None or not self._place.overwritten()

    def check(self) -> None:
        """Make sure that nothing that was read so far had been overwritten.

        Raises:
            MessageOverwrittenError: some of it may have been.
        """
        _check(self._place, self.topic, self.seq, self.publisher)


class Borrowing:
    """The ``with`` block in which a message is borrowed. Made by ``Topic.borrow`` and ``Node.borrow``."""

    __slots__ = ("_check_type", "_message", "_refuse", "_take", "_topic")

    def __init__(
        self,
        topic: str,
        take: Callable[[], Loan | None],
        check_type: Callable[[Any, str], object] | None = None,
        refuse: Callable[[Taken, TopicError], object] | None = None,
    ) -> None:
        """``refuse`` leaves out a message that cannot be read; it raises the error where that is not to be done."""
        self._topic = topic
        self._take = take
        self._check_type = check_type
        self._refuse = refuse
        self._message: BorrowedMessage | None = None

    def __enter__(self) -> BorrowedMessage | None:
        """Take the next message; None if there is none.

        Raises:
            MessageOverwrittenError: it was overwritten just now.
            MessageDecodeError, TopicTypeError: as ``Topic.recv``.
        """
        self._message = None
        for _ in range(MOST_REFUSED):
            loan = self._take()
            if loan is None:
                return None
            try:
                return self._read(loan)
            except MessageOverwrittenError:
                raise
            except TopicError as error:
                if self._refuse is None:
                    raise
                self._refuse(loan[0], error)
        return None

    def _read(self, loan: Loan) -> BorrowedMessage:
        (payload, publisher, seq, stamp_ns), place = loan
        check = partial(_check, place, self._topic, seq, publisher)
        try:
            value = decode_borrowed(payload, check)
            if self._check_type is not None:
                self._check_type(value, publisher)
        except SchemaMismatchError as error:
            raise SchemaMismatchError(f"topic {self._topic!r}, sent by {publisher}: {error}") from None
        except Exception:
            check()  # torn data may be the cause
            raise
        self._message = BorrowedMessage(value, self._topic, seq, stamp_ns, publisher, place)
        return self._message

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        message, self._message = self._message, None
        if message is not None and (error is None or isinstance(error, Exception)):
            message.check()


def _check(place: Cursor | None, topic: str, seq: int, publisher: str) -> None:
    if place is not None and place.overwritten():
        raise MessageOverwrittenError(
            f"message {seq} of {publisher!r} on topic {topic!r} was overwritten while it was borrowed; "
            "give the topic a larger capacity=, finish with it sooner, or use recv(), which copies"
        )
