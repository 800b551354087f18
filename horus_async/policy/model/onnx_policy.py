"""A folder with ONNX graphs, run by onnxruntime.

Without a ``policy.json`` each input of the only graph is filled from the request field of the same name, with a batch
dimension of 1 in front, and the actions are the output ``actions`` (or the only output). A ``policy.json`` may say
otherwise; docs/policy.md has its keys. What it says is checked before the first request, as far as the graphs tell;
the rest when the model warms up.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from attrs import Factory, frozen

from horus_async.errors import PolicyError
from horus_async.spelling import did_you_mean

from .hashes import config_hash, model_hash
from .images.opening import PixelRoom
from .interface import Observation, ObservationError
from .loaded import LoadedPolicy
from .observation import image_array, image_bytes
from .onnx.chain import chained
from .onnx.config import CONFIG_FILE, Config, ModelConfig, read_config
from .onnx.graph import open_graph, runtime_version
from .onnx.inputs import Decoder, UnfitError, binding_of, example, filled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy

    from .onnx.chain import Chain
    from .onnx.config import OutputConfig
    from .onnx.graph import Port
    from .onnx.inputs import Binding

logger = logging.getLogger("horus_async.policy")


@frozen
class OnnxPolicy:
    """Graphs with what fills their inputs. ``act`` is plain and safe to call from several threads."""

    chain: Chain
    inputs: tuple[Binding, ...]
    action_names: tuple[str, ...] = Factory(tuple)

    def act(self, observation: Observation) -> numpy.ndarray:
        """Actions, steps x dimensions.

        Raises:
            ObservationError: a field that the model needs is missing or has the wrong shape.
            PolicyError: onnxruntime failed, or what it gave is not as ``policy.json`` says.
        """
        try:
            images = Decoder(partial(image_array, room=PixelRoom()), image_bytes)
            feeds = {binding.key: filled(binding, observation, images) for binding in self.inputs}
        except UnfitError as error:
            raise ObservationError(str(error)) from error
        return self._run(feeds)

    def warm_up(self) -> None:
        """Run the model once on zeros.

        Raises:
            PolicyError: the model does not run, or its actions are not as ``policy.json`` says.
        """
        guessed = [binding.name for binding in self.inputs if binding.is_open]
        try:
            self._run({binding.key: example(binding) for binding in self.inputs})
        except PolicyError as error:
            # Zeros of a guessed shape prove nothing if the graph leaves its shapes open; of a fixed shape, they do.
            if not guessed:
                raise
            logger.warning(
                "not warmed up: the graph leaves the shape of %s open; give it as 'shape' in %s (%s)",
                ", ".join(guessed), CONFIG_FILE, error,
            )  # fmt: skip

    def _run(self, feeds: Mapping[str, numpy.ndarray]) -> numpy.ndarray:
        import numpy

        found = self.chain.run(feeds)
        parts = [_restored(array, port, said) for array, (port, _, said) in zip(found, self.chain.actions, strict=True)]
        if len({len(part) for part in parts}) > 1:
            steps = [len(part) for part in parts]
            raise PolicyError(f"the outputs have {steps} steps, so they are no actions together")
        actions = parts[0] if len(parts) == 1 else numpy.concatenate(parts, axis=-1)
        if self.action_names and len(self.action_names) != actions.shape[-1]:
            names = len(self.action_names)
            raise PolicyError(f"{CONFIG_FILE} names {names} actions, the model has {actions.shape[-1]}")
        return actions


def _restored(array: Any, port: Port, said: OutputConfig) -> numpy.ndarray:
    """An output without its batch dimension, steps x dimensions, in the robot's units."""
    import numpy

    actions = numpy.asarray(array)
    while actions.ndim > 2 and actions.shape[0] == 1:
        actions = actions[0]
    if actions.ndim not in (1, 2):
        raise PolicyError(f"the output {port.name!r} has shape {list(array.shape)}, not that of one chunk of actions")
    actions = actions[None] if actions.ndim == 1 else actions
    if said.scaling is None:
        return actions
    if said.scaling.length != actions.shape[-1]:
        raise PolicyError(
            f"{CONFIG_FILE}: output: {said.scaling.method.value[0]} has {said.scaling.length} numbers, "
            f"{port.name!r} has {actions.shape[-1]} dimensions"
        )
    return said.scaling.restored(actions)


def load_folder(folder: Path) -> LoadedPolicy:
    """Load an export folder.

    Raises:
        PolicyError: no ONNX graph in it, an invalid ``policy.json``, or onnxruntime is not installed.
    """
    config = read_config(folder)
    graphs = [open_graph(folder, _graph_file(folder, model), config.providers) for model in config.models]
    try:
        policy = _policy(chained(graphs, config.models, config.outputs), config)
    except PolicyError as error:
        where = folder / CONFIG_FILE if config.raw else folder
        raise PolicyError(f"{where}: {error}") from error
    providers = tuple(dict.fromkeys(name for graph in graphs for name in graph.session.get_providers()))
    return LoadedPolicy(
        str(folder),
        policy.act,
        warm_up=policy.warm_up,
        concurrency=config.concurrency or min(4, os.cpu_count() or 1),
        model_hash=model_hash(folder),
        config_hash=config_hash(dict(config.raw)),
        export_dir=str(folder.resolve()),
        model_type=config.model_type,
        export_kind=config.export_kind or ("monolithic" if len(graphs) == 1 else "decomposed"),
        embodiment=config.embodiment,
        providers=providers,
        mode="onnx_gpu" if any(name.startswith(("CUDA", "Tensorrt")) for name in providers) else "onnx_cpu",
        onnxruntime=runtime_version(),
    )


def _graph_file(folder: Path, model: ModelConfig) -> str:
    found = sorted(path.name for path in folder.glob("*.onnx") if path.is_file())
    if model.file is None:
        if len(found) == 1:
            return found[0]
        raise PolicyError(
            f"{folder} must hold one .onnx file, or a {CONFIG_FILE} that names one as 'model' or chains several as "
            f"'models'; found {found}"
        )
    if not (folder / model.file).is_file():
        meant = did_you_mean(model.file, found)
        raise PolicyError(f"{folder / CONFIG_FILE} names {model.file!r}, which is not there{meant}")
    return model.file


def _policy(chain: Chain, config: Config) -> OnnxPolicy:
    bindings: list[Binding] = []
    for free in chain.free:
        bindings.append(binding_of(free, sum(binding.noise is not None for binding in bindings)))
    for port, _, said in chain.actions:
        _check_output(port, said)
    widths = [port.shape[-1] if port.shape else None for port, _, _ in chain.actions]
    width = sum(size for size in widths if size is not None)
    if config.action_names and None not in widths and len(config.action_names) != width:
        raise PolicyError(f"it names {len(config.action_names)} actions, the model has {width}")
    return OnnxPolicy(chain, tuple(bindings), config.action_names)


def _check_output(port: Port, said: OutputConfig) -> None:
    if port.dtype in ("bool", "object"):
        raise PolicyError(f"the output {port.name!r} is {port.kind}: actions are numbers")
    if said.scaling is None or not port.shape:
        return
    try:
        said.scaling.check(port.shape[-1:], port.dtype)
    except PolicyError as error:
        raise PolicyError(f"the output {port.name!r}: {error}") from error
