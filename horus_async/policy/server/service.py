"""The policy server without HTTP: its queue, and what becomes of a request."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from attrs import evolve

from horus_async.policy.calls.calling import Call, EpisodeOver, PolicyCaller, PolicyCallError, PolicyStuck
from horus_async.policy.calls.runs import failure_text
from horus_async.policy.model.images.hiding import traceback_without_images
from horus_async.policy.model.interface import AnswerError, ObservationError
from horus_async.policy.model.loaded import LoadedPolicy
from horus_async.policy.model.loading import load_policy
from horus_async.policy.model.wire import WireFormat
from horus_async.policy.trace.recorder import TraceRecorder

from .admission.refusal import Refusal
from .admission.room import MB, Room
from .condition import Condition, ServerState, ServiceOptions
from .metrics import Metrics
from .outcome import CLIENT_CLOSED, Asked
from .requests import parse_observation
from .telemetry import ActSpan, act_span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from horus_async.policy.trace.format import Failure

    from .outcome import Outcome

__all__ = ["PolicyService", "ServerState", "ServiceOptions"]

logger = logging.getLogger("horus_async.policy")

_T = TypeVar("_T")
_LARGE = 256 * 1024
"""Bytes of a body from which on it is worked on in a thread; it takes a few milliseconds then."""
_ASIDE = 2
"""Threads for that."""
_ROOM = 256 * MB

_NOT_THE_POLICY = {"bad-observation", "client-closed", "server-stopped"}
"""Failures that say nothing about the health of the policy."""


class PolicyService:
    """Serves one policy to many clients: ``load`` it, ``ask`` it, ``close`` it, all inside trio."""

    def __init__(self, options: ServiceOptions, room: Room | None = None) -> None:
        """``room`` is for what the bodies of requests become when they are read."""
        self.options = options
        self.room = Room(_ROOM) if room is None else room
        self.condition = Condition(options)
        self.metrics = Metrics(self.condition)
        self.loaded = trio.Event()
        self.stopped = trio.Event()
        self._receiving: set[trio.CancelScope] = set()
        self._aside = trio.CapacityLimiter(_ASIDE)

    @property
    def policy(self) -> LoadedPolicy | None:
        """The policy, once it is loaded."""
        return self.condition.policy

    @property
    def recorder(self) -> TraceRecorder | None:
        """The recorder, where requests are recorded."""
        return self.condition.recorder

    @property
    def stopping(self) -> bool:
        """Whether requests are admitted no more."""
        return self.condition.stopping

    def idle(self) -> bool:
        """Whether no request waits for an answer."""
        return not self.condition.asked

    async def load(self, policy: str | LoadedPolicy) -> None:
        """Load the policy, warm it up, and start recording.

        Raises:
            PolicyError: it does not load or does not run.
        """
        if not isinstance(policy, LoadedPolicy):
            policy = await trio.to_thread.run_sync(load_policy, policy, abandon_on_cancel=True)
        if self.options.embodiment is not None:
            policy = evolve(policy, embodiment=self.options.embodiment)
        condition = self.condition
        condition.policy = policy
        condition.caller = PolicyCaller(policy, own_loop=True)
        await condition.caller.warm_up()
        if self.options.trace is not None:
            condition.recorder = TraceRecorder(policy, self.options.trace)
        condition.warm = True
        self.loaded.set()
        logger.info("ready: %s, model %s", policy.name, policy.model_hash or "without a hash")

    def stop(self) -> None:
        """Admit no more requests, and refuse those that wait for the policy. Running ones go on."""
        self.condition.stopping = True
        self.stopped.set()
        for scope in (*self._receiving, *self.condition.unplaced()):
            scope.cancel()

    async def close(self) -> None:
        """Write the rest of the trace, and its footer, and end the policy's event loop."""
        self.stop()
        with trio.CancelScope(shield=True):
            if self.condition.recorder is not None:
                await trio.to_thread.run_sync(self.condition.recorder.close)
            if self.condition.caller is not None:
                await self.condition.caller.close()

    def admit(self) -> None:
        """Refuse a request that cannot be served now.

        Raises:
            Refusal: 503: not ready, stopping, stuck, or too many requests waiting.
        """
        condition, caller = self.condition, self.condition.caller
        if caller is None or not condition.warm or condition.stopping:
            raise Refusal(503, "not-ready", f"the server is {condition.state.value}", {"Retry-After": "1"})
        if caller.hopeless:
            raise self._stuck()
        if condition.full:
            message = f"{self.options.queue_limit} requests are waiting for the policy already"
            raise Refusal(503, "queue-full", message, {"Retry-After": "1"})

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """Do something for a request before it is with the policy; it is cut short when the server stops.

        Raises:
            Refusal: 503, the server stops.
        """
        with trio.CancelScope() as scope:
            self._receiving.add(scope)
            try:
                yield
            finally:
                self._receiving.discard(scope)
        if scope.cancelled_caught:
            self.admit()

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
        caller, policy = self.condition.caller, self.condition.policy
        assert caller is not None
        assert policy is not None
        observation, weight = await self.beside(len(body), parse_observation, body, form)
        self.admit()
        if observation["episode_id"] is None:
            observation["episode_id"] = episode_id
        asked = Asked(body, form, request_id, Call(observation))

        async def answer() -> None:
            asked.answer = await caller.ask(asked.call)

        with self.room.share() as share, act_span(headers) as span:
            if not share.take(weight.memory):
                raise self.room.refusal(len(body) + weight.memory)
            span.describe(policy, observation, request_id)
            try:
                await self._through(asked, answer, client_gone)
            # Cancelled, alone or in a group.
            except BaseException:
                asked.fail(503, "server-stopped", "the server was stopped before the policy had answered")
                self._finish(asked, span)
                raise
            self._refuse_unreached(asked)
            return asked.outcome(policy, self._finish(asked, span))

    async def reset(self, episode_id: str | None, request_id: str, client_gone: Callable[[], Awaitable[None]]) -> bool:
        """Reset the policy for an episode, whether or not that has begun. False: the policy has nothing to reset.

        It is no line of the trace; the line of the next request of the episode says that the policy was reset.

        Raises:
            Refusal: it was not reset.
        """
        self.admit()
        caller = self.condition.caller
        assert caller is not None
        asked = Asked(b"{}", WireFormat.JSON, request_id, Call({"episode_id": episode_id}))
        done: list[bool] = []

        async def reset() -> None:
            done.append(await caller.reset(asked.call))

        await self._through(asked, reset, client_gone)
        if not done:
            self._refuse_unreached(asked)
        if asked.failure is not None and not done:
            self._count(asked.failure)
            raise Refusal(asked.status, asked.failure.slug, asked.failure.message)
        return done[0]

    async def beside(self, size: int, function: Callable[..., _T], *args: Any) -> _T:
        """What ``function`` returns; in a thread where it works on many bytes, so that others are served meanwhile."""
        if size <= _LARGE:
            return function(*args)
        return await trio.to_thread.run_sync(function, *args, limiter=self._aside, abandon_on_cancel=True)

    async def _through(
        self, asked: Asked, work: Callable[[], Awaitable[None]], client_gone: Callable[[], Awaitable[None]]
    ) -> None:
        """Do ``work`` for a request within its time, and as long as its client is there."""
        seconds = self.options.request_timeout
        asked.call.deadline = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, asked, client_gone, nursery.cancel_scope)
            with trio.CancelScope(deadline=asked.call.deadline) as scope:
                self.condition.asked[asked.call] = scope
                try:
                    await self._tried(asked, work)
                finally:
                    del self.condition.asked[asked.call]
            nursery.cancel_scope.cancel()
        if asked.client_gone and asked.open:
            asked.fail(CLIENT_CLOSED, "client-closed", "the client hung up before the policy had answered")
        elif scope.cancelled_caught and asked.open:
            asked.fail(504, "policy-timeout", f"no answer within {seconds:g} s")

    async def _watch(self, asked: Asked, client_gone: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        await client_gone()
        asked.client_gone = True
        scope.cancel()

    async def _tried(self, asked: Asked, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except EpisodeOver as error:
            asked.refusal = Refusal(409, "episode-over", await self._shown(asked, str(error)))
        except PolicyStuck as error:
            asked.refusal = self._stuck(str(error))
        except ObservationError as error:
            asked.fail(422, "bad-observation", await self._shown(asked, str(error)))
        except AnswerError as error:
            shown = await self._shown(asked, str(error))
            asked.answer = error.answer
            asked.fail(500, error.slug, shown)
        # A policy may fail in any way; each failure is an answer to the client and a line in the trace.
        except Exception as error:  # noqa: BLE001 - it is logged
            shown = await self.beside(len(asked.body), _traceback_of, error, asked)
            logger.error("policy-error: request %s\n%s", asked.request_id, shown)  # noqa: TRY400 - shown above
            message = str(error) if isinstance(error, PolicyCallError) else failure_text(error)
            asked.fail(500, "policy-error", await self._shown(asked, message))

    async def _shown(self, asked: Asked, message: str) -> str:
        return await self.beside(len(asked.body), asked.shown, message)

    def _refuse_unreached(self, asked: Asked) -> None:
        """Refuse a request that did not reach the policy, and say why."""
        if asked.refusal is not None:
            raise asked.refusal
        if asked.call.started_ns is not None:
            return
        if asked.client_gone:
            raise Refusal(CLIENT_CLOSED, "client-closed", "the client hung up before the policy was asked")
        if self.stopping:
            self.admit()
        if asked.failure is not None and asked.status == 504:
            message = f"the policy was busy for {self.options.request_timeout:g} s with requests before this one"
            raise Refusal(503, "queue-timeout", message, {"Retry-After": str(self._retry_after())})

    def _finish(self, asked: Asked, span: ActSpan) -> int | None:
        """Count, trace and record a request that reached the policy. Returns its ``seq`` in the trace."""
        condition, policy = self.condition, self.condition.policy
        if asked.call.started_ns is None or policy is None:
            return None
        policy_ms = asked.call.policy_ms
        self.metrics.policy.observe(policy_ms / 1e3)
        if asked.failure is not None:
            self._count(asked.failure)
            span.failed(asked.failure.slug, asked.failure.message)
        elif asked.answer is not None:
            condition.consecutive_failures = 0
            condition.last_answer = asked.answer.num_actions, asked.answer.action_dim
        span.set(horus__inference_ms=policy_ms, gen_ai__action__chunk_size=asked.answer and asked.answer.num_actions)
        if condition.recorder is None:
            return None
        seq = condition.recorder.record(asked.exchange(policy, *span.ids))
        span.set(horus__record__seq=seq, horus__session_id=condition.recorder.session_id)
        return seq

    def _count(self, failure: Failure) -> None:
        self.metrics.failures.labels(failure.slug).inc()
        if failure.slug not in _NOT_THE_POLICY:
            self.condition.consecutive_failures += 1

    def _stuck(self, message: str = "the policy is stuck in calls that are over their time") -> Refusal:
        return Refusal(503, "policy-stuck", message, {"Retry-After": str(self._retry_after())})

    def _retry_after(self) -> int:
        return max(1, math.ceil(self.options.request_timeout / 2))


def _traceback_of(error: BaseException, asked: Asked) -> str:
    return traceback_without_images(error, asked.sent())
