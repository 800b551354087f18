"""What an export is asked for."""

from __future__ import annotations

import enum

from attrs import frozen


class ExportFormat(enum.Enum):
    """The format of an export: tables of requests, or a dataset of frames."""

    NPZ = "npz"
    PARQUET = "parquet"
    LEROBOT = "lerobot"


@frozen
class DatasetOptions:
    """What a trace may not say: frames a second, and the robot's name."""

    fps: float | None = None
    robot_type: str | None = None
