"""What a policy is, and what its answers must look like.

A policy maps one observation to a chunk of actions. The observation is the request as a plain ``dict`` of JSON values:
``instruction`` (str), ``state`` (list of numbers or None), ``image`` (base64 text or None), ``episode_id`` (str or
None), and any further cameras and fields that the client sent. ``horus_async.policy.arrays`` turns it into NumPy
arrays. The answer is rows of actions (lists or a NumPy array, steps × action dimensions; a flat list is one row), or a
dict with ``actions`` and optionally ``cache``, ``denoise``, ``guard``, ``deadline``, ``rtc``, ``stages`` and ``mode``,
which go into the trace under those names. ``answers.check`` has every form.
"""

from __future__ import annotations

from typing import Any, Protocol

from horus_async.errors import PolicyError

from .answers.answer import Answer, AnswerError
from .answers.check import BLOCKS, answer_of

__all__ = ["BLOCKS", "Answer", "AnswerError", "Observation", "ObservationError", "Policy", "answer_of"]

Observation = dict[str, Any]
"""One request, as plain JSON values."""


class Policy(Protocol):
    """What can be served: anything with ``act``, plain or ``async``.

    Optional: ``reset(episode_id)``, called before the first observation of an episode; ``warm_up()``, called once
    before the server reports that it is ready; and ``metadata``, a dict that may hold ``model_hash``, ``config_hash``,
    ``model_type``, ``export_kind``, ``embodiment``, ``providers``, ``mode``, ``concurrency`` (how many calls may run at
    once; 1 for a plain ``act``, 64 for an ``async`` one) and ``episodes`` (whose state it holds: ``"shared"``: it keeps
    episodes apart by ``episode_id`` itself; ``"one"``: of one at a time; ``"instances"``: one is made for each).
    """

    def act(self, observation: Observation, /) -> Any:
        """Actions for one observation, or an awaitable of them."""


class ObservationError(PolicyError, ValueError):
    """The observation lacks a field that the policy needs, or has it in a form that the policy cannot use."""
