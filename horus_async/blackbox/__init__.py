"""The black box: what happened in the last minutes of a run, on disk whatever becomes of the process.

``BlackBox`` writes, ``open_blackbox`` reads the box of a live or dead process. ``python -m horus_async.blackbox FILE``
reads one with nothing but Python and lz4, which is why the names below are imported only when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.lazy_names import loader

if TYPE_CHECKING:
    from .events import (
        ANOMALIES,
        KINDS,
        BudgetViolation,
        Custom,
        DeadlineMiss,
        EmergencyStop,
        Event,
        FailurePolicy,
        NodeAdded,
        NodeError,
        NodeTick,
        Record,
        SchedulerStart,
        SchedulerStop,
        Unknown,
        Watchdog,
    )
    from .file import BlackBox
    from .place import default_blackbox_dir
    from .reader import BlackBoxReader, newest_box, open_blackbox

__all__ = [
    "ANOMALIES",
    "KINDS",
    "BlackBox",
    "BlackBoxReader",
    "BudgetViolation",
    "Custom",
    "DeadlineMiss",
    "EmergencyStop",
    "Event",
    "FailurePolicy",
    "NodeAdded",
    "NodeError",
    "NodeTick",
    "Record",
    "SchedulerStart",
    "SchedulerStop",
    "Unknown",
    "Watchdog",
    "default_blackbox_dir",
    "newest_box",
    "open_blackbox",
]

_HOMES = {
    "BlackBox": "file",
    "default_blackbox_dir": "place",
    "BlackBoxReader": "reader",
    "newest_box": "reader",
    "open_blackbox": "reader",
}


if not TYPE_CHECKING:  # A type checker that saw this would accept any misspelt name.
    __getattr__ = loader(__name__, __all__, _HOMES, "events")
