"""A robot runtime: async nodes, shared-memory topics, virtual time, bit-exact record and replay, a black box.

Names are loaded when first used, so that ``import horus_async`` itself costs next to nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from horus_async.context import (
        budget_remaining,
        dt,
        elapsed,
        now,
        now_ns,
        np_rng,
        rng,
        sleep,
        tick,
    )
    from horus_async.errors import (
        AppError,
        BlackBoxError,
        ConfigurationError,
        ContextError,
        DamagedRecordingError,
        DeterminismError,
        EmergencyStop,
        HorusError,
        MessageDecodeError,
        MessageOverwrittenError,
        MessageTooLargeError,
        NodeFailure,
        PolicyError,
        RecordingError,
        ReplayError,
        SchemaMismatchError,
        SessionExistsError,
        SessionNameError,
        SessionNotFoundError,
        TopicError,
        TopicNameError,
        TopicPermissionError,
        TopicTypeError,
        TraceError,
        UnsupportedVersionError,
        ValueNotSupportedError,
    )
    from horus_async.guard import Guard, GuardFinding
    from horus_async.node import Node, node
    from horus_async.policies import FailurePolicy, Fatal, Ignore, Miss, Restart, Skip
    from horus_async.recorder.options import Fsync, RecordingOptions, Redact
    from horus_async.recorder.recorder import RecordingStats
    from horus_async.scheduler import Scheduler, run
    from horus_async.stats import NodeStats, SchedulerStats
    from horus_async.topics import BorrowedMessage, Message, Topic
    from horus_async.verify import Difference, VerifyReport

__version__ = "0.1.0"

__all__ = [
    "AppError",
    "BlackBoxError",
    "BorrowedMessage",
    "ConfigurationError",
    "ContextError",
    "DamagedRecordingError",
    "DeterminismError",
    "Difference",
    "EmergencyStop",
    "FailurePolicy",
    "Fatal",
    "Fsync",
    "Guard",
    "GuardFinding",
    "HorusError",
    "Ignore",
    "Message",
    "MessageDecodeError",
    "MessageOverwrittenError",
    "MessageTooLargeError",
    "Miss",
    "Node",
    "NodeFailure",
    "NodeStats",
    "PolicyError",
    "RecordingError",
    "RecordingOptions",
    "RecordingStats",
    "Redact",
    "ReplayError",
    "Restart",
    "Scheduler",
    "SchedulerStats",
    "SchemaMismatchError",
    "SessionExistsError",
    "SessionNameError",
    "SessionNotFoundError",
    "Skip",
    "Topic",
    "TopicError",
    "TopicNameError",
    "TopicPermissionError",
    "TopicTypeError",
    "TraceError",
    "UnsupportedVersionError",
    "ValueNotSupportedError",
    "VerifyReport",
    "__version__",
    "budget_remaining",
    "dt",
    "elapsed",
    "node",
    "now",
    "now_ns",
    "np_rng",
    "rng",
    "run",
    "sleep",
    "tick",
]

_HOMES = {
    "context": ("budget_remaining", "dt", "elapsed", "now", "now_ns", "np_rng", "rng", "sleep", "tick"),
    "guard": ("Guard", "GuardFinding"),
    "node": ("Node", "node"),
    "policies": ("FailurePolicy", "Fatal", "Ignore", "Miss", "Restart", "Skip"),
    "recorder.options": ("Fsync", "RecordingOptions", "Redact"),
    "recorder.recorder": ("RecordingStats",),
    "scheduler": ("Scheduler", "run"),
    "stats": ("NodeStats", "SchedulerStats"),
    "topics": ("BorrowedMessage", "Message", "Topic"),
    "verify": ("Difference", "VerifyReport"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # A type checker that saw this would take any misspelt name.

    def __getattr__(name: str) -> object:
        """Load a public name from its module; everything not listed there is an error."""
        home = _HOME_OF.get(name, "errors")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package, on which a submodule never takes the place of the public name it shares (``node``)."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (isinstance(value, ModuleType) and name in _HOME_OF):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
