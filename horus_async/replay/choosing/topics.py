"""Which topics of a session are replayed, and under which names."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from attrs import define, field

from horus_async.errors import ReplayError
from horus_async.spelling import did_you_mean
from horus_async.topics.ring.names import check_topic_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from horus_async.recorder import Session

_MOST_NAMED = 30


@define
class TopicChoice:
    """Which topics are played, and under which names. What is asked for must be there."""

    only: tuple[str, ...] = ()
    """Patterns; empty for all."""
    exclude: tuple[str, ...] = ()
    renames: dict[str, str] = field(factory=dict)
    left_out: Counter[str] = field(factory=Counter)
    """Messages that were not played, by their recorded topics."""
    _names: dict[str, str | None] = field(factory=dict)

    @property
    def is_all(self) -> bool:
        """Whether everything is played as it was recorded."""
        return not (self.only or self.exclude or self.renames)

    def played_as(self, topic: str) -> str | None:
        """The name under which a recorded topic is played; None if it is left out."""
        if topic not in self._names:
            taken = not self.only or _matches(topic, self.only)
            self._names[topic] = self.renames.get(topic, topic) if taken and not _matches(topic, self.exclude) else None
        return self._names[topic]

    def add_only(self, patterns: Iterable[str], known: set[str]) -> None:
        """Leave out what matches none of these.

        Raises:
            ReplayError: One matches nothing.
        """
        self.only = (*self.only, *_checked(patterns, known))
        self._names.clear()

    def add_exclude(self, patterns: Iterable[str], known: set[str]) -> None:
        """Leave out what matches one of these.

        Raises:
            ReplayError: One matches nothing.
        """
        self.exclude = (*self.exclude, *_checked(patterns, known))
        self._names.clear()

    def add_rename(self, topic: str, name: str, known: set[str]) -> None:
        """Play a topic under another name.

        Raises:
            ReplayError: There is no such topic.
            TopicNameError: No topic may have that name.
        """
        if topic not in known:
            raise ReplayError(_unknown(topic, known))
        self.renames[topic] = check_topic_name(name)
        self._names.clear()

    def check(self, known: set[str]) -> None:
        """Raise what only all choices together show.

        Raises:
            ReplayError: Nothing is left, what is renamed is left out, or two topics get one name.
        """
        if self.is_all:
            return
        played = {topic: name for topic in sorted(known) if (name := self.played_as(topic)) is not None}
        if not played:
            raise ReplayError(f"all topics are left out, there is nothing to replay; the session has {_listed(known)}")
        for topic, name in self.renames.items():
            if topic not in played:
                raise ReplayError(f"topic {topic!r} cannot be renamed to {name!r}: it is left out")
        self._check_names(played)

    @staticmethod
    def _check_names(played: Mapping[str, str]) -> None:
        originals: dict[str, str] = {}
        for topic, name in played.items():
            other = originals.setdefault(name, topic)
            if other != topic:
                raise ReplayError(
                    f"topics {other!r} and {topic!r} would both be played as {name!r}: rename or leave out one of them"
                )


def known_topics(session: Session, of_nodes: Iterable[Iterable[str]]) -> set[str]:
    """All topics of a session: those of its nodes, and those of its external messages."""
    known = {topic for topics in of_nodes for topic in topics}
    file = session.external_file
    footer = None if file is None else file.footer
    if footer is not None and footer.topics is not None:
        return known | {tally.topic for tally in footer.topics}
    return known | {message.topic for message in session.external()}


def _matches(topic: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(topic, pattern) for pattern in patterns)


def _checked(patterns: Iterable[str], known: set[str]) -> tuple[str, ...]:
    checked = tuple(patterns)
    for pattern in checked:
        if not any(fnmatchcase(topic, str(pattern)) for topic in known):
            raise ReplayError(_unknown(pattern, known))
    return checked


def _unknown(topic: str, known: set[str]) -> str:
    bare = str(topic).lstrip("/")
    meant = f"; did you mean {bare!r}?" if bare in known else did_you_mean(bare, known)
    return f"no topic {topic!r} in this session; it has {_listed(known)}{meant}"


def _listed(known: set[str]) -> str:
    names = sorted(known)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return (", ".join(names[:_MOST_NAMED]) or "none") + more
