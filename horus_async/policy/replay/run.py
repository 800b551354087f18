"""Replay a trace through a policy: did model B act like model A on what the robot saw?

Each recorded request is put to the policy again, in order, and the answer is compared with the recorded one. Whatever
could not be compared is reported and counted, and never passes.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson
from attrs import field, frozen, validators

from horus_async.errors import PolicyError
from horus_async.policy.model.calling import Call, PolicyCaller
from horus_async.policy.model.hashes import image_hash

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

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async.policy.model.interface import Answer
    from horus_async.policy.model.loaded import LoadedPolicy
    from horus_async.policy.trace.reader import TraceReader, TraceRequest


@frozen(kw_only=True)
class ReplayOptions:
    """What to compare and how strictly; ``first`` limits it to that many requests (0: all).

    ``image_dir`` holds the camera images of a trace that kept only their hashes: files whose base64 has the recorded
    hash, or that are named after it.
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


class ImageFolder:
    """Camera images by the hash that a trace kept of them."""

    def __init__(self, folder: Path) -> None:
        self._by_hash: dict[str, Path] = {}
        try:
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    self._by_hash.setdefault(path.stem, path)
                    self._by_hash[image_hash(_base64(path))] = path
        except OSError as error:
            raise PolicyError(f"cannot read the images in {str(folder)!r}: {error}") from error
        if not self._by_hash:
            raise PolicyError(f"no image files in {str(folder)!r}")

    def text(self, digest: str) -> str | None:
        """The base64 text of the image with that hash, or None."""
        path = self._by_hash.get(digest)
        return None if path is None else _base64(path)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


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
    observation = request.observation()
    for camera, (text, digest) in request.cameras().items():
        found = text if text is not None else images.text(digest) if images and digest else None
        if found is None:
            where = f"with hash {digest} is not in --image-dir" if images and digest else "was not kept in the trace"
            return Replayed(request.seq, skipped=f"the image of {camera!r} {where}")
        observation[camera] = found
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
