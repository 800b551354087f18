"""The robot and the rooms that it drives in, as MuJoCo has them. Metres, kilograms, seconds, radians.

The robot has two driven wheels on one axle and two sliders in front and behind, which carry it and hardly rub.
"""

from __future__ import annotations

import math
from typing import Any

WHEEL_RADIUS = 0.08
HALF_AXLE = 0.18
"""From the middle to either wheel."""
TICKS_PER_TURN = 2048
"""Of the wheels' encoders."""
RADIUS = 0.22
"""Of a circle about the robot, seen from above."""

LASER_AT = (0.1, 0.0, 0.26)
IMU_AT = (0.0, 0.0, 0.12)
CAMERA_AT = (0.2, 0.0, 0.18)
"""Where the sensors are in ``base_link``, which is on the floor, between the wheels."""

TIMESTEP = 0.002
"""Of the physics, seconds."""
CORNER, SIZE = (-2.0, -2.5), (11.0, 8.0)
"""Where the rooms begin, and how large they are, with some space around; the robot starts at (0, 0)."""

WALLS = (
    ((3.5, -1.95), (3.5, 2.3)),
    ((3.5, 3.5), (3.5, 4.95)),
    ((5.2, 1.4), (8.5, 1.4)),
    ((-1.5, -2.0), (8.5, -2.0)),
    ((-1.5, 5.0), (8.5, 5.0)),
    ((-1.5, -2.0), (-1.5, 5.0)),
    ((8.5, -2.0), (8.5, 5.0)),
)
"""From where to where, in the plane."""
BOXES = ((1.7, 1.0, 0.35, 0.3), (0.2, 3.6, 0.5, 0.25), (6.6, 3.9, 0.3, 0.3), (6.2, -0.9, 0.3, 0.25))
PILLARS = ((2.3, -1.0, 0.2), (5.6, 2.6, 0.15), (4.4, 0.2, 0.15))
"""x, y, and half the sides; x, y, radius."""

_ROBOT = f"""
  <body name="base_link" pos="0 0 0.001">
    <freejoint/>
    <geom class="robot" type="cylinder" size="0.2 0.05" pos="0 0 0.13" mass="8"/>
    <geom class="robot" type="sphere" size="0.03" pos="0.14 0 0.031" friction="0.001" mass="0.2"/>
    <geom class="robot" type="sphere" size="0.03" pos="-0.14 0 0.031" friction="0.001" mass="0.2"/>
    <site name="imu" pos="{IMU_AT[0]} {IMU_AT[1]} {IMU_AT[2]}"/>
    <site name="laser" pos="{LASER_AT[0]} {LASER_AT[1]} {LASER_AT[2]}"/>
    <site name="camera" pos="{CAMERA_AT[0]} {CAMERA_AT[1]} {CAMERA_AT[2]}"/>
    <body pos="0 {HALF_AXLE} {WHEEL_RADIUS}">
      <joint name="left" type="hinge" axis="0 1 0" damping="0.01" armature="0.01"/>
      <geom class="robot" type="cylinder" size="{WHEEL_RADIUS} 0.015" euler="90 0 0" mass="0.4"/>
    </body>
    <body pos="0 {-HALF_AXLE} {WHEEL_RADIUS}">
      <joint name="right" type="hinge" axis="0 1 0" damping="0.01" armature="0.01"/>
      <geom class="robot" type="cylinder" size="{WHEEL_RADIUS} 0.015" euler="90 0 0" mass="0.4"/>
    </body>
  </body>
"""


def _wall(start: tuple[float, float], end: tuple[float, float]) -> str:
    (x, y), (to_x, to_y) = start, end
    half = math.hypot(to_x - x, to_y - y) / 2 + 0.05
    turned = math.degrees(math.atan2(to_y - y, to_x - x))
    middle = f"{(x + to_x) / 2} {(y + to_y) / 2} 0.3"
    return f'<geom type="box" size="{half} 0.05 0.3" pos="{middle}" euler="0 0 {turned}" rgba=".8 .8 .75 1"/>'


def xml() -> str:
    """The whole model."""
    things = [_wall(*wall) for wall in WALLS]
    things += [f'<geom type="box" size="{a} {b} 0.25" pos="{x} {y} 0.25" rgba=".8 .4 .2 1"/>' for x, y, a, b in BOXES]
    things += [f'<geom type="cylinder" size="{r} 0.3" pos="{x} {y} 0.3" rgba=".3 .5 .8 1"/>' for x, y, r in PILLARS]
    return f"""
<mujoco model="mobile_base">
  <option timestep="{TIMESTEP}" integrator="implicitfast"/>
  <default>
    <default class="robot"><geom group="3" friction="0.9" rgba=".2 .2 .2 1"/></default>
  </default>
  <worldbody>
    <geom type="plane" size="20 20 1" rgba=".4 .45 .4 1"/>
    {chr(10).join(things)}
    <body name="obstacle" mocap="true" pos="0 0 -2">
      <geom type="cylinder" size="0.2 0.3" rgba=".8 .1 .1 1"/>
    </body>
    {_ROBOT}
  </worldbody>
  <actuator>
    <velocity name="left" joint="left" kv="4" forcerange="-6 6"/>
    <velocity name="right" joint="right" kv="4" forcerange="-6 6"/>
  </actuator>
  <sensor>
    <gyro site="imu"/>
    <accelerometer site="imu"/>
    <jointpos joint="left"/>
    <jointpos joint="right"/>
    <jointvel joint="left"/>
    <jointvel joint="right"/>
  </sensor>
</mujoco>"""


def load() -> Any:
    """The model, compiled by MuJoCo (``pip install '.[sim]'``)."""
    import mujoco

    return mujoco.MjModel.from_xml_string(xml())
