"""The policy server: Starlette on Hypercorn's trio worker. Needs the extra ``serve``.

POST /act          an observation in, actions out
WebSocket /        the same in openpi's protocol; also at /v1/realtime/robot/openpi
POST /reset        the policy is reset for an episode
GET  /config       which policy this is, and its limits
GET  /health       200 while requests are served, else 503; shows the state, and how recording is doing
GET  /healthz      the same status, as text
GET  /metrics      Prometheus text
GET  /openapi.json the API
"""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

import trio
from attrs import field, frozen, validators
from hypercorn.config import Config

from horus_async.errors import ConfigurationError, PolicyError

from .admission.callers import Callers
from .admission.room import MB, Room
from .admission.terms import Terms
from .connections.lobby import places_for
from .connections.serving import serve
from .endpoints import make_app
from .service import PolicyService, ServiceOptions

if TYPE_CHECKING:
    from horus_async.policy.model.loaded import LoadedPolicy

logger = logging.getLogger("horus_async.policy")

_BACKLOG = 1024
_BODIES_MB = 256.0
_QUEUED_EVENTS = 4
"""Pieces of a body, or messages, that a connection reads ahead of the application."""
_KEEP_ALIVE_S = 75.0
_REQUESTS_A_CONNECTION = 1 << 40
_GRACE_S = 5.0
_LAST_BYTES_S = 0.5


def _check_key(_: object, __: object, key: str | None) -> None:
    """Whether a client can send the key: spaces around it are no part of a header's value, line ends end it."""
    if key is not None and not (key and key.isprintable() and key == key.strip()):
        raise ConfigurationError(
            "no client can send this API key: it is empty, or has spaces around it, line ends or control characters"
        )


def _check_bodies(options: ServerOptions, _: object, max_bodies_mb: float) -> None:
    if not max_bodies_mb >= options.max_body_mb:
        raise ConfigurationError(
            f"{max_bodies_mb:g} MB for all bodies is less than the {options.max_body_mb:g} MB that one may have: raise "
            "max_bodies_mb (--max-bodies-mb), or lower max_body_mb (--max-body-mb)"
        )


@frozen(kw_only=True)
class ServerOptions:
    """Where to listen, who may ask (``api_key``), within which limits, and how requests are served.

    Without a key, programs may ask, and pages of hosts in ``allow_hosts``, under the names of this machine and those.
    ``max_body_mb`` is the largest body, ``max_bodies_mb`` what all may take in memory at once, both in MiB;
    ``max_connections`` may be open at once.
    """

    host: str = "127.0.0.1"
    port: int = field(default=8000, validator=[validators.ge(0), validators.le(65535)])
    api_key: str | None = field(default=None, repr=False, validator=_check_key)
    allow_hosts: tuple[str, ...] = ()
    max_body_mb: float = field(default=32.0, validator=validators.gt(0))
    max_bodies_mb: float = field(validator=_check_bodies)
    max_connections: int = field(default=1000, validator=validators.ge(1))
    service: ServiceOptions = field(factory=ServiceOptions)

    @max_bodies_mb.default
    def _bodies_mb(self) -> float:
        return max(_BODIES_MB, self.max_body_mb)


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
    callers = Callers.of(options.host, options.allow_hosts) if options.api_key is None else None
    room = Room(int(options.max_bodies_mb * MB))
    service = PolicyService(options.service, room)
    places = places_for(options.max_connections)
    listener, url = _listen(options)
    terms = Terms(
        api_key=options.api_key, max_body_mb=options.max_body_mb, room=room, max_connections=options.max_connections
    )
    app = make_app(service, terms, callers)
    failed: list[PolicyError] = []

    async def load() -> None:
        try:
            await service.load(policy)
        except PolicyError as error:
            failed.append(error)
            stop.set()

    async def end_when_idle(scope: trio.CancelScope) -> None:
        await stop.wait()
        service.stop()
        with trio.move_on_after(options.service.request_timeout + _GRACE_S):
            await app.until(service.idle)
        # Hypercorn closes what is idle; it waits for its graceful_timeout where a connection is in between.
        await trio.sleep(_LAST_BYTES_S)
        scope.cancel()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(load)
            nursery.start_soon(end_when_idle, nursery.cancel_scope)
            task_status.started(url)
            await serve(app, _config(options), listener, places, stop=stop.wait)
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
    config.max_app_queue_size = _QUEUED_EVENTS
    config.include_server_header = False
    config.graceful_timeout = options.service.request_timeout + _GRACE_S
    config.keep_alive_timeout = _KEEP_ALIVE_S
    config.keep_alive_max_requests = _REQUESTS_A_CONNECTION
    return config
