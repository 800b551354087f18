"""Which messages of several topics belong together: no clock, no topics, only stamps.

A *match* has one message of each topic. Its *spread* is the time from its earliest to its latest stamp, and at most the
slop. Two matches *collide* if they share a message, or if one is not later than the other in every topic. Matches are
made best first: the one with the smallest spread (of equals the earliest), then the best of those that do not collide
with it, and so on. That is all of the rule; the rest of this module is when a match is known to be one of these.

It is known at once where none that collides with it, and may still come, could be better. To see that, each topic gets
one message more, whose stamp is whatever suits best from the newest of its topic on (a *guess*). Where the best match
has a guess, it is open, and so is all that collides with it; what lies before that may be settled all the same.

Nobody waits for ever: a match is not held back for better ones that may come any more once ``wait`` has passed since
its last message was sent.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Places = tuple[int, ...]
    """A match: the place of its message among those that wait, for each topic."""
    Found = tuple[int, float, Places]
    """Spread, latest stamp, places: in the order of preference."""


@define
class Waiting:
    """The messages of one topic that wait, in the order of their stamps, and what is known of the topic."""

    stamps: list[int] = field(factory=list)
    sent: list[int] = field(factory=list)
    items: list[Any] = field(factory=list)
    newest: float = -inf
    """The latest stamp so far: none that follows should be earlier."""
    newest_sent: float = -inf
    given: float = -inf
    """The stamp of its last message that was matched."""
    passed_over: int = 0
    """How many were left behind by a match of later ones."""
    fell_out: int = 0
    """How many had to make room for newer ones."""
    went_back: int = 0
    """How often its stamps began again."""
    given_up: int = 0
    """How many waited when they did."""

    @property
    def unmatched(self) -> int:
        """How many found no partners."""
        return self.passed_over + self.fell_out + self.given_up

    def insert(self, stamp: int, sent: int, item: Any) -> None:
        """Put a message in its place, behind those with the same stamp."""
        place = bisect_right(self.stamps, stamp)
        self.stamps.insert(place, stamp)
        self.sent.insert(place, sent)
        self.items.insert(place, item)

    def drop(self, count: int) -> None:
        """Forget the first ones."""
        del self.stamps[:count], self.sent[:count], self.items[:count]


class Matcher:
    """Matches messages. ``found`` has the matches that are settled, oldest first; whoever takes them removes them.

    Args:
        topics: How many.
        slop: The largest spread, ns.
        wait: ns of sending for which a match may be held back; infinite for as long as it takes.
        queue: How many messages of each topic may wait.
    """

    def __init__(self, topics: int, *, slop: int, wait: float, queue: int) -> None:
        self.topics = [Waiting() for _ in range(topics)]
        self.found: deque[tuple[Any, ...]] = deque()
        self._slop = slop
        self._wait = wait
        self._queue = queue
        self._news = False
        """Whether messages have come since nothing could be settled by them."""

    def push(self, topic: int, stamp: int, sent: int, item: Any) -> None:
        """One more message; in each topic in the order of sending."""
        waiting = self.topics[topic]
        if stamp >= waiting.newest:
            waiting.stamps.append(stamp)
            waiting.sent.append(sent)
            waiting.items.append(item)
            waiting.newest = stamp
        elif waiting.newest - stamp <= self._wait and stamp >= waiting.given:
            waiting.insert(stamp, sent, item)  # late, but nothing behind it was given yet
        else:
            self._begin_again(waiting)
            waiting.insert(stamp, sent, item)
            waiting.newest = stamp
        waiting.newest_sent = sent
        self._news = True
        if len(waiting.stamps) > self._queue:
            self._make_room(topic)

    def settle(self, now: float = -inf) -> None:
        """Move to ``found`` what is settled at a moment, ns; it is never before the last messages were sent."""
        while all(waiting.stamps for waiting in self.topics):
            match = self._settled(now)
            if match is None:
                return
            self._give([*self._before(match), match])

    def _settled(self, now: float) -> Places | None:
        """A match that is settled; None if there is none yet."""
        if self._news:
            first = self.topics[0].stamps[0]
            if all(waiting.stamps[0] == first for waiting in self.topics):
                return (0,) * len(self.topics)  # nothing is better, or earlier
            match = self._final([waiting.newest for waiting in self.topics], inf)
            if match is not None:
                return match
            self._news = False
        before = max(now, *(waiting.newest_sent for waiting in self.topics)) - self._wait
        if all(waiting.sent[0] <= before for waiting in self.topics):
            return self._final([None] * len(self.topics), before)
        return None

    def _final(self, guesses: list[float | None], before: float) -> Places | None:
        """A match that no other takes a message from.

        Args:
            guesses: For each topic the earliest stamp of a message that may come; None for none.
            before: The match has to be of messages that were sent until then.
        """
        lengths = [len(waiting.stamps) for waiting in self.topics]
        earliest = max(waiting.stamps[0] for waiting in self.topics) - self._slop  # of messages that have partners
        starts = [bisect_left(waiting.stamps, earliest) for waiting in self.topics]
        edge = lengths  # all before it may be settled; a match with any message before it may stand in the way
        while all(map(int.__lt__, starts, edge)):
            best: Found | None = None
            for topic, end in enumerate(edge):
                ends, guessed = lengths.copy(), guesses.copy()
                ends[topic], guessed[topic] = end, None
                found = self._tightest(starts, ends, guessed)
                if found is not None and (best is None or found < best):
                    best = found
            if best is None:
                return None
            places = best[2]
            if all(map(int.__lt__, places, edge)) and (before == inf or self._sent_by(before, places)):
                return places
            edge = list(map(min, edge, places))
        return None

    def _sent_by(self, before: float, places: Places) -> bool:
        return all(waiting.sent[place] <= before for waiting, place in zip(self.topics, places, strict=True))

    def _tightest(self, starts: Iterable[int], ends: Sequence[int], guesses: Sequence[float | None]) -> Found | None:
        """The best match of what lies between the starts and the ends, and of the guesses behind the ends.

        One pointer a topic, each time the one at the earliest stamp moves on: so each message is once the earliest of
        the best match that it could begin.
        """
        heads, best, best_spread = list(starts), None, self._slop + 1
        while True:
            low, high, lowest = inf, -inf, -1
            for topic, waiting in enumerate(self.topics):
                place = heads[topic]
                if place < ends[topic]:
                    stamp: float = waiting.stamps[place]
                    if stamp < low:
                        low, lowest = stamp, topic
                else:
                    guess = guesses[topic]
                    if guess is None:
                        return best
                    stamp = guess  # never the earliest: it may be any later one
                high = max(high, stamp)
            if lowest < 0:
                return best
            if high - low < best_spread:
                best_spread = int(high - low)
                best = best_spread, high, tuple(heads)
                if not best_spread:
                    return best
            heads[lowest] += 1

    def _before(self, ends: Sequence[int]) -> list[Places]:
        """All matches of what lies before some places, oldest first: nothing else can come there any more."""
        found: list[Places] = []
        nothing: list[float | None] = [None] * len(ends)
        regions: list[tuple[Sequence[int], Sequence[int]]] = [((0,) * len(ends), ends)]
        while regions:
            starts, ends = regions.pop()
            best = self._tightest(starts, ends, nothing) if all(map(int.__lt__, starts, ends)) else None
            if best is not None:
                match = best[2]
                found.append(match)
                regions.append((starts, match))
                regions.append(([place + 1 for place in match], ends))
        return sorted(found)

    def _give(self, matches: list[Places]) -> None:
        """Give matches, the first ones of all, and forget what lies before their last messages."""
        for match in matches:
            pairs = zip(self.topics, match, strict=True)
            self.found.append(tuple(waiting.items[place] for waiting, place in pairs))
        for topic, waiting in enumerate(self.topics):
            last = matches[-1][topic]
            waiting.given = waiting.stamps[last]
            waiting.passed_over += last + 1 - len(matches)
            waiting.drop(last + 1)
        self._news = True

    def _make_room(self, topic: int) -> None:
        """Settle what there is, and else the best match of the oldest message of a topic; without one, that goes."""
        self.settle()
        waiting = self.topics[topic]
        if len(waiting.stamps) <= self._queue:
            return
        first = self._before([len(each.stamps) for each in self.topics])[:1]
        if first and not first[0][topic]:
            self._give(first)
            return
        waiting.fell_out += 1
        waiting.drop(1)

    def _begin_again(self, waiting: Waiting) -> None:
        """The stamps of a topic went back: match what waits with what is there, and give up the rest of that topic."""
        matches = self._before([len(each.stamps) for each in self.topics])
        if matches:
            self._give(matches)
        waiting.went_back += 1
        waiting.given_up += len(waiting.stamps)
        waiting.drop(len(waiting.stamps))
        waiting.given = -inf
