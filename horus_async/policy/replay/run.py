"""Replay a trace through a policy: did model B act like model A on what the robot saw?

Each recorded request is put to the policy again, in order, and the answer is compared with the recorded one. Whatever
could not be compared is reported and counted, and never passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import field, frozen, validators

from horus_async.policy.calls.calling import Call, PolicyCaller

from .actions import (
    ActionsDiff,
    CacheDiff,
    DiffMode,
    LatencyDiff,
    Thresholds,
    compare_actions,
    compare_cache,
    compare_latency,
)
from .images import ImageFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.policy.model.interface import Answer
    from horus_async.policy.model.loaded import LoadedPolicy
    from horus_async.policy.trace.reader import TraceReader, TraceRequest


@frozen(kw_only=True)
class ReplayOptions:
    """What to compare and how strictly; ``first`` limits it to that many requests (0: all).

    ``image_dir`` holds the camera images of a trace that kept only their hashes (`ImageFolder`).
    """

    diff: DiffMode = DiffMode.ACTIONS
    limits: Thresholds = field(factory=Thresholds)
    first: int = field(default=0, validator=validators.ge(0))
    image_dir: Path | None = None


@frozen
class Replayed:
    """What became of one request.

    Exactly one of these holds: it was compared (diffs), ``skipped`` says why it was not put to the policy, ``raised``
    how the policy failed on it, or ``unlike`` why its answer had no counterpart. ``lacking`` names cameras of the
    original request that it was replayed without, because the trace kept nothing of them.
    """

    seq: int
    actions: ActionsDiff | None = None
    latency: LatencyDiff | None = None
    cache: CacheDiff | None = None
    skipped: str | None = None
    raised: str | None = None
    unlike: str | None = None
    lacking: tuple[str, ...] = ()

    def part(self, mode: DiffMode) -> ActionsDiff | LatencyDiff | CacheDiff | None:
        """The diff of one mode."""
        parts = {DiffMode.ACTIONS: self.actions, DiffMode.LATENCY: self.latency, DiffMode.CACHE: self.cache}
        return parts[mode]


async def replay_trace(
    trace: TraceReader, policy: LoadedPolicy, options: ReplayOptions, tell: Callable[[Replayed], None]
) -> None:
    """Put the trace's requests to ``policy`` and call ``tell`` with what became of each. Runs inside trio.

    Raises:
        TraceError: the trace is damaged.
        PolicyError: the policy does not warm up, or the image folder cannot be read.
    """
    images = ImageFolder(options.image_dir) if options.image_dir is not None else None
    caller = PolicyCaller(policy, lenient=True)
    await caller.warm_up()
    for number, request in enumerate(trace.requests(), 1):
        tell(await _replayed(request, caller, options, images))
        if number == options.first:
            return


async def _replayed(
    request: TraceRequest, caller: PolicyCaller, options: ReplayOptions, images: ImageFolder | None
) -> Replayed:
    observation, restoring = request.restored(images.find if images else lambda _: None)
    for camera, digest in restoring.missing.items():
        if digest is not None:
            where = f"with hash {digest} is not in --image-dir" if images else "was not kept in the trace"
            return Replayed(request.seq, skipped=f"the image of {camera!r} {where}")
    call = Call(observation)
    try:
        answer = await caller.ask(call)
    # A policy may fail in any way; the failure is a result of the replay.
    except Exception as error:  # noqa: BLE001
        if not request.ok:
            return Replayed(request.seq, unlike=f"failed in both: {_slug(request)}, {type(error).__name__}: {error}")
        return Replayed(request.seq, raised=f"{type(error).__name__}: {error}")
    if not request.ok:
        return Replayed(request.seq, unlike=f"recorded as failed ({_slug(request)}), answered now")
    return _compared(request, answer, call.policy_ms, options)


def _slug(request: TraceRequest) -> str:
    return str((request.error or {}).get("slug", "error"))


def _compared(request: TraceRequest, answer: Answer, policy_ms: float, options: ReplayOptions) -> Replayed:
    if not request.actions:
        return Replayed(request.seq, unlike="recorded without actions")
    parts = options.diff.parts()
    diffs: dict[str, Any] = {}
    if DiffMode.ACTIONS in parts:
        diffs["actions"] = compare_actions(request.actions, orjson.loads(answer.actions_json), options.limits)
    if DiffMode.LATENCY in parts:
        diffs["latency"] = compare_latency(request.latency_ms, policy_ms, options.limits)
    if DiffMode.CACHE in parts:
        cache = answer.blocks.get("cache", {}).get("status")
        diffs["cache"] = compare_cache(request.cache_status, None if cache is None else str(cache))
    return Replayed(request.seq, **diffs, lacking=tuple(request.lacking()))
