"""When the last seconds of a run are worth a session, as a user says it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isinf
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from horus_async.errors import ConfigurationError
from horus_async.validators import is_not_negative

from .anomaly import ANY, Anomaly

if TYPE_CHECKING:
    from collections.abc import Iterator

    Heard = Callable[[str], None]

_FORMS = (
    "give Anomaly or some of its kinds, a dict as in {'odom': lambda message: message['v'] > 2}, a function of topic "
    "and message, or a list of such"
)


@frozen
class Predicate:
    """What makes a message a reason."""

    topics: str
    """A pattern, as elsewhere in the options of a recording."""
    holds: Callable[..., Any]
    takes_topic: bool
    """Whether it is called with the topic and the message, else with the message alone."""

    def __call__(self, topic: str, message: Any) -> bool:
        """Whether it holds."""
        return bool(self.holds(topic, message) if self.takes_topic else self.holds(message))

    @property
    def name(self) -> str:
        """What its function is called."""
        return str(getattr(self.holds, "__qualname__", type(self.holds).__name__)).rpartition(".")[2]


@define(eq=False)
class Around:
    """Keep only the last seconds of a run, and make a session of what is around certain moments.

    A moment is the scheduler tick in which something happens. The session has the ticks from ``before`` seconds before
    to ``after`` seconds after it; what overlaps is one session.

    Args:
        before: Seconds of the run's time, 0 or more: so much of it is always on disk.
        after: Seconds of the run's time, 0 or more.
        on: What counts: `Anomaly`, or some of its kinds (``Anomaly.NODE_ERROR | Anomaly.WATCHDOG``); a dict of patterns
            of topics and functions of a message, ``{"odom": lambda message: message["v"] > 2}``; a function of topic
            and message, for which every message is decoded; a list of these, empty for `trigger` alone.

    Raises:
        ConfigurationError: An option that cannot work; the message names it.
    """

    before: float = 30.0
    after: float = 10.0
    on: Any = Anomaly
    anomalies: Anomaly = field(init=False, default=Anomaly(0))
    """Which kinds count."""
    predicates: tuple[Predicate, ...] = field(init=False, default=())
    """What messages count."""
    _heard: list[Heard] = field(init=False, factory=list, repr=False)

    def __attrs_post_init__(self) -> None:
        for name in ("before", "after"):
            value = getattr(self, name)
            if not is_not_negative(value) or isinf(value):
                raise ConfigurationError(f"{name}={value!r} is not a number of seconds, 0 or more")
        found = list(_forms(self.on))
        self.predicates = tuple(one for one in found if isinstance(one, Predicate))
        for one in found:
            if isinstance(one, Anomaly):
                self.anomalies |= one

    def trigger(self, reason: str = "") -> None:
        """Now is such a moment, in each run that is recorded so; from any thread, callback or signal handler."""
        for heard in tuple(self._heard):
            heard(reason)

    def listen(self, heard: Heard) -> Callable[[], None]:
        """Have `trigger` call something, from now on; gives what ends that."""
        self._heard.append(heard)

        def end() -> None:
            if heard in self._heard:
                self._heard.remove(heard)

        return end


def _forms(on: Any) -> Iterator[Anomaly | Predicate]:
    if on is None:
        return
    if on is Anomaly:
        yield ANY
    elif isinstance(on, Anomaly):
        yield on
    elif isinstance(on, Mapping):
        for topics, holds in on.items():
            if not isinstance(topics, str) or not topics or not callable(holds):
                raise ConfigurationError(f"on: {topics!r}: {holds!r} is no pattern of topics with a function; {_FORMS}")
            yield Predicate(topics, holds, takes_topic=False)
    elif isinstance(on, list | tuple | set | frozenset):
        for one in on:
            yield from _forms(one)
    elif callable(on) and not isinstance(on, type):
        yield Predicate("*", on, takes_topic=True)
    else:
        raise ConfigurationError(f"on={on!r:.80} is none of what a session can be made on: {_FORMS}")
