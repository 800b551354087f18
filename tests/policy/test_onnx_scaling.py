"""Normalisations: their formulas, their inverses, and statistics that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import PolicyError
from horus_async.policy import load_policy
from horus_async.policy.model.onnx.scaling import Method, Scaling
from tests.policy.exports import identity, write_config, write_graph

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

_NUMBERS = st.floats(-100, 100, width=32)
_WIDTHS = st.floats(2**-6, 100, width=32)


@st.composite
def scalings(draw: st.DrawFn) -> Scaling:
    """Any normalisation of one to four values, none of them degenerate."""
    method = draw(st.sampled_from(Method))
    pairs = draw(st.lists(st.tuples(_NUMBERS, _WIDTHS), min_size=1, max_size=4))
    first = [low for low, _ in pairs]
    second = [width if method is Method.MEAN_STD else low + width for low, width in pairs]
    return Scaling(method, tuple(first), tuple(second))


def _formula(scaling: Scaling, values: numpy.ndarray) -> numpy.ndarray:
    first, second = numpy.asarray(scaling.first), numpy.asarray(scaling.second)
    if scaling.method is Method.MEAN_STD:
        return numpy.asarray((values - first) / second)
    margin = 1e-6 if scaling.method is Method.QUANTILES else 0
    return numpy.asarray((values - first) / (second - first + margin) * 2 - 1)


@settings(deadline=None)
@given(scalings(), st.sampled_from(["float16", "float32", "float64"]), st.data())
def test_values_are_normalised_by_the_formula(scaling: Scaling, dtype: str, data: st.DataObject) -> None:
    """The model sees what the formula gives, in its own dtype."""
    rows = data.draw(st.lists(st.lists(_NUMBERS, min_size=scaling.length, max_size=scaling.length), min_size=1))
    values = numpy.asarray(rows, dtype=dtype)
    found = scaling.normalised(values)
    assert found.dtype == dtype
    scale = float(numpy.abs(values).max()) + max(map(abs, scaling.first)) + max(map(abs, scaling.second))
    width = min(scaling.second) if scaling.method is Method.MEAN_STD else min(_widths(scaling))
    assert found == pytest.approx(
        _formula(scaling, values.astype(float)), rel=1e-2 if dtype == "float16" else 1e-5, abs=1e-5 * scale / width
    )


def _widths(scaling: Scaling) -> list[float]:
    return [second - first for first, second in zip(scaling.first, scaling.second, strict=True)]


@settings(deadline=None)
@given(scalings(), st.data())
def test_actions_come_back(scaling: Scaling, data: st.DataObject) -> None:
    """What is normalised and restored is what it was; float32 stays float32, integers are computed in float64."""
    rows = data.draw(st.lists(st.lists(_NUMBERS, min_size=scaling.length, max_size=scaling.length), min_size=1))
    values = numpy.asarray(rows, dtype=numpy.float64)
    assert scaling.restored(scaling.normalised(values)) == pytest.approx(values, abs=1e-6)
    assert scaling.restored(values.astype(numpy.float32)).dtype == numpy.float32
    assert scaling.restored(values.astype(numpy.float16)).dtype == numpy.float32
    assert scaling.restored(values.astype(numpy.int64)).dtype == numpy.float64


def test_the_ends_are_where_they_belong() -> None:
    """The ends go to -1 and 1; openpi's quantiles too but for its 1e-6, with which 0 to 0 is -1, as it pads."""
    values = numpy.array([[0.0], [5.0], [10.0]])
    assert Scaling(Method.MIN_MAX, (0.0,), (10.0,)).normalised(values).ravel().tolist() == [-1, 0, 1]
    assert Scaling(Method.QUANTILES, (0.0,), (10.0,)).normalised(values).ravel() == pytest.approx([-1, 0, 1], abs=1e-6)
    padding = Scaling(Method.QUANTILES, (0.0,), (0.0,))
    assert padding.normalised(numpy.zeros((1, 1), numpy.float32)).tolist() == [[-1]]
    assert padding.restored(-numpy.ones((1, 1), numpy.float32)).tolist() == [[0]]


