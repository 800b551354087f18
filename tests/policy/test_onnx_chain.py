"""Exports of several graphs: who feeds whom, noise, loops, and chains that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import PolicyError
from horus_async.policy import ObservationError, TraceOptions, load_policy
from horus_async.policy.model.onnx.noise import seed_of
from horus_async.policy.model.wire import WireFormat, decoded, pack
from tests.policy.conftest import needs_server, only_trace, read_all, serving
from tests.policy.exports import identity, write_config, write_graph

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SEEDED = [0.3455842, 0.8216181]
DERIVED = [-1.706364, -0.07775023]
"""The first noise of seed 1, and of an instruction "pick" with a state of 0.5 and 1."""

TWO = ("float32", [1, 2])


def two_models(folder: Path, models: Any, **more: Any) -> Path:
    """Two graphs: ``a`` gives y = -state and z = 2 * state, ``b`` gives out = code + extra."""
    write_graph(
        folder,
        [("Neg", ["state"], "y"), ("Add", ["state", "state"], "z")],
        {"state": TWO},
        {"y": TWO, "z": TWO},
        name="a.onnx",
    )
    write_graph(folder, [("Add", ["code", "extra"], "out")], {"code": TWO, "extra": TWO}, {"out": TWO}, name="b.onnx")
    return write_config(folder, {"models": models, **more})


A: dict[str, Any] = {"file": "a.onnx"}
B: dict[str, Any] = {"file": "b.onnx", "inputs": {"code": {"from": "y"}}}
REQUEST = {"state": [1.0, 2.0], "extra": [10.0, 20.0], "code": [100.0, 100.0]}


@pytest.mark.parametrize(
    ("models", "more", "actions"),
    [
        ([A, B], {}, [[9, 18]]),
        ([A, {"file": "b.onnx", "inputs": {"code": {"from": "z"}, "extra": {"from": "y"}}}], {}, [[1, 2]]),
        ([{**A, "outputs": {"z": "code"}}, {"file": "b.onnx"}], {}, [[12, 24]]),
        ([{**A, "outputs": {"z": "code"}}, {"file": "b.onnx", "inputs": {"extra": "code"}}], {}, [[102, 104]]),
        ([{**A, "outputs": {"z": "extra"}}, {"file": "b.onnx"}], {}, [[102, 104]]),
        ([A, B], {"output": "z"}, None),
        ([A, B], {"output": ["z", "out"]}, [[2, 4, 9, 18]]),
        ([A, B], {"output": [{"name": "out", "std": [2, 2]}, "y"], "action_names": list("abcd")}, [[18, 36, -1, -2]]),
        ([A], {"output": "y"}, [[-1, -2]]),
    ],
)
def test_outputs_go_where_they_are_wanted(tmp_path: Path, models: Any, more: Any, actions: Any) -> None:
    """Inputs come from what policy.json says, else from an earlier output of their name, else from the request."""
    folder = two_models(tmp_path / "e", models, **more)
    if actions is None:
        with pytest.raises(PolicyError, match=r"nothing uses what b\.onnx gives"):
            load_policy(folder)
        return
    loaded = load_policy(folder)
    assert loaded.warm_up is not None
    loaded.warm_up()
    assert loaded.act(REQUEST).tolist() == actions
    assert loaded.export_kind == ("decomposed" if len(models) > 1 else "monolithic")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([A, {**B, "inputs": {"code": {"from": "yy"}}}], "which no model gives; did you mean 'y'"),
        ([B, A], r"'y', which a\.onnx gives only later"),
        ([{**B, "inputs": {"code": {"from": "out"}}}], r"'out', which b\.onnx gives only itself"),
        ([{**A, "outputs": {"y": "code"}}, A], "nothing uses|two models give"),
        ([A, {"file": "b.onnx"}], r"nothing uses what a\.onnx gives \(y, z\)"),
        ([{**A, "outputs": {"z": "spare"}}, B], r"nothing uses the output 'z' of a\.onnx"),
        ([{**A, "outputs": {"x": "spare"}}, B], r"a\.onnx has no output 'x'"),
        ([{**A, "outputs": {"y": "z"}}, B], "two models give the value 'z'|give the value 'z' twice"),
        ([{"file": "a.onnx"}, {**A, "outputs": {"z": "w"}}], "two models give the value 'y'"),
        ([{**B, "inputs": {"cod": "x"}}], "no input 'cod'.*did you mean 'code'"),
        ([{"file": "b.onnx"}, {**A, "outputs": {"y": "extra", "z": "actions"}}], "gives only later"),
        ([{**A, "outputs": {"y": "extra"}}, {**B, "inputs": {"extra": {"std": [1, 1]}}}], "say its 'field'"),
        ([A, {**B, "inputs": {"code": {"from": "y", "std": [1, 1]}}}], "cannot have 'std'"),
        ([A, {**B, "repeat": {"steps": 2, "input": "nothing", "velocity": "out"}}], "no input 'nothing'"),
        ([A, {**B, "repeat": {"steps": 2, "input": "extra", "velocity": "nothing"}}], "no output 'nothing'"),
        ([A, {**B, "repeat": {"steps": 2, "input": "extra", "velocity": "out", "time": "t"}}], "no input 't'"),
        ([A, {**B, "repeat": {"steps": 0, "input": "extra", "velocity": "out"}}], "steps must be a whole number"),
        ([A, {**B, "repeat": {"steps": 2, "input": "extra", "velocity": "out", "start": 0}}], "no step"),
        ([A, {**B, "repeat": {"steps": 2, "input": "extra", "velocity": "out", "end": 1e300}}], "within 10000"),
        ([{"file": "c.onnx"}], r"'c\.onnx', which is not there"),
    ],
)
def test_chains_that_cannot_be_are_refused(tmp_path: Path, models: Any, words: str) -> None:
    """Unknown and circular names, values that come too late, and what nothing uses, are errors when it loads."""
    with pytest.raises(PolicyError, match=words):
        load_policy(two_models(tmp_path / "e", models))


@pytest.mark.parametrize("odd", [("float64", [1, 2]), ("float32", [1, 3]), ("float32", [1, 1, 2])])
def test_values_must_fit_the_inputs_that_they_feed(tmp_path: Path, odd: Any) -> None:
    """Another dtype, size or rank than the input has is refused when it loads."""
    folder = two_models(tmp_path / "e", [A, B])
    write_graph(folder, [("Identity", ["state"], "y")], {"state": odd}, {"y": odd}, name="a.onnx")
    with pytest.raises(PolicyError, match=r"the input 'code' of b\.onnx is float32 \[1, 2\], but 'y' is"):
        load_policy(folder)


@settings(deadline=None)
@given(st.data())
def test_a_chain_computes_what_numpy_does(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A random chain of additions and negations, each of any values before it, gives what NumPy gives."""
    folder = tmp_path_factory.mktemp("chain")
    values = {"p": numpy.array([1, 2], numpy.float32), "q": numpy.array([10, -20], numpy.float32)}
    models: list[Any] = []
    for number in range(data.draw(st.integers(1, 4))):
        sources = [data.draw(st.sampled_from(sorted(values))) for _ in range(2)]
        if models:
            sources[0] = f"v{number - 1}"  # So that none is without a use.
        write_graph(folder, [("Sub", ["x", "y"], "out")], {"x": TWO, "y": TWO}, {"out": TWO}, name=f"{number}.onnx")
        given_by = {name: "from" if name.startswith("v") else "field" for name in sources}
        models.append(
            {
                "file": f"{number}.onnx",
                "inputs": {key: {given_by[name]: name} for key, name in zip("xy", sources, strict=True)},
                "outputs": {"out": f"v{number}"},
            }
        )
        values[f"v{number}"] = values[sources[0]] - values[sources[1]]
    last = f"v{len(models) - 1}"
    loaded = load_policy(write_config(folder, {"models": models, "output": last}))
    assert loaded.act({"p": [1, 2], "q": [10, -20]}).tolist() == [values[last].tolist()]


