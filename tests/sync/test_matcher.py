"""The matcher against its rule, written down a second time by trying every tuple."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.nodes.sync.matcher import Matcher

Places = tuple[int, ...]


def best_first(stamps: list[list[int]], slop: int) -> list[Places]:
    """All matches by the rule: the best of all tuples, then the best that does not collide with it, and so on."""
    places = itertools.product(*(range(len(topic)) for topic in stamps))
    tuples = []
    for tried in places:
        at = [topic[place] for topic, place in zip(stamps, tried, strict=True)]
        if max(at) - min(at) <= slop:
            tuples.append((max(at) - min(at), max(at), tried))
    chosen: list[Places] = []
    for _, _, tried in sorted(tuples):
        if not any(collide(tried, other) for other in chosen):
            chosen.append(tried)
    return sorted(chosen)


def collide(one: Places, other: Places) -> bool:
    """Whether neither is wholly before the other."""
    pairs = list(zip(one, other, strict=True))
    return not (all(a < b for a, b in pairs) or all(a > b for a, b in pairs))


def matcher(topics: int = 2, slop: int = 10, wait: float = math.inf, queue: int = 1000) -> Matcher:
    """One that waits for as long as it takes."""
    return Matcher(topics, slop=slop, wait=wait, queue=queue)


def take(made: Matcher) -> list[Any]:
    """What it has found by now."""
    found = list(made.found)
    made.found.clear()
    return found


def push(made: Matcher, topic: int, *stamps: int, sent: int | None = None) -> None:
    """Messages that are called by their topics and stamps, sent when they are stamped."""
    for stamp in stamps:
        made.push(topic, stamp, stamp if sent is None else sent, (topic, stamp))


def stamps_of(found: list[Any]) -> list[tuple[int, ...]]:
    """Of each match."""
    return [tuple(stamp for _, stamp in match) for match in found]


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[list[int]], list[int], int]:
    """Stamps of two to four topics, doubled ones among them; an order of arrival; a slop."""
    topics = draw(st.integers(2, 4))
    longest = {2: 12, 3: 7, 4: 5}[topics]
    stamps = [sorted(draw(st.lists(st.integers(0, 40), max_size=longest))) for _ in range(topics)]
    order = [topic for topic, sent in enumerate(stamps) for _ in sent]
    return stamps, draw(st.permutations(order)), draw(st.integers(0, 15))


def sorted_by_topic(order: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same topics in the same order of arrival, each with its stamps in order."""
    rest = {topic: iter(sorted(stamp for other, stamp in order if other == topic)) for topic in (0, 1)}
    return [(topic, next(rest[topic])) for topic, _ in order]


def later(topic: list[int]) -> list[list[int]]:
    """What may still come on a topic: one or two more messages."""
    stamps = range(topic[-1] if topic else 0, 12)
    return [[stamp] for stamp in stamps] + [[one, two] for one in stamps for two in stamps if one <= two]


@given(streams(), st.booleans())
def test_what_is_given_is_what_the_rule_says(
    made: tuple[list[list[int]], list[int], int],
    after_each: bool,
) -> None:
    """In the rule's order, whatever arrives first and whenever it is asked; nothing before it is certain, and then all.

    At each moment what was given is the beginning of what the rule says of all messages, also of those to come.
    """
    stamps, order, slop = made
    wanted = best_first(stamps, slop)
    matching = matcher(len(stamps), slop)
    next_place = [0] * len(stamps)
    found: list[Places] = []
    for topic in order:
        place = next_place[topic]
        next_place[topic] += 1
        matching.push(topic, stamps[topic][place], 0, place)
        if after_each:
            matching.settle()
            found += take(matching)
            assert found == wanted[: len(found)]
    for topic in range(len(stamps)):
        matching.push(topic, 1000, 0, None)
    matching.settle()
    found += take(matching)
    assert found[:-1] == wanted
    for topic, waiting in enumerate(matching.topics):
        assert waiting.unmatched == len(stamps[topic]) - len(wanted)
        assert not waiting.stamps


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6)), max_size=7).map(sorted_by_topic),
    st.integers(0, 4),
)
def test_nothing_is_held_back_without_a_reason(order: list[tuple[int, int]], slop: int) -> None:
    """Whatever is the same in every future, is given at once; and only that."""
    matching = matcher(2, slop)
    there: list[list[int]] = [[], []]
    found: list[Places] = []
    for topic, stamp in order:
        matching.push(topic, stamp, 0, len(there[topic]))
        there[topic].append(stamp)
        matching.settle()
        found += take(matching)
    first, second = ([[], *later(topic)] for topic in there)
    futures = [best_first([[*there[0], *more], [*there[1], *others]], slop) for more in first for others in second]
    certain = list(itertools.takewhile(lambda match: all(match in future for future in futures), futures[0]))
    assert found == certain


