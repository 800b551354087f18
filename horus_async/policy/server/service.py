"""The policy server without HTTP: its state, its queue, and what becomes of a request."""

from __future__ import annotations

import enum
import logging
import math
from typing import TYPE_CHECKING, Any

import trio
from attrs import evolve, field, frozen, validators

from horus_async import __version__
from horus_async.clock.system import wall_ns
from horus_async.policy.model.calling import Call, PolicyCaller
from horus_async.policy.model.interface import AnswerError, Observation, ObservationError
from horus_async.policy.model.loaded import LoadedPolicy
from horus_async.policy.model.loading import load_policy
from horus_async.policy.trace.format import Exchange
from horus_async.policy.trace.recorder import RecorderStats, TraceOptions, TraceRecorder
from horus_async.recording_state import RecordingState

from .metrics import Metrics
from .outcome import CLIENT_CLOSED, Asked
from .requests import Refusal, parse_observation
from .telemetry import ActSpan, act_span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from horus_async.policy.model.wire import WireFormat

    from .outcome import Outcome

logger = logging.getLogger("horus_async.policy")

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


class PolicyService:
    """Serves one policy to many clients: ``load`` it, ``ask`` it, ``close`` it, all inside trio."""

    def __init__(self, options: ServiceOptions) -> None:
        self.options = options
        self.policy: LoadedPolicy | None = None
        self.recorder: TraceRecorder | None = None
        self.consecutive_failures = 0
        self.stopping = False
        self.loaded = trio.Event()
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
        self.loaded.set()
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

    async def ask(
        self,
        body: bytes,
        form: WireFormat,
        request_id: str,
        headers: Mapping[str, str],
        client_gone: Callable[[], Awaitable[None]],
        *,
        episode_id: str | None = None,
    ) -> Outcome:
        """Put the observation in ``body`` to the policy; ``client_gone`` returns once the client hangs up.

        ``episode_id`` is the episode of an observation that names none.

        Raises:
            Refusal: the request did not reach the policy.
        """
        self.admit()
        assert self.policy is not None
        observation = parse_observation(body, form)
        if observation["episode_id"] is None:
            observation["episode_id"] = episode_id
        asked = Asked(body, form, request_id, Call(observation))
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
            return asked.outcome(self.policy, self._finish(asked, span))

    async def _ask(self, asked: Asked, client_gone: Callable[[], Awaitable[None]]) -> None:
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
                except Exception as error:
                    logger.exception("policy-error: request %s", asked.request_id)
                    asked.fail(500, "policy-error", f"{type(error).__name__}: {error}")
            nursery.cancel_scope.cancel()
        if asked.client_gone and asked.answer is None and asked.failure is None:
            asked.fail(CLIENT_CLOSED, "client-closed", "the client hung up before the policy had answered")
        elif scope.cancelled_caught and not asked.client_gone:
            asked.fail(504, "policy-timeout", f"no answer within {self.options.request_timeout:g} s")

    async def _watch(self, asked: Asked, client_gone: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        await client_gone()
        asked.client_gone = True
        scope.cancel()

    def _finish(self, asked: Asked, span: ActSpan) -> int | None:
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

    def _exchange(self, asked: Asked, policy_ms: float, trace_id: str, span_id: str) -> Exchange:
        assert self.policy is not None
        assert asked.call.started_ns is not None
        return Exchange(
            body=asked.body,
            form=asked.form,
            episode_id=asked.call.observation["episode_id"],
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

    def _describe(self, span: ActSpan, asked: Asked) -> None:
        assert self.policy is not None
        observation: Observation = asked.call.observation
        state, image = observation["state"], observation["image"]
        span.set(
            gen_ai__operation__name="act",
            gen_ai__request__model=self.policy.export_dir or self.policy.name,
            gen_ai__action__embodiment=self.policy.embodiment,
            horus__request_id=asked.request_id,
            horus__episode_id=observation["episode_id"],
            horus__instruction=observation["instruction"][:_INSTRUCTION_LENGTH],
            horus__state_dim=len(state) if hasattr(state, "__len__") else None,
            horus__image_bytes=len(image) if isinstance(image, str) else None,
        )

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
