"""``node.log``: Python's logging, with the node, its tick and the time of the run in every record."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import wall_ns

from .context import current

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter

NODE_LOGGERS = "horus_async.node"
"""The logger above those of all nodes."""


class NodeLog(Adapter):
    """Writes to the logger ``horus_async.node.NAME``.

    Its records have the attributes ``node``, ``tick`` (None outside of ticks) and ``now_ns`` (the run's time of day at
    the beginning of the tick; outside of callbacks the wall clock), and whatever is passed as ``extra=``. A field of
    ``extra`` that has one of these names is kept with an underscore behind it.
    """

    def __init__(self, node: str) -> None:
        super().__init__(logging.getLogger(f"{NODE_LOGGERS}.{node}"), {"node": node})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Add what a record is to have."""
        context = current.get(None)
        ours = {
            **(self.extra or {}),
            "tick": None if context is None else context.tick,
            "now_ns": wall_ns() if context is None else context.now_ns,
        }
        given = kwargs.get("extra") or {}
        kwargs["extra"] = {**{f"{key}_" if key in ours else key: value for key, value in given.items()}, **ours}
        return msg, kwargs