@given(streams(), st.integers(0, 30), st.integers(1, 6))
def test_the_laws_hold_where_it_may_not_wait(
    made: tuple[list[list[int]], list[int], int], wait: int, queue: int
) -> None:
    """Each message at most once, all within the slop, in order in each topic, and each message is accounted for."""
    stamps, order, slop = made
    matching = matcher(len(stamps), slop, wait, queue)
    rest = [iter(topic) for topic in stamps]
    pushed = [0] * len(stamps)
    found = []
    for number, topic in enumerate(order):
        stamp = next(rest[topic])
        matching.push(topic, stamp, stamp + number % 7, (topic, stamp, pushed[topic]))
        pushed[topic] += 1
        assert len(matching.topics[topic].stamps) <= queue
        matching.settle(stamp)
        found += take(matching)
    for match in found:
        assert max(stamp for _, stamp, _ in match) - min(stamp for _, stamp, _ in match) <= slop
    for topic, waiting in enumerate(matching.topics):
        places = [match[topic][2] for match in found]
        assert places == sorted(set(places))
        assert waiting.unmatched + len(places) + len(waiting.stamps) == len(stamps[topic])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-50, 50)), max_size=60), st.integers(1, 8), st.integers(0, 9))
def test_any_stamps_at_all(sent: list[tuple[int, int]], queue: int, wait: int) -> None:
    """In any order, back and forth: no message is given twice, none is lost without being counted."""
    matching = matcher(3, 5, wait, queue)
    count = [0, 0, 0]
    seen: list[Any] = []
    for number, (topic, stamp) in enumerate(sent):
        matching.push(topic, stamp, number, (topic, number))
        count[topic] += 1
        matching.settle(number)
        seen += [item for match in take(matching) for item in match]
    assert len(seen) == len(set(seen))
    for topic, waiting in enumerate(matching.topics):
        assert waiting.stamps == sorted(waiting.stamps)
        given_of = sum(1 for item in seen if item[0] == topic)
        assert waiting.unmatched + given_of + len(waiting.stamps) == count[topic]


def test_the_better_partner_wins() -> None:
    """0 would have had 6 as a partner, but 10 is nearer to it, and 11 nearer still to that."""
    matching = matcher()
    push(matching, 0, 0, 10)
    push(matching, 1, 6)
    matching.settle()
    assert not matching.found
    push(matching, 1, 11)
    matching.settle()
    assert not matching.found  # another 10 could come on the first topic
    push(matching, 0, 20)
    matching.settle()
    assert stamps_of(take(matching)) == [(0, 6), (10, 11)]


def test_equal_stamps_wait_for_nothing() -> None:
    """There is no better match, so it is given in the moment it is whole."""
    matching = matcher(3, slop=0)
    for stamp in (5, 7, 9):
        push(matching, 0, stamp)
        push(matching, 1, stamp)
        matching.settle()
        assert not matching.found
        push(matching, 2, stamp)
        matching.settle()
        assert stamps_of(take(matching)) == [(stamp, stamp, stamp)]


