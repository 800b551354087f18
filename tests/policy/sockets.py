"""A WebSocket client for the tests, which can also do what no decent client does."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
)

from horus_async.policy.model.wire import pack, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from wsproto.events import Event
    from wsproto.extensions import Extension


@define
class Closed:
    """The server closed the connection; a code of None means without a word."""

    code: int | None
    reason: str | None = None


@define(eq=False)
class Line:
    """One connection of an openpi client."""

    stream: trio.SocketStream
    protocol: WSConnection
    accepted: AcceptConnection | None = None
    rejected: RejectConnection | None = None
    body: bytes = b""
    _events: list[Event] = field(factory=list)
    _parts: list[Any] = field(factory=list)

    async def send(self, event: Event) -> None:
        """Send one event of wsproto."""
        await self.stream.send_all(self.protocol.send(event))

    async def ask(self, **observation: Any) -> Any:
        """One observation; returns the answer, the text of an error, or how the server closed."""
        await self.send(BytesMessage(pack(observation)))
        return await self.receive()

    async def receive(self) -> Any:
        """The next message: a value, a text, ``Pong``, or ``Closed``."""
        while True:
            event = await self._event()
            if isinstance(event, Message):
                self._parts.append(event.data)
                if event.message_finished:
                    parts, self._parts = self._parts, []
                    return "".join(parts) if isinstance(parts[0], str) else unpack(b"".join(map(bytes, parts)))
            elif isinstance(event, Ping):
                await self.send(event.response())
            elif isinstance(event, CloseConnection):
                # Without a reply, the server waits for it for a while.
                await self.send(event.response())
                return Closed(event.code, event.reason)
            elif isinstance(event, Pong | Closed):
                return event

    async def _event(self) -> Event | Closed:
        while not self._events:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                data = b""
            if not data:
                return Closed(None)
            self.protocol.receive_data(data)
            self._events.extend(self.protocol.events())
        return self._events.pop(0)

    async def shake_hands(self, target: str, headers: dict[str, str], extensions: Sequence[Extension]) -> None:
        """The handshake: sets ``accepted``, or ``rejected`` and ``body``."""
        host = headers.get("Host", "127.0.0.1")
        sent = [(name.encode(), value.encode()) for name, value in headers.items() if name != "Host"]
        await self.send(Request(host=host, target=target, extra_headers=sent, extensions=list(extensions)))
        event = await self._event()
        if isinstance(event, AcceptConnection):
            self.accepted = event
            return
        assert isinstance(event, RejectConnection)
        self.rejected = event
        while event.has_body:
            data = await self._event()
            if isinstance(data, Closed):
                break
            assert isinstance(data, RejectData)
            self.body += data.data
            if data.body_finished:
                break


@asynccontextmanager
async def connection(
    url: str, target: str = "/", headers: dict[str, str] | None = None, extensions: Sequence[Extension] = ()
) -> AsyncIterator[Line]:
    """A connection after its handshake, whatever the server made of that."""
    port = int(url.rsplit(":", 1)[1])
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        line = Line(stream, WSConnection(ConnectionType.CLIENT))
        await line.shake_hands(target, headers or {}, extensions)
        yield line


@asynccontextmanager
async def openpi(url: str, **options: Any) -> AsyncIterator[tuple[Line, dict[str, Any]]]:
    """A connection, and the metadata that the server begins with."""
    async with connection(url, **options) as line:
        assert line.accepted is not None, line.body
        yield line, await line.receive()
