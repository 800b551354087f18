"""What HTTP/1.1 asks of a server beyond answers: bodies that nobody reads, and connections that have to end.

A client that is still sending does not see an answer on a connection that is closed under it: what it has sent without
being read makes the kernel reset the connection. So an answer given before the body was read waits until the rest has
been read and thrown away, within limits, and says that the connection ends with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field
from hypercorn.protocol.ws_stream import WSStream

from .frames import BUFFER, MessageBuffer, PlainHandshake

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from horus_async.policy.server.admission.room import Room

SHARE = "horus_async.share"
"""The key of a scope under which the request's `Share` of the room for bodies is."""

_CLOSE = (b"connection", b"close")
_DRAINING_S = 10.0
_DRAINING_WHILE_STOPPING_S = 1.0
_POLL_S = 0.01


@define
class Exchanges:
    """ASGI: ``app``, and where its connections end. Once ``stopping``, each answer is the last of its connection."""

    app: ASGIApp
    room: Room
    drained_bytes: int
    stopping: Callable[[], bool]
    draining: set[trio.CancelScope] = field(factory=set)
    open: int = 0
    """How many requests have not had their whole answer yet, and how many WebSockets have not ended."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket."""
        self.open += 1
        try:
            if scope["type"] == "http":
                exchange = _Exchange(self, receive, send, unread=_has_body(scope["headers"]))
                receive, send = exchange.receive, exchange.send
            with self.room.share() as scope[SHARE]:
                if scope["type"] == "websocket":
                    _prepare(scope, send)
                await self.app(scope, receive, send)
        finally:
            self.open -= 1

    async def until(self, idle: Callable[[], bool]) -> None:
        """Wait until every request has its answer, and ``idle``. For the end of a server: it looks again and again.

        What is thrown away of bodies is now done with soon.
        """
        soon = trio.current_time() + _DRAINING_WHILE_STOPPING_S
        for scope in self.draining:
            scope.deadline = min(scope.deadline, soon)
        while self.open or not idle():  # noqa: ASYNC110 - a moment once, for two numbers that change all the time
            await trio.sleep(_POLL_S)


@define
class _Exchange:
    """One request and its answer. ``unread``: there is more of its body than was read."""

    exchanges: Exchanges
    _receive: Receive
    _send: Send
    unread: bool

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self.unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            early = self.unread
            if early:
                await self._drain()
            if early or self.exchanges.stopping():
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
        await self._send(message)

    async def _drain(self) -> None:
        left = self.exchanges.drained_bytes
        seconds = _DRAINING_WHILE_STOPPING_S if self.exchanges.stopping() else _DRAINING_S
        with trio.move_on_after(seconds) as scope:
            self.exchanges.draining.add(scope)
            try:
                while self.unread and left > 0:
                    message = await self.receive()
                    left -= len(message.get("body", b""))
            finally:
                self.exchanges.draining.discard(scope)


def _prepare(scope: Scope, send: Send) -> None:
    """Have a WebSocket shake hands and gather its messages in our way."""
    stream = getattr(send, "__self__", None)
    assert isinstance(stream, WSStream)
    scope[BUFFER] = stream.buffer = MessageBuffer(stream.config.websocket_max_message_size, scope[SHARE])
    stream.handshake = PlainHandshake(scope["headers"], scope["http_version"])


def _has_body(headers: Any) -> bool:
    """Whether a request with these headers has a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0") for name, value in headers
    )
