"""The public front: nodes in, a run out. Its names are loaded on first use, as the command line needs few of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.lazy_names import loader

if TYPE_CHECKING:
    from .scheduler import Scheduler, run

__all__ = ["Scheduler", "run"]

if not TYPE_CHECKING:
    __getattr__ = loader(__name__, __all__, {}, "scheduler")
