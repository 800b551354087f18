"""Recording runs, and reading what was recorded."""

from .naming import recordings_root
from .options import Fsync, RecordingOptions
from .reader import RecordedFile
from .recorder import Recorder
from .records import (
    ExecutionRecord,
    ExternalMessage,
    GapRecord,
    RecordedInput,
    RecordedOutput,
    SchedulerTick,
    tick_digest,
)
from .session import Session, SessionSummary, delete_session, list_sessions, open_session
from .writer import RecordingState, RecordingStats

__all__ = [
    "ExecutionRecord",
    "ExternalMessage",
    "Fsync",
    "GapRecord",
    "RecordedFile",
    "RecordedInput",
    "RecordedOutput",
    "Recorder",
    "RecordingOptions",
    "RecordingState",
    "RecordingStats",
    "SchedulerTick",
    "Session",
    "SessionSummary",
    "delete_session",
    "list_sessions",
    "open_session",
    "recordings_root",
    "tick_digest",
]
