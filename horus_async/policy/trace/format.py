"""The lines of a policy trace, schema version 1.

    header     once, before the first request: which model, which server, what was left out
    request    one per request that reached the policy, whatever came of it
    footer     on a clean close

Every line is one JSON object with ``kind`` and ``schema_version``. The names are those of the v1 format that other
policy servers write; additional fields do not change the version, and readers ignore fields that they do not know. Ours
on top of v1: ``arrival_ns`` (wall clock, nanoseconds), ``episode_id``, ``request_id``, ``status`` (HTTP), ``cameras``
(names of the cameras in the request), ``trace_id`` and ``span_id``, ``reset`` (true where the policy was reset for this
request), ``dropped_before`` (requests that could not be recorded since the line before), and in the header
``horus_version``, ``policy`` and ``part``.
"""

from __future__ import annotations

import enum
import platform
from typing import TYPE_CHECKING, Any

import orjson
from attrs import frozen

from horus_async import __version__
from horus_async.clock.system import iso_utc
from horus_async.policy.model.hashes import image_hash
from horus_async.policy.model.jsontext import encode
from horus_async.policy.model.observation import is_camera
from horus_async.policy.model.wire import WireFormat

if TYPE_CHECKING:
    from horus_async.policy.model.interface import Answer
    from horus_async.policy.model.loaded import LoadedPolicy

SCHEMA_VERSION = 1
_MESSAGE_LENGTH = 500


class ImageMode(enum.Enum):
    """What a trace keeps of camera images: the images, their hashes, or nothing."""

    FULL = "full"
    HASH_ONLY = "hash_only"
    NONE = "none"


@frozen
class Failure:
    """Why a request got no actions: a stable short name, and a message."""

    slug: str
    message: str


@frozen
class Exchange:
    """One request that reached the policy, and what came of it, as handed to the recorder.

    ``body`` is the request as received, so that nothing a policy does to it later reaches the trace. ``episode_id`` is
    the episode that it counted to, also where the body names none; ``reset`` says that the policy was reset for it.
    """

    body: bytes
    arrival_ns: int
    finished_ns: int
    request_id: str
    status: int
    policy_ms: float
    queue_ms: float
    mode: str
    answer: Answer | None = None
    failure: Failure | None = None
    trace_id: str = ""
    span_id: str = ""
    form: WireFormat = WireFormat.JSON
    episode_id: str | None = None
    reset: bool = False

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.body) + (len(self.answer.actions_json) if self.answer else 0) + 512


def header_line(policy: LoadedPolicy, *, session_id: str, started_ns: int, images: ImageMode, part: int = 0) -> bytes:
    """The first line of a trace file; ``part`` counts the files of one session from 0."""
    header: dict[str, Any] = {
        "kind": "header",
        "schema_version": SCHEMA_VERSION,
        "session_id": session_id,
        "started_at": iso_utc(started_ns),
        "model_hash": policy.model_hash,
        "config_hash": policy.config_hash,
        "export_dir": policy.export_dir,
        "model_type": policy.model_type,
        "export_kind": policy.export_kind,
        "embodiment": policy.embodiment,
        "hardware": {"gpu": "", "cuda": "", "ort": policy.onnxruntime, "machine": platform.machine()},
        "providers": list(policy.providers),
        "sample_rate": 1.0,
        "redaction": {"image": images.value, "instruction": "full"},
        "notes": "",
        "horus_version": __version__,
        "policy": policy.name,
    }
    if part:
        header["part"] = part
    return encode(header) + b"\n"


def footer_line(*, ended_ns: int, total_requests: int, dropped: int) -> bytes:
    """The last line of a trace file that was closed cleanly."""
    footer = {
        "kind": "footer",
        "schema_version": SCHEMA_VERSION,
        "ended_at": iso_utc(ended_ns),
        "total_requests": total_requests,
        "dropped": dropped,
    }
    return encode(footer) + b"\n"


def request_line(exchange: Exchange, seq: int, images: ImageMode, dropped_before: int = 0) -> bytes:
    """The line of one request."""
    request = orjson.loads(exchange.body)
    cameras = [name for name, value in request.items() if is_camera(name, value)]
    line: dict[str, Any] = {
        "kind": "request",
        "schema_version": SCHEMA_VERSION,
        "seq": seq,
        "chunk_id": seq,
        "timestamp": iso_utc(exchange.finished_ns),
        "arrival_ns": exchange.arrival_ns,
        "request_id": exchange.request_id,
        "episode_id": exchange.episode_id or request.get("episode_id"),
        "request": _redacted(request, cameras, images),
        "response": _response(exchange.answer),
        "latency": _latency(exchange),
        "denoise": {"steps_used": 0, "steps_configured": 0, "adaptive": False},
        "mode": (exchange.answer and exchange.answer.mode) or exchange.mode,
        "vlm_conditioning": "n/a",
        "status": exchange.status,
    }
    if exchange.answer is not None and exchange.answer.blocks:
        line.update(exchange.answer.blocks)
    if exchange.failure is not None:
        line["error"] = {"slug": exchange.failure.slug, "message": exchange.failure.message[:_MESSAGE_LENGTH]}
    if exchange.reset:
        line["reset"] = True
    if exchange.trace_id:
        line["trace_id"], line["span_id"] = exchange.trace_id, exchange.span_id
    if cameras:
        line["cameras"] = cameras
    if dropped_before:
        line["dropped_before"] = dropped_before
    return encode(line) + b"\n"


def _redacted(request: dict[str, Any], cameras: list[str], images: ImageMode) -> dict[str, Any]:
    """The request as the trace keeps it: with camera images in full, as hashes, or not at all."""
    kept: dict[str, Any] = {"instruction": request.pop("instruction", None) or "", "state": request.pop("state", None)}
    for camera in cameras:
        text = request.pop(camera)
        if images is not ImageMode.NONE:
            kept[f"{camera}_sha256"] = image_hash(text)
        if images is ImageMode.FULL:
            kept[f"{camera}_b64"] = text
    kept.update((name, value) for name, value in request.items() if value is not None)
    return kept


def _response(answer: Answer | None) -> dict[str, Any]:
    if answer is None:
        return {"actions": [], "num_actions": 0, "action_dim": 0}
    actions: Any = orjson.Fragment(answer.actions_json)
    return {"actions": actions, "num_actions": answer.num_actions, "action_dim": answer.action_dim, **answer.extras}


def _latency(exchange: Exchange) -> dict[str, Any]:
    stages = {"queue_ms": round(exchange.queue_ms, 3), "policy_ms": round(exchange.policy_ms, 3)}
    if exchange.answer is not None and exchange.answer.stages:
        stages = {**stages, **exchange.answer.stages}
    return {"total_ms": round(exchange.policy_ms, 3), "stages": stages}
