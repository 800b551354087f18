"""The public front: nodes in, a run out."""

from .scheduler import Scheduler, run

__all__ = ["Scheduler", "run"]
