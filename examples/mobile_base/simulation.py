"""The robot's body: what its motors and sensors would do, by MuJoCo. In a real robot, drivers stand here.

The physics goes on by the node's ticks, not by the clock on the wall, so a run in virtual time is the same each time.
"""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from world import CAMERA_AT, IMU_AT, LASER_AT, TICKS_PER_TURN, TIMESTEP, load

from horus_async import Frames, Node, Param, ServiceError, now_ns, np_rng, service
from horus_async.frames import stamped
from horus_async.messages import Header, Image, Imu, JointCommand, JointState, LaserScan, Pose2D, Time, Vector3

RATE = 100
STEPS = round(1 / RATE / TIMESTEP)
BEAMS, RANGE = 180, 6.0
COLUMNS, ROWS, VIEW = 32, 24, math.radians(70)
"""The camera's pixels, and how wide it sees."""
SENSORS = {"laser": LASER_AT, "imu": IMU_AT, "camera": CAMERA_AT}
_SEEN = np.array([1, 1, 1, 0, 0, 0], np.uint8)
"""Groups of things that rays hit: all but the robot itself."""


class Simulation(Node):
    """Turns the wheels as commanded, and sends what the sensors measure."""

    name, rate, order = "simulation", RATE, -1  # it closes the loop: commands of one tick move it in the next
    subs = {"wheels": JointCommand}  # noqa: RUF012 - options of a node
    pubs = {  # noqa: RUF012
        "encoders": JointState,
        "imu": Imu,
        "scan": LaserScan,
        "image": Image,
        "truth": Pose2D,
        "frames.static": None,
    }
    gyro_noise = Param(0.005, min=0.0, max=1.0, unit="rad/s", doc="Of each measurement, one sigma.")
    gyro_bias = Param(0.02, min=-1.0, max=1.0, unit="rad/s", doc="What the gyroscope always measures too much.")
    range_noise = Param(0.01, min=0.0, max=1.0, unit="m", doc="Of each ray of the lidar, one sigma.")

    async def init(self) -> None:
        """Stand at the origin."""
        self.model = load()
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)
        self.frames = Frames(self)
        self.mounted = [stamped("base_link", sensor, at) for sensor, at in SENSORS.items()]
        self.ticks = 0

    async def tick(self) -> None:
        """Let a hundredth of a second pass."""
        for command in self.recv_all("wheels"):
            self.data.ctrl[:] = command.velocity
        mujoco.mj_step(self.model, self.data, nstep=STEPS)
        self.send_measured(self.ticks)
        self.ticks += 1

    def send_measured(self, number: int) -> None:
        """Each sensor has its own rate: IMU 100 Hz, encoders 50, lidar 10, camera 5."""
        measured = self.data.sensordata
        if number % RATE == 0:  # again and again, for those who start later
            self.frames.send(self.mounted, static=True)
        noise = np_rng().normal(0.0, self.gyro_noise, 3)
        gyro = measured[0:3] + noise + [0.0, 0.0, self.gyro_bias]
        self.send(
            "imu", Imu(self.header("imu"), angular_velocity=_vector(gyro), linear_acceleration=_vector(measured[3:6]))
        )
        if number % 2 == 0:
            ticks = np.floor(measured[6:8] / (2 * math.pi) * TICKS_PER_TURN)
            self.send("encoders", JointState(self.header("base_link"), ["left", "right"], position=ticks.tolist()))
        if number % 10 == 0:
            self.send("scan", self.scan())
            x, y, _, w, _, _, z = self.data.qpos[:7]
            self.send("truth", Pose2D(float(x), float(y), 2 * math.atan2(z, w)))
        if number % 20 == 0:
            self.send("image", self.image())

    async def enter_safe_state(self) -> None:
        """Its motors brake."""
        self.data.ctrl[:] = 0.0

    @service("simulation.place")
    async def place(self, request: Any) -> Any:
        """Put the red pillar somewhere, ``{"x": 1.0, "y": 0.5}``, or away, ``None``."""
        if request is None:
            self.data.mocap_pos[0] = (0.0, 0.0, -2.0)
            return None
        try:
            self.data.mocap_pos[0] = (float(request["x"]), float(request["y"]), 0.3)
        except (KeyError, TypeError, ValueError):
            raise ServiceError(f"{request!r:.60}: give x and y in metres") from None
        return None

    def header(self, frame: str) -> Header:
        """Now, in that frame."""
        return Header(Time.from_ns(now_ns()), frame)

    def scan(self) -> LaserScan:
        """A turn of the lidar, all at once; nothing within its range is infinite."""
        step = 2 * math.pi / BEAMS
        angles = np.arange(BEAMS) * step - math.pi
        ways = np.stack([np.cos(angles), np.sin(angles), np.zeros(BEAMS)], axis=1)
        ranges, _ = self.cast("laser", ways)
        ranges += np_rng().normal(0.0, self.range_noise, BEAMS)
        return LaserScan(
            self.header("laser"),
            angle_min=-math.pi,
            angle_max=math.pi - step,
            angle_increment=step,
            scan_time=0.1,
            range_min=0.05,
            range_max=RANGE,
            ranges=np.where(ranges <= RANGE, ranges, np.inf).astype(np.float32),
        )

    def image(self) -> Image:
        """What the camera sees: a ray a pixel, so that no graphics card is needed."""
        half = math.tan(VIEW / 2)
        y, z = np.meshgrid(np.linspace(half, -half, COLUMNS), np.linspace(half, -half, ROWS) * ROWS / COLUMNS)
        ranges, things = self.cast("camera", np.stack([np.ones_like(y), y, z], axis=-1).reshape(-1, 3))
        light = np.where(np.isfinite(ranges), 1.0 / (1.0 + 0.15 * ranges), 0.0)
        pixels = (255 * self.model.geom_rgba[things, :3] * light[:, None]).astype(np.uint8)
        return Image(self.header("camera"), ROWS, COLUMNS, "rgb8", 0, 3 * COLUMNS, pixels.reshape(ROWS, COLUMNS, 3))

    def cast(self, site: str, ways: Any) -> tuple[Any, Any]:
        """How far rays go from a sensor, in lengths of their directions, and what each hits."""
        sensor = self.data.site(site)
        turned = ways @ sensor.xmat.reshape(3, 3).T
        ranges, things, hit = np.full(len(ways), np.inf), np.zeros(len(ways), np.intp), np.zeros(1, np.int32)
        for number, way in enumerate(turned):
            found = mujoco.mj_ray(self.model, self.data, sensor.xpos, way, _SEEN, 1, -1, hit)
            if found >= 0:
                ranges[number], things[number] = found, hit[0]
        return ranges, things


def _vector(numbers: Any) -> Vector3:
    return Vector3(*map(float, numbers))
