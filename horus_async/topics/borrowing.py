"""Messages that are read in place: in the ring, in shared memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.clock.event_loop import event_loop
from horus_async.errors import MessageOverwrittenError, SchemaMismatchError, TopicError

from .codec import decode_borrowed
from .message import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
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
    """The block in which a message is borrowed. Made by ``Topic.borrow`` and ``Node.borrow``.

    ``with`` takes the next message, or None if there is none; ``async with`` waits until there is one.
    """

    __slots__ = ("_check_type", "_message", "_receive", "_refuse", "_take", "_took", "_topic")

    def __init__(
        self,
        topic: str,
        take: Callable[[], Loan | None],
        receive: Callable[[], Awaitable[Loan]],
        *,
        check_type: Callable[[Any, str], object] | None = None,
        took: Callable[[Loan], object] | None = None,
        refuse: Callable[[Taken, TopicError], object] | None = None,
    ) -> None:
        """Prepare.

        Args:
            topic: Where the message comes from.
            take: Gives the next one, if there is any.
            receive: Waits for the next one.
            check_type: Raises if a value, of that publisher, is not of the topic's type.
            took: Told of each that could be read.
            refuse: Leaves out a message that cannot be read; it raises the error where that is not to be done.
        """
        self._topic = topic
        self._take = take
        self._receive = receive
        self._check_type = check_type
        self._took = took
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
            message = self._read(loan)
            if message is not None:
                return message
        return None

    async def __aenter__(self) -> BorrowedMessage:
        """Wait for the next message and take it. Cancelled while it waits, it has taken none.

        Raises:
            MessageOverwrittenError: it was overwritten just now.
            MessageDecodeError, TopicTypeError: as ``Topic.receive``.
        """
        self._message = None
        refused = 0
        while (message := self._read(await self._receive())) is None:
            refused += 1
            if refused % MOST_REFUSED == 0:
                await event_loop().checkpoint()
        return message

    def _read(self, loan: Loan) -> BorrowedMessage | None:
        """The message that was lent; None if it was refused."""
        try:
            self._message = self._message_of(loan)
        except MessageOverwrittenError:
            raise
        except TopicError as error:
            if self._refuse is None:
                raise
            self._refuse(loan[0], error)
        return self._message

    def _message_of(self, loan: Loan) -> BorrowedMessage:
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
        if self._took is not None:
            self._took(loan)
            check()  # it is recorded whole or not at all
        return BorrowedMessage(value, self._topic, seq, stamp_ns, publisher, place)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        message, self._message = self._message, None
        if message is not None and (error is None or isinstance(error, Exception)):
            message.check()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)


def _check(place: Cursor | None, topic: str, seq: int, publisher: str) -> None:
    if place is not None and place.overwritten():
        raise MessageOverwrittenError(
            f"message {seq} of {publisher!r} on topic {topic!r} was overwritten while it was borrowed; "
            "give the topic a larger capacity=, finish with it sooner, or use recv(), which copies"
        )
