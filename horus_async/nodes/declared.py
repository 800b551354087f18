"""The topics that a node declares, and what they carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from horus_async.errors import ConfigurationError
from horus_async.topics import check_topic_name
from horus_async.topics.keeping.keep import Keep

if TYPE_CHECKING:
    from collections.abc import Iterable

STATIC_FRAMES = "frames.static"
"""The topic of frames that never move: late readers need what was sent once."""
_EDGES_KEPT = 100
"""Where each of these is a message of its own."""


class DeclaredTopics(tuple[str, ...]):  # noqa: SLOT001 - one of a tuple cannot have slots
    """The names of topics, in their order; some are declared to carry objects of one class."""

    types: Mapping[str, type]
    """The class by topic, of those that have one."""
    keeps: Mapping[str, int]
    """How many messages late readers are to get, by topic, where that was said."""

    @classmethod
    def of(cls, option: str, given: str | Iterable[str] | Mapping[str, type | Keep | None]) -> Self:
        """Make them of what was given for an option.

        Raises:
            ConfigurationError: It is neither a name nor several; or only who sends on a topic can keep its messages.
            TopicNameError: A name cannot be a topic's.
            TopicTypeError: What is given for a topic is no class.
        """
        if isinstance(given, cls):
            return given
        topics: Any = (given,) if isinstance(given, str) else given
        try:
            made = cls(dict.fromkeys(check_topic_name(topic) for topic in topics))
        except TypeError:
            raise ConfigurationError(
                f"{option}={given!r}: give one or more topic names, or a dict of them with what they carry"
            ) from None
        kinds = topics if isinstance(topics, Mapping) else {}
        made.keeps = {topic: kind.n for topic, kind in kinds.items() if isinstance(kind, Keep)}
        if any(kind is Keep for kind in kinds.values()):
            raise ConfigurationError(f"{option}={given!r}: Keep lacks its brackets; write Keep(), or Keep(n=2)")
        if made.keeps and option != "pubs":
            raise ConfigurationError(f"{option}={given!r}: Keep goes into the pubs of the node that sends the messages")
        types = {topic: kind.type if isinstance(kind, Keep) else kind for topic, kind in kinds.items()}
        made.types = {topic: kind for topic, kind in types.items() if kind is not None}
        if made.types:
            from horus_async.topics.typed import check_type  # late, as most nodes do without

            for topic, kind in made.types.items():
                check_type(topic, kind)
        return made

    def kept(self) -> dict[str, int]:
        """How many messages late readers are to get, by topic, also where that goes without saying."""
        kept = dict(self.keeps)
        if STATIC_FRAMES in self:
            kept.setdefault(STATIC_FRAMES, _EDGES_KEPT if STATIC_FRAMES in self.types else 1)
        return kept
