"""What a policy is, and what its answers must look like.

A policy maps one observation to a chunk of actions. The observation is the request as a plain ``dict`` of JSON values:
``instruction`` (str), ``state`` (list of numbers or None), ``image`` (base64 text or None), ``episode_id`` (str or
None), and any further cameras and fields that the client sent. ``horus_async.policy.arrays`` turns it into NumPy
arrays. The answer is rows of actions (lists or a NumPy array, steps × action dimensions; a flat list is one row), or a
dict with ``actions`` and optionally ``cache``, ``denoise``, ``guard``, ``deadline``, ``rtc``, ``stages`` and ``mode``,
which go into the trace under those names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import orjson
from attrs import Factory, field, frozen

from horus_async.errors import PolicyError

from .jsontext import encode

if TYPE_CHECKING:
    from collections.abc import Mapping

Observation = dict[str, Any]
"""One request, as plain JSON values."""

BLOCKS = ("cache", "denoise", "guard", "deadline", "rtc")
"""Parts of an answer that are fields of their own in a trace line."""

_NUMBER_CHARACTERS = b"0123456789+-.eE,[]"


class Policy(Protocol):
    """What can be served: anything with ``act``, plain or ``async``.

    Optional: ``reset(episode_id)``, called before the first observation of an episode; ``warm_up()``, called once
    before the server reports that it is ready; and ``metadata``, a dict that may hold ``model_hash``, ``config_hash``,
    ``model_type``, ``export_kind``, ``embodiment``, ``providers``, ``mode`` and ``concurrency`` (how many calls may
    run at once; 1 for a plain ``act``, 64 for an ``async`` one).
    """

    def act(self, observation: Observation, /) -> Any:
        """Actions for one observation, or an awaitable of them."""


class ObservationError(PolicyError, ValueError):
    """The observation lacks a field that the policy needs, or has it in a form that the policy cannot use."""


@frozen
class Answer:
    """A policy's answer, checked and already encoded as JSON, so that it is encoded only once.

    ``actions`` are the same rows as the policy gave them: lists, or a NumPy array of its own dtype.
    """

    actions_json: bytes
    num_actions: int
    action_dim: int
    blocks: Mapping[str, Any] = Factory(dict)
    stages: Mapping[str, Any] | None = None
    mode: str | None = None
    extras: Mapping[str, Any] = Factory(dict)
    actions: Any = field(default=None, eq=False, repr=False)


class AnswerError(PolicyError):
    """A policy answered with something that is not a chunk of actions.

    ``answer`` holds the actions nevertheless if they were rows of numbers, but not all finite.
    """

    def __init__(self, message: str, slug: str = "bad-actions", answer: Answer | None = None) -> None:
        super().__init__(message)
        self.slug = slug
        self.answer = answer


def answer_of(result: Any) -> Answer:
    """Check and encode what a policy returned.

    Raises:
        AnswerError: not rows of equal length of finite numbers, or something in it that JSON cannot hold.
    """
    fields: dict[str, Any] = {}
    actions = result
    if isinstance(result, dict):
        fields = dict(result)
        if "actions" not in fields:
            reason = f": {fields['error']}" if "error" in fields else f", only {sorted(map(str, fields))}"
            raise AnswerError(f"the policy returned no 'actions'{reason}")
        actions = fields.pop("actions")
    rows = _rows(actions)
    encoded, dim = _encoded_rows(rows)
    return Answer(encoded, len(rows), dim, **_described(fields), actions=_kept(actions, rows, dim))


def _kept(actions: Any, rows: list[Any], dim: int) -> Any:
    """The rows in the policy's own dtype, where they came as one array of numbers; a policy may use it again."""
    if getattr(getattr(actions, "dtype", None), "kind", None) in ("i", "u", "f"):
        return actions.reshape(len(rows), dim).copy()
    return rows


def _rows(actions: Any) -> list[Any]:
    if hasattr(actions, "tolist"):
        actions = actions.tolist()
    if not isinstance(actions, list | tuple) or not actions:
        raise AnswerError(f"actions must be rows of numbers, not {_shown(actions)}")
    rows = [row.tolist() if hasattr(row, "tolist") else row for row in actions]
    return rows if isinstance(rows[0], list | tuple) else [rows]


def _encoded_rows(rows: list[Any]) -> tuple[bytes, int]:
    """The rows as JSON, and their width. The characters of the text show whether all of it is finite numbers."""
    try:
        encoded = orjson.dumps(rows, option=orjson.OPT_SERIALIZE_NUMPY)
        dims = set(map(len, rows))
    except TypeError as error:
        raise AnswerError(f"actions must be rows of numbers: {error}") from error
    if len(dims) != 1 or dims == {0}:
        raise AnswerError(f"all rows of actions need the same number of values, not {sorted(dims)}")
    if encoded.translate(None, _NUMBER_CHARACTERS) or encoded.count(b"[") != len(rows) + 1:
        _refuse(rows, dims.pop())
    return encoded, dims.pop()


def _refuse(rows: list[Any], dim: int) -> None:
    values = [value for row in rows for value in row] if all(isinstance(row, list | tuple) for row in rows) else [None]
    odd = next((value for value in values if not isinstance(value, int | float) or isinstance(value, bool)), None)
    if odd is not None or None in values:
        raise AnswerError(f"actions must be rows of numbers, not {_shown(odd)}")
    answer = Answer(encode(rows), len(rows), dim)
    raise AnswerError("the actions hold NaN or infinity; no robot can follow them", "non-finite-actions", answer)


def _described(fields: dict[str, Any]) -> dict[str, Any]:
    """The rest of an answer, sorted into the fields of a trace line."""
    blocks = {name: fields.pop(name) for name in BLOCKS if fields.get(name) is not None}
    stages, mode = fields.pop("stages", None), fields.pop("mode", None)
    cache = blocks.get("cache")
    if isinstance(cache, str):
        blocks["cache"] = {"status": cache}
    if not all(isinstance(block, dict) for block in blocks.values()) or not isinstance(stages, dict | None):
        raise AnswerError(f"{', '.join((*BLOCKS, 'stages'))} of an answer must be dicts")
    try:
        encode([blocks, stages, mode, fields]) if blocks or stages or mode or fields else None
    except TypeError as error:
        raise AnswerError(f"the answer holds something that JSON cannot: {error}") from error
    return {"blocks": blocks, "stages": stages, "mode": mode, "extras": fields}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
