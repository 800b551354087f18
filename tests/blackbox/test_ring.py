"""The ring of a black box, against a list, against crashes at every store, and against flipped bits."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import lz4.block
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from horus_async.blackbox import layout
from horus_async.blackbox.compact import MARK, RECORD_SIZE

from .memory import RUN, SALT, SmallRing, packed_lines, read_image, seqs

if TYPE_CHECKING:
    from horus_async.blackbox.ring import FullSegment


def fill(ring: SmallRing, events: int, *, seed: int = 0) -> None:
    """Append events of many sizes, with the worker at work now and then."""
    chance = random.Random(seed)
    for _ in range(events):
        ring.append("x" * chance.randrange(60))
        if chance.random() < 0.5:
            ring.tick(chance.choice(("a", "b")))
        if chance.random() < 0.3:
            ring.seal()
        if chance.random() < 0.2:
            ring.release()


def test_events_come_back_in_order_and_whole() -> None:
    """What was appended is read back, with nothing reported as damaged."""
    box = SmallRing()
    for _ in range(5):
        box.append()
    lines, damage = box.read()

    assert [line.body for line in lines] == [
        b'{"seq":%d,"run":"r","tick":%d,"time_ns":%d,"event":"Custom","text":""}' % (n, n, n * 1000) for n in range(5)
    ]
    assert damage == []


def test_an_untouched_box_holds_nothing() -> None:
    """Zeros never pass for events, although the checksum of nothing is zero."""
    assert read_image(bytes(layout.PAGE + 4 * 512), 512) == ([], [])
    assert layout.open_line(b"00000000 ", 0) == b""  # the trap: no salt, nothing to check
    assert layout.line_salt(SALT, 1) != 0


def test_wraps_thousands_of_times() -> None:
    """J.1-27, J.1-29: the ring stays as large as it was, holds the newest events, and counts what it lost."""
    box = SmallRing()
    size = len(box.memory.data)
    fill(box, 12_000)
    events = box.ring.next_seq
    box.memory.stores.clear()
    lines, damage = box.read()

    assert len(box.memory.data) == size
    assert events > 15_000
    assert seqs(lines) == list(range(box.ring.lost, events))
    assert box.ring.lost > 11_000
    assert damage == []


def test_sealing_keeps_more_events_in_the_same_space() -> None:
    """Compressed history goes further back than the same box without sealing."""
    box = SmallRing(segments=12, segment_size=4096)
    for _ in range(3000):
        box.append("the same text each time")
        if box.seal():
            box.release()
    lines, _ = box.read()

    assert sum(len(line.body) for line in lines) > 2 * len(box.memory.data)


@pytest.mark.parametrize("piece", [4096, 1024, 300], ids=["whole segments", "pieces", "tiny pieces"])
def test_a_burst_keeps_what_a_calm_run_keeps(piece: int) -> None:
    """Where the worker gets no time at all, the writer seals: nothing is lost that would have been kept otherwise."""
    kept = []
    for calm in (True, False):
        box = SmallRing(segments=16, segment_size=4096, piece=piece)
        for number in range(1500):
            box.append(f"the same text each time, or nearly {number % 7}")
            if number % 3 == 0:
                box.tick(f"node {number % 4}")
            if calm and box.seal():
                box.release()
        lines, damage = box.read()
        assert damage == []
        assert seqs(lines) == list(range(box.ring.lost, box.ring.next_seq))
        kept.append(len(lines))

    assert kept[1] >= 0.95 * kept[0]
    if piece > 300:
        assert kept[1] > 1.5 * 16 * 4096 / 120  # what fits as it is


def test_a_burst_of_what_does_not_compress_fills_the_box() -> None:
    """Random text stays raw: all segments but those for the next events and for sealing are full of it."""
    box = SmallRing(segments=16, segment_size=4096, piece=1024)
    chance = random.Random(1)
    for _ in range(1000):
        box.append(chance.randbytes(200).hex())
    lines, damage = box.read()

    assert damage == []
    assert len(lines) >= 14 * ((4096 - layout.SEGMENT_HEADER) // len(layout.make_line(lines[-1].body, 0)))


def test_the_writer_seals_no_more_than_a_piece_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event waits for the compression of one piece at most, which an event of its size bounds."""
    sealed: list[int] = []
    real = lz4.block.compress

    def compress(content: bytes, **options: bool) -> bytes:
        sealed.append(len(content))
        packed: bytes = real(content, **options)
        return packed

    monkeypatch.setattr(lz4.block, "compress", compress)
    box = SmallRing(segments=8, segment_size=8192, piece=1024)
    for number in range(2000):
        before = len(sealed)
        box.append("x" * (number % 600))
        assert len(sealed) <= before + 1
    assert max(sealed) <= 1024
    assert len(sealed) > 100


