"""Hypercorn's connections, as this server needs them: a task each, and what goes wrong in one ends that one alone.

Hypercorn's own ``serve`` ends with the first connection that raises, and a single malformed handshake is enough for
that. Its WebSockets are changed for camera images (``frames``).
"""

from __future__ import annotations

import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

from .frames import MessageBuffer, PlainHandshake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger("horus_async.policy.http")

_KEEP_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


async def serve(app: ASGIApp, config: Config, listener: socket.socket, *, stop: Callable[[], Awaitable[None]]) -> None:
    """Serve ``app`` on ``listener`` until ``stop`` returns; connections then end within ``config.graceful_timeout``."""
    context = WorkerContext(None)
    connect = partial(_Connection, ASGIWrapper(_prepared(app, config)), config, context, ConnectionState({}))  # type: ignore[arg-type]
    _notice_dead_peers(listener)
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as listening:
            accepted = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
            listening.start_soon(partial(trio.serve_listeners, connect, [accepted], handler_nursery=connections))
            await stop()
            listening.cancel_scope.cancel()
        await context.terminated.set()
        connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout


class _Connection(TCPServer):
    async def run(self) -> None:
        try:
            await super().run()
        # Whatever a client made Hypercorn raise, other clients have nothing to do with it.
        except* Exception as group:  # noqa: BLE001
            logger.warning("connection-failed: %r", _first(group))


def _first(group: BaseExceptionGroup) -> BaseException:
    found = group.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _notice_dead_peers(listener: socket.socket) -> None:
    """Have the kernel end connections to robots that have lost power or network, within a minute or so."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):
            listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _prepared(app: ASGIApp, config: Config) -> ASGIApp:
    async def prepared(scope: Scope, receive: Receive, send: Send) -> None:
        stream = getattr(send, "__self__", None)
        if isinstance(stream, WSStream):
            stream.buffer = MessageBuffer(config.websocket_max_message_size)
            stream.handshake = PlainHandshake(scope["headers"], scope["http_version"])
        await app(scope, receive, send)

    return prepared
