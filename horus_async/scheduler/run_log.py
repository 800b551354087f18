"""What is logged during a run: by its nodes, and by the runtime about it. The observers of the run hear of it.

A node's log tells us itself. What the runtime logs comes by a filter of the logger ``horus_async``, which lets
everything through: a handler would keep Python from printing warnings where no handler was set up, and so would change
what is shown.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any

from horus_async.nodes.log import NodeLog
from horus_async.observe import Logged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.engine.runtime import Runtime

_LOGGER = logging.getLogger("horus_async")
_going_on: list[Runtime] = []


@contextmanager
def logs_heard(runtime: Runtime) -> Iterator[None]:
    """Let a run's observers hear what its nodes log, and what the runtime logs about it."""
    heard = _RunLog(runtime)
    logs: list[Any] = [run.node.log for run in runtime.runs.values()]
    logs = [log for log in logs if isinstance(log, NodeLog)]  # a node may have one of its own in its place
    _going_on.append(runtime)
    _LOGGER.addFilter(heard)
    for log in logs:
        log.listener = heard
    try:
        yield
    finally:
        for log in logs:
            log.listener = None
        _LOGGER.removeFilter(heard)
        _going_on.remove(runtime)


class _RunLog(logging.Filter):
    """Tells the observers of one run. From any thread: it waits for nobody, takes no lock, and raises nothing."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime
        self._audience = runtime.audience

    # What nodes log: see `LogListener`

    def lets_through(self, level: int, logger: logging.Logger) -> bool:
        """Whether what a node's logger keeps back at a level is heard all the same, as usual.

        From INFO up everything is, unless the program has said of its nodes' loggers that it is not to be logged: the
        level of the root, which by default is WARNING, says nothing about a robot.
        """
        return level >= logging.INFO and logger.manager.disable < level and not _has_level(logger)

    def hears(self, level: int, *, kept_back: bool) -> bool:
        """Whether anybody hears what nodes log at a level, or what of it is ``kept_back``."""
        return level >= (self._audience.kept_back_from if kept_back else self._audience.logs_from)

    def now_ns(self) -> int:
        """The time of the run; before it has begun, that of its first tick."""
        return self._runtime.stamp_ns() if self._audience.has_begun else self._runtime.info.start_ns

    def heard(self, record: logging.LogRecord, *, kept_back: bool) -> None:
        """A node has logged this."""
        fields = record.__dict__  # of a filter's own record, if it put one in the place of ours
        now_ns = fields.get("now_ns")
        line = self._line(record, fields.get("tick"), now_ns if type(now_ns) is int else self.now_ns())
        self._audience.logged(line, kept_back=kept_back)

    # What the runtime logs

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell of what is about this run; nothing is held back."""
        if self.hears(record.levelno, kept_back=False) and self._is_ours(record):
            tick = getattr(record, "tick", self._runtime.tick if self._runtime.in_tick else None)
            line = self._line(record, tick, self._runtime.stamp_ns())
            self._audience.logged(line._replace(by_node=False), kept_back=False)
        return True

    def _is_ours(self, record: logging.LogRecord) -> bool:
        """Whether it names a node of this run, or was logged in its thread, or there is no other run."""
        node = getattr(record, "node", None)
        if node is not None and node not in self._runtime.runs:
            return False
        return len(_going_on) == 1 or self._audience.thread == get_ident()

    def _line(self, record: logging.LogRecord, tick: Any, now_ns: int) -> Logged:
        node = getattr(record, "node", None)
        node = None if node is None else str(node)
        tick = tick if type(tick) is int else None
        level: Any = record.levelno
        level = level if isinstance(level, int) else logging.NOTSET
        return Logged(node, tick, self._runtime.tick, now_ns, level, _text_of(record), record)


def _text_of(record: logging.LogRecord) -> str:
    """The text of a record, also of one whose arguments do not fit it."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a log line must not break what it is about
        return f"{_shown(record.msg)} % {_shown(record.args)}"


def _shown(value: Any) -> str:
    try:
        return value if isinstance(value, str) else repr(value)
    except Exception as error:  # noqa: BLE001 - as above
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"


def _has_level(logger: logging.Logger | None) -> bool:
    """Whether the program has set the level of a node's logger, or of one above it that is ours."""
    while logger is not None and f"{logger.name}.".startswith("horus_async."):
        if logger.level:
            return True
        logger = logger.parent
    return False
