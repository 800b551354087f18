"""Recording runs, and reading what was recorded."""

from .lines import tick_digest
from .listing import SessionSummary, delete_session, list_sessions, open_session
from .naming import recordings_root
from .options import Fsync, RecordingOptions, Redact
from .reader import RecordedFile
from .recorder import Recorder
from .records import (
    ExecutionRecord,
    ExternalMessage,
    GapRecord,
    RecordedInput,
    RecordedOutput,
    SchedulerTick,
)
from .session import Session
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
    "Redact",
    "SchedulerTick",
    "Session",
    "SessionSummary",
    "delete_session",
    "list_sessions",
    "open_session",
    "recordings_root",
    "tick_digest",
]
