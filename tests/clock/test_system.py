"""The system clock's formatting and waiting."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.clock import system

_DAY_NS = 86_400 * system.NANOSECONDS


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_777_050_785_241_000_000, "2026-04-24T17:13:05.241Z"),
        (1_777_050_785_241_999_999, "2026-04-24T17:13:05.241Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
    ],
)
def test_iso_utc_cuts_to_milliseconds(ns: int, text: str) -> None:
    """A time of day is written in UTC with exactly three decimals, never rounded up."""
    assert system.iso_utc(ns) == text


@given(milliseconds=st.integers(min_value=-(10**12), max_value=10**14))
def test_parse_iso_utc_reverses_iso_utc(milliseconds: int) -> None:
    """What was written is read back exactly."""
    ns = milliseconds * 1_000_000

    assert system.parse_iso_utc(system.iso_utc(ns)) == ns


@pytest.mark.parametrize("text", ["2026-04-24T19:13:05.241+02:00", "2026-04-24 17:13:05.241"])
def test_parse_iso_utc_takes_zones_and_none(text: str) -> None:
    """Other zones are converted, and a time without one is UTC."""
    assert system.parse_iso_utc(text) == 1_777_050_785_241_000_000


def test_parse_iso_utc_refuses_other_text() -> None:
    """What is no time is a ValueError."""
    with pytest.raises(ValueError, match="yesterday"):
        system.parse_iso_utc("yesterday")


def test_clock_face_in_utc() -> None:
    """The time of day alone, with milliseconds."""
    assert system.clock_face(1_777_050_785_241_000_000, utc=True) == "17:13:05.241"


def test_clock_face_in_local_time() -> None:
    """Without ``utc`` the zone of the system counts."""
    script = "from horus_async.clock.system import clock_face; print(clock_face(0), clock_face(0, utc=True))"
    shown = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"TZ": "XXX-05:30"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.split() == ["05:30:00.000", "00:00:00.000"]


def test_waits_end_at_or_after_the_deadline() -> None:
    """Neither the sleeping nor the busy wait returns early, and a past deadline returns at once."""
    deadline = system.monotonic_ns() + 2_000_000

    system.sleep_until_monotonic(deadline)
    assert system.monotonic_ns() >= deadline

    later = system.monotonic_ns() + 100_000
    assert system.spin_until_monotonic(later) >= later
    assert system.spin_until_monotonic(0) > later
    system.sleep_until_monotonic(0)
