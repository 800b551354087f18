"""The policy server without HTTP: its state, its queue, and what becomes of a request."""

from __future__ import annotations

import enum
import logging
import math
from typing import TYPE_CHECKING, Any

import orjson
import trio
from attrs import define, evolve, field, frozen, validators

from horus_async import __version__
from horus_async.clock.system import perf_ns, wall_ns
from horus_async.policy.model.calling import Call, PolicyCaller
from horus_async.policy.model.images.hiding import traceback_without_images, without_images
from horus_async.policy.model.interface import Answer, AnswerError, Observation, ObservationError
from horus_async.policy.model.loaded import LoadedPolicy
from horus_async.policy.model.loading import load_policy
from horus_async.policy.model.wire import WireFormat, decoded
from horus_async.policy.trace.format import Exchange, Failure
from horus_async.policy.trace.recorder import RecorderStats, TraceOptions, TraceRecorder
from horus_async.recording_state import RecordingState

from .metrics import Metrics
from .requests import Refusal, parse_observation
from .telemetry import ActSpan, act_span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

logger = logging.getLogger("horus_async.policy")

CLIENT_CLOSED = 499
_INSTRUCTION_LENGTH = 512
_NOT_THE_POLICY = {"bad-observation", "client-closed", "server-stopped"}
"""Failures that say nothing about the health of the policy."""


class ServerState(enum.Enum):
    """The state of a server; ``/health`` answers 200 only in ``ready``."""

    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    DEGRADED = "degraded"
    STOPPING = "stopping"


@frozen(kw_only=True)
class ServiceOptions:
    """How requests are served.

    ``queue_limit`` requests may wait for the policy. Waiting and the policy's work together may take
    ``request_timeout`` seconds. After ``degraded_after`` failures of the policy in a row the server is degraded.
    ``embodiment`` overrides the policy's.
    """

    queue_limit: int = field(default=256, validator=validators.ge(0))
    request_timeout: float = field(default=30.0, validator=validators.gt(0))
    degraded_after: int = field(default=5, validator=validators.ge(1))
    embodiment: str | None = None
    trace: TraceOptions | None = None


@define
class _Asked:
    """One request on its way through the policy."""

    body: bytes
    request_id: str
    call: Call
    arrival_ns: int = field(factory=wall_ns)
    arrival_perf_ns: int = field(factory=perf_ns)
    answer: Answer | None = None
    status: int = 200
    failure: Failure | None = None
    client_gone: bool = False

    def fail(self, status: int, slug: str, message: str) -> None:
        self.status, self.failure = status, Failure(slug, without_images(message, self.sent()))

    def sent(self) -> Any:
        """The request as it was sent, whatever the policy has done to the observation."""
        return decoded(self.body, WireFormat.JSON)

    @property
    def since_arrival_ms(self) -> float:
        return (perf_ns() - self.arrival_perf_ns) / 1e6


