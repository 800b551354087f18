"""What viewers and ROS tools call a topic: ``lidar.scan`` is ``/lidar/scan``, as a dot means a field to them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from horus_async.frames.names import MOVING, STATIC
from horus_async.spelling import free_name

if TYPE_CHECKING:
    from collections.abc import Iterable

_FRAMES = {MOVING: "/tf", STATIC: "/tf_static"}
"""Under these names ROS and viewers look for frames."""


def viewer_name(topic: str) -> str:
    """The name of a topic for others: a path of letters, digits and ``_``."""
    return _FRAMES.get(topic) or "/" + re.sub(r"[./]+", "/", topic).strip("/").replace("-", "_")


def viewer_names(topics: Iterable[str]) -> dict[str, str]:
    """The same for several, all different; frames have theirs before any other topic."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for topic in sorted(topics, key=lambda topic: topic not in _FRAMES):
        name = names[topic] = free_name(viewer_name(topic), taken)
        taken.add(name)
    return names
