"""What a policy may answer, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy
import orjson
import pytest

from horus_async.policy import AnswerError
from horus_async.policy.model.interface import answer_of


@pytest.mark.parametrize(
    ("result", "rows"),
    [
        ([[1, 2.5], [3, 4]], [[1, 2.5], [3, 4]]),
        ((0.5, 1.5), [[0.5, 1.5]]),
        (numpy.array([[1.0, 2.0]]), [[1.0, 2.0]]),
        (numpy.array([0.25, 2.0], dtype=numpy.float32), [[0.25, 2.0]]),
        ([numpy.array([1.0]), numpy.array([2.0])], [[1.0], [2.0]]),
        ([numpy.float64(1.5), numpy.float64(2.5)], [[1.5, 2.5]]),
        ({"actions": [[-1e-300]]}, [[-1e-300]]),
    ],
)
def test_rows_of_numbers_are_actions(result: Any, rows: list[list[float]]) -> None:
    """Lists, tuples, NumPy arrays and one flat row of finite numbers are chunks of actions."""
    answer = answer_of(result)
    assert orjson.loads(answer.actions_json) == rows
    assert (answer.num_actions, answer.action_dim) == (len(rows), len(rows[0]))


@pytest.mark.parametrize(
    "result",
    [
        None, [], [[]], "move", 3, [[1], [1, 2]], [["a"]], [[None]], [[True]], [[[1]]], [{"x": 1}], {}, [[1], 2],
        {"error": "no model"}, {"actions": None}, {"actions": [[1]], "cache": 3}, {"actions": [[1]], "x": object()},
    ],
)  # fmt: skip
def test_anything_else_is_refused(result: Any) -> None:
    """What is no chunk of finite numbers raises AnswerError and nothing else."""
    with pytest.raises(AnswerError) as caught:
        answer_of(result)
    assert caught.value.slug == "bad-actions"


def test_actions_that_are_not_finite_are_refused_but_kept() -> None:
    """NaN actions are an error of their own that still holds them, in strict JSON."""
    with pytest.raises(AnswerError) as caught:
        answer_of([[float("nan"), 1.0], [float("-inf"), 2.0]])
    assert caught.value.slug == "non-finite-actions"
    assert caught.value.answer is not None
    assert orjson.loads(caught.value.answer.actions_json) == [[{"$float": "nan"}, 1.0], [{"$float": "-inf"}, 2.0]]


def test_float32_actions_keep_their_exact_value() -> None:
    """A float32 answer is written as the double it equals, so that a replay compares the same numbers."""
    value = numpy.float32(0.1)
    answer = answer_of(numpy.array([[value]]))
    assert orjson.loads(answer.actions_json) == [[float(value)]]


def test_parts_of_an_answer_go_where_they_belong() -> None:
    """Blocks, stages, mode and the rest of an answer are told apart, and a bare cache status is one."""
    answer = answer_of(
        {"actions": [[1]], "cache": "hit", "stages": {"vlm_ms": 1.5}, "mode": "fast", "confidence": numpy.float64(0.5)}
    )
    assert answer.blocks == {"cache": {"status": "hit"}}
    assert (answer.stages, answer.mode, answer.extras) == ({"vlm_ms": 1.5}, "fast", {"confidence": 0.5})


def test_the_service_options_are_where_programs_import_them_from() -> None:
    """Both documented places give the same class."""
    pytest.importorskip("starlette")
    from horus_async.policy import server, service

    assert service.ServiceOptions is server.ServiceOptions
