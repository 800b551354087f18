"""The native maker of lines and the Python one do the same: the same lines, counts, tallies, gaps and room."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from attrs import asdict
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.native import core
from horus_async.observe import Execution, Received, Sent, TickEnd
from horus_async.recorder import open_session
from horus_async.recorder.write.feed import Feed
from horus_async.recorder.write.line_core import TallyCore
from horus_async.recorder.write.line_maker import LineMaker
from horus_async.recorder.write.room import Room
from horus_async.topics.codec import as_bytes, encode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

native = pytest.mark.skipif(core is None, reason="the native core is not in use")

NAMES = st.sampled_from(["arm", "b ö", 'c"\\', "", "\udc80half"])
NUMBERS = st.one_of(
    st.integers(-3, 3), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**63, -(2**63) - 1, 10**18, 2**80])
)
TICKS = st.integers(-1, 4)
PAYLOADS = st.one_of(
    st.integers(0, 300).map(lambda size: orjson.dumps("x" * size)),
    st.sampled_from([b"{}", b"1", as_bytes(encode({"a": 1})), as_bytes(encode(b"plain bytes")), b"\0$nonsense", b""]),
    st.sampled_from([1 << 14, (1 << 14) - 2, 70_000, 600_000]).map(lambda size: orjson.dumps("y" * size)),
)
SENT = st.builds(Sent, NAMES, NAMES, NUMBERS, NUMBERS, PAYLOADS, TICKS, st.none() | TICKS)
RECEIVED = st.builds(Received, NAMES, NAMES, NUMBERS, st.integers(0, 2), st.integers(0, 2))
LOOKS = st.sampled_from([None, {}, {("has_msg", "t"): [[True, 2]]}, {("latest", "t"): [[("p", 3, 1), 1]]}])
EXECUTED = st.builds(
    Execution,
    st.sampled_from(["tick", "tick", "tick", "init", "shutdown", "safe_state"]),
    NAMES,
    TICKS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(RECEIVED, max_size=3),
    st.none() | st.sampled_from(["ValueError: no", "Cancelled: it was"]),
    st.just(0),
    st.sampled_from([False, False, True]),
    LOOKS,
    st.sampled_from([0, 0, 0, 7]),
)
ENDED = st.builds(TickEnd, TICKS, NUMBERS, st.lists(NAMES, max_size=3), st.none() | NUMBERS)
LONE = st.tuples(NAMES, NAMES, NUMBERS, NUMBERS, PAYLOADS, TICKS, NUMBERS, NUMBERS)
EVENTS = st.lists(
    SENT | SENT | EXECUTED | EXECUTED | ENDED | LONE | st.sampled_from(["settle", "take", "lose"]), max_size=40
)


class Maker:
    """A maker of lines, its feeds, and all that it made."""

    def __init__(self, limit: int | None) -> None:
        self.scheduler = Feed()
        self.nodes: dict[str, Feed] = {}
        self.room = None if limit is None else Room(limit, block=False)
        self.maker = LineMaker(self.scheduler, self.feed, Feed, self.room)
        self.taken: list[bytes] = []

    def feed(self, node: str) -> Feed:
        """That of a node."""
        return self.nodes.setdefault(node, Feed())

    def tell(self, event: Any, *, slowly: bool) -> Any:
        """Tell of an event; the error, if it raises one."""
        maker = self.maker
        make: dict[type, Any] = {
            Sent: maker.sent_slowly if slowly else maker.sent,
            Execution: maker.executed_slowly if slowly else maker.executed,
            TickEnd: maker.tick_ended_slowly if slowly else maker.tick_ended,
        }
        try:
            if event == "settle":
                maker.settle()
            elif event == "take":
                self.take()
            elif event == "lose":
                self.scheduler.refuse(1, "no room")
                for feed in self.nodes.values():
                    feed.refuse(2, "no room", 3)
            elif type(event) is tuple:
                return maker.lone_slowly(*event) if slowly else maker.lone(*event)
            else:
                make[type(event)](event)
        except (LookupError, UnicodeError, TypeError, ValueError) as error:
            return type(error)
        return None

    def take(self) -> None:
        """Write what waits."""
        for feed in self.feeds():
            self.taken.append(feed.take())
        if self.room is not None:
            self.room.free(sum(map(len, self.taken[-len(self.feeds()) :])))

    def feeds(self) -> list[Feed]:
        """All of them, in one order."""
        return [self.scheduler, *(self.nodes[name] for name in sorted(self.nodes))]

    def state(self) -> list[Any]:
        """All that can be told apart."""
        maker = self.maker
        own = maker.waiting, maker.digest, maker.last_tick, self.room and self.room.waiting(), list(self.nodes)
        return [
            own,
            self.taken,
            [
                (
                    bytes(feed.text),
                    feed.counts,
                    feed.pending,
                    feed.loose,
                    feed.pending_bytes,
                    feed.gap and asdict(feed.gap),
                    [asdict(tally) for tally in feed.tallies().rows()],
                )
                for feed in self.feeds()
            ],
        ]


@native
@given(EVENTS, st.sampled_from([None, 300, 2000, 1 << 26]))
@settings(max_examples=400, deadline=None)
def test_both_makers_make_the_same_lines(events: list[Any], limit: int | None) -> None:
    """Whatever is told, in whatever order, with room and without."""
    one, other = Maker(limit), Maker(limit)
    for event in events:
        assert one.tell(event, slowly=False) == other.tell(event, slowly=True)
        assert one.state() == other.state()
    one.maker.end()
    other.maker.end()
    assert one.state() == other.state()


def usual(tick: int) -> Iterable[Any]:
    """What a tick of two nodes tells."""
    for seq in (2 * tick, 2 * tick + 1):
        yield Sent("arm", "arm.pose", seq, 1000 * tick, b'{"x":%d}' % seq, tick, tick)
    yield Execution("tick", "arm", tick, 1000 * tick, 1000, 5, [], None)
    taken = [Received("arm.pose", "arm", 2 * tick + at, 0, at) for at in (0, 1)]
    yield Execution("tick", "hand", tick, 1000 * tick, 1000, 5, taken, None)
    yield TickEnd(tick, 1000 * tick, ["arm", "hand"])


@native
def test_the_usual_lines_are_made_natively(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python is asked where a node or a topic is new, and then no more."""
    asked: list[str] = []
    for name in ("sent_slowly", "executed_slowly", "tick_ended_slowly"):
        slowly = getattr(LineMaker, name)

        def noted(self: LineMaker, record: Any, name: str = name, slowly: Any = slowly) -> None:
            asked.append(name)
            slowly(self, record)

        monkeypatch.setattr(LineMaker, name, noted)
    maker = Maker(1 << 26)
    for tick in range(50):
        before = len(asked)
        for event in usual(tick):
            maker.tell(event, slowly=False)
        assert len(asked) == before or tick < 2


