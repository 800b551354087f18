"""The choices a node makes about being late and about failing."""

from __future__ import annotations

import enum
import math
from typing import Any

import attrs
from attrs import field as _field
from attrs import frozen

from horus_async.errors import ConfigurationError


def _whole_from(lowest: int) -> Any:
    def check(instance: object, attribute: attrs.Attribute[int], value: Any) -> None:
        if type(value) is not int or value < lowest:
            name = f"{type(instance).__name__}({attribute.name}={value!r})"
            raise ConfigurationError(f"{name}: give a whole number, {lowest} or more")

    return check


def _seconds(instance: object, attribute: attrs.Attribute[float], value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ConfigurationError(f"{type(instance).__name__}({attribute.name}={value!r}): give seconds, 0 or more")


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
    """What happens when a node's callback raises; one of the four below.

    Options that cannot work raise `ConfigurationError`.
    """


@frozen
class Fatal(FailurePolicy):
    """The run ends and raises."""


@frozen
class Restart(FailurePolicy):
    """``init`` runs again after a wait of ``backoff`` × 2ⁿ seconds; too many failures in a row are fatal."""

    max_retries: int = _field(default=5, validator=_whole_from(0))
    backoff: float = _field(default=0.1, validator=_seconds)


@frozen
class Skip(FailurePolicy):
    """After ``max_failures`` in a row the node rests for ``cooldown`` seconds; then one probe tick decides."""

    max_failures: int = _field(default=5, validator=_whole_from(1))
    cooldown: float = _field(default=30.0, validator=_seconds)


@frozen
class Ignore(FailurePolicy):
    """The failure is reported and the node goes on."""
