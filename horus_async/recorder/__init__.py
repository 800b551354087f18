"""Recording runs, and reading what was recorded. Names are loaded on first use: who reads does without the writer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.lazy_names import loader
from horus_async.recording_state import RecordingState

if TYPE_CHECKING:
    from .log_lines import LogLine
    from .messages import RecordedMessage
    from .naming import recordings_root
    from .options import Fsync, RecordingOptions, Redact
    from .read.listing import SessionSummary, delete_session, list_sessions
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
    from .sets.opening import open_session
    from .tables.topic import TopicMessages
    from .view.log import RecordedLog
    from .view.params import ParamSetting, RecordedParams
    from .view.view import SessionView
    from .write.lines import tick_digest
    from .write.recorder import Recorder
    from .write.writer import RecordingStats

__all__ = [
    "ExecutionRecord",
    "ExternalMessage",
    "Fsync",
    "GapRecord",
    "LogLine",
    "ParamSetting",
    "RecordedFile",
    "RecordedInput",
    "RecordedLog",
    "RecordedLook",
    "RecordedMessage",
    "RecordedOutput",
    "RecordedParams",
    "Recorder",
    "RecordingOptions",
    "RecordingState",
    "RecordingStats",
    "Redact",
    "SchedulerTick",
    "SendsRecord",
    "Session",
    "SessionSummary",
    "SessionView",
    "TopicMessages",
    "delete_session",
    "list_sessions",
    "open_session",
    "recordings_root",
    "tick_digest",
]

_HOMES = {
    "ExecutionRecord": "records",
    "ExternalMessage": "records",
    "Fsync": "options",
    "GapRecord": "records",
    "LogLine": "log_lines",
    "ParamSetting": "view.params",
    "RecordedFile": "read.reader",
    "RecordedInput": "records",
    "RecordedLog": "view.log",
    "RecordedLook": "records",
    "RecordedMessage": "messages",
    "RecordedOutput": "records",
    "RecordedParams": "view.params",
    "Recorder": "write.recorder",
    "RecordingOptions": "options",
    "RecordingStats": "write.writer",
    "Redact": "options",
    "SchedulerTick": "records",
    "SendsRecord": "records",
    "Session": "read.session",
    "SessionSummary": "read.listing",
    "SessionView": "view.view",
    "TopicMessages": "tables.topic",
    "delete_session": "read.listing",
    "list_sessions": "read.listing",
    "open_session": "sets.opening",
    "recordings_root": "naming",
    "tick_digest": "write.lines",
}

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, __all__, _HOMES)
