"""What nodes log, on the terminal."""

from __future__ import annotations

import logging

from horus_async.nodes.log import NODE_LOGGERS
from horus_async.spelling import printable

from .text import below, tell_text


class PrintableFormatter(logging.Formatter):
    """Shows what would control the terminal: a log tells of requests, errors and names of others.

    The further lines of a record are indented, so that none of them passes for another record.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return below(super().format(record))


class _Console(logging.Handler):
    """Prints records while the program has not set up logging itself."""

    def emit(self, record: logging.LogRecord) -> None:
        if logging.getLogger().handlers:
            return
        try:
            text = self.format(record)
            node = getattr(record, "node", None)
            if node is not None and record.name.startswith(f"{NODE_LOGGERS}."):  # the runtime's own texts name it
                level = "" if record.levelno == logging.INFO else f"{record.levelname}: "
                text = f"[{printable(str(node))}] {level}{text}"
            tell_text(text, err=True)
        except Exception:  # noqa: BLE001 - as every handler
            self.handleError(record)


def show_node_logs() -> None:
    """Print what nodes log, from INFO up, unless the program has set up logging itself."""
    ours = logging.getLogger("horus_async")
    if logging.getLogger().handlers or ours.handlers:
        return
    console = _Console()
    console.setFormatter(PrintableFormatter())
    ours.addHandler(console)
    nodes = logging.getLogger(NODE_LOGGERS)
    if nodes.level == logging.NOTSET:
        nodes.setLevel(logging.INFO)
