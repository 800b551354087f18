"""Writes small ONNX graphs for the tests of policies."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KINDS = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "text": 8, "bool": 9,
    "float16": 10, "float64": 11, "uint32": 12, "uint64": 13, "bfloat16": 16,
}  # fmt: skip
"""ONNX's numbers of element types."""

Tensor = tuple[str, "Sequence[int | str | None] | None"]
"""The dtype of an input or an output, and its shape: None for a dimension, or for all, that the graph leaves open."""


def write_graph(
    folder: Path,
    nodes: Sequence[tuple[Any, ...]],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor],
    *,
    constants: Mapping[str, numpy.ndarray] | None = None,
    name: str = "model.onnx",
) -> Path:
    """Write one graph; a node is its operator, its inputs, its output, and perhaps a dict of attributes."""
    import onnx

    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node(kind, list(sources), [target], **(more[0] if more else {}))
            for kind, sources, target, *more in nodes
        ],
        "test",
        [helper.make_tensor_value_info(key, KINDS[kind], shape) for key, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(key, KINDS[kind], shape) for key, (kind, shape) in outputs.items()],
        [onnx.numpy_helper.from_array(numpy.asarray(value), key) for key, value in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, str(folder / name))
    return folder


def write_config(folder: Path, config: Any) -> Path:
    """Write a ``policy.json``; a text is written as it is."""
    (folder / "policy.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def identity(folder: Path, width: int = 3, dtype: str = "float32", config: Any = None, **shapes: Any) -> Path:
    """A policy that answers with its state."""
    write_graph(
        folder,
        [("Identity", ["state"], "actions")],
        {"state": (dtype, shapes.get("state", [1, width]))},
        {"actions": (dtype, shapes.get("actions", [1, width]))},
    )
    return folder if config is None else write_config(folder, config)
