"""Serving a learned policy, recording what it was asked, and replaying that through another one.

The server itself lives in ``horus_async.policy.server`` and needs the extra ``serve``; everything here does not.
"""

from __future__ import annotations

from horus_async.policy.compare import DiffMode, Thresholds
from horus_async.policy.hashes import config_hash, image_hash, model_hash
from horus_async.policy.interface import Answer, AnswerError, Observation, ObservationError, Policy
from horus_async.policy.loading import LoadedPolicy, from_object, load_policy
from horus_async.policy.observation import arrays, image_array
from horus_async.policy.replay import Replayed, ReplayOptions, replay_trace
from horus_async.policy.replay_report import ReplaySummary, report, shown
from horus_async.policy.trace_export import ExportFormat, export
from horus_async.policy.trace_format import Exchange, Failure, ImageMode
from horus_async.policy.trace_query import Bucket, Filter, list_traces, matching, row_of, summarise
from horus_async.policy.trace_reader import TraceReader, TraceRequest, find_traces
from horus_async.policy.trace_recorder import RecorderStats, RecordingState, TraceOptions, TraceRecorder

__all__ = [
    "Answer",
    "AnswerError",
    "Bucket",
    "DiffMode",
    "Exchange",
    "ExportFormat",
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
    "arrays",
    "config_hash",
    "export",
    "find_traces",
    "from_object",
    "image_array",
    "image_hash",
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
