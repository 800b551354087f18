"""Which runs are as somebody asks: by the catalogue first, then, for predicates, by the messages themselves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import RecordingError
from horus_async.limits.open_files import why
from horus_async.predicates.predicate import Tally, names_of
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.session import Session
from horus_async.recorder.tables.flatten import plain
from horus_async.spelling import did_you_mean

from .events import event_test

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.predicates.predicate import Predicate
    from horus_async.recorder.catalogue.happenings import Happening
    from horus_async.recorder.messages import RecordedMessage

    from .runs import Run, Runs


@frozen
class Query:
    """What is asked of runs; all of it has to hold."""

    since_ns: int | None = None
    """They started at this time or later; wall clock, nanoseconds since 1970."""
    until_ns: int | None = None
    """They started before."""
    node: str | None = None
    """They have this node; with ``event``, it happened to it."""
    event: str | None = None
    topic: str | None = None
    """They have messages of it."""
    where: Predicate | None = None
    """They have such messages of the topic."""


@frozen
class Hit:
    """A run that is as asked."""

    run: Run
    happened: tuple[Happening, ...] = ()
    """What is asked of it."""
    messages: int | None = None
    """Of the topic, as asked; None where no topic is."""
    first_message: tuple[int, float | None] | None = None
    """The tick of the first of them, and the seconds since the run's first tick, where they are known."""

    @property
    def count(self) -> int | None:
        """How often it is as asked: messages if it is asked of them, else events; None if of neither."""
        return self.messages if self.messages is not None else sum(row.times for row in self.happened) or None

    @property
    def first_tick(self) -> int | None:
        """The tick of the first of these."""
        if self.messages is not None:
            return self.first_message[0] if self.first_message else None
        return min((row.first_tick for row in self.happened if row.first_tick is not None), default=None)

    @property
    def first_seconds(self) -> float | None:
        """When that was, in seconds since the run's first tick."""
        if self.first_message is not None:
            return self.first_message[1]
        return self.run.facts.seconds(self.first_tick)