def test_doubled_stamps() -> None:
    """One of the two is matched, the other is left; two doubled ones make two pairs."""
    matching = matcher(slop=0)
    push(matching, 0, 5, 5, 6)
    push(matching, 1, 5, 6, 6)
    push(matching, 0, 6)
    matching.settle()
    assert stamps_of(take(matching)) == [(5, 5), (6, 6), (6, 6)]
    assert [waiting.unmatched for waiting in matching.topics] == [1, 0]


def test_one_stalls() -> None:
    """Its last message is held back until ``wait`` has passed, and then given, by what the other sends or the clock."""
    for by_clock in (False, True):
        matching = matcher(wait=20)
        push(matching, 0, 100)
        push(matching, 1, 103)
        matching.settle(122)
        assert not matching.found
        if by_clock:
            matching.settle(123)
        else:
            push(matching, 1, 123)
            matching.settle()
        assert stamps_of(take(matching)) == [(100, 103)]


def test_one_never_sends() -> None:
    """The other's messages wait up to the limit of the queue; the oldest goes, and is counted."""
    matching = matcher(queue=10)
    push(matching, 0, *range(0, 1000, 10))
    assert len(matching.topics[0].stamps) == 10
    assert (matching.topics[0].fell_out, matching.topics[0].unmatched) == (90, 90)


def test_a_full_queue_settles_the_best_of_what_is_there() -> None:
    """However long it may wait: a match is not lost only because something better could still have come."""
    matching = matcher(queue=5)
    push(matching, 0, 100)
    push(matching, 1, 103, 200, 300, 400, 500)
    matching.settle()
    assert not matching.found
    push(matching, 1, 600)
    assert stamps_of(take(matching)) == [(100, 103)]
    assert matching.topics[1].unmatched == 0


def test_one_goes_back() -> None:
    """It begins anew: what waits is matched with what is there; the other goes on, and they meet again."""
    matching = matcher(wait=20)
    push(matching, 0, 1000, 1100, 1200)
    push(matching, 1, 1001)
    push(matching, 0, 0)
    assert stamps_of(take(matching)) == [(1000, 1001)]
    assert (matching.topics[0].went_back, matching.topics[0].given_up) == (1, 2)
    push(matching, 1, 1101, 2)
    push(matching, 0, 100)
    push(matching, 1, 102)
    matching.settle()
    assert stamps_of(take(matching)) == [(0, 2)]
    assert matching.topics[1].went_back == 1


def test_a_late_message_is_put_in_its_place() -> None:
    """Stamps that go back a little, as of two publishers, are no new beginning."""
    matching = matcher(wait=20)
    push(matching, 0, 100, 110, 105, 120)
    push(matching, 1, 105, 110, 125)
    matching.settle()
    assert stamps_of(take(matching)) == [(105, 105), (110, 110)]
    assert matching.topics[0].went_back == 0


def test_three_rates() -> None:
    """A match needs one of each, so the slowest says how many there are; the others' nearest are taken."""
    matching = matcher(3, slop=12)
    for now in range(0, 1001, 1):
        if now % 5 == 0:
            push(matching, 0, now)
        if now % 20 == 3:
            push(matching, 1, now)
        if now % 100 == 7:
            push(matching, 2, now)
        matching.settle()
    # of 23 and 3, 3 is nearer to 7; 5 lies between
    assert stamps_of(take(matching)) == [(at + 5, at + 3, at + 7) for at in range(0, 1000, 100)]


@pytest.mark.parametrize("topics", [2, 5])
def test_the_search_is_bounded(topics: int) -> None:
    """Full queues of messages that all lie within the slop: a few looks a match, not one a tuple of 100⁵."""
    steps = 0

    class Counted(Matcher):
        def _tightest(self, *arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            return super()._tightest(*arguments)

    matching = Counted(topics, slop=10**6, wait=math.inf, queue=100)
    for stamp in range(100):
        for topic in range(topics):
            matching.push(topic, stamp * 10 + topic, 0, None)
    steps = 0
    matching.settle()
    assert len(matching.found) >= 98
    assert steps <= 100 * topics * topics
