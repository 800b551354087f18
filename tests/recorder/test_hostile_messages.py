"""Whatever is sent, by a node or by another process: the run goes on, and the recording holds what was received."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Node, Scheduler
from horus_async.errors import ValueNotSupportedError
from horus_async.recorder import RecordingState, open_session
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.topics import Bus
from horus_async.topics.codec import decode
from horus_async.topics.codec.binary import assembled
from horus_async.topics.codec.plain import LEVELS
from horus_async.value_diff import same
from tests.recorder.independent import frames, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from horus_async.topics import Publisher

P = 2**61 - 1
MOST_TICKS = 12_000
"""At 200 Hz: a minute's patience."""


def nested(depth: int, begin: bytes = b"[", end: bytes = b"]") -> bytes:
    """A text so deep."""
    return begin * depth + b"1" + end * depth


class Driver(Node):
    """Publishes as another process does, one message a tick, and a last one that everybody understands."""

    name = "driver"

    def __init__(self, publisher: Publisher, payloads: Sequence[bytes]) -> None:
        super().__init__()
        self.left = [*payloads, b'"the end"']
        self.publisher = publisher

    async def tick(self) -> None:
        """Publish the next."""
        if self.left:
            payload = self.left.pop(0)
            self.publisher.publish(payload, 1)


class Reader(Node):
    """Takes what comes."""

    name, subs = "reader", ("t",)

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []
        self.ticks = 0

    async def tick(self) -> None:
        """Take all, until the last."""
        self.ticks += 1
        self.received += self.recv_all("t")
        if self.received[-1:] == ["the end"] or self.ticks > MOST_TICKS:
            self.request_stop()


def record(payloads: Sequence[bytes], folder: str) -> tuple[Scheduler, list[Any], Any]:
    """A run in which another process sends these: what it says, what was received, and what the recording holds."""
    scheduler = Scheduler(tick_rate=200, recording="s", recordings_dir=folder)
    with Bus() as other:
        reader = Reader()
        scheduler.add(Driver(other.publisher("t", "evil"), payloads)).add(reader).run_sync()
    return scheduler, reader.received, open_session(Path(folder) / "s")


def check(payloads: Sequence[bytes]) -> tuple[int, int]:
    """Run, and hold what came of it against the law; gives what was refused and what was dropped."""
    with tempfile.TemporaryDirectory() as folder:
        scheduler, received, session = record(payloads, folder)
        recording = scheduler.stats().recording
        assert recording is not None
        assert recording.state is not RecordingState.FAILED
        refused = scheduler.stats().nodes["reader"].refused
        recorded = [message.value for message in session.external()]
        found = check_session(session)

    assert received[-1:] == ["the end"]
    assert len(received) + refused == len(payloads) + 1
    assert found.verdict is Verdict.WHOLE, found.problems
    assert found.dropped == recording.dropped == len(received) - len(recorded)
    if not found.dropped:
        assert all(same(a, b) for a, b in zip(received, recorded, strict=True))
    return refused, recording.dropped


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["\u2028", "\x00", "\x1b[31m", "$type"])
)
NAMES = ["trio.Lock", "horus_async.messages.CmdVel", "no.Such", "re.RegexFlag", "trio._core._entry_queue.EntryQueue"]
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["$dict", "$tuple", "$x", "$type"]), inner, max_size=3)
        | st.builds(lambda inner: {"$tuple": [inner]}, inner)
        | st.builds(lambda name, inner: {"$type": name, "value": inner}, st.sampled_from(NAMES), inner)
        | st.builds(lambda pairs: {"$dict": pairs}, st.lists(st.lists(inner, min_size=2, max_size=2), max_size=3))
    ),
    max_leaves=10,
)
DEPTHS = (LEVELS - 1, LEVELS, LEVELS + 1, 254, 255, 1021, 1022, 1023, 1024, 1025, 5000)
TEXTS = [
    b'{"a":1,"a":2}',
    b'{"$type":"no.Such","$type":"horus_async.messages.CmdVel","value":{}}',
    b" [1 ,\n2]\r\n",
    b"1e400",
    b"123456789012345678901234567890",
    b'"\\ud800"',
    b'"\xed\xa0\x80"',
    b'{"a":1,"$bytes":"AA=="}',
    b'{"$bytes":"A"}',
    b'{"$int":"%d"}' % 10**4000,
    b'{"$int":"0x%b"}' % (b"f" * 5000),
    b'{"$float":"nan"}',
    b'{"$dict":[[1,2],[true,3]]}',
    b'{"$dict":[%b]}' % b",".join(b'[{"$int":"%d"},1]' % (n * P) for n in range(2000)),
    b'{"$set":[%b]}' % b",".join(b'{"$tuple":[{"$int":"%d"}]}' % (n * P) for n in range(2000)),
    b"",
    b"\0",
    b"\0$",
    b"\0$bytes\0raw",
    b"\0$nobody!12345678",
    b"".join(assembled(b'{"a":3,"$bytes":0}', [b"x" * 8])),
    b"".join(assembled(b'{"$ndarray":{"dtype":"<f8","shape":[1],"data":0}}', [b"x" * 8])),
    b"".join(assembled(b'{"$ndarray":{"dtype":"<U1","shape":[2],"data":0}}', [b"\xff" * 8])),
]
PAYLOADS = (
    st.builds(orjson.dumps, TREES)
    | st.sampled_from(TEXTS)
    | st.builds(nested, st.sampled_from(DEPTHS))
    | st.builds(lambda depth: nested(depth, b'{"$tuple":[', b"]}"), st.sampled_from([124, 125, 126, 400]))
    | st.builds(lambda depth: nested(depth, b'{"a":', b"}"), st.sampled_from(DEPTHS))
    | st.binary(max_size=30)
    | st.builds(
        lambda text, data: b"".join(assembled(orjson.dumps(text), [data])), TREES, st.binary(min_size=1, max_size=9)
    )
)


