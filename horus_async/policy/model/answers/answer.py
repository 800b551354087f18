"""A policy's answer, and the error that it is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import Factory, field, frozen

from horus_async import json_text
from horus_async.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Mapping


def _decoded(answer: Answer) -> Any:
    return json_text.untagged(orjson.loads(answer.actions_json))


@frozen
class Answer:
    """A policy's answer, checked and already encoded as JSON, so that it is encoded only once.

    ``actions`` are the rows as the policy gave them, a NumPy array or lists; ``actions_json`` has the digits of their
    dtype, so that a float32 read as float32 is the same.
    """

    actions_json: bytes
    num_actions: int
    action_dim: int
    blocks: Mapping[str, Any] = Factory(dict)
    stages: Mapping[str, Any] | None = None
    mode: str | None = None
    extras: Mapping[str, Any] = Factory(dict)
    actions: Any = field(default=Factory(_decoded, takes_self=True), eq=False, repr=False)


class AnswerError(PolicyError):
    """A policy answered with something that is not a chunk of actions.

    ``answer`` holds the actions nevertheless if they were rows of numbers, but not all finite.
    """

    def __init__(self, message: str, slug: str = "bad-actions", answer: Answer | None = None) -> None:
        super().__init__(message)
        self.slug = slug
        self.answer = answer


def shown(value: Any) -> str:
    """``value`` in a message: numbers and short texts as they are, of anything else what it is."""
    if value is None or isinstance(value, str | int | float):
        text = repr(value)
        return text if len(text) <= 20 else f"{text[:17]}..."
    return f"a {type(value).__name__}"
