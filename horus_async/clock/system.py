"""The operating system's clocks: the only module of this package that asks them.

Everything else takes its time from here, so that one place decides what "now" is, and a test can check by looking at
imports that wall time never reaches a deterministic result. All times are integer nanoseconds.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

wall_ns = time.time_ns
"""Nanoseconds since 1970, UTC. Steps when the clock is set."""

monotonic_ns = time.monotonic_ns
"""Nanoseconds on a clock that never steps: ``CLOCK_MONOTONIC``, which timers and event loops wait on."""

perf_ns = time.perf_counter_ns
"""Nanoseconds on the finest clock, to measure how long something took. On Linux it is the monotonic clock."""


CLOCK_MONOTONIC = time.CLOCK_MONOTONIC
"""The operating system's name for the clock of ``monotonic_ns``."""


def is_time_sleep(value: object) -> bool:
    """Whether it is ``time.sleep``, or the module that has it: what a program's names can stand for."""
    return value is time or value is time.sleep


def iso_utc(ns: int) -> str:
    """Wall-clock nanoseconds as ISO 8601 in UTC with milliseconds: ``2026-04-24T17:13:05.241Z``.

    Milliseconds are truncated, not rounded, so that no time is shown before it has come.
    """
    seconds, rest = divmod(ns, NANOSECONDS)
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"


def parse_iso_utc(text: str) -> int:
    """Wall-clock nanoseconds of an ISO 8601 time; one without a zone is taken as UTC.

    Raises:
        ValueError: ``text`` is not ISO 8601.
    """
    moment = datetime.fromisoformat(text)
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def clock_face(ns: int, *, utc: bool = False) -> str:
    """Wall-clock nanoseconds as a time of day, ``17:13:05.241``, in local time or UTC."""
    seconds, rest = divmod(ns, NANOSECONDS)
    moment = _EPOCH + timedelta(seconds=seconds)
    if not utc:
        moment = moment.astimezone()
    return f"{moment:%H:%M:%S}.{rest // 1_000_000:03d}"


def sleep_until_monotonic(deadline_ns: int) -> None:
    """Block this thread until ``monotonic_ns()`` reaches ``deadline_ns``. For threads, never for an event loop."""
    while (left := deadline_ns - monotonic_ns()) > 0:
        time.sleep(left / NANOSECONDS)


def spin_until_monotonic(deadline_ns: int) -> int:
    """Busy-wait until ``monotonic_ns()`` reaches ``deadline_ns``: the last few microseconds of a precise wait.

    Returns the time at its end, so that the caller need not ask again.
    """
    while (now := monotonic_ns()) < deadline_ns:
        pass
    return now
