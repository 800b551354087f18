"""Asks a policy without blocking the event loop, within its concurrency, and only after its episode was reset."""

from __future__ import annotations

import inspect
import threading
from functools import partial
from typing import TYPE_CHECKING

import trio

from horus_async.errors import PolicyError
from horus_async.policy.model.interface import Answer, answer_of

from .episodes import EpisodeMode, EpisodeOver, Episodes, Instances, OneAtATime, mode_of
from .places import Call, Places, PolicyStuck
from .runs import InLoop, InThreads, PolicyCallError, PolicyLoop, Run, failure_text

if TYPE_CHECKING:
    from horus_async.policy.model.loaded import LoadedPolicy

    from .episodes import Episode

__all__ = ["Call", "EpisodeMode", "EpisodeOver", "PolicyCallError", "PolicyCaller", "PolicyStuck"]

BLOCKED_AFTER_S = 1.0
"""An event loop that gave no sign of life for so long is blocked."""


class PolicyCaller:
    """Asks one policy, with at most ``policy.concurrency`` calls at once. Create and use it inside trio.

    Plain policies run in threads, ``async`` ones in this event loop, or with ``own_loop`` in one of the policy's own,
    in a thread of its own. A ``lenient`` caller refuses no episode that is over, as a replay wants it.

    Raises:
        PolicyError: what the policy says about its episodes cannot be kept.
    """

    def __init__(self, policy: LoadedPolicy, *, own_loop: bool = False, lenient: bool = False) -> None:
        mode = mode_of(policy)
        self.policy = policy
        self._home = trio.lowlevel.current_trio_token()
        self._own_loop, self._loop_lock = own_loop, threading.Lock()
        self._loop: PolicyLoop | None = None
        self._threads, self._in_loop = InThreads(self._token), InLoop(self._token)
        self.places = Places(policy.concurrency, self._in_loop if policy.is_async else self._threads)
        if mode is EpisodeMode.INSTANCES:
            self.episodes: Episodes = Instances(policy, self.places, self._threads, lenient=lenient)
        else:
            self.episodes = (OneAtATime if mode is EpisodeMode.ONE and not lenient else Episodes)(policy, self.places)

    async def ask(self, call: Call) -> Answer:
        """The policy's answer. Whatever Exception the policy raises propagates.

        When cancelled, a function that does not end keeps its place until it does, so that a stuck policy is never
        called more often than it allows.

        Raises:
            AnswerError: the policy returned something that is not a chunk of actions.
            EpisodeOver: the policy holds the state of the call's episode no longer.
            PolicyStuck: all that it could be asked with is taken by calls that are over their time.
            PolicyCallError: the reset failed, or the policy raised something that is no Exception.
        """
        episode: Episode | None = None
        try:
            episode = await self.episodes.enter(call)
            if call not in self.places:
                await self.places.take(call)
            return await self._act(call, episode)
        finally:
            self.places.leave(call, partial(self._left, call, episode))

    async def reset(self, call: Call) -> bool:
        """Reset the policy for the episode of ``call``. False: it has nothing to reset.

        Raises:
            PolicyStuck: what the reset has to wait for does not end.
            PolicyCallError: the reset failed.
        """
        try:
            return await self.episodes.renew(call)
        finally:
            self.places.leave(call, lambda: None)

    async def warm_up(self) -> None:
        """Run the policy once before it counts, if it knows how to.

        Raises:
            PolicyError: it failed.
        """
        warm_up, run = self.policy.warm_up, Run()
        if warm_up is None:
            return
        await (self._in_loop if inspect.iscoroutinefunction(warm_up) else self._threads).run(run, warm_up)
        try:
            run.outcome()
        # A policy's own warm_up may fail in any way; whatever it is, the policy cannot be used.
        except Exception as error:
            if isinstance(run.error, PolicyError):
                raise
            raise PolicyError(f"{self.policy.name} failed to warm up: {failure_text(run.error or error)}") from error

    @property
    def blocked(self) -> bool:
        """Whether the policy's own event loop gives no sign of life while it should work."""
        return self._loop is not None and self.places.taken > 0 and self._loop.silent_s > BLOCKED_AFTER_S

    @property
    def hopeless(self) -> bool:
        """Whether a further call would wait in vain: stuck calls hold all places, or one of them the event loop."""
        return self.places.all_stuck_at() <= trio.current_time() or (self.blocked and self.places.stuck > 0)

    async def close(self) -> None:
        """End the policy's event loop, if it has one and lets go of it."""
        if self._loop is not None:
            await self._loop.close()

    async def _act(self, call: Call, episode: Episode) -> Answer:
        assert episode.policy is not None
        fresh, episode.fresh, call.was_reset = episode.fresh, False, episode.fresh
        try:
            answer: Answer = await self.places.run(call, answer_of, episode.policy.act, call.observation)
        finally:
            if call.runs[-1].started_ns is None:  # It was given up before it reached the policy.
                episode.fresh, call.was_reset = fresh, False
        return answer

    def _token(self) -> trio.lowlevel.TrioToken:
        """The event loop for what the policy awaits; called from any thread."""
        if not self._own_loop:
            return self._home
        with self._loop_lock:
            self._loop = self._loop or PolicyLoop()
            return self._loop.token

    def _left(self, call: Call, episode: Episode | None) -> None:
        if episode is not None:
            self.episodes.leave(call, episode)
