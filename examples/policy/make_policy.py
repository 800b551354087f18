"""Train a small reaching policy for a two-link planar arm, and write it as ONNX, in float32 and quantised.

    python make_policy.py FOLDER

The state is (joint 1, joint 2, target x, target y), in radians and metres; the policy answers with eight steps of two
joint movements in radians. The teacher is damped least squares: at each step the joints move by
``J^T (J J^T + damping² I)⁻¹ error``, at most 0.2 rad. A network with two hidden layers learns the teacher's chunks from
random postures and targets.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from network import Array, forward, train, write_onnx

LINKS = (0.5, 0.4)
STEPS = 8
DAMPING = 0.3
LARGEST_STEP = 0.2


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


def make(folder: Path) -> tuple[Path, Path, float]:
    """Train once and write both; returns their folders, and the error in radians on unseen states."""
    states = sample_states(1024, seed=1)
    weights = train(states, teacher(states).reshape(len(states), -1), hidden=48, steps=800, rate=0.02)
    unseen = sample_states(512, seed=2)
    error = forward(weights, unseen)[-1] - teacher(unseen).reshape(len(unseen), -1)
    described = {"model_type": "mlp", "embodiment": "planar2", "action_names": ["joint1", "joint2"]}
    whole, small = folder / "reach", folder / "reach-int8"
    write_onnx(weights, whole, described)
    write_onnx(weights, small, described, quantised=True)
    return whole, small, float(np.sqrt(np.mean(error**2)))


if __name__ == "__main__":
    written, quantised_too, rms = make(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
    print(f"wrote {written} and {quantised_too}; off by {rms:.4f} rad from the teacher")
