"""The algebra of rigid motions, on plain numbers: a lookup is over before NumPy has made its first array.

A motion is a row of seven floats: the translation x, y, z in metres, then a unit quaternion x, y, z, w. It takes a
point p to R·p + t.
"""

from __future__ import annotations

from math import acos, atan2, cos, sin, sqrt
from typing import TypeAlias

Motion: TypeAlias = tuple[float, float, float, float, float, float, float]

STILL: Motion = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
"""No motion at all."""

_NEARLY_EQUAL = 1.0 - 1e-14
"""Cosine of half an angle of 3e-7 rad: from here on the sine of it says nothing, and a straight line is as good."""


def compose(a: Motion, b: Motion) -> Motion:
    """First ``b``, then ``a``."""
    ax, ay, az, ai, aj, ak, aw = a
    bx, by, bz, bi, bj, bk, bw = b
    x = 2.0 * (aj * bz - ak * by)
    y = 2.0 * (ak * bx - ai * bz)
    z = 2.0 * (ai * by - aj * bx)
    return (
        ax + bx + aw * x + aj * z - ak * y,
        ay + by + aw * y + ak * x - ai * z,
        az + bz + aw * z + ai * y - aj * x,
        aw * bi + ai * bw + aj * bk - ak * bj,
        aw * bj - ai * bk + aj * bw + ak * bi,
        aw * bk + ai * bj - aj * bi + ak * bw,
        aw * bw - ai * bi - aj * bj - ak * bk,
    )


def inverse(a: Motion) -> Motion:
    """The way back."""
    x, y, z, i, j, k, w = a
    u = 2.0 * (j * z - k * y)
    v = 2.0 * (k * x - i * z)
    t = 2.0 * (i * y - j * x)
    return (
        -(x - w * u + j * t - k * v),
        -(y - w * v + k * u - i * t),
        -(z - w * t + i * v - j * u),
        -i,
        -j,
        -k,
        w,
    )


def between(a: Motion, b: Motion, part: float) -> Motion:
    """The motion ``part`` (0 to 1) of the way from ``a`` to ``b``: straight, and turning evenly the shorter way."""
    ax, ay, az, ai, aj, ak, aw = a
    bx, by, bz, bi, bj, bk, bw = b
    near = ai * bi + aj * bj + ak * bk + aw * bw
    side = 1.0
    if near < 0.0:  # the same rotation has two quaternions
        near, side = -near, -1.0
    rest = 1.0 - part
    if near < _NEARLY_EQUAL:
        angle = acos(near)
        whole = sin(angle)
        of_a, of_b = sin(rest * angle) / whole, sin(part * angle) / whole * side
    else:
        of_a, of_b = rest, part * side
    return (
        rest * ax + part * bx,
        rest * ay + part * by,
        rest * az + part * bz,
        of_a * ai + of_b * bi,
        of_a * aj + of_b * bj,
        of_a * ak + of_b * bk,
        of_a * aw + of_b * bw,
    )


def normalised(a: Motion) -> Motion:
    """With a quaternion of length 1: what rounding took away over many compositions comes back."""
    x, y, z, i, j, k, w = a
    length = sqrt(i * i + j * j + k * k + w * w)
    return x, y, z, i / length, j / length, k / length, w / length


def rotation_of(roll: float, pitch: float, yaw: float) -> tuple[float, float, float, float]:
    """The quaternion x, y, z, w of rotations about the fixed axes X, then Y, then Z (REP 103); radians."""
    a, b, c = cos(roll / 2), cos(pitch / 2), cos(yaw / 2)
    u, v, t = sin(roll / 2), sin(pitch / 2), sin(yaw / 2)
    return u * b * c - a * v * t, a * v * c + u * b * t, a * b * t - u * v * c, a * b * c + u * v * t


def yaw_of(a: Motion) -> float:
    """The heading: the rotation about Z, radians from −π to π."""
    _, _, _, i, j, k, w = a
    return atan2(2.0 * (w * k + i * j), 1.0 - 2.0 * (j * j + k * k))
