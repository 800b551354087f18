"""Folders with ONNX exports: which field goes where, what policy.json changes, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import numpy
import pytest

from horus_async.errors import PolicyError
from horus_async.policy import ObservationError, TraceOptions, load_policy, model_hash
from horus_async.policy.model.interface import answer_of
from tests.policy.conftest import needs_server, only_trace, read_all, serving

if TYPE_CHECKING:
    from pathlib import Path

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

FLOAT, UINT8, STRING = 1, 2, 8


def export(
    folder: Path, nodes: list[tuple[str, list[str], str]], inputs: dict[str, tuple[int, list[Any]]], **more: Any
) -> Path:
    """Write a graph of simple nodes with the output ``actions``, float32."""
    helper = onnx.helper
    constants = [
        onnx.numpy_helper.from_array(numpy.asarray(value), name) for name, value in more.get("constants", {}).items()
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, sources, [target]) for kind, sources, target in nodes],
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in more.get("outputs", ["actions"])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, str(folder / "model.onnx"), **more.get("save", {}))
    if "config" in more:
        (folder / "policy.json").write_text(json.dumps(more["config"]))
    return folder


def double(folder: Path, **more: Any) -> Path:
    """A policy that doubles its state of two."""
    two = {"two": numpy.float32(2)}
    return export(
        folder, [("Mul", ["state", "two"], "actions")], {"state": (FLOAT, ["batch", 2])}, constants=two, **more
    )


def test_fields_go_to_inputs_of_their_name(tmp_path: Path) -> None:
    """A request field fills the model input of its name, with a batch of 1 in front."""
    loaded = load_policy(double(tmp_path / "export"))
    assert loaded.act({"state": [1.0, 2.5]}).tolist() == [[2.0, 5.0]]
    assert (loaded.export_kind, loaded.mode, loaded.config_hash) == ("monolithic", "onnx_cpu", "")
    assert loaded.model_hash == model_hash(tmp_path / "export") != ""


def test_chunks_lose_their_batch(tmp_path: Path) -> None:
    """An output of batch × steps × dimensions becomes steps × dimensions."""
    shape = {"shape": numpy.array([1, 3, 2], numpy.int64)}
    folder = export(
        tmp_path / "e", [("Reshape", ["state", "shape"], "actions")], {"state": (FLOAT, [1, 6])}, constants=shape
    )
    assert load_policy(folder).act({"state": [1, 2, 3, 4, 5, 6]}).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_policy_json_renames_and_normalises(tmp_path: Path) -> None:
    """policy.json names another field, normalises input and output, and says what the header shows."""
    config = {
        "inputs": {"obs": {"field": "state", "mean": [1, 1], "std": [2, 4]}},
        "output": {"name": "out", "mean": [10, 0], "std": [1, 2]},
        "action_names": ["a", "b"],
        "embodiment": "arm",
        "model_type": "mlp",
        "concurrency": 2,
    }
    inputs = {"obs": (FLOAT, [1, 2])}
    folder = export(tmp_path / "e", [("Identity", ["obs"], "out")], inputs, outputs=["out"], config=config)
    loaded = load_policy(folder)
    assert loaded.warm_up is not None
    loaded.warm_up()
    assert loaded.act({"state": [3.0, 9.0]}).tolist() == [[11.0, 4.0]]
    assert (loaded.embodiment, loaded.model_type, loaded.concurrency) == ("arm", "mlp", 2)
    assert len(loaded.config_hash) == 16


def _png(pixels: numpy.ndarray) -> str:
    image = pytest.importorskip("PIL.Image")
    stream = io.BytesIO()
    image.fromarray(pixels).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def test_camera_images_are_decoded(tmp_path: Path) -> None:
    """A base64 image becomes pixels: channels first and 0 to 1 for a float input with 3 channels in front."""
    pixels = numpy.arange(2 * 4 * 3, dtype=numpy.uint8).reshape(2, 4, 3)
    inputs = {"image": (FLOAT, [1, 3, 2, 4])}
    shape = {"shape": numpy.array([1, 24], numpy.int64)}
    folder = export(tmp_path / "e", [("Reshape", ["image", "shape"], "actions")], inputs, constants=shape)
    actions = load_policy(folder).act({"image": _png(pixels)})
    assert actions[0] == pytest.approx((pixels.transpose(2, 0, 1) / 255).reshape(-1))
    for bad in ("!", base64.b64encode(b"no image").decode(), _png(pixels[:1])):
        with pytest.raises(ObservationError, match="image"):
            load_policy(folder).act({"image": bad})


@pytest.mark.parametrize(
    "state", [None, [1.0], [1.0, 2.0, 3.0], "text", [[1.0, 2.0], [3.0, 4.0]], ["a", "b"], {"x": 1}]
)
def test_observations_that_do_not_fit_are_named(tmp_path: Path, state: Any) -> None:
    """A missing field or another shape raises ObservationError with the field's name."""
    with pytest.raises(ObservationError, match="state"):
        load_policy(double(tmp_path / "export")).act({"state": state})