@define
class Search:
    """A question, and what came of it so far."""

    query: Query
    all: Runs
    problems: list[str] = field(factory=list)
    """What of the runs in question cannot be read, one line each: the answer may lack something."""
    notes: list[str] = field(factory=list)
    tally: Tally | None = None
    candidates: list[Hit] = field(factory=list)
    """Runs that are as asked, as far as the catalogue knows."""

    @classmethod
    def of(cls, query: Query, runs: Runs) -> Search:
        """Ask the catalogue.

        Raises:
            ConfigurationError: there is no such event.
        """
        search = cls(query, runs, [*runs.problems], [*runs.notes])
        search.tally = None if query.where is None else Tally(query.where)
        search._narrow()
        return search

    def hits(self, progress: Callable[[int, int], None] | None = None) -> Iterator[Hit]:
        """The runs that are as asked, oldest first, each as soon as it is known.

        Args:
            progress: Told how many messages were read, of how many.

        Raises:
            PredicateError: of no message the predicate could say anything.
        """
        if self.tally is None:
            yield from self.candidates
            return
        total = sum(hit.messages or 0 for hit in self.candidates)
        done = 0
        for hit in self.candidates:
            report = None if progress is None else _Share(progress, done, total)
            found = self._look(hit, self.tally, report)
            done += hit.messages or 0
            if found is not None:
                yield found
        self.tally.check()
        self.notes += self.tally.notes()

    def _narrow(self) -> None:
        query, runs = self.query, [run for run in self.all.runs if self._is_in_time(run)]
        is_meant = None
        if query.event is not None:
            there = {row.event for run in self.all.runs for row in run.facts.happenings}
            is_meant = event_test(query.event, there)
        for run in runs:
            self.problems += [f"{run.name}: {problem}" for problem in run.facts.problems]
            if run.lost and is_meant is not None:
                self.notes.append(f"{run.box}: {run.lost} older events have been overwritten")
            hit = self._asked(run, is_meant)
            if hit is not None:
                self.candidates.append(hit)
        if not self.candidates:
            self._say_what_is_there(runs)

    def _is_in_time(self, run: Run) -> bool:
        since, until, started = self.query.since_ns, self.query.until_ns, run.facts.started_ns
        if since is None and until is None:
            return True
        if started is None:
            if run.facts.readable:
                self.problems.append(f"{run.name}: when it started is not known")
            else:
                self.problems += [f"{run.name}: {problem}" for problem in run.facts.problems]
            return False
        return (since is None or started >= since) and (until is None or started < until)

    def _asked(self, run: Run, is_meant: Callable[[str], bool] | None) -> Hit | None:
        query, facts = self.query, run.facts
        if not facts.readable:
            return None
        happened: tuple[Happening, ...] = ()
        if is_meant is not None:
            rows = [row for row in facts.happenings if query.node is None or row.node == query.node]
            happened = tuple(row for row in rows if is_meant(row.event))
            if not happened:
                return None
        elif query.node is not None and query.node not in facts.nodes:
            return None
        if query.topic is None:
            return Hit(run, happened)
        sent = [topic for topic in facts.topics if topic.topic == query.topic]
        count = sum(topic.count for topic in sent)
        if not count:
            return None
        first = min(topic.first_tick for topic in sent)
        return Hit(run, happened, count, (first, facts.seconds(first)))

    def _say_what_is_there(self, runs: list[Run]) -> None:
        """Names that no run has are most often misspelt."""
        known = {"node": {node for run in runs for node in run.facts.nodes},
                 "topic": {topic.topic for run in runs for topic in run.facts.topics}}  # fmt: skip
        for what, names in known.items():
            asked = getattr(self.query, what)
            if asked is not None and asked not in names:
                self.notes.append(f"no run has a {what} {asked!r}{did_you_mean(asked, names)}")

    def _look(self, hit: Hit, tally: Tally, progress: Callable[[int], None] | None) -> Hit | None:
        """Read the messages of a session."""
        topic, run = self.query.topic, hit.run
        assert topic is not None
        matched, first, read = 0, None, 0
        try:
            session = Session(Path(run.path))
            names = message_names(session)
            for message in session_messages(session, {topic}, progress):
                read += 1
                if tally.test(names(message)):
                    matched += 1
                    first = first or (message.tick, names(message)["time"])
            damage = [f"{run.name}: {piece}" for pieces in session.damage.values() for piece in pieces]
            self.problems += [piece for piece in damage if piece not in self.problems]
        except (RecordingError, OSError) as error:
            self.problems.append(f"{run.name}: {why(error) if isinstance(error, OSError) else error}")
        if matched and first is not None:
            return Hit(run, hit.happened, matched, first)
        return None


@frozen
class _Share:
    """Tells how many messages were read in all, by those of one session."""

    progress: Callable[[int, int], None]
    before: int
    total: int

    def __call__(self, read: int) -> None:
        self.progress(self.before + read, self.total)


def message_names(session: Session) -> Callable[[RecordedMessage], dict[str, Any]]:
    """What a predicate can name of the messages of a session.

    Those of the message; else ``data``, ``value``, ``tick``, ``time`` (seconds since the session's first tick, by its
    stamp), ``topic``, ``publisher``, ``seq``.
    """
    first = session.first_tick
    line = None if first is None else next(session.scheduler_ticks(first, first), None)
    start_ns = session.start_ns if line is None else line.now_ns

    def names(message: RecordedMessage) -> dict[str, Any]:
        more = {
            "tick": message.tick,
            "time": (message.stamp_ns - start_ns) / NANOSECONDS,
            "topic": message.topic,
            "publisher": message.publisher,
            "seq": message.seq,
        }
        return names_of(plain(message.data), more)

    return names
