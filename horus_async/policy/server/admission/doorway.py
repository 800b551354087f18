"""ASGI: who asks is looked at before anything else of a request."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

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
    """``app``, for those whom ``callers`` let in. ``refused`` is told of all others, with the path they asked for."""

    app: ASGIApp
    callers: Callers
    refused: Callable[[str, Refusal], None]
    _told: set[str] = field(factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one WebSocket."""
        try:
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
