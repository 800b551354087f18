"""HTTP/1.1, and what is not let through to the application: HTTP/2, and requests that end in two places."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import h11
from hypercorn.events import Closed
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from wsproto.handshake import WEBSOCKET_VERSION

from horus_async.policy.server.admission.refusal import error_body

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hypercorn.protocol.events import Event
    from hypercorn.protocol.ws_stream import Handshake

logger = logging.getLogger("horus_async.policy.http")

_VERSIONS = (b"1.0", b"1.1")
_BAD_REQUEST, _NOT_SUPPORTED = 400, 505


class Protocol(H11Protocol):
    """One connection. HTTP/2 is not spoken, neither after an upgrade nor with one who assumes it."""

    _refused = False
    """Whether it was a WebSocket that got no further than its handshake."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """Leave it at that: a wish to upgrade may be passed over."""

    async def _create_stream(self, request: h11.Request) -> None:
        if request.http_version not in _VERSIONS:
            await self._turn_away(_NOT_SUPPORTED, "this server speaks HTTP/1.1, and WebSocket")
        elif _is_ambiguous(request.http_version, request.headers):
            message = "one cannot say where this request ends: send Transfer-Encoding without Content-Length"
            await self._turn_away(_BAD_REQUEST, message)
        elif _is_handshake_with_body(request.headers):
            await self._turn_away(_BAD_REQUEST, "a handshake of a WebSocket has no body")
        else:
            await super()._create_stream(request)

    async def stream_send(self, event: Event) -> None:
        """Send what answers a request or a WebSocket. Hypercorn refuses one of these without a word: say why."""
        if self._refused:
            return
        if not (isinstance(self.stream, WSStream) and isinstance(event, Response) and _is_bare_refusal(event)):
            await super().stream_send(event)
            return
        self._refused = True
        why = _why_refused(self.stream.handshake)
        logger.warning("websocket-refused: %s", why)
        await self._close_stream()  # as Hypercorn does not tell the application, which would wait for messages
        await self._turn_away(_BAD_REQUEST, why)

    async def _turn_away(self, status: int, message: str) -> None:
        await self._send_error_response(status, message)
        await self.send(Closed())

    async def _send_error_response(self, status_code: int, message: str = "this is no request of HTTP/1.1") -> None:
        """Answer what does not get to the application."""
        body = error_body("bad-http", message, "")
        said = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        headers = [(name.encode(), value.encode()) for name, value in said.items()]
        headers += self.config.response_headers("h11")
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _is_ambiguous(version: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the body ends in two places: what stands behind one of them might be the request of somebody else."""
    names = {name for name, _ in headers}
    return b"transfer-encoding" in names and (b"content-length" in names or version == b"1.0")


def _is_handshake_with_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a body comes with the wish for a WebSocket: it would be taken for frames."""
    said = {name: value.strip().lower() for name, value in headers}
    has_body = b"transfer-encoding" in said or said.get(b"content-length", b"0") != b"0"
    return has_body and said.get(b"upgrade") == b"websocket"


def _is_bare_refusal(answer: Response) -> bool:
    return answer.status_code == _BAD_REQUEST and (b"content-length", b"0") in answer.headers


def _why_refused(handshake: Handshake) -> str:
    """What is wrong with a WebSocket that Hypercorn turns away."""
    if handshake.is_valid():
        return "this WebSocket sent before its handshake was answered: wait for the 101 (RFC 6455, 4.1)"
    if handshake.http_version < "1.1":
        return "a WebSocket begins with a request of HTTP/1.1"
    if handshake.key is None:
        return "the handshake of this WebSocket has no Sec-WebSocket-Key"
    return f"the handshake of this WebSocket needs Sec-WebSocket-Version: {WEBSOCKET_VERSION.decode()}"