def noisy(folder: Path, dtype: str = "float32", name: str = "noise", config: Any = None, steps: Any = 3) -> Path:
    """A policy that answers with its noise of 3 x 2."""
    shape = (dtype, ["batch", steps, 2])
    write_graph(folder, [("Identity", [name], "actions")], {name: shape}, {"actions": shape})
    return write_config(folder, {"inputs": {name: {"noise": True, "shape": [1, 3, 2]}}} if config is None else config)


def test_noise_follows_from_the_request(tmp_path: Path) -> None:
    """The same request gets the same noise, another one other noise; ``seed`` decides if it is there."""
    act = load_policy(noisy(tmp_path / "e")).act
    first = act({"state": [1.0], "instruction": "pick"})
    assert first.shape == (3, 2)
    assert act({"state": [1.0], "instruction": "pick", "image": "x", "episode_id": "e"}).tolist() == first.tolist()
    seen = {
        act(request).tobytes() for request in ({"state": [2.0]}, {"instruction": "place"}, {"seed": 1}, {"seed": 2})
    }
    assert len({first.tobytes()} | seen) == 5
    assert act({"seed": 1, "state": [5.0]}).tolist() == act({"seed": 1}).tolist()
    assert act({"noise": [[0, 1], [2, 3], [4, 5]]}).tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("seed", [-1, 1 << 64, 1.5, "1", True, [1]])