def test_the_worker_and_the_writer_do_not_seal_a_piece_twice() -> None:
    """A piece that the writer has sealed while the worker compressed it is stored once."""
    box = SmallRing(segments=8, segment_size=1024, piece=300)
    while (piece := box.ring.take_full()) is None:
        box.append("the same text each time")
    packed = packed_lines(piece)
    assert box.ring.seal(piece, *packed)
    stores = len(box.memory.stores)
    assert box.ring.seal(piece, *packed)
    assert len(box.memory.stores) == stores
    assert box.ring.take_full() != piece


def test_sealing_by_itself_costs_no_event() -> None:
    """A worker that comes late, when the ring is full, makes room and overwrites nothing."""
    box = SmallRing(segments=8, segment_size=4096)
    while box.ring.lost == 0:
        box.append("the same text each time")
    lines, _ = box.read()
    while box.seal():
        box.release()

    assert box.read() == (lines, [])


def test_events_that_do_not_compress_are_kept_as_they_are() -> None:
    """Random text is not sealed into more space than it had, and stays in order."""
    box = SmallRing(segments=6, segment_size=1024)
    chance = random.Random(1)
    for _ in range(200):
        box.append(chance.randbytes(100).hex())
        box.seal()
        box.release()
        lines, damage = box.read()
        assert seqs(lines) == list(range(box.ring.lost, box.ring.next_seq))
        assert damage == []


def test_an_event_larger_than_a_segment_is_refused() -> None:
    """The ring says so instead of writing over its neighbours."""
    box = SmallRing()
    with pytest.raises(ValueError, match="does not fit"):
        box.append("x" * 600)

    assert box.read()[1] == []


def test_longest_event_fits() -> None:
    """An event of the length that the ring names goes in, whatever the numbers in front of it."""
    box = SmallRing()
    head = b'"event":"Custom","text":"'
    box.ring.append(2**63, 2**63, head + b"x" * (box.ring.longest - len(head) - 2) + b'"}')

    assert seqs(box.read()[0]) == [0]


def test_a_ring_needs_four_segments() -> None:
    """Fewer cannot seal without losing what they seal."""
    with pytest.raises(ValueError, match="4 segments"):
        SmallRing(segments=3)


