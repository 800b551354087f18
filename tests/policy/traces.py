"""Traces made by the real recorder, and v1 traces of another server, for the tests that read."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import lz4.frame
import orjson

from horus_async.policy import Exchange, Failure, ImageMode, TraceOptions, TraceRecorder, from_object
from horus_async.policy.model.interface import answer_of
from tests.policy.conftest import only_trace, reach

if TYPE_CHECKING:
    from pathlib import Path


def exchange(request: dict[str, Any], **fields: Any) -> Exchange:
    """One request, answered by ``reach`` unless ``result`` or ``failure`` say otherwise."""
    failure = fields.pop("failure", None)
    result = fields.pop("result", None)
    chosen: dict[str, Any] = {
        "arrival_ns": 1_700_000_000_000_000_000,
        "finished_ns": 1_700_000_000_100_000_000,
        "request_id": "r",
        "status": 200 if failure is None else 500,
        "policy_ms": 5.0,
        "queue_ms": 0.1,
        "mode": "python",
        "answer": None if failure else answer_of(result if result is not None else reach({"state": None, **request})),
        "failure": failure and Failure(failure, "it failed"),
    }
    return Exchange(body=orjson.dumps(request), **{**chosen, **fields})


def record(
    folder: Path, exchanges: list[Exchange], *, compress: bool = True, images: ImageMode = ImageMode.HASH_ONLY
) -> Path:
    """Record exchanges as a server would; returns the file."""
    options = TraceOptions(directory=folder, compress=compress, images=images)
    with TraceRecorder(from_object(reach, name="test:reach"), options) as recorder:
        for one in exchanges:
            assert recorder.record(one) is not None
    return only_trace(folder)


def foreign_lines(count: int = 3, **header: Any) -> list[dict[str, Any]]:
    """A v1 trace as another server writes it: other version key, fields of its own, actions of ``reach``."""
    lines: list[dict[str, Any]] = [
        {
            "kind": "header", "schema_version": 1, "session_id": "87cc760b-f9d4-4a39-afa2-f4148c5f9c99",
            "started_at": "2026-04-24T17:13:05.241Z", "model_hash": "7a8b3c1d9f2e4a55",
            "config_hash": "e12f44c7b1a93802", "export_dir": "/opt/export", "model_type": "pi05",
            "export_kind": "monolithic", "embodiment": "franka",
            "hardware": {"gpu": "", "cuda": "", "ort": ""}, "providers": [], "sample_rate": 1.0,
            "redaction": {"image": "hash_only", "instruction": "full"}, "notes": "", "reflex_version": "0.11.2",
            **header,
        }
    ]  # fmt: skip
    for seq in range(count):
        request = {"instruction": "pick up the red cup", "state": [0.1 * seq, 1.0]}
        actions = reach(request)
        lines.append(
            {
                "kind": "request", "schema_version": 1, "seq": seq, "chunk_id": seq,
                "timestamp": f"2026-04-24T17:13:0{6 + seq % 4}.010Z", "request": request,
                "response": {"actions": actions, "num_actions": len(actions), "action_dim": 2},
                "latency": {"total_ms": 98.2}, "denoise": {"steps_used": 0, "steps_configured": 0, "adaptive": False},
                "mode": "onnx_gpu", "vlm_conditioning": "real", "something_new": {"x": [1]},
            }
        )  # fmt: skip
    lines.append({"kind": "something_else", "schema_version": 1})
    lines.append(
        {"kind": "footer", "schema_version": 1, "ended_at": "2026-04-24T17:20:00.000Z", "total_requests": count}
    )
    return lines


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    """Write lines the way the suffix says."""
    text = b"".join(orjson.dumps(line) + b"\n" for line in lines)
    if path.suffix == ".gz":
        text = gzip.compress(text)
    elif path.suffix == ".lz4":
        half = text.index(b"\n") + 1
        skippable = b"\x50\x2a\x4d\x18\x05\x00\x00\x00index"
        text = lz4.frame.compress(text[:half]) + lz4.frame.compress(text[half:]) + skippable
    path.write_bytes(text)
    return path
