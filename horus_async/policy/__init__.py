"""Serve a learned policy, record what it is asked, and replay that through another one.

The server itself lives in ``horus_async.policy.server`` and needs the extra ``serve``; everything here does not.
"""

from __future__ import annotations

from horus_async.recording_state import RecordingState

from .model.hashes import config_hash, image_hash, model_hash
from .model.interface import Answer, AnswerError, Observation, ObservationError, Policy
from .model.loaded import LoadedPolicy
from .model.loading import from_object, load_policy
from .model.observation import arrays, image_array
from .replay.actions import DiffMode, Thresholds
from .replay.report import ReplaySummary, report, shown
from .replay.results import Replayed
from .replay.run import ReplayOptions, replay_trace
from .trace.exports import export
from .trace.exports.exported import Exported
from .trace.exports.options import DatasetOptions, ExportFormat
from .trace.finding import find_traces
from .trace.format import Exchange, Failure
from .trace.query import Bucket, Filter, Verdict, Watcher, list_traces, matching, row_of, summarise
from .trace.reader import TraceReader, is_trace
from .trace.recorder import RecorderStats, TraceOptions, TraceRecorder
from .trace.redaction import ImageMode
from .trace.request import TraceRequest

__all__ = [
    "Answer",
    "AnswerError",
    "Bucket",
    "DatasetOptions",
    "DiffMode",
    "Exchange",
    "ExportFormat",
    "Exported",
    "Failure",
    "Filter",
    "ImageMode",
    "LoadedPolicy",
    "Observation",
    "ObservationError",
    "Policy",
    "RecorderStats",
    "RecordingState",
    "ReplayOptions",
    "ReplaySummary",
    "Replayed",
    "Thresholds",
    "TraceOptions",
    "TraceReader",
    "TraceRecorder",
    "TraceRequest",
    "Verdict",
    "Watcher",
    "arrays",
    "config_hash",
    "export",
    "find_traces",
    "from_object",
    "image_array",
    "image_hash",
    "is_trace",
    "list_traces",
    "load_policy",
    "matching",
    "model_hash",
    "replay_trace",
    "report",
    "row_of",
    "shown",
    "summarise",
]
