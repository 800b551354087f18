"""Hypercorn's connections, as this server needs them: a task each, and what goes wrong in one ends that one alone.

Hypercorn's own ``serve`` ends with the first connection that raises, and a single malformed handshake is enough for
that. Its connections wait for ever for clients that do not read, past any cancellation.
"""

from __future__ import annotations

import logging
import socket
import struct
from functools import partial
from typing import TYPE_CHECKING

import trio
from attrs import field, frozen
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.events import Closed, RawData, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from hypercorn.utils import parse_socket_addr

from horus_async.policy.server.admission.refusal import error_body

from .inbox import Tasks
from .lobby import PIECE, Lobby, Patience
from .protocol import Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.events import Event
    from starlette.types import ASGIApp

logger = logging.getLogger("horus_async.policy.http")

_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
_FULL_S = 0.5
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s"
)
_FULL_BODY = error_body("too-many-connections", "all connections of this server are busy", "")


async def serve(
    app: ASGIApp, config: Config, listener: socket.socket, places: int, *, stop: Callable[[], Awaitable[None]]
) -> None:
    """Serve ``app`` on ``listener``, to ``places`` connections at once, until ``stop`` returns.

    Connections then end within ``config.graceful_timeout``.
    """
    server = _Server(ASGIWrapper(app), config, Lobby(places))  # type: ignore[arg-type]
    _notice_dead_peers(listener)
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as listening:
            accepted = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            listening.start_soon(partial(trio.serve_listeners, server.connect, [accepted], handler_nursery=connections))
            await stop()
            listening.cancel_scope.cancel()
        await server.context.terminated.set()
        server.patience.hurry()
        connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout


@frozen
class _Server:
    """What all connections share."""

    app: ASGIWrapper
    config: Config
    lobby: Lobby
    context: WorkerContext = field(factory=lambda: WorkerContext(None))
    patience: Patience = field(factory=Patience)

    async def connect(self, stream: trio.SocketStream) -> None:
        """One connection, to its end."""
        with trio.CancelScope() as scope:
            if not self.lobby.enter(scope):
                await _turn_away(stream)
                return
            try:
                await _Connection(self, stream, scope).run()
            # Whatever a client made Hypercorn raise, other clients have nothing to do with it.
            except* Exception as group:  # noqa: BLE001
                logger.warning("connection-failed: %r", _first(group))
            finally:
                self.lobby.leave(scope)


async def _turn_away(stream: trio.SocketStream) -> None:
    """Say that there is no place; what the client sends is read for a moment, or it would not see that."""
    with trio.move_on_after(_FULL_S):
        await stream.send_all(_FULL % (len(_FULL_BODY), _FULL_BODY))
        await stream.send_eof()
        while await stream.receive_some(PIECE):
            pass


class _Connection(TCPServer):
    def __init__(self, shared: _Server, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        super().__init__(shared.app, shared.config, shared.context, ConnectionState({}), stream)  # type: ignore[arg-type]
        self._socket, self._scope = stream.socket, scope
        self._lobby, self._patience = shared.lobby, shared.patience
        self._reading, self._over = trio.CancelScope(), False

    async def run(self) -> None:
        """Serve it to its end."""
        family = self._socket.family
        try:
            client = parse_socket_addr(family, self._socket.getpeername())
            server = parse_socket_addr(family, self._socket.getsockname())
            async with Tasks() as self._task_group:
                self.protocol = Protocol(  # type: ignore[assignment]
                    self.app,
                    self.config,
                    self.context,
                    self._task_group,
                    ConnectionState({}),
                    False,  # no TLS
                    client,
                    server,
                    self.protocol_send,
                )
                await self.idle_task.restart(self._task_group, self._idle_timeout)
                with self._reading:
                    await self._read_data()
                if self._reading.cancelled_caught:
                    await self.protocol.handle(Closed())
                # Hypercorn would keep the connection of a client that has gone until it has been idle for long.
                self._over = True
                await self.idle_task.stop()
        except OSError:
            pass  # The client has gone.
        finally:
            await self._close()

    async def protocol_send(self, event: Event) -> None:
        """Send data, or take note of what has become of the connection."""
        if isinstance(event, RawData):
            await self._send(event.data)
            return
        if isinstance(event, Updated):
            self._lobby.mark(self._scope, idle=event.idle)
            if self._over:
                return
        await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        """Send data to a client that takes it; hang up on one that does not."""
        view = memoryview(data)
        try:
            async with self.send_lock:
                for start in range(0, len(view), PIECE):
                    with self._patience.one_piece() as piece:
                        await self.stream.send_all(view[start : start + PIECE])
                    if piece.cancelled_caught:
                        await self._hang_up()
        # Busy: it is being closed.
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            # What reads may wait for the end of an answer that cannot be sent.
            self._reading.cancel()

    async def _hang_up(self) -> None:
        logger.warning("client-not-reading: hung up on a client that did not read its answer")
        # What it has not taken is thrown away.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self.stream)
        raise trio.ClosedResourceError


def _first(group: BaseExceptionGroup) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _notice_dead_peers(listener: socket.socket) -> None:
    """Have the kernel end connections to robots that have lost power or network, within a minute or so."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
