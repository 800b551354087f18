"""A tick with one message, told in one step: the same lines as three calls make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from horus_async.observe import Execution, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions, open_session
from horus_async.recorder.write.feed import Feed
from horus_async.recorder.write.line_maker import LineMaker
from horus_async.recorder.write.room import Room
from horus_async.topics.codec import as_bytes, encode

from .runs import PERIOD_NS, run_info

if TYPE_CHECKING:
    from pathlib import Path

payloads = st.one_of(
    st.just(b"{}"),
    st.integers(0, 2000).map(lambda size: orjson.dumps("x" * size)),
    st.just(orjson.dumps("long" * 300_000)),  # goes into a line of its own
    st.just(as_bytes(encode({"a": 1}))),
)
tellings = st.tuples(
    st.sampled_from(["one", "b ö"]), st.sampled_from(["t", 't"/ä']), payloads, st.integers(-1, 3), st.booleans()
)


class _Side:
    """A maker of lines, and all that it made."""

    def __init__(self, limit: int) -> None:
        self.scheduler = Feed()
        self.nodes: dict[str, Feed] = {}
        self.room = Room(limit, block=True)
        self.room.refusing = True  # there is no writer to wait for: what finds no room is left out and counted
        self.maker = LineMaker(self.scheduler, self.feed, Feed, self.room)
        self.in_one_step = 0

    def feed(self, node: str) -> Feed:
        return self.nodes.setdefault(node, Feed())

    def tell(self, sent: Sent, now_ns: int, *, at_once: bool) -> None:
        node, topic, seq, stamp_ns, payload, tick, _ = sent
        if at_once and self.maker.lone(node, topic, seq, stamp_ns, payload, tick, now_ns, PERIOD_NS):
            self.in_one_step += 1
            return
        self.maker.sent(sent)
        self.maker.executed(Execution("tick", node, tick, now_ns, PERIOD_NS, 0, [], None))
        self.maker.tick_ended(TickEnd(tick, now_ns, [node]))

    def made(self) -> list[Any]:
        """What stands in the feeds, and what they say of it."""
        feeds = [self.scheduler, *(self.nodes[name] for name in sorted(self.nodes))]
        return [
            (feed.take(), feed.counts, feed.rewound, [asdict(tally) for tally in feed.tallies().rows()])
            for feed in feeds
        ]


@given(st.lists(tellings, max_size=12), st.sampled_from([1 << 12, 1 << 26]))
def test_one_step_makes_the_lines_of_three_calls(told: list[tuple[str, str, bytes, int, bool]], limit: int) -> None:
    """Whatever is sent, also with little room, and where both ways change about."""
    quick, plain = _Side(limit), _Side(limit)
    tick = 0
    for seq, (node, topic, payload, step, at_once) in enumerate(told):
        tick = max(0, tick + step)  # ticks may stay, leave some out, or go back
        sent = Sent(node, topic, seq, 7 + seq, payload, tick, tick)
        quick.tell(sent, 1000 * tick, at_once=at_once)
        plain.tell(sent, 1000 * tick, at_once=False)
    for side in (quick, plain):
        side.maker.end()
    assert quick.made() == plain.made()


def test_a_usual_message_is_told_in_one_step() -> None:
    """Once there is room."""
    side = _Side(1 << 26)
    for tick in range(5):
        side.tell(Sent("one", "t", tick, 7, b'{"a":1}', tick, tick), 1000 * tick, at_once=True)
    assert side.in_one_step == 4  # the first asked for room


def test_a_recorder_that_leaves_something_out_takes_no_short_cut(tmp_path: Path) -> None:
    """With options to apply, and in real time, the three calls have to tell."""
    for number, (options, block) in enumerate(
        [(RecordingOptions(name="a", exclude_topics=("t",)), True), (RecordingOptions(name="b"), False)]
    ):
        recorder = Recorder(options, tmp_path, block=block)
        assert not recorder.lone("sensor", "t", 0, 7, b"{}", 0, 0, PERIOD_NS)  # not begun
        recorder.run_started(run_info())
        assert not recorder.lone("sensor", "t", 0, 7, b"{}", 0, 0, PERIOD_NS), number
        recorder.stop()


def test_sessions_told_in_one_step_are_whole(tmp_path: Path) -> None:
    """And after the end nothing is taken."""
    recorder = Recorder(RecordingOptions(name="s"), tmp_path, block=True, thorough=False)
    recorder.run_started(run_info())
    at_once = 0
    for tick in range(100):
        if recorder.lone("sensor", "t", tick, tick, b"%d" % tick, tick, tick, PERIOD_NS):
            at_once += 1
        else:
            recorder.sent(Sent("sensor", "t", tick, tick, b"%d" % tick, tick, tick))
            recorder.executed(Execution("tick", "sensor", tick, tick, PERIOD_NS, 0, [], None))
            recorder.tick_ended(TickEnd(tick, tick, ["sensor"]))
    recorder.run_stopped("done", 100)
    assert not recorder.lone("sensor", "t", 100, 100, b"100", 100, 100, PERIOD_NS)
    assert at_once > 50
    assert [sent.payload for sent in open_session(tmp_path / "s").outputs("sensor")] == [b"%d" % n for n in range(100)]
