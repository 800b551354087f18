"""ASGI: what is looked at before anything else of a request, its framing and who asks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from attrs import field, frozen
from starlette.datastructures import Headers
from starlette.responses import Response

from .refusal import Refusal, error_body, request_id_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from .callers import Callers

logger = logging.getLogger("horus_async.policy")


@frozen
class Doorway:
    """``app``, for those whom ``callers`` (None: anybody) let in. ``refused`` is told of all others."""

    app: ASGIApp
    callers: Callers | None
    refused: Callable[[str, Refusal], None]
    _told: set[str] = field(factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket."""
        try:
            check_framing(scope)
            if self.callers is not None:
                self.callers.check(scope["headers"])
        except Refusal as refusal:
            self.refused(scope["path"], refusal)
            self._tell(refusal)
            await answer(refusal, scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _tell(self, refusal: Refusal) -> None:
        """Say it in the log, once for each kind: a page may ask again and again."""
        if refusal.slug not in self._told:
            self._told.add(refusal.slug)
            logger.warning("%s: %s (further ones are counted in /metrics)", refusal.slug, refusal)


async def answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a handshake, with a refusal."""
    request_id = request_id_of(Headers(scope=scope))
    headers = {**refusal.headers, "X-Request-ID": request_id}
    if scope["type"] == "websocket":
        headers["Connection"] = "close"
    body = error_body(refusal.slug, str(refusal), request_id)
    await Response(body, refusal.status, headers, media_type="application/json")(scope, receive, send)


def is_ambiguous(scope: Any) -> bool:
    """Whether one cannot say where the body of a request ends: what follows it might be a request of somebody else."""
    said = {name.lower(): value.strip() for name, value in scope["headers"]}
    length, coding = said.get(b"content-length"), b"transfer-encoding" in said
    if scope["type"] == "websocket":
        return coding or length not in (None, b"0")
    return coding and (length is not None or scope["http_version"] == "1.0")


def check_framing(scope: Any) -> None:
    """Let through a request that says in one way where it ends.

    Raises:
        Refusal: 400 ``bad-framing``; the connection is closed.
    """
    if is_ambiguous(scope):
        message = "a handshake has no body" if scope["type"] == "websocket" else "Transfer-Encoding comes alone"
        raise Refusal(400, "bad-framing", f"one cannot say where this request ends: {message}")
