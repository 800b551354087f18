"""Lines of a session's log, as readers get them, and which of their fields are the user's."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import orjson
from attrs import field, frozen

from horus_async.topics.codec import decode

if TYPE_CHECKING:
    from collections.abc import Mapping

OURS = frozenset(
    {
        "kind",
        "tick",
        "at_tick",
        "now_ns",
        "node",
        "level",
        "levelno",
        "logger",
        "message",
        "exception",
        "stack",
        "file",
        "line",
    }
)
"""The fields of the format. All others are the user's, who passed them as ``extra=``."""

LEVELS = {name: getattr(logging, name) for name in ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")}
"""The levels whose numbers need not be in a line."""


@frozen
class LogLine:
    """Something that a node logged, or the runtime about the run."""

    tick: int | None
    """The scheduler tick in which the callback began that logged it; None outside of one."""
    now_ns: int
    """The run's time of day, as ``now_ns()`` gave it."""
    node: str | None
    """None where the runtime logged something about no certain node."""
    level: str
    """``DEBUG``, ``INFO``, ``WARNING``, ``ERROR``, ``CRITICAL``, or the name of a level of the program's own."""
    message: str
    at_tick: int
    """The scheduler tick that was going on."""
    levelno: int = 0
    """The level as `logging` numbers it."""
    exception: str | None = None
    """The traceback of ``log.exception`` and ``exc_info=``."""
    stack: str | None = None
    """That of ``stack_info=``."""
    logger: str | None = None
    """The logger, where it is not that of the node: the runtime's own."""
    file: str = ""
    """The name of the source file, and the line in it."""
    line: int = 0
    data: dict[str, Any] = field(factory=dict)
    """What was passed as ``extra=``, as parsed from JSON, with the codec's tags; `extra` has the values."""
    kind: str = field(default="log", init=False)

    @property
    def extra(self) -> dict[str, Any]:
        """What was passed as ``extra=``.

        Raises:
            MessageDecodeError: A value in a damaged or foreign file is none.
        """
        return {name: decode(orjson.dumps(value)) for name, value in self.data.items()}


def log_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `LogLine`, from those of a line."""
    own = {name: value for name, value in fields.items() if name in OURS}
    own["data"] = {name: value for name, value in fields.items() if name not in OURS}
    own.setdefault("at_tick", own["tick"])
    own.setdefault("levelno", LEVELS.get(own["level"], 0))
    return own
