"""Whose state a policy holds: its episodes, and that each begins with a reset.

A policy says it in ``metadata["episodes"]``: it keeps them apart itself (``shared``), it knows one at a time (``one``),
or it is made anew for each (``instances``). In all of them a reset is done before the first act of its episode begins,
the other requests of the episode wait for it, and one that failed, or that was given up, is tried again by the next.
"""

from __future__ import annotations

import enum
import inspect
import logging
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from horus_async.errors import PolicyError
from horus_async.policy.model.images.hiding import without_images

from .places import PolicyStuck, until
from .runs import NEVER, PolicyCallError, Run, failure_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.policy.model.loaded import LoadedPolicy

    from .places import Call, Places
    from .runs import Runner

logger = logging.getLogger("horus_async.policy")

_SHOWN = 80

REMEMBERED = 50_000
"""How many episodes are remembered, so that none is reset a second time."""

INSTANCES = 64
"""How many instances of a policy live at once."""


class EpisodeMode(enum.Enum):
    """How a policy keeps the states of its episodes."""

    SHARED = "shared"
    ONE = "one"
    INSTANCES = "instances"


class EpisodeOver(PolicyError):  # noqa: N818 - a state, not a fault of the policy
    """The policy holds the state of that episode no longer."""


def mode_of(policy: LoadedPolicy) -> EpisodeMode:
    """What the policy says, or what follows from it: one at a time where it resets and takes one call at a time.

    Raises:
        PolicyError: it says something that is none, or that it has not the means for.
    """
    if policy.episodes is None:
        return EpisodeMode.ONE if policy.reset is not None and policy.concurrency == 1 else EpisodeMode.SHARED
    try:
        mode = EpisodeMode(policy.episodes)
    except ValueError as error:
        known = ", ".join(repr(mode.value) for mode in EpisodeMode)
        raise PolicyError(f"{policy.name}: the episodes {policy.episodes!r} are none of {known}") from error
    if mode is EpisodeMode.ONE and policy.reset is None:
        raise PolicyError(f"{policy.name}: episodes one at a time need a reset(episode_id), which it has not")
    if mode is EpisodeMode.INSTANCES and policy.make is None:
        raise PolicyError(
            f"{policy.name}: an instance for each episode needs the class or function that makes one, not an object"
        )
    return mode


@define(eq=False)
class Episode:
    """One episode: ``ready`` once the policy was reset for it, ``fresh`` until an act has followed that.

    ``users`` counts the calls that wait for it or act in it, ``active`` are those past its reset. ``resetting`` is the
    latest run of a reset; it may go on after its call was given up.
    """

    name: str | None
    policy: LoadedPolicy | None
    ready: bool = False
    fresh: bool = False
    warm: bool = False
    users: int = 0
    active: set[Call] = field(factory=set)
    resetting: Run | None = None
    resetting_for: Call | None = None
    lock: trio.Lock = field(factory=trio.Lock)
    _quiet: trio.Event | None = None

    def left(self, call: Call) -> None:
        """A call of it has ended."""
        self.active.discard(call)
        if self._quiet is not None and not self.active:
            self._quiet.set()

    async def until_quiet(self, places: Places) -> None:
        """Wait until no call of it acts any more.

        Raises:
            PolicyStuck: one of them is over its time and acts on.
        """
        while self.active:
            self._quiet = trio.Event()
            await until(self._quiet, partial(self._stuck_at, places))

    def _stuck_at(self, places: Places) -> float:
        return min((places.overdue_at(call) for call in self.active if call in places), default=NEVER)


