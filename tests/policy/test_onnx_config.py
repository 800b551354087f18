"""``policy.json``: what is refused when it is read, and that nothing in it is ignored."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import PolicyError
from horus_async.policy import load_policy
from tests.policy.exports import identity, write_config, write_graph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

GOOD: dict[str, Any] = {
    "models": [
        {
            "file": "encode.onnx",
            "inputs": {"state": {"field": "joints", "mean": [1, 2], "std": [3, 4]}},
            "outputs": {"y": "kv"},
        },
        {
            "file": "denoise.onnx",
            "inputs": {"x_t": {"noise": True, "shape": [1, 2]}, "code": {"from": "kv"}},
            "outputs": {"v": "actions"},
            "repeat": {"steps": 4, "input": "x_t", "velocity": "v", "time": "t", "start": 1, "end": 0},
        },
    ],
    "output": {"name": "actions", "q01": [-2, -3], "q99": [4, 5]},
    "action_names": ["a", "b"],
    "embodiment": "arm",
    "model_type": "flow",
    "export_kind": "decomposed",
    "providers": ["CPUExecutionProvider"],
    "concurrency": 2,
}  # fmt: skip
"""A policy.json with every key that there is, but ``model`` and ``inputs`` at the top."""


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two graphs that ``GOOD`` describes."""
    folder = tmp_path_factory.mktemp("export")
    two = ("float32", [1, 2])
    write_graph(folder, [("Neg", ["state"], "y")], {"state": two}, {"y": two}, name="encode.onnx")
    write_graph(
        folder,
        [("Mul", ["code", "t"], "m"), ("Add", ["m", "x_t"], "v")],
        {"x_t": ("float32", ["batch", "n"]), "code": two, "t": ("float32", [1])},
        {"v": ("float32", ["batch", "n"])},
        name="denoise.onnx",
    )
    return folder


REQUEST = {"joints": [0.5, -1.5], "state": [9.0, 9.0], "seed": 3}


def _answer(folder: Path, config: Any) -> Any:
    loaded = load_policy(write_config(folder, config))
    assert loaded.warm_up is not None
    loaded.warm_up()
    return loaded.act(REQUEST).tolist()


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


_PLACES = list(_places(GOOD))
_KEYED = [path for path in _PLACES if path and isinstance(path[-1], str)]
_FREE_NAMES = [("models", 0, "inputs", "state"), ("models", 1, "inputs")]
_NUMBERS = [path for path in _PLACES if type(_at(GOOD, path)) is int]
_LISTS = [path for path in _PLACES if isinstance(_at(GOOD, path), list)]


def test_the_good_one_is_good(export: Path) -> None:
    """The file that the tests below damage loads and answers."""
    assert len(_answer(export, GOOD)) == 1


@settings(deadline=None)
@given(path=st.sampled_from(_KEYED), suffix=st.sampled_from(["s", "_", "X"]))
def test_every_key_is_known_or_refused(export: Path, path: tuple[Any, ...], suffix: str) -> None:
    """A key that is misspelt, at any level, is an error that names it."""
    config = copy.deepcopy(GOOD)
    place = _at(config, path[:-1])
    place[path[-1] + suffix] = place.pop(path[-1])
    with pytest.raises(PolicyError, match=path[-1]):
        _answer(export, config)


@settings(deadline=None)
@given(
    path=st.sampled_from(_PLACES),
    odd=st.sampled_from([None, True, False, 0, -1, 1.5, "", "x", [], {}, [1], [True], ["x"], {"x": 1}, [[1, 2]]]),
)
def test_values_of_the_wrong_kind_are_refused(export: Path, path: tuple[Any, ...], odd: Any) -> None:
    """What is put in the place of a value is refused, or it is one that the value may have, and is then used."""
    config = copy.deepcopy(GOOD)
    good = _at(config, path)
    if path:
        _at(config, path[:-1])[path[-1]] = odd
    else:
        config = odd
    try:
        changed = _answer(export, config)
    except PolicyError:
        return
    assert _may_be(path, good, odd)
    describes = path[0] in {"action_names", "embodiment", "model_type", "export_kind", "concurrency"}
    assert describes or odd == good or changed != _answer(export, GOOD)


def _may_be(path: tuple[Any, ...], good: Any, odd: Any) -> bool:
    """Whether ``odd`` is a value of the kind of ``good``, so that it may be there."""
    if isinstance(good, dict):
        return bool(odd == {})  # All that is in it is optional.
    if type(good) is int:
        return type(odd) in (int, float)
    if isinstance(good, str):
        return isinstance(odd, str) and path[0] in {"action_names", "embodiment", "model_type", "export_kind"}
    return path == ("models", 1, "inputs", "x_t", "noise") and odd is True


