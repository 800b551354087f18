"""The topic as programs use it: values in, values out."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any, Self

from horus_async.clock.system import monotonic_ns, wall_ns
from horus_async.errors import TopicError
from horus_async.native import core

from .borrowing import Borrowing
from .bus import Bus, default_namespace
from .codec import GENERAL, decode, encode
from .core import TopicCore
from .keeping.keep import check_count
from .message import Message
from .packed.marks import exact
from .ring.abandoned import close_abandoned, close_when_possible
from .ring.locks import Rank, new_lock
from .ring.names import check_namespace, check_topic_name
from .typed import check_fields, check_kind, check_received, check_type

if TYPE_CHECKING:
    from types import TracebackType

    from .ring.reader import Loan
    from .ring.region import Taken
    from .subscriber import Subscriber


class Topic(TopicCore):
    """A handle on a topic, for any program: sends, and receives all that is sent after it was opened, even by itself.

    Close it, or use it as a context manager. For one task or thread at a time::

        with Topic("arm.joints") as joints:
            joints.send({"shoulder": 0.5})
            joints.recv()   # {'shoulder': 0.5}
    """

    __slots__ = ("__weakref__", "_bus", "_closed", "name", "namespace")

    _subscriber: Subscriber

    def __init__(
        self,
        name: str,
        type: type | None = None,  # noqa: A002 - the contract's name
        *,
        capacity: int | None = None,
        namespace: str | None = None,
        keep: int | None = None,
    ) -> None:
        """Open it.

        Args:
            name: 1 to 255 of ``A-Z a-z 0-9 _ . - /``, no leading ``/``, no ``..``; case-sensitive.
            type: the only class of values that may be sent, usually an attrs class; default any. Their fields have to
                be what the class annotates.
            capacity: bytes of messages that may wait unread (default 1 MiB); rounded up to a power of two. Grows by
                itself for larger messages.
            namespace: topics meet only within one namespace; default: the environment's ``HORUS_NAMESPACE``, else
                ``default``.
            keep: late readers first get the last so many messages that this process sends, also after this handle was
                closed, as long as the namespace lives; default: none. If several handles of a process ask for it, the
                largest number counts for all of them.

        Raises:
            TopicNameError: not a name for a topic.
            ConfigurationError: not a name for a namespace, not a capacity, or not a number of messages.
            TopicTypeError: ``type`` is not a class.
        """
        super().__init__()
        self._closed = True  # for __del__, until the end of __init__
        self.name = check_topic_name(name)
        if type is not None:
            check_type(name, type)
        self._type = type
        if keep is not None:
            check_count("keep", keep)
        self.namespace = check_namespace(default_namespace() if namespace is None else namespace)
        self._bus = _acquire_bus(self.namespace, name)
        try:
            own = f"topic-{os.getpid()}"
            if keep is not None:
                self._bus.keep(name, own, keep)
            publisher = self._bus.publisher(name, own, capacity=capacity)
            self._publisher, self._forms = publisher, publisher.forms
            self._subscriber = self._bus.subscriber(name)
        except BaseException:
            _release_bus(self._bus, name)
            raise
        self._closed = False

    def _send_slowly(self, value: Any) -> None:
        """Send a value to all listeners.

        Raises:
            ValueNotSupportedError: no topic can carry it; names the type and where in the value it is.
            TopicTypeError: not of this topic's type, or a field of it is not what its class annotates.
            MessageTooLargeError: larger than any ring can hold.
            TopicError: the handle is closed, or there is no shared memory left.
        """
        wanted = self._type
        if wanted is not None:
            check_kind(self.name, wanted, value)
        payload = encode(value, self._forms)
        if wanted is not None and (payload[0] or type(value) not in exact):  # only what is packed begins with 0
            check_fields(self.name, value)
        if self._publisher is None:
            raise TopicError("this topic handle is closed")
        self._publisher.publish(payload, wall_ns(), None, monotonic_ns())

    if core is None:
        send = _send_slowly

    def recv_message(self) -> Message | None:
        """The next unread message with its identity, or None. Raises as ``recv`` does."""
        message = self._subscriber.take()
        return None if message is None else self._message(message)

    def recv_all(self) -> list[Any]:
        """All unread values, oldest first. Raises as ``recv`` does."""
        values = []
        while self._subscriber.has_message():
            message = self._subscriber.take()
            if message is not None:
                values.append(self._message(message).value)
        return values

    def borrow(self) -> Borrowing:
        """Read the next unread message without copying its arrays: they are read-only views of shared memory.

        For an ``async with`` block, which waits for it as ``receive`` does, or a ``with`` block, in which the message
        is None if there is none::

            async with camera.borrow() as message:
                brightness = message.value.data.mean()

            with camera.borrow() as message:
                if message is not None:
                    brightness = message.value.data.mean()

        The writer does not wait, and may overwrite the message meanwhile. This is checked when the block is left;
        ``message.valid`` and ``message.check()`` tell earlier. After the block the views may change at any time: copy
        what you keep. Everything but arrays is copied anyway, and a message without arrays is received as by ``recv``.

        Raises:
            MessageOverwrittenError: on leaving the block (or on entering it), also in place of an error that torn data
                caused. A larger ``capacity=`` gives more time.
            MessageDecodeError, TopicTypeError: on entering it, as ``recv``.
            TopicError: on entering it: the handle is closed, or was closed while waiting.
        """
        return Borrowing(self.name, self._subscriber.borrow, self._receive_loan, check_type=self._check_type)

    async def _receive_loan(self) -> Loan:
        while True:
            await self._subscriber.wait()
            loan = self._subscriber.borrow()
            if loan is not None:
                return loan

    def latest(self) -> Any:
        """The newest value, perhaps sent before the handle was opened; None before the first.

        Consumes nothing. Raises as ``recv`` does.
        """
        message = self._subscriber.latest()
        return None if message is None else self._message(message).value

    def has_msg(self) -> bool:
        """Whether there is an unread message. Consumes nothing."""
        return self._subscriber.has_message()

    async def receive(self) -> Any:
        """Wait for the next unread value.

        Raises:
            TopicError: the handle is closed, or was closed while waiting; and as ``recv`` does.
        """
        while True:
            await self._subscriber.wait()
            value = self.recv(_NOTHING)
            if value is not _NOTHING:
                return value

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except TopicError:
            if self._closed:
                raise StopAsyncIteration from None
            raise

    @property
    def lost(self) -> int:
        """Messages that were overwritten before this handle read them."""
        return self._subscriber.lost

    def close(self) -> None:
        """Close the handle. Open ones can still read what was sent; the last one removes the shared memory."""
        if self._closed:
            return
        self._closed = True
        self._publisher, self._forms = None, GENERAL  # so that no closed handle keeps a ring mapped
        self._subscriber.close()
        _release_bus(self._bus, self.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # The type of a topic may keep it alive until the interpreter has taken the modules apart: nothing is left then.
        if not self._closed and getattr(warnings, "warn", None) and globals().get("close_when_possible"):
            warnings.warn(f"{self!r} was never closed", ResourceWarning, stacklevel=1, source=self)
            close_when_possible(self.close)

    def __repr__(self) -> str:
        return f"<Topic {self.name!r} in {self.namespace!r}{', closed' if self._closed else ''}>"

    def _message(self, message: Taken) -> Message:
        _, publisher, seq, stamp_ns = message
        return Message(self._value_of(message), self.name, seq, stamp_ns, publisher)

    def _value_of(self, message: Taken) -> Any:
        payload, publisher = message[:2]
        try:
            value = decode(payload)
        except TopicError as error:
            raise type(error)(f"topic {self.name!r}, {self._sender(publisher)}: {error}") from None
        self._check_type(value, publisher)
        return value

    def _check_type(self, value: Any, publisher: str) -> None:
        if self._type is not None:
            check_received(self.name, self._type, value, lambda: self._sender(publisher))

    def _sender(self, publisher: str) -> str:
        processes = " or ".join(map(str, self._subscriber.processes_of(publisher)))
        return f"sent by {publisher}" + (f" in process {processes}" if processes else "")


_NOTHING = object()

# The handles of a topic share a bus, so that a process has one ring per topic, with one sequence of numbers.
_buses: dict[tuple[str, str], tuple[Bus, int]] = {}
_handles_lock = new_lock(Rank.HANDLES)


def _acquire_bus(namespace: str, topic: str) -> Bus:
    close_abandoned()
    with _handles_lock:
        bus, handles = _buses.get((namespace, topic)) or (Bus(namespace, from_start=False), 0)
        _buses[namespace, topic] = bus, handles + 1
        return bus


def _release_bus(bus: Bus, topic: str) -> None:
    with _handles_lock:
        known, handles = _buses.get((bus.namespace, topic), (None, 0))
        if known is bus:
            del _buses[bus.namespace, topic]
            if handles > 1:
                _buses[bus.namespace, topic] = bus, handles - 1
                return
    bus.close()


def _forget_all() -> None:
    """In a new process after a fork: the handles belong to the old one."""
    global _handles_lock  # noqa: PLW0603 - the old one may be held by a thread that does not exist here
    _handles_lock = new_lock(Rank.HANDLES)
    _buses.clear()


os.register_at_fork(after_in_child=_forget_all)
