"""Replay a trace through a policy: did model B act like model A on what the robot saw?

Each recorded request is put to the policy again, in order, and the answer is compared with the recorded one. Whatever
could not be compared is reported and counted, and never passes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import orjson
from attrs import field, frozen, validators

from horus_async.policy.calls.calling import Call, PolicyCaller
from horus_async.policy.model.images.hiding import without_images

from .actions import DiffMode, Thresholds, compare_actions, compare_cache, compare_latency
from .images import ImageFolder
from .results import Replayed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.policy.model.interface import Answer
    from horus_async.policy.model.loaded import LoadedPolicy
    from horus_async.policy.trace.reader import TraceReader
    from horus_async.policy.trace.request import TraceRequest

    from .gathered import Gathered
    from .results import Rows


_MESSAGE_LENGTH = 500


@frozen(kw_only=True)
class ReplayOptions:
    """What to compare and how strictly; ``first`` limits it to that many requests (0: all).

    ``image_dir`` holds the camera images of a trace that kept only their hashes (`ImageFolder`).
    """

    diff: DiffMode = DiffMode.ACTIONS
    limits: Thresholds = field(factory=Thresholds)
    first: int = field(default=0, validator=validators.ge(0))
    image_dir: Path | None = None


async def replay_trace(
    trace: TraceReader,
    policy: LoadedPolicy,
    options: ReplayOptions,
    tell: Callable[[Replayed], None],
    gathered: Gathered | None = None,
) -> None:
    """Put the trace's requests to ``policy`` and call ``tell`` with what became of each. Runs inside trio.

    ``gathered`` gets what a page shows.

    Raises:
        TraceError: the trace is damaged.
        PolicyError: the policy does not warm up, or the image folder cannot be read.
    """
    replayer = Replayer(policy, options, gathered)
    await replayer.warm_up()
    for request in islice(trace.requests(), options.first or None):
        tell(await replayer.replay(request))


class Replayer:
    """Puts requests to one policy, one after the other. Create and use it inside trio.

    Raises (constructor):
        PolicyError: the image folder cannot be read.
    """

    def __init__(self, policy: LoadedPolicy, options: ReplayOptions, gathered: Gathered | None = None) -> None:
        self._options = options
        self._gathered = gathered
        self._images = ImageFolder(options.image_dir) if options.image_dir is not None else None
        self._caller = PolicyCaller(policy, lenient=True)

    async def warm_up(self) -> None:
        """Warm the policy up.

        Raises:
            PolicyError: it failed.
        """
        await self._caller.warm_up()

    async def replay(self, request: TraceRequest) -> Replayed:
        """Put one request to the policy, and compare the answers."""
        result, answered = await _replayed(request, self._caller, self._options, self._images)
        if self._gathered is not None:
            self._gathered.add(request, result, answered)
        return result


async def _replayed(
    request: TraceRequest, caller: PolicyCaller, options: ReplayOptions, images: ImageFolder | None
) -> tuple[Replayed, Rows]:
    """What became of a request, and the rows that were answered now."""
    observation, restoring = request.restored(images.find if images else lambda _: None)
    for camera, digest in restoring.missing.items():
        if digest is not None:
            where = f"with hash {digest} is not in --image-dir" if images else "was not kept in the trace"
            return Replayed(request.seq, skipped=f"the image of {camera!r} {where}"), []
    if observation.get("episode_id") is None:
        observation["episode_id"] = request.episode  # of its connection, which the line alone names
    # Where the line does not say so, the policy is reset at the first request of each episode.
    call = Call(observation, reset=True if request.line.get("reset") else None)
    try:
        answer = await caller.ask(call)
    # A policy may fail in any way; the failure is a result of the replay.
    except Exception as error:  # noqa: BLE001
        if not request.ok:
            unlike = f"failed in both: {_slug(request)}, {_shown(error, restoring.images)}"
            return Replayed(request.seq, unlike=unlike), []
        return Replayed(request.seq, raised=_shown(error, restoring.images)), []
    rows = orjson.loads(answer.actions_json)
    if not request.ok:
        return Replayed(request.seq, unlike=f"recorded as failed ({_slug(request)}), answered now"), rows
    return _compared(request, answer, rows, call.policy_ms, options), rows


def _shown(error: Exception, images: dict[str, Any]) -> str:
    """An error without anything of the images that the policy was given, as a report goes further than a trace."""
    text = without_images(f"{type(error).__name__}: {error}", list(images.values()))
    return text if len(text) <= _MESSAGE_LENGTH else f"{text[:_MESSAGE_LENGTH]}…"


def _slug(request: TraceRequest) -> str:
    return str((request.error or {}).get("slug", "error"))


def _compared(request: TraceRequest, answer: Answer, rows: Rows, policy_ms: float, options: ReplayOptions) -> Replayed:
    if not request.actions:
        return Replayed(request.seq, unlike="recorded without actions")
    parts = options.diff.parts()
    diffs: dict[str, Any] = {}
    if DiffMode.ACTIONS in parts:
        diffs["actions"] = compare_actions(request.actions, rows, options.limits)
    if DiffMode.LATENCY in parts:
        diffs["latency"] = compare_latency(request.latency_ms, policy_ms, options.limits)
    if DiffMode.CACHE in parts:
        cache = answer.blocks.get("cache", {}).get("status")
        diffs["cache"] = compare_cache(request.cache_status, None if cache is None else str(cache))
    return Replayed(request.seq, **diffs, lacking=tuple(request.lacking()))
