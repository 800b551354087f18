"""What happens between the event loop and the writer: lines are whole or counted, whatever finds no room when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.observe import Execution, Sent, TickEnd
from horus_async.recorder.write.feed import Feed
from horus_async.recorder.write.intake import EagerIntake, Intake
from horus_async.recorder.write.line_maker import LineMaker
from horus_async.recorder.write.room import Room
from horus_async.topics.codec import as_bytes, encode

from .runs import message

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 4000
NODES = ("a", "b")

STEPS = st.lists(
    st.tuples(st.just("send"), st.sampled_from(NODES), st.sampled_from([1, 700, 3000]))
    | st.tuples(st.just("end"), st.sampled_from(NODES))
    | st.tuples(st.just("tick"))
    | st.tuples(st.just("write")),
    max_size=60,
)


class Session:
    """An intake whose writer works when it is told to, and what it was given."""

    def __init__(self, *, eager: bool, writer_is_gone: bool = False, limit: int = LIMIT) -> None:
        self.feeds = {name: Feed() for name in (*NODES, "scheduler")}
        self.room = Room(1 << 30 if eager and not writer_is_gone else limit, block=eager)
        self.room.refusing = writer_is_gone
        find = self.feeds.__getitem__
        scheduler = self.feeds["scheduler"]
        maker = LineMaker(scheduler, find, Feed, self.room if eager else None)
        self.intake = EagerIntake(maker, self.room) if eager else Intake(maker, self.room, scheduler, find)
        self.ended: dict[str, list[list[Sent]]] = {node: [] for node in NODES}
        """For each callback that has ended, what it sent."""
        self.running: dict[str, list[Sent]] = {node: [] for node in NODES}
        """What the one that goes on has sent."""
        self.ticks = 0
        self.text = dict.fromkeys(self.feeds, b"")
        self._seq = 0

    def send(self, node: str, size: int) -> None:
        """A node's running callback sends a message of about that many bytes."""
        sent = message(node, f"{node}.out", self.ticks, "x" * size, self._seq)
        self._seq += 1
        self.running[node].append(sent)
        self.intake.sent(sent._replace(began=len(self.ended[node])))

    def end(self, node: str) -> None:
        """A node's running callback ends, and its next one begins."""
        self.ended[node].append(self.running[node])
        self.running[node] = []
        self.intake.executed(Execution("tick", node, len(self.ended[node]) - 1, 0, 0, 0, [], None))

    def tick(self) -> None:
        """A scheduler tick ends."""
        self.intake.tick_ended(TickEnd(self.ticks, 0, []))
        self.ticks += 1

    def write(self) -> None:
        """The writer writes all that waits."""
        while self.intake.make_lines(lambda: None):
            self._take()
        self._take()

    def _take(self) -> None:
        written = 0
        for name, feed in self.feeds.items():
            text = feed.take()
            self.text[name] += text
            written += len(text)
        self.intake.written(written)

    def lines(self, name: str) -> list[Any]:
        """What was written to a file."""
        return [orjson.loads(line) for line in self.text[name].splitlines()]


def played(steps: list[tuple[Any, ...]], **options: bool) -> Session:
    """A session in which these steps were taken, to its end."""
    session = Session(**options)
    for name, *arguments in steps:
        step: Callable[..., None] = getattr(session, name)
        step(*arguments)
    session.intake.end()
    session.write()
    return session


def check(session: Session) -> None:
    """All that was sent is in one line, under the callback that sent it, or counted; so is the end of each callback."""
    for node, ended in session.ended.items():
        lines = session.lines(node)
        own = {sent.seq: number for number, sents in enumerate(ended) for sent in sents}
        found: list[int] = []
        ends: list[int] = []
        for line in lines:
            for out in line.get("outputs", ()):
                assert own.get(out["seq"], len(ended)) == line["tick"]
                found.append(out["seq"])
            if line["kind"] == "tick":
                ends.append(line["tick"])
        assert found == sorted(set(found))
        assert ends == sorted(set(ends))
        missing = sum(line["dropped"] for line in lines if line["kind"] == "gap")
        lost = [{sent.seq for sent in sents} - set(found) for sents in (*ended, session.running[node])]
        lost_ends = [number for number in range(len(ended)) if number not in ends]
        silent = [number for number in lost_ends if not lost[number]]
        at_most = sum(map(len, lost)) + len(lost_ends)
        assert sum(map(len, lost)) + len(silent) <= missing <= at_most
        counts = session.feeds[node].counts
        assert (counts.ticks, counts.outputs, counts.dropped) == (len(ends), len(found), missing)


@given(STEPS)
def test_what_finds_no_room_is_counted(steps: list[tuple[Any, ...]]) -> None:
    """Real time: each message and each end of a callback is there or counted, and nothing is under another callback."""
    session = played(steps, eager=False)
    check(session)
    ticks = sum(line.get("dropped", 1) for line in session.lines("scheduler"))
    assert ticks == session.ticks
    assert session.room.waiting() == 0


@given(STEPS)
def test_lines_made_at_once_are_all_there_or_counted(steps: list[tuple[Any, ...]]) -> None:
    """Deterministic runs: the same where there is a writer; nothing is under another callback where there is none."""
    session = played(steps, eager=True)
    check(session)
    assert session.room.waiting() == 0
    played(steps, eager=True, writer_is_gone=True)


