"""What a client sends: its key, the form of its body, the body within the limits, and the observation in it."""

from __future__ import annotations

import hashlib
import hmac
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson
import trio

from horus_async.policy.model.interface import ObservationError
from horus_async.policy.model.weight import TooManyValuesError
from horus_async.policy.model.wire import WireFormat, weighed

from .admission.refusal import Refusal
from .admission.room import MB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from horus_async.policy.model.interface import Observation
    from horus_async.policy.model.weight import Weight

    from .admission.room import Room, Share

_SCHEMES = ("bearer", "api-key")
_GZIP = b"\x1f\x8b\x08"
_SHOWN = 40
_DEEPEST = 200
_DEFAULTS = {"instruction": "", "state": None, "image": None, "episode_id": None}


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


_FORM = "application/x-www-form-urlencoded"
"""What ``curl -d`` and ``urllib`` call any body, and browsers those of forms."""
_BROWSERS = ("origin", "referer", "cookie", "sec-fetch-site", "sec-fetch-mode")
"""One of these at least is in whatever a page has a browser send as a form."""


def check_type(headers: Mapping[str, str]) -> None:
    """Let through a body that says it is JSON, or says nothing: a form of a web page always says what it is.

    One that ``curl -d`` sends passes, too: it says that it is a form, but nothing that browsers say.

    Raises:
        Refusal: 415, it says that it is something else.
    """
    said = headers.get("content-type", "")
    kind = said.partition(";")[0].strip().lower()
    if kind == _FORM and not any(name in headers for name in _BROWSERS):
        return
    if said and kind != "application/json":
        way_out = "-H 'Content-Type: application/json'"
        message = f"the body is sent as {said[:_SHOWN]!r}: send it as application/json (curl {way_out})"
        raise Refusal(415, "unsupported-type", message)


def _compressed(how: str) -> Refusal:
    return Refusal(415, "unsupported-encoding", f"the body is compressed {how}; send it plain", {"Accept-Encoding": ""})


async def read_body(request: Request, share: Share, room: Room, *, limit: int, seconds: float) -> bytes:
    """The request's body; ``share`` of ``room`` grows as it comes.

    Raises:
        Refusal: 413, more than ``limit`` bytes; 408, not complete within ``seconds``; 415, compressed; 503, there is no
            room for it.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)
    body = bytearray()
    with trio.move_on_after(seconds) as scope:
        async with aclosing(request.stream()) as stream:
            async for chunk in stream:
                if len(body) + len(chunk) > limit:
                    raise _too_large(limit)
                if not share.take(len(chunk)):
                    raise room.refusal()
                body += chunk
    if scope.cancelled_caught:
        raise Refusal(408, "body-timeout", f"the body was not there within {seconds:g} s")
    if body.startswith(_GZIP):
        raise _compressed("with gzip")
    return bytes(body)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "body-too-large", f"the body is larger than {limit / MB:g} MB")


def parse_episode(body: bytes) -> str | None:
    """The episode that a body of ``/reset`` names, None if it names none.

    Raises:
        Refusal: 400, not JSON; 422, not an object, or the episode is no text.
    """
    sent = _read(body, WireFormat.JSON)[0] if body.strip() else {}
    if not isinstance(sent, dict) or not isinstance(sent.get("episode_id"), str | None):
        raise Refusal(422, "bad-request", "the body must be a JSON object, and its 'episode_id' text")
    episode: str | None = sent.get("episode_id")
    return episode


def parse_observation(body: bytes, form: WireFormat = WireFormat.JSON) -> tuple[Observation, Weight]:
    """The observation in a body, and its weight. It always has ``instruction``, ``state``, ``image``, ``episode_id``.

    Raises:
        Refusal: 400, not of that form; 413, more values than are read; 422, not an object, or a known field has the
            wrong type.
    """
    json = form is WireFormat.JSON
    sent, weight = _read(body, form)
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
    return {**_DEFAULTS, **sent}, weight


def _prompt(sent: dict[str, Any]) -> str:
    """What openpi's clients call the instruction: a text, perhaps in an array."""
    prompt: Any = sent.get("prompt")
    # A text in an array without dimensions.
    if getattr(prompt, "shape", None) == ():
        prompt = prompt.item()
    return str(prompt) if isinstance(prompt, str) else ""


def _read(body: bytes, form: WireFormat) -> tuple[Any, Weight]:
    try:
        return weighed(body, form)
    except TooManyValuesError as error:
        raise Refusal(413, "body-too-large", str(error)) from error
    except ObservationError as error:
        raise Refusal(400, f"bad-{form.value}", str(error)) from error


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
