"""The lines of a policy trace, schema version 1.

    header     once, before the first request: which model, which server, what was left out
    request    one per request that reached the policy, whatever came of it
    footer     on a clean close

Every line is one JSON object with ``kind`` and ``schema_version``. The names are those of the v1 format that other
policy servers write; additional fields do not change the version, and readers ignore fields that they do not know. Ours
on top of v1: ``arrival_ns`` (wall clock, nanoseconds), ``episode_id``, ``request_id``, ``status`` (HTTP), ``cameras``
(where in the request images are, as dotted paths), ``wire`` (``msgpack`` if it did not come as JSON), ``reset``
(true where the policy was reset for this request), ``trace_id`` and ``span_id``, ``dropped_before`` (requests that
could not be recorded since the line before), ``crc`` (at the end of each line: `checksum`), and in the header
``horus_version``, ``policy`` and, in later files of a session, ``part`` and ``dropped``.

A field that is an image as base64 text is kept as in v1, ``<field>_sha256`` and ``<field>_b64``; images elsewhere, and
what JSON lacks, as `redaction` says. The ``instruction`` and ``state`` of a request in MessagePack are copies for
readers of v1; the client's own are ``$instruction`` and ``$state``.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import orjson
from attrs import frozen

from horus_async import __version__
from horus_async.clock.system import iso_utc
from horus_async.policy.model.hashes import image_hash
from horus_async.policy.model.images.hiding import Images, without_images
from horus_async.policy.model.jsontext import encode
from horus_async.policy.model.wire import WireFormat, decoded

from .checksum import with_checksum
from .redaction import ImageMode, Redaction

if TYPE_CHECKING:
    from horus_async.policy.model.interface import Answer
    from horus_async.policy.model.loaded import LoadedPolicy

SCHEMA_VERSION = 1
_MESSAGE_LENGTH = 500
_TEXTS = ("instruction", "episode_id")
_DEFAULTS = ("instruction", "state", "image", "episode_id")
CAMERA_SUFFIXES = ("_b64", "_sha256")


@frozen
class Failure:
    """Why a request got no actions: a stable short name, and a message."""

    slug: str
    message: str


@frozen
class Exchange:
    """One request that reached the policy, and what came of it, as handed to the recorder.

    ``body`` is the request as received, in the form ``form``, so that nothing a policy does to it later reaches the
    trace. ``episode_id`` is the episode that it counted to, also where the body names none; ``reset`` says that the
    policy was reset for it.
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


def header_line(
    policy: LoadedPolicy, *, session_id: str, started_ns: int, images: ImageMode, part: int = 0, dropped: int = 0
) -> bytes:
    """The first line of a trace file; ``part`` counts the files of one session from 0.

    ``dropped`` is how many dropped requests the session's earlier files tell of.
    """
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
        header["part"], header["dropped"] = part, dropped
    return with_checksum(encode(header)) + b"\n"


def footer_line(*, ended_ns: int, total_requests: int, dropped: int) -> bytes:
    """The last line of a trace file that was closed cleanly. ``dropped`` counts from the start of the session."""
    footer = {
        "kind": "footer",
        "schema_version": SCHEMA_VERSION,
        "ended_at": iso_utc(ended_ns),
        "total_requests": total_requests,
        "dropped": dropped,
    }
    return with_checksum(encode(footer)) + b"\n"


def request_line(exchange: Exchange, seq: int, images: ImageMode, dropped_before: int = 0) -> bytes:
    """The line of one request."""
    request = decoded(exchange.body, exchange.form)
    found = Images(request)
    named = request.get("episode_id")
    # What is an image goes by identity: where both are the same text, it is the request's that was looked at.
    episode = named if named == exchange.episode_id else exchange.episode_id or named
    redaction = Redaction(found, images)
    line: dict[str, Any] = {
        "kind": "request",
        "schema_version": SCHEMA_VERSION,
        "seq": seq,
        "chunk_id": seq,
        "timestamp": iso_utc(exchange.finished_ns),
        "arrival_ns": exchange.arrival_ns,
        "request_id": exchange.request_id,
        "episode_id": redaction.text(episode) if isinstance(episode, str) else redaction.kept(episode),
        "request": _request(request, found, redaction, images, exchange.form),
        **_answered(exchange, found, images),
    }
    if exchange.form is WireFormat.MSGPACK:
        line["wire"] = exchange.form.value
    if exchange.failure is not None:
        message = without_images(exchange.failure.message, found)
        line["error"] = {"slug": exchange.failure.slug, "message": message[:_MESSAGE_LENGTH]}
    if exchange.reset:
        line["reset"] = True
    if exchange.trace_id:
        line["trace_id"], line["span_id"] = exchange.trace_id, exchange.span_id
    line["cameras"] = found.paths
    if dropped_before:
        line["dropped_before"] = dropped_before
    return with_checksum(encode(line)) + b"\n"


