"""The choices a node makes about being late and about failing."""

from __future__ import annotations

import enum

from attrs import field as _field
from attrs import frozen, validators


class Miss(enum.Enum):
    """What a missed deadline brings."""

    WARN = "warn"
    """An event, and no more."""
    SKIP = "skip"
    """The node's next tick is left out."""
    SAFE_MODE = "safe_mode"
    """``enter_safe_state`` once; a met deadline ends the episode."""
    STOP = "stop"
    """Emergency stop."""


class FailurePolicy:
    """What happens when a node's callback raises; one of the four below."""


@frozen
class Fatal(FailurePolicy):
    """The run ends and raises."""


@frozen
class Restart(FailurePolicy):
    """``init`` runs again after a wait of ``backoff`` × 2ⁿ seconds; too many failures in a row are fatal."""

    max_retries: int = _field(default=5, validator=validators.ge(0))
    backoff: float = _field(default=0.1, validator=validators.ge(0))


@frozen
class Skip(FailurePolicy):
    """After ``max_failures`` in a row the node rests for ``cooldown`` seconds; then one probe tick decides."""

    max_failures: int = _field(default=5, validator=validators.ge(1))
    cooldown: float = _field(default=30.0, validator=validators.ge(0))


@frozen
class Ignore(FailurePolicy):
    """The failure is reported and the node goes on."""
