"""A ring whose stores reach its reader late and in any order, as on arm64.

The writer writes its own memory. What changed there waits, word by word, until the reader's memory gets it: the stores
to one word in their order, but those to different words in any. That is more than any processor does.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from horus_async.topics.packed.packed import form_of
from horus_async.topics.ring.layout import FIRST_DATA_AT, PUBLISHERS_AT, Word
from horus_async.topics.ring.reader import RingReader
from horus_async.topics.ring.region import Cursor, Region, adopt_region
from horus_async.topics.ring.writer import RingWriter
from tests.topics.message_classes import Drive, Point
from tests.topics.test_ring import surely_left


class Delayed:
    """One generation in two memories, and the stores that are on their way."""

    def __init__(self, size: int) -> None:
        self.written = bytearray(size)
        self.seen = bytearray(size)
        self.adopted: Region | None = None
        self._before = bytes(size)
        self._waiting: dict[int, list[bytes]] = {}

    def note(self) -> None:
        """Take up what the writer has stored since the last time."""
        now = bytes(self.written)
        if now != self._before:
            for at in range(0, len(now), 8):
                if now[at : at + 8] != self._before[at : at + 8]:
                    self._waiting.setdefault(at, []).append(now[at : at + 8])
            self._before = now

    def deliver(self, choose: Any) -> None:
        """Let the reader see some stores: ``choose`` is called with the number of a word."""
        for at in list(self._waiting):
            if choose(at):
                stores = self._waiting[at]
                self.seen[at : at + 8] = stores.pop(0)
                if not stores:
                    del self._waiting[at]

    def deliver_all(self) -> None:
        """Let the reader see everything."""
        while self._waiting:
            self.deliver(lambda _: True)


class DelayedModel(RuleBasedStateMachine):
    """Whatever a reader sees of a ring: its messages are whole and in order, and all are received or counted."""

    @initialize(capacity=st.sampled_from([4096, 8192]))
    def open(self, capacity: int) -> None:
        """A ring of which the reader sees nothing yet."""
        self.files: list[Delayed] = []
        self.writer = RingWriter(self._allocate, topic="t", namespace="n", capacity=capacity, checked=True)
        self.names: list[str] = []
        self.closed = False
        self.sent: list[tuple[bytes, str, int, int]] = []
        self.reader: RingReader | None = None
        self.first = 0
        self.at_most = 0
        self.next: int | None = 0
        self.newest = -1
        self.add_publisher("first")

    def _allocate(self, number: int, size: int) -> bytearray:
        self.files[number:] = [Delayed(size)]
        return self.files[number].written

    def _note(self) -> None:
        for file in self.files:
            file.note()

    def _adopt(self, number: int) -> Region | None:
        file = self.files[number]
        if file.adopted is None:
            file.adopted = adopt_region(file.seen)
        return file.adopted

    @rule(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20))
    def add_publisher(self, name: str) -> None:
        """One more name in the table."""
        if self.closed:
            return
        self.writer.add_publisher(name)
        self.names.append(name)
        self._note()

    @rule(kind=st.sampled_from([Point, Drive]), publisher=st.integers(0, 100))
    def send_packed(self, kind: type, publisher: int) -> None:
        """A message that needs a schema of the table."""
        if self.closed:
            return
        form = form_of(kind)
        assert form is not None
        self.writer.add_schema(form.schema.text)
        self._note()
        self._send(form.schema.mark + b"payload", publisher)

    @rule(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=12), publisher=st.integers(0, 100))
    def send(self, sizes: list[int], publisher: int) -> None:
        """Some messages."""
        for size in sizes:
            self._send(b"%d" % len(self.sent) + bytes([len(self.sent) % 251]) * size, publisher)

    @rule(size=st.integers(1000, 5000))
    def send_large(self, size: int) -> None:
        """A message that may make the ring grow."""
        self._send(bytes([len(self.sent) % 251]) * size, 0)

    def _send(self, payload: bytes, publisher: int) -> None:
        if self.closed:
            return
        number, index = publisher % len(self.names), len(self.sent)
        self.writer.write(payload, number, index, -index)
        self.sent.append((payload, self.names[number], index, -index))
        self._note()

    @rule(factor=st.integers(1, 2**31), share=st.integers(0, 10))
    def deliver_some(self, factor: int, share: int) -> None:
        """Some of the stores arrive."""
        for number, file in enumerate(self.files):
            file.deliver(lambda at, number=number: (at * factor + number * 7919) % 10007 % 10 < share)

    @rule(generation=st.integers(0, 3), words=st.sets(st.sampled_from(list(Word))))
    def deliver_words(self, generation: int, words: set[Word]) -> None:
        """Some words of the header arrive."""
        for file in self.files[generation : generation + 1]:
            file.deliver(lambda at: at // 8 in words)

    @rule(header=st.booleans(), times=st.integers(1, 30))
    def deliver_part(self, header: bool, times: int) -> None:
        """All that waits for the header arrives, or all that waits for the data."""
        for file in self.files:
            for _ in range(times):
                file.deliver(lambda at: (at < FIRST_DATA_AT) == header)

    @rule(words=st.sets(st.sampled_from(list(Word)), max_size=2), tables=st.booleans())
    def deliver_all_but(self, words: set[Word], tables: bool) -> None:
        """All arrives except some words of the header, or its tables."""
        for file in self.files:
            for _ in range(100):
                file.deliver(lambda at: at // 8 not in words and not (tables and PUBLISHERS_AT <= at < FIRST_DATA_AT))

    @rule()
    def close(self) -> None:
        """The writer ends."""
        self.writer.close()
        self.closed = True
        self._note()

    @rule()
    def deliver_all(self) -> None:
        """All stores arrive."""
        for file in self.files:
            file.deliver_all()

    @rule(at_end=st.booleans())
    def begin(self, at_end: bool) -> None:
        """Begin to read, at the start or with the next message."""
        region = self._adopt(0)
        if region is None:
            return
        for number in range(1, len(self.files) if at_end else 1):
            region = self._adopt(number) or region
        cursor = region.end() if at_end else self._adopt_first()
        self.reader = RingReader(cursor, self._adopt)
        self.next = None if at_end else 0
        self.at_most = len(self.sent) if at_end else 0
        self.first = 0
        self.newest = -1

    def _adopt_first(self) -> Cursor:
        region = self._adopt(0)
        assert region is not None
        return Cursor(region, region.capacity, 0)

    @rule(count=st.integers(1, 20))
    def take(self, count: int) -> None:
        """What is taken was sent just so; all before it was taken or is lost."""
        for _ in range(count):
            self._take()

    def _take(self) -> bool:
        reader = self.reader
        message = None if reader is None else reader.take()
        if reader is None or message is None:
            return False
        index = message[2]
        assert message == self.sent[index]
        expected = self.next
        if expected is None:  # the first: none sent after it began is missing, except overwritten ones
            self.first = index - reader.lost
            assert self.first <= self.at_most
            expected = self.at_most
        else:
            assert index >= expected
        if index > expected:
            assert not surely_left(self.sent, index - 1, self.writer.generations[0].capacity)
        self.next = index + 1
        assert reader.consumed == index + 1 - self.first
        assert reader.lost <= reader.consumed
        return True

    @rule()
    def look(self) -> None:
        """The newest message is one that was sent, and never goes back."""
        if self.reader is not None:
            assert self.reader.arrived >= self.reader.consumed
            if self.reader.ended and self.next is not None:
                assert self.next == len(self.sent)
            newest = self.reader.latest()
            assert newest is not None or self.newest < 0
            if newest is not None:
                assert newest == self.sent[newest[2]]
                assert newest[2] >= self.newest
                self.newest = newest[2]

    @rule()
    def drain(self) -> None:
        """Once everything has arrived, all messages are received or were overwritten, and the count is right."""
        self.deliver_all()
        if self.reader is None:
            self.begin(at_end=False)
        assert self.reader is not None
        while self._take():
            pass
        if self.next is not None:
            assert self.next == len(self.sent)
            assert self.reader.consumed == self.reader.arrived == len(self.sent) - self.first
        assert self.reader.latest() == (self.sent[-1] if self.sent else None)
        if self.closed:
            assert self.reader.ended
            self.open(4096)


TestDelayedStores = DelayedModel.TestCase
TestDelayedStores.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


def scene(*payloads: bytes) -> tuple[RingWriter, list[Delayed], RingReader]:
    """A ring with some messages, all of them visible, and a reader at its start."""
    files: list[Delayed] = []

    def allocate(_: int, size: int) -> bytearray:
        files.append(Delayed(size))
        return files[-1].written

    writer = RingWriter(allocate, topic="t", namespace="n", capacity=4096, checked=True)
    writer.add_publisher("p")
    for payload in payloads:
        writer.write(payload, 0, 0, 0)
    for file in files:
        file.note()
        file.deliver_all()

    def follow(number: int) -> Region | None:
        return adopt_region(files[number].seen)

    region = follow(0)
    assert region is not None
    return writer, files, RingReader(Cursor(region, region.capacity, 0), follow)


def rest(writer: RingWriter, files: list[Delayed], held: Word, payloads: list[bytes]) -> None:
    """Write more, and let the reader see all of it except one word of the first header."""
    for payload in payloads:
        writer.write(payload, 0, 0, 0)
    for number, file in enumerate(files):
        file.note()
        for _ in range(200):
            file.deliver(lambda at, number=number: number > 0 or at != 8 * held)


def test_who_begins_while_the_newest_message_is_not_whole_gets_all_after_it() -> None:
    """Its position is known, its length is not: old bytes there must not send the reader somewhere else."""
    writer, files, _ = scene(*[b"x" * 1000] * 20)
    writer.write(b"short", 0, 0, 0)
    files[-1].note()
    files[-1].deliver(lambda at: at < FIRST_DATA_AT)
    region = adopt_region(files[-1].seen)
    assert region is not None
    reader = RingReader(region.end(), lambda _: None)
    assert not reader.has_message()

    for number in range(50):
        writer.write(b"%d" % number, 0, 0, 0)
    files[-1].note()
    files[-1].deliver_all()

    assert [reader.take()[0] for _ in range(50)] == [b"%d" % number for number in range(50)]  # type: ignore[index]
    assert reader.lost == 0
    assert reader.consumed == 50


def test_the_last_messages_before_a_ring_grew_are_waited_for() -> None:
    """The next generation is visible before the last message of the old one: that is not lost."""
    writer, files, reader = scene(b"1")
    rest(writer, files, Word.LATEST, [b"2", b"3", b"4" * 3000])
    assert reader.take() is not None
    assert reader.take() is None

    files[0].deliver_all()

    assert [reader.take()[0][:1] for _ in range(3)] == [b"2", b"3", b"4"]  # type: ignore[index]
    assert reader.lost == 0


def test_the_last_messages_before_the_end_are_waited_for() -> None:
    """The end is visible before the last message: the ring has not ended for this reader."""
    writer, files, reader = scene(b"1")
    writer.write(b"2", 0, 0, 0)
    writer.close()
    rest(writer, files, Word.LATEST, [])
    assert reader.take() is not None
    assert not reader.ended

    files[0].deliver_all()

    assert not reader.ended
    assert reader.take() is not None
    assert reader.ended


def test_a_packed_message_is_left_until_its_schema_is_there() -> None:
    """And one whose publisher is not in the table yet."""
    writer, files, reader = scene()
    form = form_of(Drive)
    assert form is not None
    writer.add_schema(form.schema.text)
    writer.write(form.schema.mark + b"...", writer.add_publisher("later"), 0, 0)
    files[0].note()
    for _ in range(20):
        files[0].deliver(lambda at: not PUBLISHERS_AT <= at < FIRST_DATA_AT)
    assert reader.take() is None

    files[0].deliver_all()

    assert reader.take() == (form.schema.mark + b"...", "later", 0, 0)


def test_a_header_that_is_half_there_is_no_ring_yet() -> None:
    """Whichever word of it is missing."""
    writer, files, _ = scene()
    whole = bytes(files[0].seen)
    for at in [8 * word for word in range(Word.SCHEMA_AT)] + [8 * Word.HEADER_CRC, 512]:
        assert adopt_region(bytearray(whole[:at] + bytes(8) + whole[at + 8 :])) is None or not any(whole[at : at + 8])
    assert adopt_region(bytearray(whole)) is not None
    assert writer.region.checked
