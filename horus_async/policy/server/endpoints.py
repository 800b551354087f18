"""What the server answers over HTTP, as an ASGI application in front of the service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import orjson
from attrs import frozen
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from horus_async.clock.system import perf_ns
from horus_async.policy.model.wire import WireFormat

from .admission.doorway import Doorway
from .admission.refusal import Refusal, error_body, request_id_of
from .admission.room import MB
from .connections.exchanges import SHARE, Exchanges
from .openapi import DESCRIPTION
from .openpi import PATHS, openpi_routes
from .outcome import CLIENT_CLOSED
from .requests import check_api_key, check_encoding, check_type, parse_episode, read_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .admission.callers import Callers
    from .admission.terms import Terms
    from .service import PolicyService

COUNTED = ("/act", *PATHS)
_DRAINED_TIMES = 8
_DRAINED_MB = 64


def make_app(service: PolicyService, terms: Terms, callers: Callers | None) -> Exchanges:
    """The ASGI application in front of ``service``; ``callers`` are those who may ask without a key."""
    endpoints = _Endpoints(service, terms)
    app = Starlette(
        routes=[
            Route("/act", endpoints.act, methods=["POST"]),
            Route("/reset", endpoints.reset, methods=["POST"]),
            Route("/config", endpoints.config, methods=["GET"]),
            Route("/health", endpoints.health, methods=["GET"]),
            Route("/healthz", endpoints.healthz, methods=["GET"]),
            Route("/metrics", endpoints.metrics, methods=["GET"]),
            Route("/openapi.json", _openapi, methods=["GET"]),
            *openpi_routes(service, terms),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )

    def refused(path: str, refusal: Refusal) -> None:
        if path in COUNTED:
            service.metrics.requests.labels(str(refusal.status)).inc()

    drained = int(max(_DRAINED_TIMES * terms.max_body_mb, _DRAINED_MB) * MB)
    inside = app if callers is None else Doorway(app, callers, refused)
    return Exchanges(inside, terms.room, drained, lambda: service.stopping)


@frozen
class _Endpoints:
    """The answers, one a method."""

    service: PolicyService
    terms: Terms

    async def act(self, request: Request) -> Response:
        started = perf_ns()
        response = await _answered(request, self._act)
        self.service.metrics.requests.labels(str(response.status_code)).inc()
        self.service.metrics.latency.observe((perf_ns() - started) / 1e9)
        return response

    async def _act(self, request: Request, request_id: str) -> Response:
        body = await self._admitted(request)
        gone = partial(_client_gone, request)
        outcome = await self.service.ask(body, WireFormat.JSON, request_id, request.headers, gone)
        return _json(outcome.status, outcome.as_json(), request_id, {})

    async def reset(self, request: Request) -> Response:
        return await _answered(request, self._reset)

    async def _reset(self, request: Request, request_id: str) -> Response:
        body = await self._admitted(request)
        episode_id = await self.service.beside(len(body), parse_episode, body)
        done = await self.service.reset(episode_id, request_id, partial(_client_gone, request))
        content = {"episode_id": episode_id, "reset": done, "request_id": request_id}
        return _json(200, orjson.dumps(content), request_id, {})

    async def _admitted(self, request: Request) -> bytes:
        """The body of a request that has the key, and that the service will take."""
        terms, seconds = self.terms, self.service.options.request_timeout
        check_api_key(request.headers, terms.api_key)
        check_encoding(request.headers)
        if terms.api_key is None:
            check_type(request.headers)
        self.service.admit()
        share = request.scope[SHARE]
        try:
            with self.service.until_stopped():
                return await read_body(request, share, terms.room, limit=terms.max_body, seconds=seconds)
        except Refusal:
            # Others may have the room now: what is still to come of this body is thrown away.
            share.close()
            raise

    async def config(self, request: Request) -> Response:
        return await _answered(request, self._config)

    async def _config(self, request: Request, request_id: str) -> Response:
        check_api_key(request.headers, self.terms.api_key)
        return _json(200, orjson.dumps(self.service.condition.config(self.terms.limits)), request_id, {})

    async def health(self, request: Request) -> Response:
        status, content = self.service.condition.health()
        return _json(status, orjson.dumps(content), request_id_of(request.headers), {})

    async def healthz(self, _: Request) -> Response:
        status, content = self.service.condition.health()
        return PlainTextResponse("OK\n" if status == 200 else f"{content['state']}\n", status)

    async def metrics(self, _: Request) -> Response:
        return Response(self.service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _openapi(request: Request) -> Response:
    return _json(200, orjson.dumps(DESCRIPTION), request_id_of(request.headers), {})


async def _answered(request: Request, handle: Callable[[Request, str], Awaitable[Response]]) -> Response:
    """What ``handle`` answers; refusals as JSON."""
    request_id = request_id_of(request.headers)
    try:
        return await handle(request, request_id)
    except Refusal as refusal:
        content = error_body(refusal.slug, str(refusal), request_id)
        return _json(refusal.status, content, request_id, refusal.headers)
    except ClientDisconnect:
        content = error_body("client-closed", "the client hung up while it was sending", request_id)
        return _json(CLIENT_CLOSED, content, request_id, {})


async def _client_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(status: int, content: bytes, request_id: str, headers: dict[str, str]) -> Response:
    return Response(content, status, {**headers, "X-Request-ID": request_id}, media_type="application/json")


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    request_id = request_id_of(request.headers)
    content = error_body(slug, f"{request.method} {request.url.path}: {error.detail}", request_id)
    return _json(error.status_code, content, request_id, dict(error.headers or {}))


async def _server_error(request: Request, _: Exception) -> Response:
    request_id = request_id_of(request.headers)
    return _json(500, error_body("server-error", "the server failed; its log says why", request_id), request_id, {})
