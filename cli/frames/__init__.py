"""``horus-async frames``."""

from .command import frames

__all__ = ["frames"]
