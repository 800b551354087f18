"""The policy server: Starlette on Hypercorn's trio worker. Needs the extra ``serve``.

POST /act          an observation in, actions out
WebSocket /        the same in openpi's protocol; also at /v1/realtime/robot/openpi
GET  /health       200 while requests are served, else 503; shows the state, and how recording is doing
GET  /metrics      Prometheus text
GET  /openapi.json the API
"""

from __future__ import annotations

import logging
import socket
from functools import partial
from typing import TYPE_CHECKING

import orjson
import trio
from attrs import field, frozen, validators
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from horus_async.clock.system import perf_ns
from horus_async.errors import ConfigurationError, PolicyError
from horus_async.policy.model.wire import WireFormat

from .connections import serve
from .openapi import DESCRIPTION
from .openpi import openpi_routes
from .outcome import CLIENT_CLOSED, error_body
from .requests import MB, Refusal, check_api_key, read_body, request_id_of
from .service import PolicyService, ServiceOptions

if TYPE_CHECKING:
    from horus_async.policy.model.loaded import LoadedPolicy

logger = logging.getLogger("horus_async.policy")

_BACKLOG = 1024
_GRACE = 5.0


@frozen(kw_only=True)
class ServerOptions:
    """Where to listen, who may ask (``api_key``), the largest body (in MiB), and how requests are served."""

    host: str = "127.0.0.1"
    port: int = field(default=8000, validator=[validators.ge(0), validators.le(65535)])
    api_key: str | None = field(default=None, repr=False)
    max_body_mb: float = field(default=32.0, validator=validators.gt(0))
    service: ServiceOptions = field(factory=ServiceOptions)


def make_app(service: PolicyService, options: ServerOptions, stop: trio.Event) -> Starlette:
    """The ASGI application in front of ``service``; WebSockets end when ``stop`` is set."""
    openpi = openpi_routes(service, api_key=options.api_key, max_body_mb=options.max_body_mb, stop=stop)

    async def act(request: Request) -> Response:
        started, request_id = perf_ns(), request_id_of(request.headers)
        try:
            check_api_key(request.headers, options.api_key)
            service.admit()
            seconds = options.service.request_timeout
            body = await read_body(request, limit=int(options.max_body_mb * MB), seconds=seconds)
            gone = partial(_client_gone, request)
            outcome = await service.ask(body, WireFormat.JSON, request_id, request.headers, gone)
            status, content, headers = outcome.status, outcome.as_json(), {}
        except Refusal as refusal:
            status, headers = refusal.status, refusal.headers
            content = error_body(refusal.slug, str(refusal), request_id)
        except ClientDisconnect:
            status, headers = CLIENT_CLOSED, {}
            content = error_body("client-closed", "the client hung up while it was sending", request_id)
        service.metrics.requests.labels(str(status)).inc()
        service.metrics.latency.observe((perf_ns() - started) / 1e9)
        return _json(status, content, request_id, headers)

    async def health(request: Request) -> Response:
        status, content = service.health()
        return _json(status, orjson.dumps(content), request_id_of(request.headers), {})

    async def metrics(_: Request) -> Response:
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def openapi(request: Request) -> Response:
        return _json(200, orjson.dumps(DESCRIPTION), request_id_of(request.headers), {})

    return Starlette(
        routes=[
            Route("/act", act, methods=["POST"]),
            Route("/health", health, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/openapi.json", openapi, methods=["GET"]),
            *openpi,
        ],
        exception_handlers={HTTPException: _http_error, Exception: _server_error},
    )


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


async def serve_policy(
    policy: str | LoadedPolicy,
    options: ServerOptions,
    *,
    stop: trio.Event | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``policy`` until ``stop`` is set; then finish the running requests and close the trace.

    Listens at once, and answers 503 until the policy is loaded and warm. ``task_status`` gets the server's URL.

    Raises:
        ConfigurationError: the server cannot listen on that address.
        PolicyError: the policy does not load or does not run.
    """
    stop = trio.Event() if stop is None else stop
    service = PolicyService(options.service)
    listener, url = _listen(options)
    failed: list[PolicyError] = []

    async def load() -> None:
        try:
            await service.load(policy)
        except PolicyError as error:
            failed.append(error)
            stop.set()

    async def asked_to_stop() -> None:
        await stop.wait()
        service.stopping = True

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            task_status.started(url)
            await serve(make_app(service, options, stop), _config(options), listener, stop=asked_to_stop)
            nursery.cancel_scope.cancel()
    finally:
        await service.close()
    if failed:
        raise failed[0]


def _listen(options: ServerOptions) -> tuple[socket.socket, str]:
    """A bound socket and its URL. Bound here, so that a port in use is an error of ours and port 0 is resolved."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    try:
        listener = socket.create_server((options.host, options.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigurationError(f"cannot listen on {options.host}:{options.port}: {error}") from error
    host = f"[{options.host}]" if family == socket.AF_INET6 else options.host
    return listener, f"http://{host}:{listener.getsockname()[1]}"


def _config(options: ServerOptions) -> Config:
    config = Config()
    config.websocket_max_message_size = int(options.max_body_mb * MB)
    config.errorlog = logging.getLogger("horus_async.policy.http")
    config.include_server_header = False
    config.graceful_timeout = options.service.request_timeout + _GRACE
    return config
