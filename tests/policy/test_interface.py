"""What a policy may answer, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy
import numpy
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.policy import Answer, AnswerError
from horus_async.policy.model.answers.check import SERVER_FIELDS
from horus_async.policy.model.interface import answer_of
from horus_async.policy.model.jsontext import encode


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
        None, [], [[]], "move", 3, [[1], [1, 2]], [["a"]], [[None]], [[True]], [[[1]], [[2]]], [{"x": 1}], {}, [[1], 2],
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


@settings(deadline=None)
@given(
    hypothesis.extra.numpy.arrays(
        numpy.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_float32_actions_have_the_digits_of_float32(actions: numpy.ndarray) -> None:
    """A float32 answer is written with no more digits than it has, and read as float32 it is the same."""
    answer = answer_of(actions)
    assert numpy.asarray(orjson.loads(answer.actions_json), numpy.float32).tobytes() == actions.tobytes()
    for text in answer.actions_json.decode().strip("[]").split(","):
        digits = text.strip("-[]").partition("e")[0].replace(".", "").strip("0")
        assert len(digits) <= 9


@pytest.mark.parametrize(
    ("actions", "text"),
    [
        (numpy.full((1, 1), 0.1, numpy.float32), b"[[0.1]]"),
        ([numpy.float32(0.1), numpy.float32(0.2)], b"[[0.1,0.2]]"),
        ([numpy.array([0.1], numpy.float32)], b"[[0.1]]"),
        (numpy.array([[0.5]], numpy.float16), b"[[0.5]]"),
        (numpy.array([[0.1]], numpy.longdouble), b"[[0.1]]"),
        (numpy.array([[0.1]], ">f4"), b"[[0.1]]"),
        (numpy.arange(6, dtype=numpy.float32).reshape(2, 3).T, b"[[0.0,3.0],[1.0,4.0],[2.0,5.0]]"),
        ([[1, 2**63]], b"[[1,9223372036854775808]]"),
    ],
)
def test_every_dtype_has_its_own_digits(actions: Any, text: bytes) -> None:
    """Arrays of any float, byte order and memory layout, in lists too, are written as what they are."""
    assert answer_of(actions).actions_json == text


class _Tensor:
    """What other libraries' tensors have in common."""

    def __init__(self, values: Any, dtype: str = "torch.float32") -> None:
        self.values, self.dtype = values, dtype
        self.shape = numpy.shape(values)

    def tolist(self) -> Any:
        return self.values


@pytest.mark.parametrize(
    "wrap", [lambda array: array, lambda array: array.tolist(), lambda array: _Tensor(array.tolist())]
)
@pytest.mark.parametrize("batch", [(), (1,), (1, 1)])
def test_batch_dimensions_go(wrap: Any, batch: tuple[int, ...]) -> None:
    """1 x T x D is T x D, in an array, in lists and in a tensor; several chunks are none."""
    rows = numpy.arange(6, dtype=numpy.float32).reshape(3, 2)
    answer = answer_of({"actions": wrap(rows.reshape(*batch, 3, 2))})
    assert (answer.num_actions, answer.action_dim) == (3, 2)
    assert numpy.asarray(answer.actions).tolist() == rows.tolist() == orjson.loads(answer.actions_json)
    with pytest.raises(AnswerError):
        answer_of(wrap(rows.reshape(3, 1, 2)))


def test_the_actions_keep_their_dtype_and_their_values() -> None:
    """An answer has the array that the policy gave, and what the policy writes into it afterwards is not in it."""
    buffer = numpy.ones((1, 2, 2), numpy.float32)
    answer = answer_of(buffer)
    buffer[:] = 7
    assert (answer.actions.dtype, answer.actions.tolist()) == (numpy.float32, [[1, 1], [1, 1]])
    assert Answer(b"[[1.5]]", 1, 1).actions == [[1.5]]


def test_tensors_have_the_digits_of_their_dtype() -> None:
    """A float32 tensor of another library is written like an array of float32."""
    values = numpy.array([[0.1]], numpy.float32).tolist()
    assert answer_of(_Tensor(values)).actions_json == answer_of([_Tensor(values[0])]).actions_json == b"[[0.1]]"
    assert answer_of(_Tensor([[0.1]], "torch.float64")).actions_json == b"[[0.1]]"


_ARM = numpy.ones((2, 2))


@pytest.mark.parametrize(
    ("result", "rows", "parts"),
    [
        ({"action": [[1.0, 2.0]]}, [[1.0, 2.0]], None),
        ({"action.a": _ARM[None], "action.g": numpy.zeros((1, 2, 1))}, [[1, 1, 0]] * 2, {"a": 2, "g": 1}),
        ({"action.g": numpy.zeros((2, 1)), "action.a": _ARM}, [[0, 1, 1]] * 2, {"g": 1, "a": 2}),
        ({"action.a": _ARM, "action.g": numpy.array([3, 4])}, [[1, 1, 3], [1, 1, 4]], {"a": 2, "g": 1}),
        ({"action.a": _ARM, "action.g": [[3, 4]]}, [[1, 1, 3], [1, 1, 4]], {"a": 2, "g": 1}),
        ({"action.a": [1.0, 2.0], "action.g": [3.0]}, [[1, 2, 3]], {"a": 2, "g": 1}),
        ({"actions": [[1.0]], "action": [[2.0]]}, [[1.0]], None),
    ],
)  # fmt: skip
def test_other_forms_of_actions(result: dict[str, Any], rows: Any, parts: Any) -> None:
    """LeRobot's ``action`` and GR00T's parts are actions; the widths of the parts are said, in their order."""
    answer = answer_of(result)
    assert orjson.loads(answer.actions_json) == rows
    assert answer.extras.get("action_parts") == parts
    assert list(answer.extras.get("action_parts") or {}) == list(parts or {})


