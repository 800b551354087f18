"""How a recording fares, be it of a run or of requests."""

from __future__ import annotations

import enum


class RecordingState(enum.Enum):
    """How a recording fares."""

    ON = "on"
    FAILED = "failed"
    """Nothing can be written at the moment; it is tried again every second."""
    OFF = "off"
