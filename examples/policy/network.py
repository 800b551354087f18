"""A small network: trained with plain NumPy and fixed seeds, and written as ONNX, in float32 or with int8 weights."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Array = np.ndarray
Weights = list[Array]


def train(states: Array, answers: Array, *, hidden: int, steps: int, rate: float, seed: int = 7) -> Weights:
    """The weights of a network with two hidden layers, from states of shape (n, a) and answers of shape (n, b)."""
    random = np.random.default_rng(seed)
    weights: Weights = []
    for inputs, outputs in pairwise([states.shape[1], hidden, hidden, answers.shape[1]]):
        weights += [random.normal(0, inputs**-0.5, (inputs, outputs)), np.zeros(outputs)]
    means, squares = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    for step in range(1, steps + 1):
        for index, gradient in enumerate(gradients(weights, states, answers)):
            means[index] = 0.9 * means[index] + 0.1 * gradient
            squares[index] = 0.999 * squares[index] + 0.001 * gradient**2
            scale = np.sqrt(squares[index] / (1 - 0.999**step)) + 1e-8
            weights[index] -= rate * (1 - step / steps) * means[index] / (1 - 0.9**step) / scale
    return weights


def forward(weights: Weights, states: Array) -> list[Array]:
    """The input, and the output of each layer."""
    first = np.tanh(states @ weights[0] + weights[1])
    second = np.tanh(first @ weights[2] + weights[3])
    return [states, first, second, second @ weights[4] + weights[5]]


def gradients(weights: Weights, states: Array, answers: Array) -> Weights:
    """Gradients of the mean squared error, by back-propagation."""
    layers = forward(weights, states)
    flow = 2 * (layers[3] - answers) / answers.size
    found: Weights = []
    for layer in (2, 1, 0):
        found = [layers[layer].T @ flow, flow.sum(axis=0), *found]
        flow = (flow @ weights[2 * layer].T) * (1 - layers[layer] ** 2)
    return found


def write_onnx(
    weights: Weights, folder: Path, described: Mapping[str, object], *, quantised: bool = False, absolute: bool = False
) -> None:
    """Write the network and its ``policy.json``, which names the actions.

    If quantised, each weight matrix is int8 with one scale. If absolute, the network says how far to move, and the
    actions are that plus the joint angles that the state begins with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = described["action_names"]
    assert isinstance(names, list)
    width, inputs, steps = len(names), len(weights[0]), len(weights[-1]) // len(names)
    nodes, constants = [], []
    for index, weight in enumerate(np.asarray(w, np.float32) for w in weights):
        name = f"w{index}"
        if quantised and weight.ndim == 2:
            scale = np.float32(np.abs(weight).max() / 127)
            whole = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
            constants += [numpy_helper.from_array(whole, f"{name}_int8")]
            constants += [numpy_helper.from_array(np.array(scale, np.float32), f"{name}_scale")]
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name]))
        else:
            constants.append(numpy_helper.from_array(weight, name))
    constants.append(numpy_helper.from_array(np.array([-1, steps, width], np.int64), "shape"))
    nodes += [
        helper.make_node("Gemm", ["state", "w0", "w1"], ["a0"]),
        helper.make_node("Tanh", ["a0"], ["h0"]),
        helper.make_node("Gemm", ["h0", "w2", "w3"], ["a1"]),
        helper.make_node("Tanh", ["a1"], ["h1"]),
        helper.make_node("Gemm", ["h1", "w4", "w5"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["moves" if absolute else "actions"]),
    ]
    if absolute:
        for name, value in {"first": 0, "end": width, "axis": 1}.items():
            constants.append(numpy_helper.from_array(np.array([value], np.int64), name))
        nodes += [
            helper.make_node("Slice", ["state", "first", "end", "axis"], ["joints"]),
            helper.make_node("Unsqueeze", ["joints", "axis"], ["start"]),
            helper.make_node("Add", ["start", "moves"], ["actions"]),
        ]
    graph = helper.make_graph(
        nodes,
        "reach",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["batch", steps, width])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (folder / "reach.onnx").write_bytes(model.SerializeToString())
    (folder / "policy.json").write_text(json.dumps(described, indent=2) + "\n")
