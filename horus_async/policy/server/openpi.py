"""The WebSocket protocol of openpi's clients: one observation in, one chunk of actions out, for as long as one likes.

Both sides send binary messages, MessagePack with NumPy arrays (``horus_async.policy.model.wire``). The server begins,
with a map that describes the policy, once the policy is ready. Then it answers each observation with a map: ``actions``
(steps × dimensions, in the policy's own dtype), whatever else the policy returned, and our facts about the request. An
error is a text message, after which the server closes the connection, as openpi's own server does.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocketDisconnect

from horus_async import __version__
from horus_async.clock.system import perf_ns
from horus_async.errors import PolicyError
from horus_async.policy.model.jsontext import decode, encode
from horus_async.policy.model.wire import WireFormat, pack

from .admission.doorway import answer
from .admission.refusal import Refusal, request_id_of
from .admission.room import MB
from .connections.frames import BUFFER, LEFT_OUT
from .outcome import CLIENT_CLOSED
from .requests import check_api_key

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.types import Message
    from starlette.websockets import WebSocket

    from .admission.terms import Terms
    from .connections.frames import MessageBuffer
    from .outcome import Outcome
    from .service import PolicyService

logger = logging.getLogger("horus_async.policy")

PATHS = ("/", "/v1/realtime/robot/openpi")
"""Where openpi's own clients connect to, and where those of other servers of the protocol do."""

_GOING_AWAY, _MESSAGE_TOO_BIG, _INTERNAL_ERROR = 1001, 1009, 1011
_PATIENCE, _PATIENCE_AT_MOST = 1.0, 5.0
_PAGE = (
    f"horus-async {__version__}: a policy server.\n\n"
    "POST /act           an observation as JSON\n"
    f"WebSocket {PATHS[0]}         openpi's protocol; also at {PATHS[1]}\n"
    "GET  /health        the state\n"
    "GET  /metrics       Prometheus\n"
    "GET  /openapi.json  the API\n"
)


def openpi_routes(service: PolicyService, terms: Terms) -> list[BaseRoute]:
    """The WebSocket endpoints, and what a plain GET of their addresses shows."""

    async def endpoint(websocket: WebSocket) -> None:
        request_id = request_id_of(websocket.headers)
        try:
            check_api_key(websocket.headers, terms.api_key)
            if service.stopping:
                raise Refusal(503, "not-ready", "the server is stopping", {"Retry-After": "1"})
        except Refusal as refusal:
            service.metrics.requests.labels(str(refusal.status)).inc()
            await _deny(websocket, refusal)
            return
        await websocket.accept(headers=[(b"x-request-id", request_id.encode())])
        with service.metrics.connections.track_inprogress():
            await Conversation(websocket, service, terms, websocket.scope[BUFFER]).run()

    async def elsewhere(websocket: WebSocket) -> None:
        message = f"there is no WebSocket at {websocket.url.path!r}; openpi clients connect to {' or '.join(PATHS)}"
        await _deny(websocket, Refusal(404, "not-found", message))

    async def page(_: Request) -> Response:
        return PlainTextResponse(_PAGE)

    async def upgrade(_: Request) -> Response:
        return PlainTextResponse(f"{PATHS[1]} is a WebSocket\n", 426, {"Upgrade": "websocket"})

    sockets = [WebSocketRoute(path, endpoint) for path in PATHS]
    pages = [Route(PATHS[0], page, methods=["GET"]), Route(PATHS[1], upgrade, methods=["GET"])]
    return [*sockets, WebSocketRoute("/{path:path}", elsewhere), *pages]


async def _deny(websocket: WebSocket, refusal: Refusal) -> None:
    """Answer the handshake with an HTTP status."""
    await answer(refusal, websocket.scope, websocket.receive, websocket.send)


