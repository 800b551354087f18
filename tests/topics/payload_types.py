"""Classes of messages that several processes of the tests know."""

from __future__ import annotations

from attrs import define


@define
class Pose:
    """The newer of two versions: ``heading`` was added."""

    x: float
    heading: float = 0.25
