"""``horus-async launch``."""

from __future__ import annotations

from .command import launch

__all__ = ["launch"]