@given(payloads=st.lists(PAYLOADS, max_size=8))
@settings(max_examples=40, deadline=None)
@pytest.mark.usefixtures("quiet")
def test_what_another_process_sends(payloads: list[bytes]) -> None:
    """Received and recorded, or refused and counted; never a recording that is damaged."""
    check(payloads)


@pytest.mark.usefixtures("quiet")
def test_all_of_them_at_once() -> None:
    """Each that this file knows by name, and each depth around every limit."""
    deep = [nested(depth, *pair) for depth in DEPTHS for pair in ((b"[", b"]"), (b'{"a":', b"}"))]
    refused, dropped = check([*TEXTS, *deep])
    assert refused > 20
    assert not dropped


@pytest.mark.usefixtures("quiet")
def test_what_no_line_can_hold_is_counted_as_dropped() -> None:
    """More values than a recording takes: said in the statistics, by a gap line, and by the check."""
    with tempfile.TemporaryDirectory() as folder:
        many = b"[" + b"0," * (1 << 22) + b"0]"
        scheduler, received, session = record([many, b"1"], folder)
        recording = scheduler.stats().recording
        assert recording is not None
        assert recording.dropped == 1
        assert [type(value) for value in received] == [list, int, str]
        assert [message.value for message in session.external()] == [1, "the end"]
        found = check_session(session)
        assert found.verdict is Verdict.WHOLE
        assert found.dropped == 1
        assert found.condition == "incomplete"


ODD = (
    LEAVES
    | st.integers()
    | st.floats()
    | st.sampled_from(["\ud800", {"\udfff": 1}, {n * P: 1 for n in range(100)}, object(), print, b"x" * 1000, 2**5000])
    | st.builds(decode, st.builds(nested, st.sampled_from([LEVELS - 1, LEVELS])))
)
VALUES = st.recursive(
    ODD,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values=st.lists(VALUES, max_size=6))
@settings(max_examples=60, deadline=None)
@pytest.mark.usefixtures("quiet")
def test_what_a_node_sends(values: list[Any]) -> None:
    """Refused where it is sent, or received by others and recorded as it was."""
    sent: list[Any] = []
    received: list[Any] = []

    def send(node: Node) -> None:
        for value in values:
            try:
                node.send("t", value)
            except ValueNotSupportedError:
                continue
            sent.append(value)

    def receive(node: Node) -> None:
        received.extend(node.recv_all("t"))

    with tempfile.TemporaryDirectory() as folder:
        scheduler = Scheduler(tick_rate=10, deterministic=True, recording="s", recordings_dir=folder)
        scheduler.add(Node("a", tick=send, pubs=["t"])).add(Node("b", tick=receive, subs=["t"])).run_sync(0.1)
        session = open_session(Path(folder) / "s")
        recorded = [output.value for output in session.outputs("a")]
        found = check_session(session)

    assert (found.condition, found.dropped) == ("whole", 0)
    assert len(sent) == len(received) == len(recorded)
    assert all(same(a, b) and same(b, c) for a, b, c in zip(sent, received, recorded, strict=True))


def test_a_line_holds_what_was_read() -> None:
    """Not the text as it came: a key that stands there twice would be two things to two readers."""
    texts = [b'{"a":1,"b":2,"a":3}', b" [1 ,\n2]\r", b"[12345678901234567890123]", b'"\\u00e9"']
    with tempfile.TemporaryDirectory() as folder:
        _, received, session = record(texts, folder)
        assert session.external_file is not None
        text = b"".join(text for _, text in frames(session.external_file.path.read_bytes()))
        recorded = [
            line["data"] for line in lines(session.external_file.path.read_bytes()) if line["kind"] == "message"
        ]
    assert recorded == received == [{"a": 3, "b": 2}, [1, 2], [12345678901234567890123.0], "é", "the end"]
    assert b'{"a":3,"b":2}' in text
    assert b"[1,2]" in text
