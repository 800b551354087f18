"""What nodes log, on the terminal."""

from __future__ import annotations

import logging
import sys

from horus_async.nodes.log import NODE_LOGGERS


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
                text = f"[{node}] {level}{text}"
            print(text, file=sys.stderr)
        except Exception:  # noqa: BLE001 - as every handler
            self.handleError(record)


def show_node_logs() -> None:
    """Print what nodes log, from INFO up, unless the program has set up logging itself."""
    ours = logging.getLogger("horus_async")
    if logging.getLogger().handlers or ours.handlers:
        return
    ours.addHandler(_Console())
    nodes = logging.getLogger(NODE_LOGGERS)
    if nodes.level == logging.NOTSET:
        nodes.setLevel(logging.INFO)
