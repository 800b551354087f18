"""Recording runs, and reading what was recorded."""

from horus_async.recording_state import RecordingState

from .log_lines import LogLine
from .naming import recordings_root
from .options import Fsync, RecordingOptions, Redact
from .read.listing import SessionSummary, delete_session, list_sessions, open_session
from .read.log import RecordedLog
from .read.reader import RecordedFile
from .read.session import Session
from .records import (
    ExecutionRecord,
    ExternalMessage,
    GapRecord,
    RecordedInput,
    RecordedLook,
    RecordedOutput,
    SchedulerTick,
    SendsRecord,
)
from .write.lines import tick_digest
from .write.recorder import Recorder
from .write.writer import RecordingStats

__all__ = [
    "ExecutionRecord",
    "ExternalMessage",
    "Fsync",
    "GapRecord",
    "LogLine",
    "RecordedFile",
    "RecordedInput",
    "RecordedLog",
    "RecordedLook",
    "RecordedOutput",
    "Recorder",
    "RecordingOptions",
    "RecordingState",
    "RecordingStats",
    "Redact",
    "SchedulerTick",
    "SendsRecord",
    "Session",
    "SessionSummary",
    "delete_session",
    "list_sessions",
    "open_session",
    "recordings_root",
    "tick_digest",
]
