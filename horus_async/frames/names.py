"""The topics that frames travel on."""

from horus_async.nodes.declared import STATIC_FRAMES

MOVING = "frames"
"""Edges that move."""
STATIC = STATIC_FRAMES
"""Edges that never change; the last message of each publisher is kept for late readers."""
EITHER = frozenset((MOVING, STATIC))
"""Who asks for frames reads both, and one of them may well have no message in a run."""
