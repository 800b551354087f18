"""Train a small reaching policy for a two-link planar arm, and write it as ONNX, in float32 and quantised.

    python make_policy.py FOLDER

The state is (joint 1, joint 2, target x, target y), in radians and metres; the policy answers with eight steps of two
joint movements in radians. The teacher is damped least squares: at each step the joints move by
``J^T (J J^T + damping² I)⁻¹ error``, at most 0.2 rad. A network with two hidden layers learns the teacher's chunks from
random postures and targets, with fixed seeds, in plain NumPy.
"""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LINKS = (0.5, 0.4)
STEPS = 8
DAMPING = 0.3
LARGEST_STEP = 0.2
HIDDEN = 48
Array = np.ndarray
Weights = list[Array]


def hand_position(joints: Array) -> Array:
    """Where the hand is, shape (n, 2) in metres, for joint angles of shape (n, 2) in radians."""
    shoulder, both = joints[:, 0], joints[:, 0] + joints[:, 1]
    x = LINKS[0] * np.cos(shoulder) + LINKS[1] * np.cos(both)
    y = LINKS[0] * np.sin(shoulder) + LINKS[1] * np.sin(both)
    return np.stack([x, y], axis=1)


def jacobian(joints: Array) -> Array:
    """How the hand moves with the joints, shape (n, 2, 2)."""
    shoulder, both = joints[:, 0], joints[:, 0] + joints[:, 1]
    first = np.stack([-LINKS[0] * np.sin(shoulder), LINKS[0] * np.cos(shoulder)], axis=1)
    second = np.stack([-LINKS[1] * np.sin(both), LINKS[1] * np.cos(both)], axis=1)
    return np.stack([first + second, second], axis=2)


def teacher(states: Array) -> Array:
    """Chunks that reach the target: joint movements of shape (n, STEPS, 2), radians."""
    joints, targets = states[:, :2].copy(), states[:, 2:]
    chunk = []
    for _ in range(STEPS):
        error = targets - hand_position(joints)
        matrix = jacobian(joints)
        damped = matrix @ matrix.transpose(0, 2, 1) + DAMPING**2 * np.eye(2)
        move = (matrix.transpose(0, 2, 1) @ np.linalg.solve(damped, error[..., None]))[..., 0]
        move = np.clip(move, -LARGEST_STEP, LARGEST_STEP)
        joints += move
        chunk.append(move)
    return np.stack(chunk, axis=1)


def sample_states(count: int, seed: int) -> Array:
    """Random postures with random targets within reach."""
    random = np.random.default_rng(seed)
    joints = random.uniform([-1.0, 0.4], [1.0, 2.2], size=(count, 2))
    goals = random.uniform([-1.0, 0.4], [1.0, 2.2], size=(count, 2))
    return np.concatenate([joints, hand_position(goals)], axis=1)


def train(steps: int = 800, seed: int = 7) -> tuple[Weights, float]:
    """The network's weights, and its root mean square error in radians on unseen states."""
    random = np.random.default_rng(seed)
    states = sample_states(1024, seed=1)
    answers = teacher(states).reshape(len(states), -1)
    sizes = [4, HIDDEN, HIDDEN, STEPS * 2]
    weights: Weights = []
    for inputs, outputs in pairwise(sizes):
        weights += [random.normal(0, inputs**-0.5, (inputs, outputs)), np.zeros(outputs)]
    means, squares = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    for step in range(1, steps + 1):
        rate = 0.02 * (1 - step / steps)
        for index, gradient in enumerate(gradients(weights, states, answers)):
            means[index] = 0.9 * means[index] + 0.1 * gradient
            squares[index] = 0.999 * squares[index] + 0.001 * gradient**2
            scale = np.sqrt(squares[index] / (1 - 0.999**step)) + 1e-8
            weights[index] -= rate * means[index] / (1 - 0.9**step) / scale
    unseen = sample_states(512, seed=2)
    error = forward(weights, unseen)[-1] - teacher(unseen).reshape(len(unseen), -1)
    return [w.astype(np.float32) for w in weights], float(np.sqrt(np.mean(error**2)))


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


def write_onnx(weights: Weights, folder: Path, *, quantised: bool = False) -> None:
    """Write the network and its ``policy.json``; if quantised, each weight matrix is int8 with one scale."""
    folder.mkdir(parents=True, exist_ok=True)
    nodes, constants = [], []
    for index, weight in enumerate(weights):
        name = f"w{index}"
        if quantised and weight.ndim == 2:
            scale = np.float32(np.abs(weight).max() / 127)
            whole = np.clip(np.round(weight / scale), -127, 127).astype(np.int8)
            constants += [numpy_helper.from_array(whole, f"{name}_int8")]
            constants += [numpy_helper.from_array(np.array(scale, np.float32), f"{name}_scale")]
            nodes.append(helper.make_node("DequantizeLinear", [f"{name}_int8", f"{name}_scale"], [name]))
        else:
            constants.append(numpy_helper.from_array(weight, name))
    constants.append(numpy_helper.from_array(np.array([-1, STEPS, 2], np.int64), "shape"))
    nodes += [
        helper.make_node("Gemm", ["state", "w0", "w1"], ["a0"]),
        helper.make_node("Tanh", ["a0"], ["h0"]),
        helper.make_node("Gemm", ["h0", "w2", "w3"], ["a1"]),
        helper.make_node("Tanh", ["a1"], ["h1"]),
        helper.make_node("Gemm", ["h1", "w4", "w5"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["actions"]),
    ]
    graph = helper.make_graph(
        nodes,
        "reach",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("actions", TensorProto.FLOAT, ["batch", STEPS, 2])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (folder / "reach.onnx").write_bytes(model.SerializeToString())
    described = {"model_type": "mlp", "embodiment": "planar2", "action_names": ["joint1", "joint2"]}
    (folder / "policy.json").write_text(json.dumps(described, indent=2) + "\n")


def make(folder: Path) -> tuple[Path, Path, float]:
    """Train once and write both; returns their folders and the error in radians."""
    weights, error = train()
    whole, small = folder / "reach", folder / "reach-int8"
    write_onnx(weights, whole)
    write_onnx(weights, small, quantised=True)
    return whole, small, error


if __name__ == "__main__":
    written, quantised_too, rms = make(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print(f"wrote {written} and {quantised_too}; off by {rms:.4f} rad from the teacher")
