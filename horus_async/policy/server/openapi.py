"""The server's API as an OpenAPI 3.1 description."""

from __future__ import annotations

from typing import Any

from horus_async import __version__

_TEXT_OR_NULL = {"type": ["string", "null"]}
_NUMBERS = {"type": "array", "items": {"type": "number"}}


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _error(description: str) -> dict[str, Any]:
    return _answer(description, {"$ref": "#/components/schemas/Error"})


_OBSERVATION = {
    "type": "object",
    "description": "One observation; further cameras (base64) and fields are allowed",
    "properties": {
        "instruction": {**_TEXT_OR_NULL, "description": "What to do"},
        "state": {"anyOf": [_NUMBERS, {"type": "null"}], "description": "The robot's state"},
        "image": {**_TEXT_OR_NULL, "description": "Primary camera: base64 of a JPEG or PNG"},
        "episode_id": {**_TEXT_OR_NULL, "description": "The episode this observation belongs to"},
    },
    "additionalProperties": True,
}

_ACTIONS = {
    "type": "object",
    "required": ["actions", "num_actions", "action_dim", "latency_ms", "request_id"],
    "properties": {
        "actions": {"type": "array", "items": _NUMBERS},
        "num_actions": {"type": "integer", "minimum": 1},
        "action_dim": {"type": "integer", "minimum": 1},
        "latency_ms": {"type": "number", "minimum": 0},
        "request_id": {"type": "string"},
        "seq": {"type": "integer", "minimum": 0, "description": "Number of the record in the trace"},
    },
    "additionalProperties": True,
}

_ERROR = {
    "type": "object",
    "required": ["error", "message", "request_id"],
    "properties": {name: {"type": "string"} for name in ("error", "message", "request_id")},
}

_HEALTH = {
    "type": "object",
    "required": ["status", "state", "model_loaded", "recording"],
    "properties": {
        "status": {"enum": ["ok", "unavailable"]},
        "state": {"enum": ["loading", "warming", "ready", "degraded", "stuck", "blocked", "stopping"]},
        "model_loaded": {"type": "boolean"},
        "recording": {
            "type": "object",
            "required": ["state", "dropped"],
            "properties": {"state": {"enum": ["on", "failed", "off"]}, "dropped": {"type": "integer", "minimum": 0}},
        },
    },
}

_KEYS: list[dict[str, list[str]]] = [{}, {"bearer": []}, {"key": []}]

_ACT = {
    "summary": "Actions for one observation",
    "security": _KEYS,
    "requestBody": {"required": True, "content": {"application/json": {"schema": _OBSERVATION}}},
    "responses": {
        "200": _answer("Actions", _ACTIONS),
        "400": _error("The body is not JSON"),
        "401": _error("No or a wrong API key"),
        "403": _error("Without a key: asked under a name that is not the server's, or by a web page"),
        "408": _error("The body did not come in time"),
        "409": _error("The episode is over"),
        "413": _error("The body is too large"),
        "415": _error("The body is compressed, or (without a key) not sent as application/json"),
        "422": _error("A field of the wrong type, or one that the policy needs is missing"),
        "500": _error("The policy failed"),
        "503": _error("Not ready, or too many requests are waiting; see Retry-After"),
        "504": _error("The policy took too long"),
    },
}

_EPISODE = {"type": "object", "properties": {"episode_id": _TEXT_OR_NULL}}
_RESET_DONE = {
    "type": "object",
    "required": ["episode_id", "reset", "request_id"],
    "properties": {"episode_id": _TEXT_OR_NULL, "reset": {"type": "boolean"}, "request_id": {"type": "string"}},
}

_RESET = {
    "summary": "Begin an episode anew",
    "security": _KEYS,
    "requestBody": {"required": False, "content": {"application/json": {"schema": _EPISODE}}},
    "responses": {
        "200": _answer("Done, or the policy has nothing to reset", _RESET_DONE),
        **{status: _ACT["responses"][status] for status in ("400", "401", "403", "408", "413", "415", "422")},  # type: ignore[index]
        **{status: _ACT["responses"][status] for status in ("500", "503", "504")},  # type: ignore[index]
    },
}

_CONFIG = {
    "summary": "Which policy this is, and its limits",
    "security": _KEYS,
    "responses": {
        "200": _answer("The policy", {"type": "object"}),
        **{status: _ACT["responses"][status] for status in ("401", "403")},  # type: ignore[index]
    },
}

DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "horus-async policy server", "version": __version__},
    "paths": {
        "/act": {"post": _ACT},
        "/reset": {"post": _RESET},
        "/config": {"get": _CONFIG},
        "/health": {"get": {"responses": {"200": _answer("Ready", _HEALTH), "503": _answer("Not ready", _HEALTH)}}},
        "/healthz": {
            "get": {
                "responses": {
                    status: {"description": "The status of /health", "content": {"text/plain": {}}}
                    for status in ("200", "503")
                }
            }
        },
        "/metrics": {"get": {"responses": {"200": {"description": "Prometheus text", "content": {"text/plain": {}}}}}},
        "/openapi.json": {"get": {"responses": {"200": _answer("This description", {"type": "object"})}}},
    },
    "components": {
        "schemas": {"Error": _ERROR},
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-Reflex-Key"},
        },
    },
}