class PolicyService:
    """Serves one policy to many clients: ``load`` it, ask it with ``act``, ``close`` it, all inside trio."""

    def __init__(self, options: ServiceOptions) -> None:
        self.options = options
        self.policy: LoadedPolicy | None = None
        self.recorder: TraceRecorder | None = None
        self.consecutive_failures = 0
        self.stopping = False
        self._warm = False
        self._caller: PolicyCaller | None = None
        self._taken = 0
        self.metrics = Metrics(lambda: (self.state is ServerState.READY, *self.load_now()), self.recording)

    @property
    def state(self) -> ServerState:
        """The state that ``/health`` shows."""
        if self.stopping:
            return ServerState.STOPPING
        if not self._warm:
            return ServerState.LOADING if self.policy is None else ServerState.WARMING
        degraded = self.consecutive_failures >= self.options.degraded_after
        return ServerState.DEGRADED if degraded else ServerState.READY

    def load_now(self) -> tuple[int, int]:
        """How many requests the policy is working on, and how many wait for it."""
        limit = self.policy.concurrency if self.policy else 0
        return min(self._taken, limit), max(0, self._taken - limit)

    def recording(self) -> RecorderStats | None:
        """The recorder's state; None if nothing is recorded."""
        return self.recorder.stats() if self.recorder else None

    async def load(self, policy: str | LoadedPolicy) -> None:
        """Load the policy, warm it up, and start recording.

        Raises:
            PolicyError: it does not load or does not run.
        """
        if not isinstance(policy, LoadedPolicy):
            policy = await trio.to_thread.run_sync(load_policy, policy, abandon_on_cancel=True)
        if self.options.embodiment is not None:
            policy = evolve(policy, embodiment=self.options.embodiment)
        self.policy = policy
        self._caller = PolicyCaller(policy)
        await self._caller.warm_up()
        if self.options.trace is not None:
            self.recorder = TraceRecorder(policy, self.options.trace)
        self._warm = True
        logger.info("ready: %s, model %s", policy.name, policy.model_hash or "without a hash")

    async def close(self) -> None:
        """Write the rest of the trace, and its footer."""
        self.stopping = True
        if self.recorder is not None:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self.recorder.close)

    def admit(self) -> None:
        """Refuse a request that cannot be served now.

        Raises:
            Refusal: 503: not ready, stopping, or too many requests waiting.
        """
        if self._caller is None or not self._warm or self.stopping:
            raise Refusal(503, "not-ready", f"the server is {self.state.value}", {"Retry-After": "1"})
        if self._taken >= self._caller.policy.concurrency + self.options.queue_limit:
            message = f"{self.options.queue_limit} requests are waiting for the policy already"
            raise Refusal(503, "queue-full", message, {"Retry-After": "1"})

    async def act(
        self, body: bytes, request_id: str, headers: Mapping[str, str], client_gone: Callable[[], Awaitable[None]]
    ) -> tuple[int, bytes]:
        """Ask the policy. Returns the HTTP status and the JSON body. ``client_gone`` returns once the client hangs up.

        Raises:
            Refusal: the request did not reach the policy.
        """
        self.admit()
        asked = _Asked(body, request_id, Call(parse_observation(body)))
        with act_span(headers) as span:
            self._describe(span, asked)
            self._taken += 1
            try:
                await self._ask(asked, client_gone)
            except trio.Cancelled:
                asked.fail(503, "server-stopped", "the server was stopped before the policy had answered")
                self._finish(asked, span)
                raise
            finally:
                self._taken -= 1
            if asked.call.started_ns is None:
                message = f"the policy was busy for {self.options.request_timeout:g} s with requests before this one"
                raise Refusal(503, "queue-timeout", message, {"Retry-After": str(self._retry_after())})
            seq = self._finish(asked, span)
        return asked.status, self._body(asked, seq)

    async def _ask(self, asked: _Asked, client_gone: Callable[[], Awaitable[None]]) -> None:
        assert self._caller is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, asked, client_gone, nursery.cancel_scope)
            with trio.move_on_after(self.options.request_timeout) as scope:
                try:
                    asked.answer = await self._caller.ask(asked.call)
                except ObservationError as error:
                    asked.fail(422, "bad-observation", str(error))
                except AnswerError as error:
                    asked.answer = error.answer
                    asked.fail(500, error.slug, str(error))
                # A policy may fail in any way; each failure is an answer to the client and a line in the trace.
                except Exception as error:  # noqa: BLE001 - it is logged
                    shown = traceback_without_images(error, asked.sent())
                    logger.error("policy-error: request %s\n%s", asked.request_id, shown)  # noqa: TRY400 - shown above
                    asked.fail(500, "policy-error", f"{type(error).__name__}: {error}")
            nursery.cancel_scope.cancel()
        if asked.client_gone and asked.answer is None and asked.failure is None:
            asked.fail(CLIENT_CLOSED, "client-closed", "the client hung up before the policy had answered")
        elif scope.cancelled_caught and not asked.client_gone:
            asked.fail(504, "policy-timeout", f"no answer within {self.options.request_timeout:g} s")

    async def _watch(self, asked: _Asked, client_gone: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        await client_gone()
        asked.client_gone = True
        scope.cancel()

    def _finish(self, asked: _Asked, span: ActSpan) -> int | None:
        """Count, trace and record a request that reached the policy. Returns its ``seq`` in the trace."""
        if asked.call.started_ns is None:
            return None
        policy_ms = asked.call.policy_ms
        self.metrics.policy.observe(policy_ms / 1e3)
        if asked.failure is None:
            self.consecutive_failures = 0
        else:
            self.metrics.failures.labels(asked.failure.slug).inc()
            span.failed(asked.failure.slug, asked.failure.message)
            if asked.failure.slug not in _NOT_THE_POLICY:
                self.consecutive_failures += 1
        span.set(horus__inference_ms=policy_ms, gen_ai__action__chunk_size=asked.answer and asked.answer.num_actions)
        if self.recorder is None:
            return None
        seq = self.recorder.record(self._exchange(asked, policy_ms, *span.ids))
        span.set(horus__record__seq=seq, horus__session_id=self.recorder.session_id)
        return seq

    def _exchange(self, asked: _Asked, policy_ms: float, trace_id: str, span_id: str) -> Exchange:
        assert self.policy is not None
        assert asked.call.started_ns is not None
        return Exchange(
            body=asked.body,
            arrival_ns=asked.arrival_ns,
            finished_ns=wall_ns(),
            request_id=asked.request_id,
            status=asked.status,
            policy_ms=policy_ms,
            queue_ms=(asked.call.started_ns - asked.arrival_perf_ns) / 1e6,
            mode=self.policy.mode,
            answer=asked.answer,
            failure=asked.failure,
            trace_id=trace_id,
            span_id=span_id,
        )

    def _describe(self, span: ActSpan, asked: _Asked) -> None:
        assert self.policy is not None
        observation: Observation = asked.call.observation
        state, image = observation["state"], observation["image"]
        span.set(
            gen_ai__operation__name="act",
            gen_ai__request__model=self.policy.export_dir or self.policy.name,
            gen_ai__action__embodiment=self.policy.embodiment,
            horus__request_id=asked.request_id,
            horus__episode_id=observation["episode_id"],
            horus__instruction=without_images(observation["instruction"], None)[:_INSTRUCTION_LENGTH],
            horus__state_dim=len(state) if state is not None else None,
            horus__image_bytes=len(image) if image is not None else None,
        )

    def _body(self, asked: _Asked, seq: int | None) -> bytes:
        assert self.policy is not None
        if asked.failure is not None:
            return error_body(asked.failure.slug, asked.failure.message, asked.request_id)
        assert asked.answer is not None
        answer: dict[str, Any] = {
            **asked.answer.extras,
            **asked.answer.blocks,
            "actions": orjson.Fragment(asked.answer.actions_json),
            "num_actions": asked.answer.num_actions,
            "action_dim": asked.answer.action_dim,
            "latency_ms": round(asked.call.policy_ms, 3),
            "request_id": asked.request_id,
            "model_hash": self.policy.model_hash,
            "config_hash": self.policy.config_hash,
            "mode": asked.answer.mode or self.policy.mode,
            "horus_version": __version__,
        }
        if seq is not None:
            answer["seq"] = seq
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

    def _retry_after(self) -> int:
        return max(1, math.ceil(self.options.request_timeout / 2))

    def health(self) -> tuple[int, dict[str, Any]]:
        """The HTTP status and body of ``/health``."""
        state, policy, stats = self.state, self.policy, self.recording()
        running, queued = self.load_now()
        recording = {"state": RecordingState.OFF.value, "dropped": 0}
        if stats is not None:
            recording = {"state": stats.state.value, "dropped": stats.dropped}
        ready = state is ServerState.READY
        return 200 if ready else 503, {
            "status": "ok" if ready else "unavailable",
            "state": state.value,
            "model_loaded": self._warm,
            "model_hash": policy.model_hash if policy else "",
            "config_hash": policy.config_hash if policy else "",
            "embodiment": policy.embodiment if policy else None,
            "session_id": self.recorder.session_id if self.recorder else None,
            "recording": recording,
            "consecutive_failures": self.consecutive_failures,
            "running": running,
            "queued": queued,
            "horus_version": __version__,
        }


def error_body(slug: str, message: str, request_id: str) -> bytes:
    """The JSON body of every answer other than a 200."""
    return orjson.dumps({"error": slug, "message": message, "request_id": request_id})
