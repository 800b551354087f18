"""The topics that frames travel on."""

MOVING = "frames"
"""Edges that move."""
STATIC = "frames.static"
"""Edges that never change."""
EITHER = frozenset((MOVING, STATIC))
"""Who asks for frames reads both, and one of them may well have no message in a run."""