def test_seeds_that_are_none_are_refused(tmp_path: Path, seed: Any) -> None:
    """A seed that is no whole number is an error of the request."""
    with pytest.raises(ObservationError, match="'seed'"):
        load_policy(noisy(tmp_path / "e")).act({"seed": seed})


def test_noise_is_the_same_for_ever(tmp_path: Path) -> None:
    """Traces of this version agree with replays of any later one: the noise of a seed does not change."""
    act = load_policy(noisy(tmp_path / "e")).act
    assert act({"seed": 1})[0].tolist() == pytest.approx(SEEDED)
    assert act({"instruction": "pick", "state": [0.5, 1]})[0].tolist() == pytest.approx(DERIVED)


def test_noise_is_normal_and_the_same_in_every_precision(tmp_path: Path) -> None:
    """Mean 0 and deviation 1; a float16 export starts from the noise of the float32 one, rounded."""
    exact, rounded = (load_policy(noisy(tmp_path / dtype, dtype)).act for dtype in ("float32", "float16"))
    many = numpy.concatenate([exact({"seed": seed}).ravel() for seed in range(500)])
    assert many.mean() == pytest.approx(0, abs=0.1)
    assert many.std() == pytest.approx(1, abs=0.1)
    assert rounded({"seed": 1}).tolist() == exact({"seed": 1}).astype(numpy.float16).tolist()


@settings(deadline=None)
@given(
    state=st.lists(st.floats(width=32, allow_nan=False), max_size=4),
    text=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
def test_the_seed_survives_the_wire(state: list[float], text: str) -> None:
    """A request has one seed as JSON, as MessagePack with arrays, in openpi's words, and from its trace."""
    plain = {"instruction": text, "state": state}
    openpi = {"prompt": text, "observation/state": numpy.asarray(state, numpy.float32)}
    traced = {**decoded(pack(openpi), WireFormat.MSGPACK), **plain}
    assert len({seed_of(request) for request in (plain, openpi, traced)}) == 1


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("noise", {}, "give it as 'shape'"),
        ("x", {"inputs": {"x": {"noise": True}}}, "give it as 'shape'"),
        ("x", {"inputs": {"x": {"noise": 1}}}, "true or false"),
        ("x", {"inputs": {"x": {"noise": True, "shape": [1, 3, 2], "std": [1, 1]}}}, "not normalised"),
    ],
)
def test_noise_that_cannot_be_drawn_is_refused(tmp_path: Path, name: str, config: Any, words: str) -> None:
    """Noise needs a shape, and is not normalised."""
    with pytest.raises(PolicyError, match=words):
        load_policy(noisy(tmp_path / "e", name=name, config=config, steps="n"))
    with pytest.raises(PolicyError, match="only a float input can be noise"):
        load_policy(noisy(tmp_path / "i", "int64"))