@define(eq=False)
class Conversation:
    """One connection: an episode of its own, unless its observations name others."""

    websocket: WebSocket
    service: PolicyService
    terms: Terms
    buffer: MessageBuffer
    episode_id: str = field(factory=lambda: uuid.uuid4().hex)
    _idle: trio.CancelScope = field(factory=trio.CancelScope)
    _ahead: Message | None = None
    _gone: bool = False
    _late: bool = False
    _previous_ms: float | None = None

    async def run(self) -> None:
        """Describe the policy, then answer observations, until the client leaves, the server stops, or one fails."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._interrupt_when_stopping)
            nursery.start_soon(self._interrupt_when_late)
            code, reason = await self._talk()
            self.buffer.share.close()
            if not self._gone:
                await self.websocket.close(code, reason)
            with trio.move_on_after(_PATIENCE_AT_MOST):
                while not self._gone:
                    # Up to the close of the client, what it has sent before that is read and dropped: Hypercorn has to
                    # get rid of it, and what is not read would make the kernel reset the connection.
                    with trio.move_on_after(_PATIENCE) as scope:
                        await self._receive()
                    if scope.cancelled_caught:
                        break
            nursery.cancel_scope.cancel()

    async def _talk(self) -> tuple[int, str]:
        """The conversation. Returns the code and the reason to close with."""
        try:
            await self._until_loaded()
            if self.service.loaded.is_set() and not self._gone:
                await self.websocket.send_bytes(self._metadata())
            while (message := await self._next()) is not None:
                if (failed := await self._exchange(message)) is not None:
                    return failed
                self.buffer.share.give(len(message.get("bytes") or b""))
            if self._late and not self._gone:
                return await self._refuse_late()
        except WebSocketDisconnect:
            self._gone = True
        return _GOING_AWAY, "the server is stopping"

    async def _receive(self) -> Message | None:
        """The next message; None once the client has gone."""
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            self._gone = True
            return None
        return message

    async def _next(self) -> Message | None:
        """The next message; None once the client has gone, the server stops, or one does not come to its end."""
        message, self._ahead = self._ahead, None
        if self._gone or self._late or self.service.stopping:
            return None
        if message is None:
            with trio.CancelScope() as self._idle:
                message = await self._receive()
        return message

    async def _interrupt_when_stopping(self) -> None:
        await self.service.stopped.wait()
        self._idle.cancel()

    async def _interrupt_when_late(self) -> None:
        """Give up on a message that is not whole within the time of a request: what there is of it takes room."""
        seconds = self.service.options.request_timeout
        began: float | None = None
        while began is None or began != self.buffer.began:
            began = self.buffer.began
            await trio.sleep_until((trio.current_time() if began is None else began) + seconds)
        self.buffer.discard()
        self._late = True
        self._idle.cancel()

    async def _refuse_late(self) -> tuple[int, str]:
        self.service.metrics.requests.labels("408").inc()
        message = f"the observation was not there within {self.service.options.request_timeout:g} s"
        return await self._refuse(Refusal(408, "body-timeout", message), uuid.uuid4().hex)

    async def _hung_up(self) -> None:
        """Return once the client has gone. A message that it sends ahead is kept, and no further one is read."""
        self._ahead = await self._receive()
        if self._ahead is not None:
            await trio.sleep_forever()

    async def _until_loaded(self) -> None:
        """Return once the policy is loaded, the client has gone, or the server stops."""

        async def leave(scope: trio.CancelScope) -> None:
            await self._hung_up()
            scope.cancel()

        if not self.service.loaded.is_set():
            async with trio.open_nursery() as nursery:
                self._idle = nursery.cancel_scope
                nursery.start_soon(leave, self._idle)
                if not self.service.stopping:
                    await self.service.loaded.wait()
                self._idle.cancel()

    async def _exchange(self, message: Message) -> tuple[int, str] | None:
        """Answer one observation. Returns the code and the reason to close with if there are no actions for it."""
        started, request_id = perf_ns(), uuid.uuid4().hex
        answer, refusal = None, Refusal(500, "server-error", "the server failed; its log says why")
        try:
            body, headers, gone = self._body(message), self.websocket.headers, self._hung_up
            episode_id, form = self.episode_id, WireFormat.MSGPACK
            outcome = await self.service.ask(body, form, request_id, headers, gone, episode_id=episode_id)
            if outcome.failure is None:
                answer = _answer(outcome, self._previous_ms)
            else:
                refusal = Refusal(outcome.status, outcome.failure.slug, outcome.failure.message)
        except Refusal as error:
            refusal = error
        except Exception:
            logger.exception("server-error: request %s", request_id)
        self.service.metrics.requests.labels("200" if answer is not None else str(refusal.status)).inc()
        self.service.metrics.latency.observe((perf_ns() - started) / 1e9)
        if answer is None:
            return await self._refuse(refusal, request_id)
        await self.websocket.send_bytes(answer)
        self._previous_ms = (perf_ns() - started) / 1e6
        return None

    def _body(self, message: Message) -> bytes:
        if LEFT_OUT in message:
            size: int = message[LEFT_OUT]
            if size <= self.terms.max_body:
                raise self.terms.room.refusal()
            limit = f"more than the {self.terms.max_body_mb:g} MB that the server takes"
            raise Refusal(413, "body-too-large", f"the observation has {size / MB:.1f} MB, {limit}")
        body: bytes | None = message.get("bytes")
        if body is None:
            raise Refusal(400, "bad-msgpack", "an observation is a binary message, MessagePack; this is a text")
        return body

    async def _refuse(self, refusal: Refusal, request_id: str) -> tuple[int, str]:
        if refusal.status != CLIENT_CLOSED:
            await self.websocket.send_text(f"{refusal.slug}: {refusal} (request {request_id})")
        return _MESSAGE_TOO_BIG if refusal.status == 413 else _INTERNAL_ERROR, refusal.slug

    def _metadata(self) -> bytes:
        policy, recorder = self.service.policy, self.service.recorder
        assert policy is not None
        ours = {
            "policy": policy.name,
            **self.service.condition.config(self.terms.limits),
            "session_id": recorder.session_id if recorder else None,
        }
        known = {name: value for name, value in ours.items() if value not in (None, "")}
        return pack({**known, **_packable(policy.metadata)})


def _answer(outcome: Outcome, previous_ms: float | None) -> bytes:
    """An answer as openpi's clients know it: the actions are an array, also where the policy returned lists."""
    import numpy

    assert outcome.answer is not None
    actions, infer_ms = outcome.answer.actions, {"infer_ms": outcome.policy_ms}
    said = {
        "policy_timing": infer_ms,
        **outcome.described(),
        "actions": numpy.asarray(actions, float if isinstance(actions, list) else None),
        "server_timing": infer_ms if previous_ms is None else {**infer_ms, "prev_total_ms": previous_ms},
    }
    try:
        return pack(said)
    except PolicyError:
        # What JSON can hold and MessagePack cannot, a date say, travels as it does in JSON.
        return pack({name: value if name == "actions" else decode(encode(value)) for name, value in said.items()})


def _packable(metadata: Any) -> dict[str, Any]:
    """What of a policy's metadata can travel; the rest is named in the log."""
    kept = {}
    for name, value in metadata.items():
        try:
            pack({name: value})
        except PolicyError as error:
            logger.warning("metadata-left-out: %r of the policy's metadata: %s", name, error)
        else:
            kept[name] = value
    return kept
