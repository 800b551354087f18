"""Asks a policy without blocking the event loop: plain ones run in threads, with a limit on concurrent calls."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from attrs import define

from horus_async.clock.system import perf_ns
from horus_async.errors import PolicyError

from .interface import Answer, Observation, answer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .loaded import LoadedPolicy

_EPISODES_REMEMBERED = 1024


@define
class Call:
    """One question to a policy, and when it was asked and answered (``perf_ns``; None until then)."""

    observation: Observation
    started_ns: int | None = None
    finished_ns: int | None = None

    @property
    def policy_ms(self) -> float:
        """How long the policy took, in milliseconds: until now while it runs, 0 if it was not reached."""
        if self.started_ns is None:
            return 0.0
        return ((self.finished_ns or perf_ns()) - self.started_ns) / 1e6


class PolicyCaller:
    """Asks one policy, with at most ``policy.concurrency`` calls at once. Create and use it inside trio."""

    def __init__(self, policy: LoadedPolicy) -> None:
        self.policy = policy
        self._limiter = trio.CapacityLimiter(policy.concurrency)
        self._episodes: OrderedDict[str, None] = OrderedDict()
        self._episodes_lock = threading.Lock()

    async def ask(self, call: Call) -> Answer:
        """The policy's answer. Whatever the policy raises propagates.

        When cancelled, the thread of a plain policy runs to its end and counts as a call until then, so that a stuck
        policy is never called twice at once.

        Raises:
            AnswerError: the policy returned something that is not a chunk of actions.
        """
        if self.policy.is_async:
            async with self._limiter:
                call.started_ns = perf_ns()
                try:
                    await self._reset(call.observation)
                    result = await self.policy.act(call.observation)
                finally:
                    call.finished_ns = perf_ns()
            return answer_of(result)
        return await trio.to_thread.run_sync(
            partial(self._ask_in_thread, call), limiter=self._limiter, abandon_on_cancel=True
        )

    async def warm_up(self) -> None:
        """Run the policy once before it counts, if it knows how to.

        Raises:
            PolicyError: it failed.
        """
        warm_up = self.policy.warm_up
        try:
            if warm_up is None:
                return
            if inspect.iscoroutinefunction(warm_up):
                await warm_up()
            else:
                await trio.to_thread.run_sync(warm_up, abandon_on_cancel=True)
        except PolicyError:
            raise
        # A policy's own warm_up may fail in any way; whatever it is, the policy cannot be used.
        except Exception as error:
            raise PolicyError(f"{self.policy.name} failed to warm up: {type(error).__name__}: {error}") from error

    def _ask_in_thread(self, call: Call) -> Answer:
        call.started_ns = perf_ns()
        try:
            episode = self._new_episode(call.observation)
            if episode is not None and self.policy.reset is not None:
                _finish(self.policy.reset(episode))
            result = _finish(self.policy.act(call.observation))
        finally:
            call.finished_ns = perf_ns()
        return answer_of(result)

    async def _reset(self, observation: Observation) -> None:
        episode = self._new_episode(observation)
        if episode is not None and self.policy.reset is not None:
            result = self.policy.reset(episode)
            if inspect.isawaitable(result):
                await result

    def _new_episode(self, observation: Observation) -> str | None:
        """The observation's episode if this is its first observation. The last 1024 episodes are remembered."""
        episode = observation.get("episode_id")
        if self.policy.reset is None or not isinstance(episode, str):
            return None
        with self._episodes_lock:
            if episode in self._episodes:
                self._episodes.move_to_end(episode)
                return None
            self._episodes[episode] = None
            if len(self._episodes) > _EPISODES_REMEMBERED:
                self._episodes.popitem(last=False)
        return episode


def _finish(result: Any) -> Any:
    """The result itself, or what it resolves to if a plain function returned an awaitable."""
    return trio.from_thread.run(_await, result) if inspect.isawaitable(result) else result


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
