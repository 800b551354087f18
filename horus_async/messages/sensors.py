"""What sensors measure, and what joints should do."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from math import nan

from attrs import define, field

from .base import Array, ByContent, Header, matrix_3x3
from .geometry import Quaternion, Vector3


@define(eq=False)
class Imu(ByContent):
    """An inertial measurement, in the frame of the sensor.

    Layout: sensor_msgs/msg/Imu.

    Attributes:
        orientation: of the sensor, relative to a fixed frame.
        orientation_covariance: 3 × 3, row by row, rad². All zero: unknown; first element −1: no such measurement.
        angular_velocity: rad/s.
        angular_velocity_covariance: the same, (rad/s)².
        linear_acceleration: m/s², including gravity.
        linear_acceleration_covariance: the same, (m/s²)².
    """

    header: Header = field(factory=Header)
    orientation: Quaternion = field(factory=Quaternion)
    orientation_covariance: Array = field(factory=matrix_3x3)
    angular_velocity: Vector3 = field(factory=Vector3)
    angular_velocity_covariance: Array = field(factory=matrix_3x3)
    linear_acceleration: Vector3 = field(factory=Vector3)
    linear_acceleration_covariance: Array = field(factory=matrix_3x3)


@define(eq=False)
class LaserScan(ByContent):
    """One sweep of a planar laser scanner, counter-clockwise about the z axis of its frame.

    Layout: sensor_msgs/msg/LaserScan; foxglove.LaserScan.

    Attributes:
        header: its stamp is the time of the first ray.
        angle_min: of the first ray, radians from the x axis.
        angle_max: of the last ray, radians.
        angle_increment: from one ray to the next, radians.
        time_increment: from one ray to the next, seconds.
        scan_time: from one scan to the next, seconds.
        range_min: shortest valid distance, metres.
        range_max: longest valid distance, metres.
        ranges: metres; values outside these limits are to be ignored.
        intensities: in the sensor's own unit, one per range, or empty.
    """

    header: Header = field(factory=Header)
    angle_min: float = 0.0
    angle_max: float = 0.0
    angle_increment: float = 0.0
    time_increment: float = 0.0
    scan_time: float = 0.0
    range_min: float = 0.0
    range_max: float = 0.0
    ranges: Array = field(factory=list)
    intensities: Array = field(factory=list)


@define(eq=False)
class JointState(ByContent):
    """What the joints are doing. Each list is empty or has one number per name.

    Layout: sensor_msgs/msg/JointState.

    Attributes:
        name: of the joints.
        position: radians, or metres of a joint that slides.
        velocity: rad/s or m/s.
        effort: Nm or N.
    """

    header: Header = field(factory=Header)
    name: list[str] = field(factory=list)
    position: Array = field(factory=list)
    velocity: Array = field(factory=list)
    effort: Array = field(factory=list)


@define(eq=False)
class JointCommand(ByContent):
    """What the joints should do. Each list is empty (no command) or has one number per name; NaN skips that joint.

    Layout: sensor_msgs/msg/JointState, as drivers take it for commands; ROS 2 has no message of this name.

    Attributes:
        name: of the joints.
        position: radians, or metres of a joint that slides.
        velocity: rad/s or m/s.
        effort: Nm or N.
    """

    header: Header = field(factory=Header)
    name: list[str] = field(factory=list)
    position: Array = field(factory=list)
    velocity: Array = field(factory=list)
    effort: Array = field(factory=list)


class PowerSupplyStatus(IntEnum):
    """What a battery is doing; values as in sensor_msgs/msg/BatteryState."""

    UNKNOWN = 0
    CHARGING = 1
    DISCHARGING = 2
    NOT_CHARGING = 3
    FULL = 4


class PowerSupplyHealth(IntEnum):
    """The condition of a battery; values as in sensor_msgs/msg/BatteryState."""

    UNKNOWN = 0
    GOOD = 1
    OVERHEAT = 2
    DEAD = 3
    OVERVOLTAGE = 4
    UNSPEC_FAILURE = 5
    COLD = 6
    WATCHDOG_TIMER_EXPIRE = 7
    SAFETY_TIMER_EXPIRE = 8


class PowerSupplyTechnology(IntEnum):
    """The chemistry of a battery; values as in sensor_msgs/msg/BatteryState."""

    UNKNOWN = 0
    NIMH = 1
    LION = 2
    LIPO = 3
    LIFE = 4
    NICD = 5
    LIMN = 6
    TERNARY = 7


@define(eq=False)
class BatteryState(ByContent):
    """A battery. What was not measured is NaN.

    Layout: sensor_msgs/msg/BatteryState.

    Attributes:
        voltage: V.
        temperature: °C.
        current: A, negative while discharging.
        charge: Ah left.
        capacity: Ah when last fully charged.
        design_capacity: Ah when new.
        percentage: of the charge, 0 to 1.
        power_supply_status: what it is doing.
        power_supply_health: its condition.
        power_supply_technology: its chemistry.
        present: whether there is one.
        cell_voltage: V, one per cell, or empty.
        cell_temperature: °C, one per cell, or empty.
        location: the slot or plug it is in.
        serial_number: of the battery.
    """

    header: Header = field(factory=Header)
    voltage: float = nan
    temperature: float = nan
    current: float = nan
    charge: float = nan
    capacity: float = nan
    design_capacity: float = nan
    percentage: float = nan
    power_supply_status: PowerSupplyStatus = PowerSupplyStatus.UNKNOWN
    power_supply_health: PowerSupplyHealth = PowerSupplyHealth.UNKNOWN
    power_supply_technology: PowerSupplyTechnology = PowerSupplyTechnology.UNKNOWN
    present: bool = False
    cell_voltage: Array = field(factory=list)
    cell_temperature: Array = field(factory=list)
    location: str = ""
    serial_number: str = ""


class FixStatus(IntEnum):
    """The kind of satellite fix; values as in sensor_msgs/msg/NavSatStatus."""

    UNKNOWN = -2
    NO_FIX = -1
    FIX = 0
    SBAS_FIX = 1
    GBAS_FIX = 2


class SatelliteService(IntFlag):
    """Which satellite systems were used; bits as in sensor_msgs/msg/NavSatStatus."""

    UNKNOWN = 0
    GPS = 1
    GLONASS = 2
    COMPASS = 4
    GALILEO = 8


class CovarianceType(IntEnum):
    """What is known of a covariance; values as in sensor_msgs/msg/NavSatFix."""

    UNKNOWN = 0
    APPROXIMATED = 1
    DIAGONAL_KNOWN = 2
    KNOWN = 3


@define(eq=False)
class NavSatStatus(ByContent):
    """What a satellite fix is based on; it is valid from ``FixStatus.FIX`` up.

    Layout: sensor_msgs/msg/NavSatStatus.
    """

    status: FixStatus = FixStatus.UNKNOWN
    service: SatelliteService = SatelliteService.UNKNOWN


@define(eq=False)
class NavSatFix(ByContent):
    """A position on Earth, by satellite (WGS 84).

    Layout: sensor_msgs/msg/NavSatFix; foxglove.LocationFix.

    Attributes:
        header: its frame is that of the antenna.
        latitude: degrees, positive north of the equator.
        longitude: degrees, positive east of Greenwich.
        altitude: metres above the ellipsoid, NaN if unknown.
        position_covariance: 3 × 3, row by row, m², over east, north, up.
        position_covariance_type: what is known of it.
    """

    header: Header = field(factory=Header)
    status: NavSatStatus = field(factory=NavSatStatus)
    latitude: float = 0.0
    longitude: float = 0.0
    altitude: float = nan
    position_covariance: Array = field(factory=matrix_3x3)
    position_covariance_type: CovarianceType = CovarianceType.UNKNOWN