@pytest.mark.parametrize(("segments", "piece"), [(5, 400), (9, 150)])
def test_crash_at_every_store(segments: int, piece: int) -> None:
    """J.1-30: stopped after any store, or in any part of one, a box holds a gapless suffix and loses nothing newer.

    What an append had stored completely before the crash is there, whatever sealing was under way.
    """
    box = SmallRing(segments=segments, segment_size=400, piece=piece)
    acknowledged: list[tuple[int, int, int]] = []  # stores so far, events so far, lost so far
    chance = random.Random(3)
    for _ in range(160):
        if chance.random() < 0.5:
            box.append("y" * chance.randrange(40))
        else:
            box.tick(chance.choice(("a", "b")))
        acknowledged.append((len(box.memory.stores), box.ring.next_seq, box.ring.lost))
        if chance.random() < 0.5:
            box.seal()
            acknowledged.append((len(box.memory.stores), box.ring.next_seq, box.ring.lost))
        if chance.random() < 0.5:
            box.release()
    acknowledged.append((len(box.memory.stores) + 1, box.ring.next_seq, box.ring.lost))
    image = bytearray(len(box.memory.data))
    states = 0
    position = 0
    for number, (offset, value, tearable) in enumerate(box.memory.stores):
        while acknowledged[position][0] <= number:
            position += 1
        before = acknowledged[position - 1] if position else (0, 0, 0)
        after = acknowledged[position]
        cuts = [0, *((1, len(value) // 2, len(value) - 1) if tearable else ())]
        for cut in cuts:
            torn = bytearray(image)
            torn[offset : offset + cut] = value[:cut]
            assert_gapless(bytes(torn), 400, before, after)
            backwards = bytearray(image)
            backwards[offset + len(value) - cut : offset + len(value)] = value[len(value) - cut :]
            assert_gapless(bytes(backwards), 400, before, after)
            states += 2
        image[offset : offset + len(value)] = value
    assert image == box.memory.data
    assert states > 2000


def assert_gapless(data: bytes, segment_size: int, before: tuple[int, int, int], after: tuple[int, int, int]) -> None:
    """Every event up to ``before`` that ``after`` has not overwritten is there, in a row, and nothing is damaged."""
    lines, damage = read_image(data, segment_size)
    found = seqs(lines)

    assert damage == []
    assert found == list(range(found[0], found[-1] + 1)) if found else before[1] == 0
    if found:
        assert before[2] <= found[0] <= after[2]
        assert before[1] - 1 <= found[-1] < after[1]


def test_every_bit_of_a_line() -> None:
    """J.1-30: a flipped bit in an event is reported, and the event is not shown; its neighbours are."""
    box = SmallRing()
    for _ in range(3):
        box.append("abc")
    whole = bytes(box.memory.data)
    lines, _ = box.read()
    first = layout.PAGE + layout.SEGMENT_HEADER + len(lines[0].body) + layout.LINE_OVERHEAD
    for position in range(first, first + len(lines[1].body) + layout.LINE_OVERHEAD):
        for bit in range(8):
            data = bytearray(whole)
            data[position] ^= 1 << bit
            found, damage = read_image(bytes(data), 512)
            assert damage
            assert lines[0] in found
            assert 1 not in seqs(found)
            assert set(found) <= set(lines)


def test_every_byte_of_a_line_torn() -> None:
    """A line of which only a part was stored is no event; before its end is written it is no damage either."""
    box = SmallRing()
    box.append("abc")
    before = bytes(box.memory.data)
    box.append("def")
    offset, line, _ = box.memory.stores[-2]
    for cut in range(len(line)):
        data = bytearray(before)
        data[offset : offset + cut] = line[:cut]
        assert (seqs(read_image(bytes(data), 512)[0]), read_image(bytes(data), 512)[1]) == ([0], [])
        after = bytearray(box.memory.data)
        after[offset + cut : offset + len(line)] = bytes(len(line) - cut)
        found, damage = read_image(bytes(after), 512)
        assert seqs(found) == [0]
        assert damage


def test_a_compact_event_is_shown_like_any_other() -> None:
    """Numbers that were stored as such read back as the JSON of their event, durations in whole microseconds."""
    box = SmallRing()
    box.tick("100% arm")
    box.append()
    box.tick("100% arm", success=False, took_ns=2**63)
    (first, _, third), damage = box.read()

    assert damage == []
    assert first.body == (
        b'{"seq":0,"run":"r","tick":0,"time_ns":0,'
        b'"event":"NodeTick","name":"100% arm","duration_us":1500,"success":true}'
    )
    assert third.body.endswith(b'"duration_us":9223372036854775,"success":false}')
    assert box.ring.tick == 2


def test_every_bit_of_a_compact_event() -> None:
    """J.1-30: a flipped bit in a record is reported, and its event not shown; its neighbours are."""
    box = SmallRing()
    box.tick()
    box.tick()
    box.append("after")
    box.tick()
    whole = bytes(box.memory.data)
    lines, _ = box.read()
    records = [offset for offset, value, _ in box.memory.stores if len(value) == RECORD_SIZE and value[0] == MARK]
    for position in range(records[1], records[1] + RECORD_SIZE):
        for bit in range(8):
            data = bytearray(whole)
            data[position] ^= 1 << bit
            found, damage = read_image(bytes(data), 512)
            assert damage
            assert seqs(found) == [0, 2, 3]
            assert set(found) <= set(lines)


def test_every_bit_of_a_form() -> None:
    """A flipped bit in what records have in common is reported, and shows none of them wrongly; lines stay."""
    box = SmallRing()
    box.append("before")
    box.tick()
    box.append("after")
    whole = bytes(box.memory.data)
    lines, _ = box.read()
    offset, form, _ = next(store for store in box.memory.stores if b'{"form":' in store[1])
    for position in range(offset, offset + len(form)):
        for bit in range(8):
            data = bytearray(whole)
            data[position] ^= 1 << bit
            found, damage = read_image(bytes(data), 512)
            assert damage
            assert seqs(found) == [0, 2]
            assert set(found) <= set(lines)


def test_every_byte_of_a_compact_event_torn() -> None:
    """A record of which only a part was stored is no event; before its end is written it is no damage either."""
    box = SmallRing()
    box.tick()
    before = bytes(box.memory.data)
    box.tick()
    offset, record, _ = box.memory.stores[-2]
    assert len(record) == RECORD_SIZE
    for cut in range(len(record)):
        data = bytearray(before)
        data[offset : offset + cut] = record[:cut]
        assert (seqs(read_image(bytes(data), 512)[0]), read_image(bytes(data), 512)[1]) == ([0], [])
        after = bytearray(box.memory.data)
        after[offset + cut : offset + len(record)] = b"\xaa" * (len(record) - cut)
        found, damage = read_image(bytes(after), 512)
        assert seqs(found) == [0]
        assert damage


def test_damage_stays_damage_when_it_is_sealed() -> None:
    """A bit that flipped before its segment was compressed is reported afterwards, and the event is not shown."""
    box = SmallRing(segments=12)
    while box.ring.take_full() is None:
        box.tick()
        box.append("the same text each time")
    last = box.ring.next_seq - 1
    offset, _, _ = next(store for store in box.memory.stores if store[1][:1] == MARK.to_bytes())
    box.memory.data[offset + 30] ^= 1
    assert box.seal()
    box.release()
    lines, damage = box.read()

    assert seqs(lines) == list(range(1, last + 1))
    assert damage


@pytest.mark.parametrize("sealed", [False, True])
def test_every_bit_of_the_headers(sealed: bool) -> None:
    """J.1-30: a flipped bit in the header of a segment or block is reported, or changes nothing that is shown."""
    box = SmallRing(segments=5)
    for _ in range(8):
        box.append("some text that is long enough to be packed")
    if sealed:
        assert box.seal()
        box.release()
        while box.ring.next_seq < 25:  # until the raw copy of what was sealed is gone
            box.append("other")
    whole = bytes(box.memory.data)
    lines, damage = read_image(whole, 512)
    assert damage == []
    for start in range(layout.PAGE, len(whole), 512):
        for position in range(start, start + layout.SEGMENT_HEADER + layout.BLOCK_HEADER):
            for bit in range(8):
                data = bytearray(whole)
                data[position] ^= 1 << bit
                found, damage = read_image(bytes(data), 512)
                assert set(found) <= set(lines)
                assert found == lines or damage


def test_every_bit_of_a_block() -> None:
    """A flipped bit in compressed lines never shows a false event, and what is lost is reported."""
    box = SmallRing(segments=5)
    for _ in range(8):
        box.append("text text text text")
    assert box.seal()
    offset, block, _ = next(store for store in reversed(box.memory.stores) if store[1].startswith(layout.BLOCK_MAGIC))
    data = bytearray(box.memory.data)
    raw = next(store for store in box.memory.stores if store[1].endswith(b"}\n"))[0]
    data[raw - layout.SEGMENT_HEADER : raw] = bytes(layout.SEGMENT_HEADER)  # the raw copy is gone
    lines, damage = read_image(bytes(data), 512)
    assert damage == []
    for position in range(offset, offset + len(block)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            found, damage = read_image(bytes(flipped), 512)
            assert set(found) <= set(lines)
            assert damage


def test_one_of_two_copies_is_enough() -> None:
    """While raw lines and their block are both there, damage to one is reported and costs nothing."""
    box = SmallRing(segments=8)
    for _ in range(12):
        box.append("abc")
    box.ring.begin_sync()  # so that the raw copy stays until that is over
    assert box.seal()
    whole = bytes(box.memory.data)
    lines, damage = read_image(whole, 512)
    assert damage == []
    data = bytearray(whole)
    data[layout.PAGE + layout.SEGMENT_HEADER + 40] ^= 4
    found, damage = read_image(bytes(data), 512)

    assert found == lines
    assert damage == ["segment 0: 1 line fails its checksum"]


def test_left_over_bytes_of_an_earlier_lap_never_pass() -> None:
    """A power cut that brings a new header to the disk without its lines shows none of the old ones."""
    box = SmallRing(segments=5)
    fill(box, 300)
    events = box.ring.next_seq
    assert seqs(box.read()[0])[-1] == events - 1
    data = bytearray(box.memory.data)
    generation = 10**6
    offset = layout.PAGE + 2 * 512
    data[offset + 8 : offset + 16] = (generation | layout.TAKEN).to_bytes(8, "little")
    data[offset + 16 : offset + 32] = layout.segment_rest(SALT, generation, events, layout.RAW)
    found, damage = read_image(bytes(data), 512)

    assert damage
    assert all(line.seq < events for line in found)


@pytest.mark.parametrize("seed", range(40))
def test_power_cut(seed: int) -> None:
    """J.1-30: what was recorded before the last sync is there, whichever pages written later reached the disk."""
    page, segment_size = 256, 1024
    box = SmallRing(segments=8, segment_size=segment_size, piece=seed % 3 * 256 + 256)
    chance = random.Random(seed)
    disk, synced = bytearray(box.memory.data), 0
    for _ in range(chance.randrange(30, 400)):
        box.append("z" * chance.randrange(60))
        box.tick(chance.choice(("a", "b")))
        if chance.random() < 0.4:
            box.seal()
        if chance.random() < 0.1:
            spent = box.ring.begin_sync()
            disk, synced = bytearray(box.memory.data), box.ring.next_seq
            box.ring.release(spent)
    for _ in range(20):
        image = bytearray(disk)
        for start in range(0, len(image), page):
            if chance.random() < 0.5:
                image[start : start + page] = box.memory.data[start : start + page]
        found = set(seqs(read_image(bytes(image), segment_size)[0]))
        assert set(range(box.ring.lost, synced)) <= found
        assert found <= set(range(box.ring.next_seq))


@pytest.mark.parametrize("seed", range(60))
def test_a_sync_that_takes_long(seed: int) -> None:
    """While it goes on the writer seals, and segments are overwritten that were to be released: no event in between."""
    chance = random.Random(seed)
    segments, size, piece = (chance.choice(sizes) for sizes in ((8, 12, 15), (1024, 2048, 4096), (300, 600, 1024)))
    box = SmallRing(segments=segments, segment_size=size, piece=piece)
    spent = None
    for number in range(400):
        box.append(f"the same text each time {number % 7} " * chance.randrange(1, 4))
        if chance.random() < 0.4:
            box.tick(f"n{number % 3}")
        if chance.random() < 0.05:
            box.seal()
        if spent is None and chance.random() < 0.03:
            spent = box.ring.begin_sync()
        elif spent is not None and chance.random() < 0.02:
            box.ring.release(spent)
            spent = None
        if number % 20 == 0:
            lines, damage = box.read()
            assert damage == []
            assert seqs(lines) == list(range(lines[0].seq, box.ring.next_seq))
            assert lines[0].seq <= box.ring.lost


class RingAgainstList(RuleBasedStateMachine):
    """The ring and its reader against a list of everything that was ever appended."""

    @initialize(segments=st.sampled_from([4, 6, 9]), piece=st.sampled_from([128, 256, 512]))
    def make(self, segments: int, piece: int) -> None:
        """A box of some shape."""
        self.box = SmallRing(segments=segments, piece=piece)
        self.bodies: list[bytes] = []
        self.taken: list[tuple[FullSegment, bytes, int]] = []

    @rule(texts=st.lists(st.text(st.sampled_from("ab c"), max_size=250), min_size=1, max_size=30))
    def append(self, texts: list[str]) -> None:
        """Add events."""
        for text in texts:
            number = len(self.bodies)
            self.box.append(text)
            head = b'{"seq":%d,"run":%b,"tick":%d,"time_ns":%d,' % (number, RUN, number, number * 1000)
            self.bodies.append(head + b'"event":"Custom","text":"%b"}' % text.encode())

    @rule(nodes=st.lists(st.sampled_from(["a", "b%", "c" * 30]), min_size=1, max_size=30), success=st.booleans())
    def tick(self, nodes: list[str], *, success: bool) -> None:
        """Add compact events."""
        for node in nodes:
            number = len(self.bodies)
            self.box.tick(node, success=success, took_ns=number * 1000)
            head = b'{"seq":%d,"run":%b,"tick":%d,"time_ns":%d,' % (number, RUN, number, number * 1000)
            own = b'"event":"NodeTick","name":"%b","duration_us":%d,' % (node.encode(), number)
            self.bodies.append(head + own + (b'"success":true}' if success else b'"success":false}'))

    @precondition(lambda self: not self.taken)
    @rule()
    def seal(self) -> None:
        """Let the worker, of which there is one, seal a segment at once."""
        self.box.seal()

    @precondition(lambda self: not self.taken)
    @rule()
    def take(self) -> None:
        """Let the worker begin to seal."""
        full = self.box.ring.take_full()
        if full is not None:
            self.taken.append((full, *packed_lines(full)))

    @precondition(lambda self: self.taken)
    @rule()
    def seal_late(self) -> None:
        """Let it end, whatever happened meanwhile."""
        self.box.ring.seal(*self.taken.pop(0))

    @rule()
    def release(self) -> None:
        """Let the worker finish a sync."""
        self.box.release()

    @invariant()
    def newest_events_are_there(self) -> None:
        """Everything from ``lost`` on is there, and nothing is damaged."""
        lines, damage = self.box.read()
        self.box.memory.stores.clear()
        assert damage == []
        assert [line.body for line in lines] == self.bodies[self.box.ring.lost :]


RingAgainstList.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_ring_against_list = RingAgainstList.TestCase


def test_a_piece_of_a_segment_that_was_used_again_meanwhile_is_not_stored() -> None:
    """The worker has compressed it while the ring went round: its place in the order is another's by now."""
    met = 0
    for seed in range(40):
        box = SmallRing(segments=6, segment_size=512)
        fill(box, 40 + seed, seed=seed)
        stale = box.ring.take_full()
        if stale is None:
            continue
        for _ in range(400):
            box.append("y" * 30)
            now = box.ring.take_full()
            if now is not None and (now.number, now.piece) == (stale.number, stale.piece):
                if now.generation == stale.generation:
                    continue
                before = bytes(box.memory.data)
                assert box.ring.seal(stale, *packed_lines(stale))
                assert bytes(box.memory.data) == before
                met += 1
                break
        lines, damage = box.read()
        assert damage == []
        assert seqs(lines) == list(range(box.ring.lost, box.ring.next_seq))
    assert met > 0