def test_a_callback_that_lasts_is_written_part_by_part() -> None:
    """What a callback sent is in lines when the writer has written, and only the rest is in the line of its end."""
    session = Session(eager=False, limit=20_000)
    session.send("a", 1)
    session.write()
    assert session.lines("a") == []
    session.write()
    assert [line["kind"] for line in session.lines("a")] == ["sends"]
    session.send("a", 2)
    session.send("a", 20_000)  # more than there is room for
    session.end("a")
    session.send("a", 3)
    session.write()
    session.send("a", 4)
    session.write()
    session.end("a")
    session.intake.end()
    session.write()
    check(session)
    kinds = [(line["kind"], line["tick"], len(line.get("outputs", ()))) for line in session.lines("a")]
    assert kinds == [("sends", 0, 1), ("gap", 0, 0), ("tick", 0, 1), ("sends", 1, 2), ("tick", 1, 0)]


def test_what_is_sent_outside_callbacks_is_written_in_order() -> None:
    """Tasks and threads of a node send between its callbacks and during them: in lines without a tick of their own."""
    session = Session(eager=False, limit=20_000)
    session.send("a", 1)
    for tick in range(2):
        session.intake.sent(message("a", "loose", tick, tick)._replace(tick=tick, began=None))
    session.end("a")
    session.write()
    sends, tick = session.lines("a")
    assert (sends["kind"], sends["tick"], [out["tick"] for out in sends["outputs"]]) == ("sends", None, [0, 1])
    assert (tick["kind"], tick["tick"], len(tick["outputs"])) == ("tick", 0, 1)


def test_a_deterministic_recording_is_cut_at_its_ticks() -> None:
    """Where lines are made at once they are cut by ticks and by size, never by when the writer happens to come."""
    session = Session(eager=True)
    session.send("a", 1)
    for tick in range(11):
        session.write()
        assert session.lines("a") == []
        session.intake.tick_ended(TickEnd(tick, tick * 10_000_000, []))
    session.write()
    assert [line["kind"] for line in session.lines("a")] == ["sends"]


@pytest.mark.parametrize("eager", [True, False])
def test_the_digest_of_a_tick_is_of_what_was_recorded_in_it(*, eager: bool) -> None:
    """Text is made of each message once, binary ones too, and the digest starts anew with each tick."""
    session = Session(eager=eager)
    payload = as_bytes(encode(bytes(600)))
    for _ in range(2):
        session.intake.sent(Sent("a", "t", 0, 0, payload, session.ticks, session.ticks))
        session.intake.executed(Execution("tick", "a", session.ticks, 0, 0, 0, [], None))
        session.tick()
        session.write()
    session.tick()
    session.write()
    first, second, silent = (line["digest"] for line in session.lines("scheduler"))
    assert first == second != silent == "000000"


def test_what_came_first_is_written_first() -> None:
    """Where megabytes wait, each megabyte is written before lines are made of the next."""
    session = Session(eager=False, limit=64 << 20)
    for _ in range(40):
        session.send("a", 100_000)
        session.end("a")
    parts = []
    while session.intake.make_lines(lambda: None):
        parts.append(session.feeds["a"].take())
        session.intake.written(len(parts[-1]))
    parts.append(session.feeds["a"].take())
    assert len(parts) == 4
    assert max(map(len, parts)) < 1_300_000
    seqs = [out["seq"] for line in b"".join(parts).splitlines() for out in orjson.loads(line)["outputs"]]
    assert seqs == list(range(40))


@given(
    st.lists(st.tuples(st.integers(0, 1 << 26), st.integers(0, 10**9)), max_size=5),
    st.lists(st.integers(1, 1 << 22), max_size=30),
)
def test_nobody_is_further_ahead_than_can_be_written_in_a_moment(
    flushes: list[tuple[int, int]], costs: list[int]
) -> None:
    """In a deterministic run what waits is never more than the writer writes in that time, or than one piece."""
    room = Room(64 << 20, block=True, ahead_ns=20_000_000)
    limit = 64 << 20
    for written, took_ns in flushes:
        room.pace(written, took_ns)
        if written >= 1 << 18:
            limit = min(64 << 20, max(1 << 18, written * 20_000_000 // max(1, took_ns)))
    waiting = most = 0

    def written_meanwhile(_: float) -> None:
        nonlocal waiting
        room.free(waiting)
        waiting = 0

    room._changed.wait = written_meanwhile  # type: ignore[method-assign,assignment]
    for cost in costs:
        if room.left < cost:
            assert room.admit(cost)
        room.left -= cost
        waiting += cost
        most = max(most, waiting)
    assert most <= max(limit, max(costs, default=0))


def test_after_a_backlog_all_of_the_room_can_be_used_again() -> None:
    """Where it was full, half of it has to be free first; then it is as before."""
    room = Room(100_000, block=False)

    def put(count: int) -> int:
        taken = 0
        while taken < count and (room.left >= 1000 or room.admit(1000)):
            room.left -= 1000
            taken += 1
        return taken

    for _ in range(3):
        assert put(1000) == 100
        assert put(1) == 0
        room.free(40_000)
        assert put(1) == 0, "the first lines that find room again would be few between two gaps"
        room.free(60_000)