@pytest.mark.parametrize(
    ("method", "first", "second", "word"),
    [
        (Method.MEAN_STD, (0, 0), (1, 0), r"std\[1\]"),
        (Method.MEAN_STD, (0, 0), (-1, 1), r"std\[0\]"),
        (Method.MEAN_STD, (0, 0), (1,), "2 numbers and std has 1"),
        (Method.MIN_MAX, (0, 1), (1, 1), r"min\[1\] is 1, max\[1\] 1"),
        (Method.MIN_MAX, (2,), (1,), "max must be larger"),
        (Method.QUANTILES, (2,), (1,), "q99 must not be smaller"),
    ],
)
def test_statistics_that_cannot_be_are_refused(method: Method, first: Any, second: Any, word: str) -> None:
    """Nothing is divided by zero or turned round, and the error says which number it is."""
    with pytest.raises(PolicyError, match=word):
        Scaling(method, first, second)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"inputs": {"state": {"mean": [1, 1, 1], "std": [2, 2, 2]}}}, [0, 1, 2]),
        ({"inputs": {"state": {"mean": [1, 1, 1]}}}, [0, 2, 4]),
        ({"inputs": {"state": {"min": [0, 0, 0], "max": [2, 4, 8]}}}, [0, 0.5, 0.25]),
        ({"inputs": {"state": {"q01": [0, 0, 0], "q99": [2, 4, 8]}}}, [0, 0.5, 0.25]),
        ({"output": {"std": [2, 2, 2]}}, [2, 6, 10]),
        ({"output": {"min": [0, 0, 0], "max": [2, 4, 8]}}, [2, 8, 24]),
        ({"output": {"q01": [0, 0, 0], "q99": [2, 4, 8]}}, [2, 8, 24]),
    ],
)
def test_each_normalisation_is_served(tmp_path: Path, config: Any, expected: list[float]) -> None:
    """Inputs are normalised and outputs restored, by each of the three, in float32."""
    actions = load_policy(identity(tmp_path / "e", config=config)).act({"state": [1, 3, 5]})
    assert actions.dtype == numpy.float32
    assert actions[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("width", [6, "w"])
def test_images_are_normalised_by_channel(tmp_path: Path, width: Any) -> None:
    """For an input with channels first, as many statistics as channels are those of the channels."""
    folder = write_graph(
        tmp_path / "e",
        [("ReduceMean", ["image"], "actions", {"axes": [2, 3], "keepdims": 0})],
        {"image": ("float32", [1, 3, 4, width])},
        {"actions": ("float32", [1, 3])},
    )
    write_config(folder, {"inputs": {"image": {"mean": [0, 1, 2], "std": [1, 2, 4]}}})
    loaded = load_policy(folder)
    image = numpy.ones((3, 4, 6)) * numpy.array([1, 3, 6])[:, None, None]
    assert loaded.act({"image": image.tolist()})[0].tolist() == [1, 1, 1]
    write_config(folder, {"inputs": {"image": {"mean": [0, 1], "std": [1, 2]}}})
    if width == 6:
        with pytest.raises(PolicyError, match="2 numbers"):
            load_policy(folder)


@pytest.mark.parametrize("state", [[1, 3], ["batch", 3], ["batch", "n"], None])
@pytest.mark.parametrize("key", ["inputs", "output"])
def test_the_wrong_length_never_reaches_a_robot(tmp_path: Path, state: Any, key: str) -> None:
    """Two statistics for three values, or one for all, are refused when it loads or warms up, or by every request."""
    for length in (1, 2, 4):
        said = {"mean": [0] * length, "std": [1] * length}
        config = {key: {"state": said} if key == "inputs" else said}
        folder = identity(tmp_path / f"{length}", config=config, state=state or [1, 3], actions=state)
        try:
            loaded = load_policy(folder)
            assert loaded.warm_up is not None
            loaded.warm_up()
        except PolicyError:
            continue
        assert state == ["batch", "n"]
        for _ in range(2):
            with pytest.raises(PolicyError):
                loaded.act({"state": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize(
    ("dtype", "said", "word"),
    [
        ("int64", {"mean": [0, 0, 0]}, "only floats"),
        ("float32", {"std": [1e-60, 1, 1]}, "float32"),
        ("float32", {"mean": [1e60, 1, 1]}, "too large"),
        ("float32", {"min": [1e9, 0, 0], "max": [1e9 + 1, 1, 1]}, "too close"),
    ],
)
def test_what_the_dtype_cannot_hold_is_refused(tmp_path: Path, dtype: str, said: Any, word: str) -> None:
    """Statistics that are zero or infinite in the dtype of the input, and normalised integers, are refused."""
    with pytest.raises(PolicyError, match=word):
        load_policy(identity(tmp_path / "e", dtype=dtype, config={"inputs": {"state": said}}))