def test_noise_can_be_declined(tmp_path: Path) -> None:
    """With ``noise: false`` the field must be in the request, whatever its name."""
    act = load_policy(noisy(tmp_path / "e", config={"inputs": {"noise": {"noise": False}}})).act
    with pytest.raises(ObservationError, match="'noise'"):
        act({})


def flow(folder: Path, **repeat: Any) -> Path:
    """A field of velocities, v = state - x + t, from noise."""
    x = ("float32", [1, 3, 2])
    write_graph(
        folder,
        [("Sub", ["state", "x_t"], "d"), ("Add", ["d", "t"], "v")],
        {"x_t": x, "state": ("float32", [1, 1, 2]), "t": ("float32", ["batch"])},
        {"v": x},
    )
    said = {"steps": 5, "input": "x_t", "velocity": "v", "time": "t", **repeat}
    model = {"file": "model.onnx", "inputs": {"x_t": {"noise": True}}, "outputs": {"v": "actions"}, "repeat": said}
    return write_config(folder, {"models": [model]})


@pytest.mark.parametrize(("start", "end", "steps"), [(1, 0, 5), (0, 1, 5), (1, 0, 1), (0.5, 2, 7)])
def test_a_loop_follows_the_velocities(tmp_path: Path, start: float, end: float, steps: int) -> None:
    """The model runs ``steps`` times by Euler's method, from the noise at ``start`` to the actions at ``end``."""
    act = load_policy(flow(tmp_path / "e", start=start, end=end, steps=steps)).act
    state = numpy.array([[1, -2]], numpy.float64)
    x = load_policy(noisy(tmp_path / "n")).act({"seed": 9}).astype(float)
    for number in range(steps):
        x = x + (state - x + start + (end - start) * number / steps) * (end - start) / steps
    actions = act({"state": [state[0].tolist()], "seed": 9})
    assert actions.dtype == numpy.float32
    assert actions == pytest.approx(x, abs=1e-4)


def test_a_loop_whose_shapes_do_not_fit_is_refused(tmp_path: Path) -> None:
    """A velocity of another shape than what it moves is an error when it loads."""
    folder = flow(tmp_path / "e")
    out = ("float32", [1, 1, 2])
    write_graph(
        folder,
        [("Add", ["state", "t"], "s"), ("ReduceMean", ["x_t"], "m"), ("Add", ["s", "m"], "v")],
        {"x_t": ("float32", [1, 3, 2]), "state": out, "t": ("float32", [1])},
        {"v": out},
    )
    with pytest.raises(PolicyError, match=r"\[1, 3, 2\], but 'v' is float32 \[1, 1, 2\]"):
        load_policy(folder)


@needs_server
async def test_a_chain_is_served_and_replays(tmp_path: Path) -> None:
    """A chain with noise is served; its trace has what another run of the same request gives."""
    folder = flow(tmp_path / "e")
    async with serving(str(folder), trace=TraceOptions(directory=tmp_path / "traces")) as served:
        body = (await served.act(state=[1.0, -2.0], instruction="go")).json()
    assert (body["num_actions"], body["action_dim"]) == (3, 2)
    (line,) = read_all(only_trace(tmp_path / "traces")).lines  # type: ignore[attr-defined]
    request = {**line["request"], "instruction": "go"}
    again = load_policy(folder).act(request)
    assert numpy.asarray(body["actions"], numpy.float32).tolist() == again.tolist()


