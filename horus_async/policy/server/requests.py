"""What a client sends: its body within the limit, its key, its request id, and the observation in the body.

Every refusal is an HTTP status with a JSON body ``{"error": slug, "message": words, "request_id": id}``.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
import trio

from horus_async.errors import HorusError
from horus_async.policy.model.interface import ObservationError
from horus_async.policy.model.wire import WireFormat, decoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from horus_async.policy.model.interface import Observation

MB = 1 << 20
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
_SCHEMES = ("bearer", "api-key")
_GZIP = b"\x1f\x8b\x08"
_SHOWN = 40
_DEEPEST = 200
_DEFAULTS = {"instruction": "", "state": None, "image": None, "episode_id": None}


class Refusal(HorusError):  # noqa: N818 - an outcome of a request, not a fault
    """A request that gets no actions: HTTP status, a stable short name, a message, and headers."""

    def __init__(self, status: int, slug: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.slug = slug
        self.headers = dict(headers or {})


def request_id_of(headers: Mapping[str, str]) -> str:
    """The client's ``X-Request-ID`` if it is valid (up to 128 of ``A-Za-z0-9._:-``), else a new one."""
    sent = headers.get("x-request-id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else uuid.uuid4().hex


def check_api_key(headers: Mapping[str, str], api_key: str | None) -> None:
    """Let through a client that has the key. The time this takes says nothing about the key.

    Raises:
        Refusal: 401, no or a wrong key, as ``Authorization: Bearer KEY``, ``Authorization: Api-Key KEY`` or
            ``X-Reflex-Key: KEY``.
    """
    if api_key is None:
        return
    known = hashlib.sha256(api_key.encode()).digest()
    scheme, _, sent = headers.get("authorization", "").partition(" ")
    matches = _is_key(sent, known) and scheme.lower() in _SCHEMES
    if not (_is_key(headers.get("x-reflex-key", ""), known) or matches):
        message = "this server wants its API key: 'Authorization: Bearer KEY', or 'Api-Key KEY', or 'X-Reflex-Key: KEY'"
        raise Refusal(401, "unauthorized", message, {"WWW-Authenticate": "Bearer"})


def _is_key(sent: str, known: bytes) -> bool:
    return hmac.compare_digest(known, hashlib.sha256(sent.strip().encode("latin-1", "replace")).digest())


def check_encoding(headers: Mapping[str, str]) -> None:
    """Let through a body as it is.

    Raises:
        Refusal: 415, it is compressed.
    """
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise _compressed(f"as {encoding[:_SHOWN]!r}")


def _compressed(how: str) -> Refusal:
    return Refusal(415, "unsupported-encoding", f"the body is compressed {how}; send it plain", {"Accept-Encoding": ""})


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """The request's body.

    Raises:
        Refusal: 413, more than ``limit`` bytes; 408, not complete within ``seconds``; 415, compressed.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    with trio.move_on_after(seconds) as scope:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    if scope.cancelled_caught:
        raise Refusal(408, "body-timeout", f"the body was not there within {seconds:g} s")
    body = b"".join(chunks)
    if body.startswith(_GZIP):
        raise _compressed("with gzip")
    return body


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body-too-large", f"the body is larger than {limit / MB:g} MB")


def parse_episode(body: bytes) -> str | None:
    """The episode that a body of ``/reset`` names, None if it names none.

    Raises:
        Refusal: 400, not JSON; 422, not an object, or the episode is no text.
    """
    sent = _read_json(body) if body.strip() else {}
    if not isinstance(sent, dict) or not isinstance(sent.get("episode_id"), str | None):
        raise Refusal(422, "bad-request", "the body must be a JSON object, and its 'episode_id' text")
    episode: str | None = sent.get("episode_id")
    return episode


def parse_observation(body: bytes, form: WireFormat = WireFormat.JSON) -> Observation:
    """The observation in a body. ``instruction``, ``state``, ``image`` and ``episode_id`` are always in it.

    Raises:
        Refusal: 400, not of that form; 422, not an object, or a known field has the wrong type.
    """
    json = form is WireFormat.JSON
    sent = _read_json(body) if json else _read_msgpack(body)
    if not isinstance(sent, dict):
        raise Refusal(422, "bad-request", f"the body must be a {'JSON object' if json else 'map'}, not {_kind(sent)}")
    for name in ("instruction", "image", "episode_id") if json else ("instruction", "episode_id"):
        if not isinstance(sent.get(name), str | None):
            raise Refusal(422, "bad-request", f"{name!r} must be text, not {_kind(sent[name])}")
    if not _is_state(sent.get("state"), json=json):
        raise Refusal(422, "bad-request", "'state' must be a list of numbers")
    if json:
        _check_depth(sent)
    elif _is_too_deep(sent, _DEEPEST):
        raise Refusal(422, "bad-request", f"a field is nested more than {_DEEPEST} deep and cannot be recorded")
    if sent.get("instruction") is None:
        sent["instruction"] = "" if json else _prompt(sent)
    return {**_DEFAULTS, **sent}


def _prompt(sent: dict[str, Any]) -> str:
    """What openpi's clients call the instruction: a text, perhaps in an array."""
    prompt: Any = sent.get("prompt")
    # A text in an array without dimensions.
    if getattr(prompt, "shape", None) == ():
        prompt = prompt.item()
    return str(prompt) if isinstance(prompt, str) else ""


def _read_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, "bad-json", f"the body is not JSON: {error}") from error


def _read_msgpack(body: bytes) -> Any:
    try:
        return decoded(body, WireFormat.MSGPACK)
    except ObservationError as error:
        raise Refusal(400, "bad-msgpack", str(error)) from error


def _is_state(state: Any, *, json: bool) -> bool:
    if state is None or (isinstance(state, list) and all(type(value) in (int, float) for value in state)):
        return True
    # An array's kind: whole numbers, with and without sign, and floats.
    return not json and getattr(getattr(state, "dtype", None), "kind", "") in ("i", "u", "f")


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def _check_depth(sent: dict[str, Any]) -> None:
    """Refuse what could be read but not written again: values nested too deeply for the JSON encoder."""
    nested = [value for name, value in sent.items() if isinstance(value, list | dict) and name != "state"]
    try:
        orjson.dumps(nested) if nested else None
    except TypeError as error:
        raise Refusal(422, "bad-request", f"a field cannot be recorded: {error}") from error


def _is_too_deep(value: Any, left: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_is_too_deep(item, left - 1) for item in inside)
