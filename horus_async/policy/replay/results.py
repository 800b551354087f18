"""What became of one request."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from .actions import ActionsDiff, CacheDiff, DiffMode, LatencyDiff

Rows = list[Any]
"""Rows of actions, as JSON values."""


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