@settings(deadline=None)
@given(
    path=st.sampled_from(_NUMBERS),
    odd=st.sampled_from(["NaN", "Infinity", "-Infinity", "1e999", '"1"', "true", "null", "1" * 400]),
)
def test_numbers_are_finite_numbers(export: Path, path: tuple[Any, ...], odd: str) -> None:
    """NaN, infinities, numbers beyond any float, texts and booleans are refused in the place of any number."""
    config = copy.deepcopy(GOOD)
    _at(config, path[:-1])[path[-1]] = "@here"
    with pytest.raises(PolicyError):
        _answer(export, json.dumps(config).replace('"@here"', odd))


@settings(deadline=None)
@given(path=st.sampled_from(_LISTS), longer=st.booleans())
def test_lengths_are_checked(export: Path, path: tuple[Any, ...], longer: bool) -> None:
    """A list that is too short or too long for the model is refused, wherever it is."""
    config = copy.deepcopy(GOOD)
    found = _at(config, path)
    found[:] = [*found, found[-1]] if longer else found[:-1]
    if path == ("providers",) and longer:
        return  # The same one twice.
    with pytest.raises(PolicyError):
        _answer(export, config)


@settings(deadline=None)
@given(path=st.sampled_from(_KEYED))
def test_a_key_that_is_there_twice_is_refused(export: Path, path: tuple[Any, ...]) -> None:
    """JSON's parsers take the last of two equal keys in silence; here it is an error."""
    config = copy.deepcopy(GOOD)
    place = _at(config, path[:-1])
    place["@twice"] = place[path[-1]]
    with pytest.raises(PolicyError, match="twice"):
        _answer(export, json.dumps(config).replace('"@twice"', json.dumps(path[-1])))


@settings(deadline=None)
@given(path=st.sampled_from(_KEYED))
def test_whatever_is_left_out_is_missed_or_has_a_default(export: Path, path: tuple[Any, ...]) -> None:
    """Without one of the keys the model is refused, or works as documented; it never fails later."""
    config = copy.deepcopy(GOOD)
    del _at(config, path[:-1])[path[-1]]
    with suppress(PolicyError):
        _answer(export, config)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"inputs": {"state": {"means": [0, 0, 0]}}}, ["'means'", "did you mean 'mean'"]),
        ({"inputs": {"stat": {"mean": [0, 0, 0]}}}, ["'stat'", "did you mean 'state'"]),
        ({"output": {"scale": 3}}, ["'scale'", "known are"]),
        ({"output": {"name": "action"}}, ["'action'", "did you mean 'actions'"]),
        ({"action_nmes": ["a"]}, ["'action_nmes'", "did you mean 'action_names'"]),
        ({"model": "modle.onnx"}, ["'modle.onnx'", "did you mean 'model.onnx'"]),
        ({"model": "../model.onnx"}, ["inside the folder"]),
        ({"model": "/etc/passwd"}, ["inside the folder"]),
        ({"inputs": {"state": {"mean": [0] * 3, "min": [0] * 3, "max": [1] * 3}}}, ["one normalisation at a time"]),
        ({"inputs": {"state": {"min": [0] * 3}}}, ["'min' without 'max'"]),
        ({"inputs": {"state": {"q99": [0] * 3}}}, ["'q99' without 'q01'"]),
        ({"inputs": {"state": {"mean": [0, "x", 0]}}}, ["inputs.state.mean[1]", "'x'"]),
        ({"inputs": {"state": {"shape": [1, 4]}}}, ["shape is [1, 4]", "[1, 3]"]),
        ({"inputs": {"state": {"shape": [3]}}}, ["shape is [3]"]),
        ({"providers": ["CpuExecutionProvider"]}, ["no CpuExecutionProvider", "CPUExecutionProvider"]),
        ({"models": [{"file": "model.onnx"}], "inputs": {}}, ["'inputs'", "each model has its own"]),
        ({"models": []}, ["models must be a list"]),
        ({"models": [{}]}, ["models[0] needs a 'file'"]),
        ("[" * 100_000, ["not JSON"]),
        ('{"concurrency": 1, }', ["not JSON"]),
        ('{"embodiment": "\\ud800"}', ["not JSON"]),
        ("", ["not JSON"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, config: Any, words: list[str]) -> None:
    """The error has the place, the bad value and what was meant, and is one line."""
    with pytest.raises(PolicyError) as caught:
        load_policy(identity(tmp_path / "e", config=config))
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
    assert "policy.json" in str(caught.value) or "providers" in config