def test_external_weights_change_the_hash(tmp_path: Path) -> None:
    """Two exports that differ only in external weights have different model hashes."""
    hashes = set()
    for value in (1.0, 2.0):
        weights = {"w": numpy.full(2000, value, numpy.float32)}
        folder = export(
            tmp_path / str(value),
            [("Mul", ["state", "w"], "actions")],
            {"state": (FLOAT, [1, 2000])},
            constants=weights,
            save={"save_as_external_data": True, "location": "model.onnx.data"},
        )
        assert (folder / "model.onnx.data").is_file()
        hashes.add(load_policy(folder).model_hash)
    assert len(hashes) == 2


@pytest.mark.parametrize(
    "config",
    [
        {"model": "other.onnx"},
        {"modell": "model.onnx"},
        {"inputs": {"nothing": "state"}},
        {"inputs": []},
        {"inputs": {"state": 3}},
        {"inputs": {"state": {"std": [0, 1]}}},
        {"output": "nothing"},
        {"concurrency": 0},
        [],
    ],
)
def test_a_policy_json_that_does_not_fit_is_refused(tmp_path: Path, config: Any) -> None:
    """Unknown keys, names that the model has not, and wrong types raise PolicyError."""
    with pytest.raises(PolicyError):
        load_policy(double(tmp_path / "export", config=config))


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    """No graph, two graphs, and a graph that is garbage raise PolicyError."""
    with pytest.raises(PolicyError, match=r"one \.onnx"):
        load_policy(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"garbage")
    with pytest.raises(PolicyError, match=r"a\.onnx"):
        load_policy(tmp_path)
    (tmp_path / "b.onnx").write_bytes(b"garbage")
    with pytest.raises(PolicyError, match=r"one \.onnx"):
        load_policy(tmp_path)


def test_wrong_action_names_are_refused(tmp_path: Path) -> None:
    """A policy.json that names three actions of two is refused."""
    with pytest.raises(PolicyError, match="3 actions"):
        load_policy(double(tmp_path / "export", config={"action_names": ["a", "b", "c"]}))


@needs_server
async def test_an_export_is_served_and_recorded(tmp_path: Path) -> None:
    """A folder is served: actions of the model, 422 for an observation that does not fit, both in the trace."""
    folder = double(tmp_path / "export")
    async with serving(str(folder), trace=TraceOptions(directory=tmp_path / "traces")) as served:
        assert (await served.act(state=[1.0, 2.0])).json()["actions"] == [[2.0, 4.0]]
        bad = await served.act(state=[1.0])
        assert (bad.status_code, bad.json()["error"]) == (422, "bad-observation")
    reader = read_all(only_trace(tmp_path / "traces"))
    assert reader.header["model_hash"] == model_hash(folder)
    assert reader.header["providers"] == ["CPUExecutionProvider"]
    assert reader.header["hardware"]["ort"]
    assert [line["status"] for line in reader.lines] == [200, 422]  # type: ignore[attr-defined]


def test_float32_answers_have_the_digits_of_float32(tmp_path: Path) -> None:
    """What onnxruntime computes in float32 is written with its digits, and read as float32 it is the same."""
    actions = load_policy(double(tmp_path / "export")).act({"state": [0.1, 0.2]})
    text = answer_of(actions).actions_json
    assert text == b"[[0.2,0.4]]"
    assert numpy.asarray(json.loads(text), numpy.float32).tobytes() == actions.tobytes()


@needs_server
async def test_the_fields_of_openpis_observations_fill_inputs(tmp_path: Path) -> None:
    """Fields with a slash in their name are fields as others; images come as arrays."""
    from tests.policy.sockets import openpi

    config = {"inputs": {"image": {"field": "observation/image"}, "state": {"field": "observation/state"}}}
    nodes = [("ReduceMean", ["image"], "light"), ("Mul", ["state", "light"], "actions")]
    inputs = {"image": (FLOAT, [1, 3, 4, 4]), "state": (FLOAT, [1, 2])}
    folder = export(tmp_path / "e", nodes, inputs, config=config)
    observation = {
        "observation/image": numpy.full((4, 4, 3), 51, "uint8"),
        "observation/state": numpy.array([1, 2], "float32"),
        "prompt": "pick",
    }
    async with serving(str(folder)) as served, openpi(served.url) as (line, metadata):
        answer = await line.ask(**observation)
        missing = await line.ask(prompt="pick")
    assert metadata["model_hash"] == model_hash(folder)
    assert answer["actions"].dtype == numpy.float32
    assert answer["actions"].tolist() == pytest.approx(numpy.array([[0.2, 0.4]]))
    assert missing.startswith("bad-observation: ")
    assert "observation/" in missing