class Episodes:
    """Episodes that the policy keeps apart itself. Those without a name are no business of ours."""

    mode = EpisodeMode.SHARED

    def __init__(self, policy: LoadedPolicy, places: Places, *, limit: int = REMEMBERED) -> None:
        self.forgotten = 0
        self._policy = policy
        self._places = places
        self._limit = limit
        self._known: OrderedDict[str | None, Episode] = OrderedDict()

    @property
    def known(self) -> int:
        """How many episodes are remembered."""
        return len(self._known)

    async def enter(self, call: Call) -> Episode:
        """The episode of ``call``, ready for it; ``leave`` it afterwards. May take a place for the reset.

        Raises:
            EpisodeOver: the policy holds its state no longer.
            PolicyStuck: what it has to wait for does not end.
            PolicyCallError: the reset failed.
        """
        if self._policy.reset is None or (call.episode_id is None and not call.reset):
            return Episode(call.episode_id, self._policy, ready=True)
        return await self._entered(call, self._found(call.episode_id))

    async def renew(self, call: Call) -> bool:
        """Reset the policy for the episode of ``call``, whether or not it has begun. False: it has no state to reset.

        Raises:
            PolicyStuck: what it has to wait for does not end.
            PolicyCallError: the reset failed.
        """
        if self._policy.reset is None:
            return False
        self.leave(call, await self._entered(call, self._found(call.episode_id), renew=True))
        return True

    def leave(self, call: Call, episode: Episode) -> None:
        """``call`` acts no more in it."""
        episode.users -= 1
        episode.left(call)

    def _found(self, name: str | None) -> Episode:
        episode = self._known.get(name)
        if episode is None:
            episode = self._known[name] = Episode(name, self._policy)
            self._forget_oldest()
        self._known.move_to_end(name)
        return episode

    def _forget_oldest(self) -> None:
        """Keep within the limit; an episode that calls wait for or act in is not forgotten."""
        if len(self._known) <= self._limit:
            return
        newest = next(reversed(self._known.values()))
        idle = next((each for each in self._known.values() if not each.users and each is not newest), None)
        if idle is not None:
            del self._known[idle.name]
            self._count_forgotten(idle.name)

    def _count_forgotten(self, name: str | None) -> None:
        self.forgotten += 1
        if self.forgotten == 1:
            logger.warning(
                "episode-forgotten: more than %d episodes; the oldest, %s, would be reset again, and so on",
                self._limit,
                _shown(name),
            )

    async def _entered(self, call: Call, episode: Episode, *, renew: bool = False) -> Episode:
        episode.users += 1
        try:
            async with episode.lock:
                if renew:
                    await self._renewed(call, episode)
                if call.reset is not None:
                    episode.ready = not call.reset
                if not episode.ready:
                    await self._reset(call, episode)
                episode.active.add(call)
        except BaseException:
            episode.users -= 1
            raise
        return episode

    async def _renewed(self, _: Call, episode: Episode) -> None:
        await episode.until_quiet(self._places)
        episode.ready = False

    async def _reset(self, call: Call, episode: Episode) -> None:
        await self._until_reset_ended(episode)
        if episode.ready:
            return
        if call not in self._places:
            await self._places.take(call)
        await self._reset_now(call, episode)

    async def _reset_now(self, call: Call, episode: Episode) -> None:
        """Reset the policy, for a call that has its place."""
        assert episode.policy is not None
        reset = episode.policy.reset
        if reset is None:
            _is_ready(episode, None)
            return
        await self._step(call, episode, partial(_is_ready, episode), reset, episode.name or "")

    async def _until_reset_ended(self, episode: Episode) -> None:
        run, call = episode.resetting, episode.resetting_for
        if run is None or call is None:
            return
        await until(run.ended, lambda: self._places.overdue_at(call))
        episode.resetting = episode.resetting_for = None

    async def _step(
        self,
        call: Call,
        episode: Episode,
        succeeded: Callable[[Any], None],
        function: Callable[..., Any],
        *arguments: Any,
        runner: Runner | None = None,
    ) -> None:
        """One step of a reset. Its success counts also where nobody waits for it any more."""
        run = Run()
        run.then(lambda: succeeded(run.result) if run.succeeded else None)
        call.runs.append(run)
        episode.resetting, episode.resetting_for = run, call
        await (runner or self._places.runner).run(run, function, *arguments)
        episode.resetting = episode.resetting_for = None
        try:
            run.outcome()
        # A policy may fail in any way, and this says where.
        except Exception as error:
            cause = run.error or error
            raise PolicyCallError(f"reset failed: {failure_text(cause)}") from error


def _shown(name: str | None) -> str:
    return f"{without_images(name, None)[:_SHOWN]!r}" if name is not None else "that without a name"


def _is_ready(episode: Episode, _: Any) -> None:
    episode.ready = episode.fresh = True


