"""``node.log``: Python's logging, with the node, its tick and the time of the run in every record.

Who watches a run hears of what its nodes log here, not through handlers. So recording changes nothing of what the
program's own handlers print, and what they do not print can be recorded.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from horus_async.clock.system import wall_ns

from .context import current

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter

NODE_LOGGERS = "horus_async.node"
"""The logger above those of all nodes."""

RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What logging itself has in a record. It refuses a field of ``extra=`` with one of these names, by an exception."""


_FORMATTER = logging.Formatter()
_NOT_EXTRA = RECORD_FIELDS | {"node", "tick", "now_ns"}


def extra_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was passed as ``extra=``, and what filters of the program's added."""
    fields = record.__dict__
    if not fields.keys() - _NOT_EXTRA:
        return {}
    return {str(name): value for name, value in fields.items() if name not in _NOT_EXTRA}


def traceback_of(record: logging.LogRecord) -> str | None:
    """The traceback of ``log.exception`` and ``exc_info=``; None without an exception."""
    try:
        if not record.exc_info or record.exc_info[0] is None:
            return None
        return _FORMATTER.formatException(record.exc_info)
    except Exception as error:  # noqa: BLE001 - a log line must not break what it is about
        return f"(the traceback cannot be shown: {type(error).__name__})"


class LogListener(Protocol):
    """A run that a node takes part in, and that wants to know what the node logs."""

    def lets_through(self, level: int, logger: logging.Logger) -> bool:
        """Whether what a node's logger keeps back at a level is heard all the same, as usual."""

    def hears(self, level: int, *, kept_back: bool) -> bool:
        """Whether somebody hears what nodes log at a level, or what of it is ``kept_back``."""

    def now_ns(self) -> int:
        """The time of the run."""

    def heard(self, record: logging.LogRecord, *, kept_back: bool) -> None:
        """A node has logged this; in any thread, also in a signal handler. Raises nothing."""


class NodeLog(Adapter):
    """Writes to the logger ``horus_async.node.NAME``.

    Its records have the attributes ``node``, ``tick`` (None outside of ticks) and ``now_ns`` (the run's time of day at
    the beginning of the tick; in tasks and threads of a node's own the run's time, without a run the wall clock), and
    whatever is passed as ``extra=``. A field of ``extra`` that has one of these names, or one that logging itself uses,
    is kept with an underscore behind it.
    """

    def __init__(self, node: str) -> None:
        super().__init__(logging.getLogger(f"{NODE_LOGGERS}.{node}"), {"node": node})
        self.listener: LogListener | None = None
        """The run that the node takes part in."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - its name in logging
        """Whether somebody hears of it: a handler, or a recording or black box of the run."""
        return self.logger.isEnabledFor(level) or self._heard(level, emitted=False) is not None

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log something; `info`, `warning` and so on come here."""
        emitted = self.logger.isEnabledFor(level)
        kept_back = self._heard(level, emitted=emitted)
        listener = self.listener
        if listener is None or kept_back is None:
            if emitted:
                kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # past this method
                super().log(level, msg, *args, **kwargs)
            return
        try:
            msg, given = self.process(msg, kwargs)
            record: Any = self._record(level, msg, args, **given)
            kept: Any = self.logger.filter(record)
        except Exception as error:
            if emitted:
                raise
            kept = record = self._failed(level, error)  # without a recording nobody would have noticed
        if not kept:
            return
        if isinstance(kept, logging.LogRecord):  # a filter may replace it, from Python 3.12 on
            record = kept
        listener.heard(record, kept_back=kept_back)
        if emitted:
            self.logger.callHandlers(record)

    def _failed(self, level: int, error: Exception) -> logging.LogRecord:
        fields = self.process("", {})[1]["extra"]
        # not its text, which may hold what a filter was to keep secret
        text = "(this call of the log fails with %s)"
        return self._record(level, text, (type(error).__name__,), extra=fields, stacklevel=2)

    def _heard(self, level: int, *, emitted: bool) -> bool | None:
        """Whether it is heard although it is kept back; None if nobody hears it."""
        listener = self.listener
        if listener is None or not listener.hears(level, kept_back=False):
            return None
        if emitted or listener.lets_through(level, self.logger):
            return False
        return True if listener.hears(level, kept_back=True) else None

    def _record(
        self,
        level: int,
        msg: object,
        args: tuple[object, ...],
        *,
        exc_info: Any = None,
        extra: Mapping[str, object] | None = None,
        stack_info: bool = False,
        stacklevel: int = 1,
    ) -> logging.LogRecord:
        """As `logging.Logger` makes it."""
        logger = self.logger
        try:
            file, line, function, stack = logger.findCaller(stack_info, stacklevel + 2)
        except ValueError:
            file, line, function, stack = "(unknown file)", 0, "(unknown function)", None
        if exc_info:
            if isinstance(exc_info, BaseException):
                exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
            elif not isinstance(exc_info, tuple):
                exc_info = sys.exc_info()
        return logger.makeRecord(logger.name, level, file, line, msg, args, exc_info, function, extra, stack)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add what a record is to have."""
        context = current.get(None)
        if context is not None:
            now_ns = context.now_ns
        else:
            now_ns = wall_ns() if self.listener is None else self.listener.now_ns()
        ours = {**(self.extra or {}), "tick": None if context is None else context.tick, "now_ns": now_ns}
        given = kwargs.get("extra") or {}
        if not isinstance(given, Mapping):
            given = {"extra": given}
        named = {f"{key}_" if key in ours or key in RECORD_FIELDS else key: value for key, value in given.items()}
        kwargs["extra"] = {**named, **ours}
        return msg, kwargs
