"""A session as notebooks look at it: topics as sequences and tables, log and parameters, of all of it or of a span."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import RecordingError
from horus_async.notebook.html_table import html_table
from horus_async.recorder.tables.topic import TopicMessages
from horus_async.spelling import did_you_mean

from .log import RecordedLog
from .moments import first_tick_from
from .params import RecordedParams

if TYPE_CHECKING:
    from .moments import Moment

_NAMED = 8
"""Topics that an error lists."""


@frozen
class SessionView:
    """A session, or a part of it, by its topics: ``view["odom"]``."""

    session: Any = field(repr=lambda session: repr(session.name))
    start: int | None = None
    """The first tick; None for all from the beginning."""
    stop: int | None = None
    """The last tick; None for all to the end."""

    def __getitem__(self, topic: str) -> TopicMessages:
        if type(topic) is not str:
            raise TypeError(f"a session is asked for a topic by its name, not {topic!r:.60}")
        session = self.session
        if topic not in self._declared() and topic not in (known := session.topics):
            raise RecordingError(
                f"session {session.name!r} has no topic {topic!r}; it has {_some(known)}{did_you_mean(topic, known)}"
            )
        return TopicMessages(session, topic, self.start, self.stop, self._notes())

    def __contains__(self, topic: object) -> bool:
        return topic in self.session.topics

    @property
    def topics(self) -> dict[str, int]:
        """How many messages each topic has, in the order of names; 0 for one that a node declares and was silent on."""
        if self.start is None and self.stop is None:
            return dict(sorted(counted(self.session).items()))
        return {topic: len(self[topic]) for topic in self.session.topics}

    @property
    def log(self) -> RecordedLog:
        """What was logged in it, line by line, oldest first."""
        return RecordedLog(self.session.log_file, self.start, self.stop)

    @property
    def params(self) -> RecordedParams:
        """The nodes' parameters as it begins, and every change, with its tick."""
        first = self.session.first_tick or 0
        return RecordedParams(self.session, first if self.start is None else max(first, self.start), self.stop)

    def between(self, begin: Moment | None = None, end: Moment | None = None) -> SessionView:
        """The part from one moment up to another, which is not in it: whole ticks, by when they began.

        Args:
            begin: Seconds since the session's first tick, or a time of day (`datetime`; UTC without a zone); None for
                the beginning.
            end: The same; None for the end.

        Raises:
            RecordingError: The session has lost its scheduler's file, so that its times are not known; or these are
                none.
        """
        start, stop = self.start, self.stop
        if begin is not None:
            first = first_tick_from(self.session, begin)
            last = self.session.last_tick
            first = (0 if last is None else last) + 1 if first is None else first
            start = first if start is None else max(start, first)
        if end is not None:
            after = first_tick_from(self.session, end)
            if after is not None:
                stop = after - 1 if stop is None else min(stop, after - 1)
        return SessionView(self.session, start, stop)

    def _declared(self) -> set[str]:
        """Topics that are surely there, without a file being read."""
        found = {topic for info in self.session.nodes.values() for topic in info.pubs}
        for file in (*self.session.files.values(), self.session.external_file):
            if file is not None and file.footer is not None:
                found.update(tally.topic for tally in file.footer.topics or ())
        return found

    def _notes(self) -> list[str]:
        """What is missing, in words."""
        session = self.session
        found = [f"{name} is cut off: what came after is not there" for name in session.cuts]
        found += [f"{name} is damaged: what could not be read is left out" for name in session.damage]
        for name, gaps in session.gaps().items():
            found.append(f"{name}: {sum(gap.dropped for gap in gaps)} lines were dropped while it was recorded")
        found += [f"node {node} is missing: {why}" for node, why in session.missing_nodes.items()]
        return [*found, *session.notes]

    def _repr_html_(self) -> str:
        session = self.session
        when = "virtual time" if session.deterministic else "real time"
        span = "" if session.first_tick is None else f", ticks {session.first_tick} to {session.last_tick}"
        if self.start is not None or self.stop is not None:
            span += f", of which {self.start or 0} to {'the end' if self.stop is None else self.stop}"
        caption = f"session {session.name}: {session.tick_rate:g} Hz in {when}{span}, started {session.started_at}"
        publishers: dict[str, list[str]] = {}
        for node in session.nodes:
            for topic in session.output_topics(node):
                publishers.setdefault(topic, []).append(node)
        rows = [(topic, count, ", ".join(publishers.get(topic, []))) for topic, count in self.topics.items()]
        return html_table(caption, ("topic", "messages", "from"), rows, self._notes())


def counted(session: Any) -> Counter[str]:
    """Messages by topic: those of nodes, and external ones. Files that were not closed are read for it."""
    found: Counter[str] = Counter({topic: 0 for info in session.nodes.values() for topic in info.pubs})
    for node, file in session.files.items():
        if file.footer is not None and file.footer.topics is not None:
            found.update({tally.topic: tally.count for tally in file.footer.topics})
        else:
            found.update(sent.topic for sent in session.outputs(node))
    file = session.external_file
    if file is not None and file.footer is not None and file.footer.topics is not None:
        found.update({tally.topic: tally.count for tally in file.footer.topics})
    elif file is not None:
        found.update(taken.topic for taken in session.external())
    return found


def _some(names: dict[str, int]) -> str:
    more = len(names) - _NAMED
    return (", ".join([*names][:_NAMED]) + (f" and {more} more" if more > 0 else "")) or "none"
