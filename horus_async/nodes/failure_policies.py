"""What a node chooses to do when it is late or fails."""

from __future__ import annotations

import enum

from attrs import field, frozen

from horus_async.validators import argument, is_not_negative, is_whole_from

_seconds = argument(is_not_negative, "give seconds, 0 or more")


class Miss(enum.Enum):
    """What happens when a deadline is missed."""

    WARN = "warn"
    """Only an event."""
    SKIP = "skip"
    """The node's next tick is skipped."""
    SAFE_MODE = "safe_mode"
    """``enter_safe_state`` is called once per episode; a met deadline ends the episode."""
    STOP = "stop"
    """Emergency stop."""


class FailurePolicy:
    """What happens when a node's callback raises: one of the four classes below.

    Invalid options raise `ConfigurationError`.
    """

    __slots__ = ()

    # for those without options, which need no generated class; those that have some get their own from attrs

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Fatal(FailurePolicy):
    """The run ends and raises `NodeFailure`."""

    __slots__ = ()


@frozen
class Restart(FailurePolicy):
    """``init`` runs again ``backoff`` × 2ⁿ⁻¹ seconds after the nth failure in a row, ``max_retries`` times at most."""

    max_retries: int = field(default=5, validator=argument(is_whole_from(0), "give a whole number, 0 or more"))
    backoff: float = field(default=0.1, validator=_seconds)


@frozen
class Skip(FailurePolicy):
    """After ``max_failures`` failures in a row the node rests for ``cooldown`` seconds, then one probe tick decides."""

    max_failures: int = field(default=5, validator=argument(is_whole_from(1), "give a whole number, 1 or more"))
    cooldown: float = field(default=30.0, validator=_seconds)


class Ignore(FailurePolicy):
    """The failure is reported and the node goes on."""

    __slots__ = ()
