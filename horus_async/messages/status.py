"""How the robot's parts are, and what they have to say."""

from __future__ import annotations

from enum import IntEnum

from attrs import define, field

from .base import ByContent, Time


class DiagnosticLevel(IntEnum):
    """How a part is; numbers of diagnostic_msgs/msg/DiagnosticStatus."""

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
    """How one part of the robot is.

    Layout: diagnostic_msgs/msg/DiagnosticStatus.

    Attributes:
        level: how it is.
        name: the part, such as ``arm: shoulder motor``.
        message: how it is, in words.
        hardware_id: what tells this piece of hardware from others of its kind.
        values: details.
    """

    level: DiagnosticLevel = DiagnosticLevel.OK
    name: str = ""
    message: str = ""
    hardware_id: str = ""
    values: list[KeyValue] = field(factory=list)


class LogLevel(IntEnum):
    """How grave it is; numbers of rcl_interfaces/msg/Log, which are those of Python's ``logging``."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40
    FATAL = 50


@define(eq=False)
class Log(ByContent):
    """A line of a log.

    Layout: rcl_interfaces/msg/Log; foxglove.Log.

    Attributes:
        stamp: when it was written.
        level: how grave it is.
        name: of the logger, usually the node.
        msg: the text.
        file: the source file it comes from.
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