def _request(
    request: dict[Any, Any], images: Images, redaction: Redaction, mode: ImageMode, form: WireFormat
) -> dict[str, Any]:
    """The request as the trace keeps it."""
    fields = request
    if form is WireFormat.JSON:
        fields = {name: value for name, value in request.items() if value is not None or name not in _DEFAULTS}
    cameras = [name for name, value in fields.items() if _is_camera(name, value, images)]
    kept: dict[str, Any] = {"instruction": "", "state": None}
    # Names that have a meaning of their own here are told from the client's by a `$`.
    names = {f"{path}{suffix}" for path in images.paths for suffix in CAMERA_SUFFIXES}
    names |= {"instruction", "state"} if form is WireFormat.MSGPACK else set()
    for name, value in fields.items():
        if name in cameras:
            kept |= _camera(name, value, mode)
        elif isinstance(name, str):
            is_text = name in _TEXTS and isinstance(value, str)
            taken = f"${name}" if name in names else redaction.key(name)
            kept[taken] = redaction.text(value) if is_text else redaction.kept(value)
    if others := {name: value for name, value in fields.items() if not isinstance(name, str)}:
        kept |= redaction.kept(others)
    if form is WireFormat.MSGPACK:
        kept["instruction"], kept["state"] = _v1_instruction(request, redaction), _v1_state(request, redaction)
    return kept


def _is_camera(name: Any, value: Any, images: Images) -> bool:
    """Whether a field of a request is kept in the form that v1 has for images."""
    if not isinstance(name, str) or not isinstance(value, str) or name in _TEXTS or name.startswith("$"):
        return False
    return (name == "image" and value != "") or (images.is_whole(value) and images.spans(name) is None)


def _camera(name: str, text: str, mode: ImageMode) -> dict[str, str]:
    kept = {}
    if mode is not ImageMode.NONE:
        kept[f"{name}_sha256"] = image_hash(text)
    if mode is ImageMode.FULL:
        kept[f"{name}_b64"] = text
    return kept


def _v1_instruction(request: dict[Any, Any], redaction: Redaction) -> str:
    for name in ("instruction", "prompt"):
        value: Any = request.get(name)
        if getattr(value, "shape", None) == () and hasattr(value, "item"):
            value = value.item()
        if isinstance(value, str) and value:
            return redaction.text(value)
    return ""


def _v1_state(request: dict[Any, Any], redaction: Redaction) -> Any:
    for name in ("state", "observation/state"):
        value: Any = request.get(name)
        if hasattr(value, "dtype"):
            value = value.reshape(-1).tolist()
        if isinstance(value, list):
            return redaction.kept(value)
    return None


def _answered(exchange: Exchange, images: Images, mode: ImageMode) -> dict[str, Any]:
    """What came of a request. Its answer may repeat parts of the request, so the image mode holds for it, too."""
    answer = exchange.answer
    response: dict[str, Any] = {"actions": [], "num_actions": 0, "action_dim": 0}
    blocks: dict[str, Any] = {}
    stages = {"queue_ms": round(exchange.queue_ms, 3), "policy_ms": round(exchange.policy_ms, 3)}
    said = None
    if answer is not None:
        parts = [answer.extras, answer.blocks, answer.stages, answer.mode]
        extras, blocks, own_stages, said = _redacted(parts, images, mode)
        actions: Any = orjson.Fragment(answer.actions_json)
        response = {"actions": actions, "num_actions": answer.num_actions, "action_dim": answer.action_dim, **extras}
        stages |= own_stages or {}
    return {
        "response": response,
        "latency": {"total_ms": round(exchange.policy_ms, 3), "stages": stages},
        "denoise": {"steps_used": 0, "steps_configured": 0, "adaptive": False},
        "mode": said or exchange.mode,
        "vlm_conditioning": "n/a",
        "status": exchange.status,
        **blocks,
    }


def _redacted(parts: list[Any], images: Images, mode: ImageMode) -> list[Any]:
    if mode is ImageMode.FULL or not any(parts):
        return parts
    plain = orjson.loads(encode(parts))
    images.look_at(plain)
    return [Redaction(images, mode, is_request=False).kept(part) for part in plain]
