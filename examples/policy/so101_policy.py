"""Train a policy that reaches with the SO-101, and write it as ONNX, in float32 and quantised.

    python so101_policy.py FOLDER

The state is five joint angles (radians) and the way from the tip to the target (metres); the answer is a chunk of 16
steps of joint angles. The teacher is damped least squares on MuJoCo's kinematics.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from network import Array, Weights, train, write_onnx
from so101_arm import HOME, JOINTS, Kinematics

STEPS = 16
DAMPING = 0.12
LARGEST_STEP = 0.05
LOWEST, HIGHEST = np.array([-0.6, -1.0, -0.4, -0.4, -0.2]), np.array([0.6, 0.1, 0.6, 0.6, 0.2])


def teacher(body: Kinematics, state: Array) -> Array:
    """A chunk that reaches the target: how far each joint is from its start, shape (STEPS, 5), radians."""
    start = state[: len(JOINTS)]
    joints, target = start.copy(), body.tip(start) + state[len(JOINTS) :]
    chunk = []
    for _ in range(STEPS):
        error = target - body.tip(joints)
        jacobian = body.jacobian()
        damped = jacobian @ jacobian.T + DAMPING**2 * np.eye(3)
        move = np.clip(jacobian.T @ np.linalg.solve(damped, error), -LARGEST_STEP, LARGEST_STEP)
        joints = np.clip(joints + move, *body.limits.T)
        chunk.append(joints - start)
    return np.array(chunk)


def sample_states(body: Kinematics, count: int, seed: int) -> Array:
    """Random postures with random targets within reach."""
    random = np.random.default_rng(seed)
    postures = random.uniform(LOWEST, HIGHEST, size=(2, count, len(JOINTS)))
    return np.array([[*here, *(body.tip(there) - body.tip(here))] for here, there in zip(*postures, strict=True)])


def targets(count: int) -> Array:
    """Points that the arm can reach from home, shape (count, 3), metres."""
    body = Kinematics()
    states = sample_states(body, count, seed=3)
    return np.array([body.tip(state[: len(JOINTS)]) + state[len(JOINTS) :] for state in states])


def trained(body: Kinematics) -> Weights:
    """The network; its first and last layers scale the state and the actions."""
    states = sample_states(body, 1500, seed=1)
    answers = np.array([teacher(body, state).ravel() for state in states])
    mean, std, size = states.mean(axis=0), states.std(axis=0), answers.std()
    weights = train((states - mean) / std, answers / size, hidden=64, steps=800, rate=0.01)
    weights[1] -= (mean / std) @ weights[0]
    weights[0] /= std[:, None]
    return [*weights[:4], weights[4] * size, weights[5] * size]


def make(folder: Path) -> tuple[Path, Path]:
    """Train once and write both; returns their folders."""
    weights = trained(Kinematics())
    described = {"model_type": "mlp", "embodiment": "so101", "action_names": list(JOINTS)}
    whole, small = folder / "so101", folder / "so101-int8"
    write_onnx(weights, whole, described, absolute=True)
    write_onnx(weights, small, described, absolute=True, quantised=True)
    return whole, small


def observation(state: dict[str, list[float]] | None, target: Array, episode: str) -> dict[str, object]:
    """What the policy is asked: the arm's state (None: it is at home) and the target."""
    joints, tip = (HOME, Kinematics().tip(np.array(HOME))) if state is None else (state["joints"], state["tip"])
    way = target - np.array(tip)
    return {"instruction": "reach the target", "state": [*joints, *way.tolist()], "episode_id": episode}


if __name__ == "__main__":
    print("wrote", *make(Path(sys.argv[1] if len(sys.argv) > 1 else ".")))
