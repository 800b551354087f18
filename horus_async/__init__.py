"""A robot runtime: async nodes, shared-memory topics, virtual time, bit-exact record and replay, a black box.

Names are loaded on first use, so ``import horus_async`` itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.lazy_names import loader

if TYPE_CHECKING:
    from horus_async.determinism.findings import GuardFinding
    from horus_async.determinism.reaction import Guard
    from horus_async.engine.stats import NodeStats
    from horus_async.errors import (
        ActionError,
        AppError,
        BlackBoxError,
        ConfigurationError,
        ContextError,
        DamagedRecordingError,
        DeterminismError,
        EmergencyStop,
        ExtrapolationError,
        FramesError,
        HorusError,
        LaunchError,
        LimitError,
        MessageDecodeError,
        MessageOverwrittenError,
        MessageTooLargeError,
        NodeFailure,
        ParamError,
        PolicyError,
        PredicateError,
        RecordingError,
        ReplayError,
        SchemaMismatchError,
        ServiceError,
        ServiceTimeoutError,
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
    from horus_async.frames import Frames
    from horus_async.nodes.context import (
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
    from horus_async.nodes.failure_policies import FailurePolicy, Fatal, Ignore, Miss, Restart, Skip
    from horus_async.nodes.interface.declaring import action, service
    from horus_async.nodes.interface.params import Param
    from horus_async.nodes.interface.policies import Goals
    from horus_async.nodes.node import Node, node
    from horus_async.nodes.sync.stamps import SyncBy
    from horus_async.nodes.sync.sync import Sync
    from horus_async.realtime.collector import GcStats
    from horus_async.realtime.options import Realtime
    from horus_async.recorder.options import Fsync, RecordingOptions, Redact
    from horus_async.recorder.triggers.anomaly import Anomaly
    from horus_async.recorder.triggers.around import Around
    from horus_async.recorder.write.recorder import RecordingStats
    from horus_async.replay.verify.comparison import Difference, VerifyReport
    from horus_async.scheduler.options import Gc
    from horus_async.scheduler.scheduler import Scheduler, run
    from horus_async.scheduler.stats import SchedulerStats
    from horus_async.topics import BorrowedMessage, Message, Topic
    from horus_async.topics.keeping.keep import Keep
    from horus_async.topics.kinds.admission import register_messages

__version__ = "0.1.0"

__all__ = [
    "ActionError",
    "Anomaly",
    "AppError",
    "Around",
    "BlackBoxError",
    "BorrowedMessage",
    "ConfigurationError",
    "ContextError",
    "DamagedRecordingError",
    "DeterminismError",
    "Difference",
    "EmergencyStop",
    "ExtrapolationError",
    "FailurePolicy",
    "Fatal",
    "Frames",
    "FramesError",
    "Fsync",
    "Gc",
    "GcStats",
    "Goals",
    "Guard",
    "GuardFinding",
    "HorusError",
    "Ignore",
    "Keep",
    "LaunchError",
    "LimitError",
    "Message",
    "MessageDecodeError",
    "MessageOverwrittenError",
    "MessageTooLargeError",
    "Miss",
    "Node",
    "NodeFailure",
    "NodeStats",
    "Param",
    "ParamError",
    "PolicyError",
    "PredicateError",
    "Realtime",
    "RecordingError",
    "RecordingOptions",
    "RecordingStats",
    "Redact",
    "ReplayError",
    "Restart",
    "Scheduler",
    "SchedulerStats",
    "SchemaMismatchError",
    "ServiceError",
    "ServiceTimeoutError",
    "SessionExistsError",
    "SessionNameError",
    "SessionNotFoundError",
    "Skip",
    "Sync",
    "SyncBy",
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
    "action",
    "budget_remaining",
    "dt",
    "elapsed",
    "node",
    "now",
    "now_ns",
    "np_rng",
    "register_messages",
    "rng",
    "run",
    "service",
    "sleep",
    "tick",
]

_HOMES = {
    "nodes.context": ("budget_remaining", "dt", "elapsed", "now", "now_ns", "np_rng", "rng", "sleep", "tick"),
    "determinism.findings": ("GuardFinding",),
    "determinism.reaction": ("Guard",),
    "frames": ("Frames",),
    "nodes.node": ("Node", "node"),
    "nodes.interface.declaring": ("action", "service"),
    "nodes.interface.params": ("Param",),
    "nodes.interface.policies": ("Goals",),
    "nodes.sync.stamps": ("SyncBy",),
    "nodes.sync.sync": ("Sync",),
    "nodes.failure_policies": ("FailurePolicy", "Fatal", "Ignore", "Miss", "Restart", "Skip"),
    "realtime.collector": ("GcStats",),
    "realtime.options": ("Realtime",),
    "recorder.options": ("Fsync", "RecordingOptions", "Redact"),
    "recorder.triggers.anomaly": ("Anomaly",),
    "recorder.triggers.around": ("Around",),
    "recorder.write.recorder": ("RecordingStats",),
    "scheduler.options": ("Gc",),
    "scheduler.scheduler": ("Scheduler", "run"),
    "scheduler.stats": ("SchedulerStats",),
    "engine.stats": ("NodeStats",),
    "topics": ("BorrowedMessage", "Message", "Topic"),
    "topics.keeping.keep": ("Keep",),
    "topics.kinds.admission": ("register_messages",),
    "replay.verify.comparison": ("Difference", "VerifyReport"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # A type checker that saw this would accept any misspelt name.
    __getattr__ = loader(__name__, __all__, _HOME_OF, "errors")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