class OneAtATime(Episodes):
    """A policy that holds the state of one episode: a new one ends the one before, once its last act has ended."""

    mode = EpisodeMode.ONE

    def __init__(self, policy: LoadedPolicy, places: Places, *, limit: int = REMEMBERED) -> None:
        super().__init__(policy, places, limit=limit)
        self._turn = trio.Lock()
        self._current: Episode | None = None
        self._over: OrderedDict[str | None, None] = OrderedDict()

    @property
    def known(self) -> int:
        """How many episodes are remembered: those that are over, and the one that is on."""
        return len(self._over) + (self._current is not None)

    async def enter(self, call: Call) -> Episode:
        """The episode of ``call``: as above, and it may be over."""
        async with self._turn:
            self._refuse_if_over(call.episode_id)
            return await self._entered(call, await self._turned_to(call.episode_id))

    async def renew(self, call: Call) -> bool:
        """Begin the episode of ``call``, also one that is over; it ends the one before."""
        async with self._turn:
            self.leave(call, await self._entered(call, await self._turned_to(call.episode_id), renew=True))
        return True

    def _refuse_if_over(self, name: str | None) -> None:
        if name in self._over:
            raise EpisodeOver(
                f"episode {_shown(name)} is over: the policy keeps the state of one at a time, and another has begun; "
                "take a new episode_id, or POST /reset"
            )

    async def _turned_to(self, name: str | None) -> Episode:
        current = self._current
        if current is not None and current.name == name:
            return current
        if current is not None:
            await current.until_quiet(self._places)
            await self._until_reset_ended(current)
            if current.name is not None:
                self._over[current.name] = None
        if name is not None:
            self._over.pop(name, None)
        if len(self._over) > self._limit:
            self._count_forgotten(self._over.popitem(last=False)[0])
        # Requests that name no episode are one together, each time anew; the first finds the policy as it was made.
        self._current = Episode(name, self._policy, ready=current is None and name is None)
        return self._current


class Instances(Episodes):
    """A policy that is made anew for each episode. At the limit the instance that was idle longest is ended."""

    mode = EpisodeMode.INSTANCES

    def __init__(
        self,
        policy: LoadedPolicy,
        places: Places,
        threads: Runner,
        *,
        limit: int = INSTANCES,
        remembered: int = REMEMBERED,
        lenient: bool = False,
    ) -> None:
        super().__init__(policy, places, limit=limit)
        self._threads = threads
        self._remembered = remembered
        self._lenient = lenient
        self._first: LoadedPolicy | None = policy
        self._over: OrderedDict[str | None, None] = OrderedDict()

    async def enter(self, call: Call) -> Episode:
        """The episode of ``call``: as above, and it may be over. Those without a name are one of their own."""
        if call.episode_id in self._over and not self._lenient:
            raise EpisodeOver(
                f"episode {_shown(call.episode_id)} is over: the policy's instance for it was ended, as {self._limit} "
                "others were used later; take a new episode_id, or POST /reset"
            )
        anew = bool(call.reset) and call.episode_id in self._known
        return await self._entered(call, self._found(call.episode_id), renew=anew)

    async def renew(self, call: Call) -> bool:
        """Give the episode of ``call`` a new instance."""
        self._over.pop(call.episode_id, None)
        self.leave(call, await self._entered(call, self._found(call.episode_id), renew=True))
        return True

    def _found(self, name: str | None) -> Episode:
        episode = self._known.get(name)
        if episode is None:
            self._end_oldest()
            self._over.pop(name, None)
            episode = self._known[name] = Episode(name, self._first, warm=self._first is not None)
            self._first = None
        self._known.move_to_end(name)
        return episode

    def _end_oldest(self) -> None:
        if len(self._known) < self._limit:
            return
        idle = next((episode for episode in self._known.values() if not episode.users), None)
        if idle is None:
            raise PolicyStuck(f"the policy has {self._limit} instances, and requests wait for each of them")
        del self._known[idle.name]
        self._over[idle.name] = None
        logger.warning("episode-ended: the instance for %s, idle longest of %d", _shown(idle.name), self._limit)
        if len(self._over) > self._remembered:
            self._count_forgotten(self._over.popitem(last=False)[0])

    async def _renewed(self, call: Call, episode: Episode) -> None:
        await super()._renewed(call, episode)
        await self._until_reset_ended(episode)
        episode.ready, episode.policy, episode.warm = False, None, False

    async def _reset_now(self, call: Call, episode: Episode) -> None:
        if episode.policy is None:
            assert self._policy.make is not None

            def made(instance: LoadedPolicy) -> None:
                episode.policy = instance

            await self._step(call, episode, made, self._policy.make, runner=self._threads)
        assert episode.policy is not None
        if not episode.warm and episode.policy.warm_up is not None:

            def warmed(_: Any) -> None:
                episode.warm = True

            warm_up = episode.policy.warm_up
            runner = None if inspect.iscoroutinefunction(warm_up) else self._threads
            await self._step(call, episode, warmed, warm_up, runner=runner)
        await super()._reset_now(call, episode)
