"""Where the robot is by its wheels and its gyroscope: an extended Kalman filter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from world import HALF_AXLE, TICKS_PER_TURN, WHEEL_RADIUS

from horus_async import Frames, Node, Param, service
from horus_async.frames import stamped
from horus_async.messages import (
    Header,
    Imu,
    JointState,
    Odometry,
    Point,
    Pose,
    PoseWithCovariance,
    Twist,
    TwistWithCovariance,
    Vector3,
)

X, Y, HEADING, SPEED, TURN, BIAS = range(6)
"""What is estimated: m, m, rad, m/s, rad/s, and what the gyroscope measures too much, rad/s."""
_DRIFT = np.diag([0.0, 0.0, 0.0, 1.0, 4.0, 1e-6])
"""How fast each of them may change by itself: variance a second."""


class Filter:
    """The estimate and its covariance."""

    def __init__(self) -> None:
        self.state = np.zeros(6)
        self.covariance = np.diag([0.0, 0.0, 0.0, 0.01, 0.01, 0.01])

    def predict(self, seconds: float) -> None:
        """Drive on along an arc."""
        heading, speed, turn = self.state[HEADING : TURN + 1]
        along = heading + turn * seconds / 2
        cos, sin = math.cos(along) * seconds, math.sin(along) * seconds
        self.state[:3] += speed * cos, speed * sin, turn * seconds
        jacobian = np.eye(6)
        jacobian[X, [HEADING, SPEED, TURN]] = -speed * sin, cos, -speed * sin * seconds / 2
        jacobian[Y, [HEADING, SPEED, TURN]] = speed * cos, sin, speed * cos * seconds / 2
        jacobian[HEADING, TURN] = seconds
        self.covariance = jacobian @ self.covariance @ jacobian.T + _DRIFT * seconds

    def correct(self, measured: float, of: Any, sigma: float) -> None:
        """Take in a measurement of ``of @ state``."""
        gain = self.covariance @ of / (of @ self.covariance @ of + sigma**2)
        self.state += gain * (measured - of @ self.state)
        self.covariance -= np.outer(gain, of @ self.covariance)


_OF_SPEED, _OF_TURN = np.eye(6)[SPEED], np.eye(6)[TURN]
_OF_GYRO = _OF_TURN + np.eye(6)[BIAS]


class Estimator(Node):
    """Sends an `Odometry` for each reading of the encoders, and the frame ``base_link`` in ``odom``."""

    name, on = "odometry", {"encoders": JointState}
    subs = {"imu": Imu}  # noqa: RUF012 - options of a node
    pubs = {"odom": Odometry, "frames": None}  # noqa: RUF012
    wheel_sigma = Param(0.02, min=1e-4, max=1.0, unit="m/s", doc="How far the wheels' speeds are trusted.")
    slip_sigma = Param(
        0.2, min=1e-4, max=10.0, unit="rad/s", doc="How far the wheels are trusted in turns, as they slip."
    )
    gyro_sigma = Param(0.01, min=1e-4, max=1.0, unit="rad/s", doc="How far the gyroscope is trusted.")

    async def init(self) -> None:
        """At the origin."""
        self.filter = Filter()
        self.frames = Frames(self)
        self.last: JointState | None = None

    async def tick(self) -> None:
        """Take in one reading of the encoders, and what the gyroscope has measured since the one before."""
        reading = self.recv("encoders")
        rates = [imu.angular_velocity.z for imu in self.recv_all("imu")]
        last, self.last = self.last, reading
        if last is None or reading.header.stamp.ns <= last.header.stamp.ns:
            return
        seconds = (reading.header.stamp.ns - last.header.stamp.ns) / 1e9
        left, right = (
            (new - old) * 2 * math.pi * WHEEL_RADIUS / TICKS_PER_TURN / seconds
            for new, old in zip(reading.position, last.position, strict=True)
        )
        self.filter.predict(seconds)
        self.filter.correct((left + right) / 2, _OF_SPEED, self.wheel_sigma)
        self.filter.correct((right - left) / (2 * HALF_AXLE), _OF_TURN, self.slip_sigma)
        for rate in rates:
            self.filter.correct(rate, _OF_GYRO, self.gyro_sigma * math.sqrt(len(rates)))
        self.send_estimate(reading.header)

    def send_estimate(self, header: Header) -> None:
        """As a message and as a frame, both with the stamp of the reading."""
        x, y, heading, speed, turn, _ = map(float, self.filter.state)
        frame = stamped("odom", "base_link", (x, y, 0.0), yaw=heading, at=header.stamp)
        self.frames.send(frame)
        covariance = np.zeros((6, 6))
        covariance[np.ix_([0, 1, 5], [0, 1, 5])] = self.filter.covariance[:3, :3]
        pose = PoseWithCovariance(Pose(Point(x, y), frame.transform.rotation), covariance.ravel().tolist())
        twist = TwistWithCovariance(Twist(Vector3(speed), Vector3(z=turn)))
        self.send("odom", Odometry(Header(header.stamp, "odom"), "base_link", pose, twist))

    @service("base.reset_odometry")
    async def reset(self, _: Any) -> Any:
        """Begin anew at the origin; gives where it was. The map stays where it is: the mapper sees the jump."""
        x, y, heading = map(float, self.filter.state[:3])
        bias = self.filter.state[BIAS]
        self.filter = Filter()
        self.filter.state[BIAS] = bias
        return {"x": x, "y": y, "theta": heading}