@native
def test_lines_leak_nothing() -> None:
    """References and memory are as before after many of them."""
    maker = Maker(None)
    events = list(usual(0))

    def tell(times: int) -> None:
        for _ in range(times):
            for event in events:
                maker.tell(event, slowly=False)
            for feed in maker.feeds():
                feed.take()

    tell(200)
    counts = [sys.getrefcount(event) for event in events]
    tracemalloc.start()
    try:
        tell(100)
        before, _ = tracemalloc.get_traced_memory()
        tell(20_000)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [sys.getrefcount(event) for event in events] == counts
    assert after - before < 20_000


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(0, 2**40))))
def test_a_tally_knows_the_first_and_the_last(seen: list[tuple[int, int]]) -> None:
    """In either form."""
    tally = TallyCore()
    for tick, size in seen:
        tally.see(tick, size)
    assert (tally.count, tally.bytes) == (len(seen), sum(size for _, size in seen))
    if seen:
        ticks = [tick for tick, _ in seen]
        assert (tally.first_tick, tally.last_tick) == (min(ticks), max(ticks))


@native
@given(st.lists(st.tuples(st.text('ab ö"', min_size=1, max_size=20), st.binary(min_size=1, max_size=40)), max_size=6))
def test_the_digest_is_zlibs(messages: list[tuple[str, bytes]]) -> None:
    """Over any lengths."""
    maker, digest = Maker(None), 0
    for seq, (topic, noise) in enumerate(messages * 2):
        payload = orjson.dumps(noise.hex())
        maker.tell(Sent("arm", topic, seq, 0, payload, 0, 0), slowly=False)
        digest = zlib.crc32(b'"arm" %b %d %b ' % (orjson.dumps(topic), seq, payload), digest)
    assert maker.maker.digest == digest


PROGRAM = """
import sys
from pathlib import Path
from attrs import define
import horus_async
from horus_async import Ignore, Node, Scheduler

@define
class Pose:
    x: float
    name: str

async def sense(node):
    tick = horus_async.tick()
    node.send("pose", Pose(tick / 3, "ü"))
    if tick % 3 == 0:
        node.send("raw", bytes(range(tick % 256)))
    if tick % 7 == 0:
        await horus_async.sleep(0.013)
        node.send("late", {"tick": tick, "text": "x" * tick})

async def control(node):
    while (pose := node.recv("pose")) is not None:
        node.send("command", {"x": pose.x, "has": node.has_msg("raw")})
    if horus_async.tick() == 50:
        raise ValueError("no")

scheduler = Scheduler(tick_rate=100, deterministic=True, recording="s", recordings_dir=Path(sys.argv[1]))
scheduler.add(Node("sensor", tick=sense, pubs=["pose", "raw", "late"]))
scheduler.add(Node("controller", tick=control, subs=["pose", "raw"], pubs=["command"], failure_policy=Ignore()))
scheduler.run_sync(3)
"""


@native
def test_both_forms_record_the_same_session(tmp_path: Path) -> None:
    """Each line of a run, but for when it was."""
    sessions = []
    program = tmp_path / "robot.py"
    program.write_text(PROGRAM)
    for form in ("0", "1"):
        command = [sys.executable, str(program), str(tmp_path / form)]
        subprocess.run(command, env=os.environ | {"HORUS_NATIVE": form}, check=True, capture_output=True)
        session = open_session(tmp_path / form / "s")
        lines = {
            name: [line for line in file.lines() if not line.startswith((b'{"kind":"header"', b'{"kind":"footer"'))]
            for name, file in (("scheduler", session.scheduler), *session.files.items())
            if file is not None
        }
        footers = [file.footer and (file.footer.outputs, file.footer.topics) for file in session.files.values()]
        sessions.append((lines, footers))
    assert sessions[0] == sessions[1]
    assert [len(lines) for lines in sessions[0][0].values()] == [300, 257, 300]
