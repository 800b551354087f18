"""Whose code a frame runs: the user's, a library's, the standard library's, the event loop's or this package's."""

from __future__ import annotations

import enum
import os
import sysconfig
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


class Origin(enum.Enum):
    """Whose code a frame runs."""

    USER = enum.auto()
    LIBRARY = enum.auto()
    STANDARD = enum.auto()
    ENGINE = enum.auto()
    """This package, and what it lets ask: logging."""
    LOOP = enum.auto()
    """trio, anyio and what they stand on."""
    IMPORT = enum.auto()
    """The import system: what a module does as it is loaded is not part of the tick."""


_origins: dict[str, Origin] = {}
_STANDARD = tuple({sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_HERE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - the text that code objects hold, not what it resolves to
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_LOOPS = ("trio", "anyio", "outcome", "sniffio", "pytest_trio")


def origin_of_frame(frame: FrameType) -> Origin:
    """Whose code a frame runs."""
    file = frame.f_code.co_filename
    found = _origins.get(file)
    if found is None:
        found = _origins[file] = origin_of(file)
    return found


def origin_of(file: str) -> Origin:
    """Whose file it is."""
    if file.startswith("<frozen importlib"):
        return Origin.IMPORT
    if file.startswith(_HERE + os.sep):
        return Origin.ENGINE
    for separator in _INSTALLED:
        if separator in file:
            package = file.rpartition(separator)[2].partition(os.sep)[0]
            return Origin.LOOP if package in _LOOPS else Origin.LIBRARY
    if file.startswith(("<frozen ", "<attrs generated ")):
        return Origin.STANDARD
    if file.startswith(_STANDARD):
        inside = file.rpartition(os.sep)[0]
        return Origin.ENGINE if inside.endswith(f"{os.sep}logging") else Origin.STANDARD
    return Origin.USER


def is_users(file: str) -> bool:
    """Whether a file holds a user's own code."""
    return origin_of(file) is Origin.USER
