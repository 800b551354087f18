"""The condition of the robot's parts, and what they log."""

from __future__ import annotations

from enum import IntEnum

from attrs import define, field

from .base import ByContent, Time


class DiagnosticLevel(IntEnum):
    """The condition of a part; values as in diagnostic_msgs/msg/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@define(eq=False)
class KeyValue(ByContent):
    """A detail.

    Layout: diagnostic_msgs/msg/KeyValue; foxglove.KeyValuePair.
    """

    key: str = ""
    value: str = ""


@define(eq=False)
class Diagnostic(ByContent):
    """The condition of one part of the robot.

    Layout: diagnostic_msgs/msg/DiagnosticStatus.

    Attributes:
        level: its condition.
        name: the part, such as ``arm: shoulder motor``.
        message: its condition in words.
        hardware_id: what identifies this piece of hardware among others of its kind.
        values: details.
    """

    level: DiagnosticLevel = DiagnosticLevel.OK
    name: str = ""
    message: str = ""
    hardware_id: str = ""
    values: list[KeyValue] = field(factory=list)


class LogLevel(IntEnum):
    """The severity; values as in rcl_interfaces/msg/Log, which are those of Python's ``logging``."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


@define(eq=False)
class Log(ByContent):
    """A log entry.

    Layout: rcl_interfaces/msg/Log; foxglove.Log.

    Attributes:
        stamp: when it was written.
        level: its severity.
        name: of the logger, usually the node.
        msg: the text.
        file: the source file.
        function: the function.
        line: the line.
    """

    stamp: Time = field(factory=Time)
    level: LogLevel = LogLevel.INFO
    name: str = ""
    msg: str = ""
    file: str = ""
    function: str = ""
    line: int = 0