def test_several_outputs_need_a_name(tmp_path: Path) -> None:
    """A graph with several outputs and no ``actions`` is refused with their names; ``action`` is as good."""
    write_graph(
        tmp_path / "e",
        [("Neg", ["state"], "arm"), ("Add", ["state", "state"], "grip")],
        {"state": TWO},
        {"arm": TWO, "grip": TWO},
    )
    with pytest.raises(PolicyError, match=r"only \['arm', 'grip'\]; name one"):
        load_policy(tmp_path / "e")
    write_config(tmp_path / "e", {"output": ["grip", "arm"]})
    assert load_policy(tmp_path / "e").act({"state": [1, 2]}).tolist() == [[2, 4, -1, -2]]
    write_graph(
        tmp_path / "f",
        [("Neg", ["state"], "log_prob"), ("Add", ["state", "state"], "action")],
        {"state": TWO},
        {"log_prob": TWO, "action": TWO},
    )
    assert load_policy(tmp_path / "f").act({"state": [1, 2]}).tolist() == [[2, 4]]


@pytest.mark.parametrize("role", ["input", "output"])
def test_types_that_numpy_lacks_are_named(tmp_path: Path, role: str) -> None:
    """A bfloat16 input or output is an error when it loads, which says so and what to do."""
    source, target = ("bfloat16", "float32") if role == "input" else ("float32", "bfloat16")
    kind = {"to": 1 if role == "input" else 16}
    write_graph(
        tmp_path / "e",
        [("Cast", ["state"], "actions", kind)],
        {"state": (source, [1, 2])},
        {"actions": (target, [1, 2])},
    )
    with pytest.raises(PolicyError, match=rf"the {role} '\w+' of model\.onnx is bfloat16.*float32") as caught:
        load_policy(tmp_path / "e")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [[1, 3, 2], [1, 1, 3, 2], [3, 2], ["batch", "steps", "width"]])
def test_batch_dimensions_go(tmp_path: Path, shape: Any) -> None:
    """Whatever the number of leading dimensions of 1, the actions are steps x dimensions."""
    fixed = shape if None not in shape and "batch" not in shape else [1, 3, 2]
    write_graph(
        tmp_path / "e",
        [("Reshape", ["state", "shape"], "actions")],
        {"state": ("float32", [1, 6])},
        {"actions": ("float32", shape)},
        constants={"shape": numpy.array(fixed, numpy.int64)},
    )
    assert load_policy(tmp_path / "e").act({"state": list(range(6))}).tolist() == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize("dtype", ["bool", "text"])
def test_outputs_that_are_no_numbers_are_refused(tmp_path: Path, dtype: str) -> None:
    """Booleans and texts are no actions."""
    with pytest.raises(PolicyError, match="actions are numbers"):
        load_policy(identity(tmp_path / "e", dtype=dtype))


def test_several_chunks_fail_the_warm_up(tmp_path: Path) -> None:
    """A graph whose batch is not 1 gives no actions for one observation, and says so before the first request."""
    loaded = load_policy(identity(tmp_path / "e", state=[2, 3, 4], actions=[2, 3, 4]))
    assert loaded.warm_up is not None
    with pytest.raises(PolicyError, match=r"\[2, 3, 4\]"):
        loaded.warm_up()


def test_open_shapes_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A warm-up that proves nothing says why, and what would help."""
    write_graph(
        tmp_path / "e",
        [("MatMul", ["state", "w"], "actions")],
        {"state": ("float32", [1, "n"])},
        {"actions": ("float32", None)},
        constants={"w": numpy.eye(3, dtype=numpy.float32)},
    )
    loaded = load_policy(tmp_path / "e")
    assert loaded.warm_up is not None
    loaded.warm_up()
    assert "the shape of state open; give it as 'shape'" in caplog.text
    assert loaded.act({"state": [1, 2, 3]}).tolist() == [[1, 2, 3]]
