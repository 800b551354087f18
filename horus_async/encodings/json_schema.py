"""JSON schemas that every viewer's parser takes, derived from the messages themselves.

These parsers know less than JSON Schema. An object needs ``properties``; each property needs one type; an array needs
``items`` that are numbers, texts, booleans or objects; ``null``, alternatives and references end in an error, and then
the whole channel is not shown. So what has no single type is left out of the schema: it is in the data all the same.
"""

from __future__ import annotations

from typing import Any

_MAX_DEPTH = 12
_NAMES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_ITEMS = {"boolean", "integer", "number", "object", "string"}
_NUMBER_TAGS = {"$float": "number", "$int": "integer"}


def schema_of(data: Any, depth: int = 0) -> dict[str, Any]:
    """The JSON schema of one value, as recordings have it; without a type where that is not known."""
    if depth > _MAX_DEPTH:
        return {}
    if isinstance(data, dict):
        if len(data) == 1 and (tag := next(iter(data))) in _NUMBER_TAGS:
            return {"type": _NUMBER_TAGS[tag]}  # as it is in all other messages
        properties = {key: schema_of(item, depth + 1) for key, item in data.items()}
        if "$bytes" in properties:
            properties["$bytes"] = {"type": "string", "contentEncoding": "base64"}
        elif "$ndarray" in properties and isinstance(data["$ndarray"].get("data"), str):
            properties["$ndarray"]["properties"]["data"] = {"type": "string", "contentEncoding": "base64"}
        return {"type": "object", "properties": properties}
    if isinstance(data, list):
        items: dict[str, Any] | None = None
        for item in data:
            items = merged_schema(items, schema_of(item, depth + 1))
        return {"type": "array"} if items is None else {"type": "array", "items": items}
    return {"type": _NAMES[type(data)]}


def merged_schema(a: dict[str, Any] | None, b: dict[str, Any]) -> dict[str, Any]:
    """A schema that both values match; ``a`` itself where it says it all. What is null at times is what it is else."""
    if a is None or a == b:
        return b
    kinds = a.get("type"), b.get("type")
    if "null" in kinds:
        return b if kinds[0] == "null" else a
    if kinds == ("object", "object"):
        mine, others = a["properties"], b["properties"]
        properties = {key: merged_schema(mine.get(key), item) for key, item in others.items()}
        return {"type": "object", "properties": {**mine, **properties}}
    if kinds == ("array", "array"):
        return {"type": "array", "items": merged_schema(a.get("items"), b["items"])} if "items" in b else a
    if set(kinds) == {"integer", "number"}:
        return {"type": "number"}
    # One of two texts is base64; of everything else, anything may come.
    return {"type": "string"} if kinds == ("string", "string") else {}


def readable(title: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a channel of objects, with nothing in it that a viewer's parser would not take."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "type": "object",
        "properties": _readable(schema).get("properties", {}),
    }


def _readable(schema: dict[str, Any]) -> dict[str, Any]:
    """A part of a schema; an empty one if it has to be left out."""
    kind = schema.get("type")
    if kind == "object":
        parts = {key: _readable(part) for key, part in schema["properties"].items()}
        return {"type": "object", "properties": {key: part for key, part in parts.items() if part}}
    if kind == "array":
        items = _readable(schema.get("items", {}))
        if items.get("type") not in _ITEMS:
            return {}
        items.pop("contentEncoding", None)
        return {"type": "array", "items": items}
    return {} if kind in {None, "null"} else dict(schema)