@pytest.mark.parametrize(
    "result",
    [
        {"action.arm": numpy.ones((3, 2)), "action.grip": numpy.zeros((2, 1))},
        {"action.arm": numpy.ones((2, 2)), "action.grip": "open"},
        {"action.arm": numpy.ones((2, 2)), "action.grip": numpy.zeros((0, 1))},
        {"action.": [[1.0]]},
        {"action": {"joint": 1.0}},
        {"action.arm": numpy.ones((2, 2, 2))},
    ],
)
def test_parts_that_do_not_fit_are_refused(result: dict[str, Any]) -> None:
    """Parts of different lengths, and parts that are no numbers, are no chunk."""
    with pytest.raises(AnswerError) as caught:
        answer_of(result)
    assert caught.value.slug == "bad-actions"


def test_infinite_parts_are_refused() -> None:
    """NaN in one part is NaN in the actions."""
    with pytest.raises(AnswerError) as caught:
        answer_of({"action.arm": numpy.ones((2, 2)), "action.grip": numpy.full((2, 1), numpy.nan)})
    assert caught.value.slug == "non-finite-actions"


def test_the_rest_of_an_answer_is_encodable() -> None:
    """NumPy's numbers and arrays, tuples and NaN beside the actions are kept, and go into JSON."""
    said = {
        "array": numpy.arange(6).reshape(2, 3).T, "f4": numpy.float32(0.1), "flag": numpy.bool_(True),
        "half": numpy.float16(0.5), "halves": numpy.full(2, 0.5, numpy.float16), "long": numpy.longdouble(0.5),
        "names": numpy.array(["a", "b"]), "nan": math.nan, "nested": {"x": [numpy.float32(0.1), (1, numpy.arange(2))]},
        "tensor": _Tensor([1.0]), "swapped": numpy.array([1], ">i4"), "objects": numpy.array([None, 1], dtype=object),
    }  # fmt: skip
    answer = answer_of({"actions": [[1.0]], **said})
    assert isinstance(answer.extras["array"], numpy.ndarray)
    assert orjson.loads(encode(answer.extras)) == {
        "array": [[0, 3], [1, 4], [2, 5]], "f4": 0.1, "flag": True, "half": 0.5, "halves": [0.5, 0.5], "long": 0.5,
        "names": ["a", "b"], "nan": {"$float": "nan"}, "nested": {"x": [0.1, [1, [0, 1]]]}, "tensor": [1.0],
        "swapped": [1], "objects": [None, 1],
    }  # fmt: skip


@pytest.mark.parametrize("odd", [{1}, b"bytes", object(), {1: 2}, 1 << 70, 1j, numpy.array([1j])])
def test_what_json_lacks_is_named(odd: Any) -> None:
    """A field that cannot be encoded is an error that names it."""
    with pytest.raises(AnswerError, match="'thing'"):
        answer_of({"actions": [[1.0]], "thing": odd})
    with pytest.raises(AnswerError, match="cache"):
        answer_of({"actions": [[1.0]], "cache": {"status": odd}})


def test_the_fields_of_the_server_are_its_own() -> None:
    """A policy's key with the name of one of the server's is kept under another, which no other key has."""
    own = {name: name for name in SERVER_FIELDS if name != "actions"}
    answer = answer_of({"actions": [[1.0]], "policy_seq": 1, **own})
    assert not SERVER_FIELDS & answer.extras.keys()
    assert sorted(map(str, answer.extras.values())) == sorted([*own, "1"])
    assert answer.extras["policy_seq"] == 1


_LOOP: list[Any] = []
_LOOP.append(_LOOP)
_ODD = st.sampled_from([
    None, True, 1, -2.5, math.nan, math.inf, 1 << 70, "x", b"x", {1}, object(), 1j, range(2), _LOOP, numpy.float32(1),
    numpy.arange(2), numpy.zeros((1, 2, 2)), numpy.zeros((0, 2)), numpy.array([None]), numpy.array("x"), _Tensor([1.0]),
])  # fmt: skip
_NAMES = st.sampled_from(["actions", "action", "action.a", "action.b", "cache", "stages", "mode", "seq", "x", 1, None])


@settings(deadline=None, max_examples=500)
@given(
    st.recursive(
        _ODD | st.dictionaries(_NAMES, _ODD, max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(_NAMES, inner, max_size=4),
        max_leaves=8,
    )
)
def test_any_answer_is_rows_or_an_error(result: Any) -> None:
    """Whatever a policy returns is an answer of finite numbers that JSON has, or an AnswerError."""
    try:
        answer = answer_of(result)
    except AnswerError:
        return
    rows = orjson.loads(answer.actions_json)
    assert numpy.asarray(answer.actions).shape == numpy.shape(rows) == (answer.num_actions, answer.action_dim)
    assert numpy.isfinite(rows).all()
    encode([answer.blocks, answer.stages, answer.mode, answer.extras])


def test_errors_quote_no_images() -> None:
    """What an error says of a long text is less than 24 characters of it."""
    text = "0123456789abcdefghijklmnopqrstuvwxyz" * 9
    for result in (text, [[text]], {"actions": text}, [[1.0, text]], numpy.array([text])):
        with pytest.raises(AnswerError) as caught:
            answer_of(result)
        assert not any(text[at : at + 24] in str(caught.value) for at in range(36))


def test_the_names_of_the_first_version_still_lead_there() -> None:
    """Programs for 0.1.0 import from ``policy.calling`` and ``policy.interface``."""
    from horus_async.policy import calling, interface
    from horus_async.policy.calls import calling as asked

    assert (calling.PolicyCaller, calling.Call) == (asked.PolicyCaller, asked.Call)
    assert interface.answer_of is answer_of


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
