"""A folder with an ONNX export, run by onnxruntime.

Without a ``policy.json`` each model input is filled from the request field of the same name, with a batch dimension of
1 in front, and the actions are the output ``actions`` (or the only output). A ``policy.json`` may say otherwise:

    {
      "model": "policy.onnx",                      which graph, if the folder holds several
      "inputs": {"obs": {"field": "state",         request field of the model input "obs"
                         "shape": [1, 7],          for the warm-up, if the graph leaves it open
                         "mean": [...], "std": [...]}},   the model sees (value - mean) / std
      "output": {"name": "actions",                the actions are value * std + mean
                 "mean": [...], "std": [...]},
      "action_names": ["joint1", ...],             one per dimension, checked
      "embodiment": "planar2", "model_type": "mlp", "providers": ["CPUExecutionProvider"], "concurrency": 2
    }

Camera images (base64 JPEG or PNG) are decoded to RGB: uint8 unchanged, floats divided by 255; channels first if the
input's second dimension is 3.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
from attrs import Factory, frozen

from horus_async.errors import PolicyError
from horus_async.hints.installed import install

from .hashes import config_hash, model_hash
from .interface import Observation, ObservationError
from .loaded import LoadedPolicy
from .observation import image_array, image_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import numpy

CONFIG_FILE = "policy.json"
_KEYS = {"model", "inputs", "output", "action_names", "embodiment", "model_type", "export_kind", "providers"}
_KEYS |= {"concurrency"}
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_TYPES = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}


@frozen
class Binding:
    """How one model input is filled, or the output is read: name, request field, dtype, shape, normalisation."""

    name: str
    field: str
    dtype: str
    shape: tuple[int | None, ...]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    declared: tuple[int, ...] | None = None


@frozen
class OnnxPolicy:
    """An onnxruntime session with its bindings. ``act`` is plain and safe to call from several threads."""

    session: Any
    inputs: tuple[Binding, ...]
    output: Binding
    action_names: tuple[str, ...] = Factory(tuple)

    def act(self, observation: Observation) -> numpy.ndarray:
        """Actions, steps × dimensions.

        Raises:
            ObservationError: a field that the model needs is missing or has the wrong shape.
            PolicyError: onnxruntime failed.
        """
        return self._run({binding.name: fill(binding, observation) for binding in self.inputs})

    def warm_up(self) -> None:
        """Run the model once on zeros.

        Raises:
            PolicyError: the model does not run, or has not as many actions as there are names.
        """
        import numpy

        feeds = {}
        for binding in self.inputs:
            shape = binding.declared or tuple(size or 1 for size in binding.shape)
            empty: Any = "" if binding.dtype == "object" else 0
            feeds[binding.name] = numpy.full(shape, empty, dtype=binding.dtype)
        try:
            actions = self._run(feeds)
        except PolicyError:
            # Zeros of a guessed shape prove nothing if the graph leaves its shapes open; of a fixed shape, they do.
            if any(None in binding.shape[1:] and not binding.declared for binding in self.inputs):
                return
            raise
        if self.action_names and len(self.action_names) != actions.shape[-1]:
            names = len(self.action_names)
            raise PolicyError(f"{CONFIG_FILE} names {names} actions, the model has {actions.shape[-1]}")

    def _run(self, feeds: dict[str, Any]) -> numpy.ndarray:
        import numpy

        try:
            actions = numpy.asarray(self.session.run([self.output.name], feeds)[0])
        # onnxruntime raises classes of its own, which have no base class in common.
        except Exception as error:
            raise PolicyError(f"onnxruntime failed: {error}") from error
        if actions.ndim > 2 and actions.shape[0] == 1:
            actions = actions[0]
        if self.output.std is not None:
            actions = actions * numpy.asarray(self.output.std)
        if self.output.mean is not None:
            actions = actions + numpy.asarray(self.output.mean)
        return actions


def fill(binding: Binding, observation: Observation) -> numpy.ndarray:
    """The array for one model input.

    Raises:
        ObservationError: the field is missing, is not an array, or has another shape than the input.
    """
    import numpy

    value = observation.get(binding.field)
    if value is None:
        raise ObservationError(f"the model input {binding.name!r} needs the request field {binding.field!r}")
    rank = len(binding.shape)
    if isinstance(value, str) and binding.dtype != "object":
        value = _image(binding, value)
    try:
        array = numpy.asarray(value, dtype=binding.dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise ObservationError(
            f"request field {binding.field!r} is not an array of {binding.dtype}: {error}"
        ) from error
    while array.ndim < rank and (array.ndim == rank - 1 or binding.dtype == "object"):
        array = array[None]
    expected: list[int | str] = [size if size is not None else "any" for size in binding.shape]
    if rank > 1 and expected[0] == "any":
        expected[0] = 1
    if array.ndim != rank or any(
        have != want for have, want in zip(array.shape, expected, strict=True) if want != "any"
    ):
        raise ObservationError(
            f"request field {binding.field!r} has shape {list(array.shape)}, the model wants {expected}"
        )
    if binding.mean is not None:
        array = array - numpy.asarray(binding.mean, dtype=array.dtype)
    if binding.std is not None:
        array = array / numpy.asarray(binding.std, dtype=array.dtype)
    return array


def _image(binding: Binding, text: str) -> Any:
    """A camera image for one input: pixels if it has three or four dimensions, else the encoded bytes as uint8."""
    import numpy

    if len(binding.shape) < 3:
        return numpy.frombuffer(image_bytes(text, binding.field), dtype=numpy.uint8)
    pixels: Any = image_array(text, binding.field)
    if binding.shape[-3] == 3:
        pixels = pixels.transpose(2, 0, 1)
    return pixels if binding.dtype == "uint8" else pixels / 255.0


def load_folder(folder: Path) -> LoadedPolicy:
    """Load an export folder.

    Raises:
        PolicyError: no ONNX graph in it, an invalid ``policy.json``, or onnxruntime is not installed.
    """
    config = _read_config(folder)
    session, version = _open_session(_graph_file(folder, config), config)
    try:
        policy = OnnxPolicy(
            session,
            tuple(_input_binding(node, config) for node in session.get_inputs()),
            _output_binding(session.get_outputs(), config),
            tuple(config.get("action_names", ())),
        )
        _refuse_unknown_inputs(policy, config)
    except (AttributeError, TypeError) as error:
        raise PolicyError(f"{folder / CONFIG_FILE}: a part has the wrong type: {error}") from error
    providers = tuple(session.get_providers())
    return LoadedPolicy(
        str(folder),
        policy.act,
        warm_up=policy.warm_up,
        concurrency=config.get("concurrency", min(4, os.cpu_count() or 1)),
        model_hash=model_hash(folder),
        config_hash=config_hash(config),
        export_dir=str(folder.resolve()),
        model_type=config.get("model_type", "onnx"),
        export_kind=config.get("export_kind", "monolithic"),
        embodiment=config.get("embodiment"),
        providers=providers,
        mode="onnx_gpu" if any(name.startswith(("CUDA", "Tensorrt")) for name in providers) else "onnx_cpu",
        onnxruntime=version,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.exists():
        return {}
    try:
        config = orjson.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PolicyError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict) or set(config) - _KEYS:
        odd = sorted(set(config) - _KEYS) if isinstance(config, dict) else type(config).__name__
        raise PolicyError(f"{path}: unknown {odd}; known are {sorted(_KEYS)}")
    concurrency = config.get("concurrency", 1)
    if not isinstance(concurrency, int) or concurrency < 1:
        raise PolicyError(f"{path}: concurrency must be a whole number from 1, not {concurrency!r}")
    return config


def _graph_file(folder: Path, config: dict[str, Any]) -> Path:
    if "model" in config:
        graphs = [folder / str(config["model"])]
    else:
        graphs = sorted(folder.glob("*.onnx"))
    if len(graphs) == 1 and graphs[0].is_file():
        return graphs[0]
    found = [path.name for path in graphs if path.is_file()]
    raise PolicyError(f"{folder} must hold one .onnx file, or name one as 'model' in {CONFIG_FILE}; found {found}")


def _open_session(graph: Path, config: dict[str, Any]) -> tuple[Any, str]:
    try:
        import onnxruntime
    except ImportError as error:
        raise PolicyError(f"running ONNX needs onnxruntime: {install('serve')}") from error
    available = onnxruntime.get_available_providers()
    providers = config.get("providers") or [name for name in _PROVIDERS if name in available]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(graph), options, providers=providers), onnxruntime.__version__
    except Exception as error:
        raise PolicyError(f"onnxruntime cannot load {graph}: {error}") from error


def _input_binding(node: Any, config: dict[str, Any]) -> Binding:
    said = config.get("inputs", {}).get(node.name, {})
    said = {"field": said} if isinstance(said, str) else said
    return _binding(node, said.get("field", node.name), said)


def _output_binding(nodes: list[Any], config: dict[str, Any]) -> Binding:
    said = config.get("output", {})
    said = {"name": said} if isinstance(said, str) else said
    names = {node.name: node for node in nodes}
    wanted = said.get("name", "actions" if "actions" in names or len(nodes) > 1 else nodes[0].name)
    if wanted not in names:
        raise PolicyError(f"the model has no output {wanted!r}, only {sorted(names)}; {CONFIG_FILE} can name another")
    return _binding(names[wanted], wanted, said)


def _binding(node: Any, field: str, said: dict[str, Any]) -> Binding:
    dtype = _TYPES.get(node.type) or ("object" if node.type == "tensor(string)" else node.type[7:-1])
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    mean, std, declared = (tuple(said[key]) if key in said else None for key in ("mean", "std", "shape"))
    if std is not None and not all(std):
        raise PolicyError(f"{CONFIG_FILE}: the std of {node.name!r} holds a zero")
    return Binding(node.name, field, dtype, shape, mean, std, declared)


def _refuse_unknown_inputs(policy: OnnxPolicy, config: dict[str, Any]) -> None:
    known = {binding.name for binding in policy.inputs}
    if odd := sorted(set(config.get("inputs", {})) - known):
        raise PolicyError(
            f"{CONFIG_FILE} describes inputs {odd}, which the model does not have; it has {sorted(known)}"
        )
