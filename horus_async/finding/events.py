"""What users call events, and which happenings these are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.blackbox import ANOMALIES
from horus_async.errors import ConfigurationError
from horus_async.recorder.catalogue.happenings import CUSTOM, LOG
from horus_async.spelling import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ANOMALY = "Anomaly"
_ANOMALIES = frozenset(kind.__name__ for kind in ANOMALIES)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
KNOWN = (ANOMALY, *sorted(_ANOMALIES), "Fatal", "Killed", "Gap", "Log", *LEVELS, "Custom")
"""Events that any run may have. Besides there are the levels and categories that programs make."""


def event_test(text: str, there: Iterable[str]) -> Callable[[str], bool]:
    """Whether a happening is what somebody calls so, in any case.

    ``Anomaly`` are all kinds of which the black box says so, ``Log`` all that was logged, ``WARNING`` those of that
    level, ``Custom`` all events of programs' own, and their categories are names, too.

    Args:
        text: What it is called.
        there: The happenings of all runs.

    Raises:
        ConfigurationError: It is no event that there is; names the nearest.
    """
    asked = text.casefold()
    if asked == ANOMALY.casefold():
        return _ANOMALIES.__contains__
    if asked in {"log", "custom"}:
        begins = LOG if asked == "log" else CUSTOM
        return lambda event: event.startswith(begins)
    names = {*KNOWN, *(_short(event) for event in there)}
    if asked not in {name.casefold() for name in names} | {event.casefold() for event in there}:
        raise ConfigurationError(
            f"there is no event {text!r}; there are {', '.join(sorted(names)[:40])}{did_you_mean(text, names)}"
        )
    return lambda event: asked in {event.casefold(), _short(event).casefold()}


def _short(event: str) -> str:
    for begins in (LOG, CUSTOM):
        if event.startswith(begins):
            return event[len(begins) :]
    return event
