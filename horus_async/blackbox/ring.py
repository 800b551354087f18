"""The ring: which bytes to store where, in an order that a crash may interrupt at any point.

Pure: it writes into a buffer it is given and knows nothing of time, threads or files. Its owner calls it under a lock.
Events gather as lines and compact records in a raw segment. When that is full, the next one is taken, and once half of
the ring is full the owner's worker seals the oldest: ``take_full`` hands out a copy of its content, the worker turns it
into lines and compresses them outside the lock, ``seal`` stores the block. Once that block is safe, ``release`` frees
the raw segment. When free segments run out, those with the oldest events are reused, raw or sealed: a worker that falls
behind only makes the history shorter. One free segment is always kept to seal into, so that sealing by itself never
costs an event.

Crash safety rests on two rules. A store that makes something valid comes after all the stores it vouches for (a
segment's ``generation``, then the ``used`` word after each line or block). And at every moment each line is in the file
at least once: a raw segment is reused only when the block with its lines is whole, or when it is the oldest.

Every store into the file is made in this module, so that their order can be judged in one reading.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from zlib import adler32, crc32

from horus_async.errors import BlackBoxError

from . import layout
from .compact import RECORD_SIZE, Form, pack_fields, read_tick, record_salt, store_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from threading import Lock

FEWEST_SEGMENTS = 4
"""One being written, one sealed from, one sealed into, one to go on with."""

_HEAD = b'{"seq":%%d,"run":%b,"tick":%%d,"time_ns":%%d,%%b'
_RESERVE = 1
"""Free segments that only sealing may take."""

_NUMBERS_ROOM = 80
"""The most bytes that the numbers in a line's head take, with room to spare."""


class Buffer(Protocol):
    """Bytes that can be replaced and copied out, such as an mmap or a bytearray."""

    def __getitem__(self, key: slice, /) -> bytes | bytearray: ...
    def __setitem__(self, key: slice, value: bytes, /) -> None: ...


class Words(Protocol):
    """The same bytes as 64-bit words; assigning one is a single store instruction."""

    def __setitem__(self, key: int, value: int, /) -> None: ...


class Writer(Protocol):
    """Writes one event."""

    def __call__(self, tick: int, first_ns: int, which: int, second_ns: int = 0, /) -> None:
        """Write the event with these two durations, and the form with index ``which``."""


class FullSegment(NamedTuple):
    """The lines of a full raw segment, to be compressed."""

    number: int
    generation: int
    first_seq: int
    lines: bytes
    """Lines, and compact records between them."""


class Spent(NamedTuple):
    """A raw segment whose lines are also in a sealed one."""

    number: int
    generation: int
    sealed_index: int
    sealed_generation: int


class Ring:
    """The writer's side of a box.

    Args:
        buffer: the bytes of the whole file; those after the first page are zero or left over.
        words: the same bytes as 64-bit words.
        segments: how many segments there are.
        segment_size: bytes per segment, a multiple of 8.
        salt: the file's.
        run: JSON text of the run's id.
        store_record: as in ``compact``; tests replace it for buffers that only look like one.
    """

    __slots__ = (  # attribute look-ups in a dict are a tenth of the cost of a record
        "_buffer",
        "_changes",
        "_closed",
        "_current",
        "_file_salt",
        "_filling",
        "_first_seqs",
        "_format",
        "_forms",
        "_free",
        "_full",
        "_generation",
        "_generations",
        "_history",
        "_introduced",
        "_limit",
        "_position",
        "_record_salt",
        "_run",
        "_salt",
        "_segment_size",
        "_spent",
        "_start",
        "_store_record",
        "_text_seq",
        "_tick",
        "_used_word",
        "_useds",
        "_words",
        "longest",
        "next_seq",
    )

    def __init__(
        self,
        buffer: Buffer,
        words: Words,
        *,
        segments: int,
        segment_size: int,
        salt: int,
        run: bytes,
        store_record: Callable[[Any, int, bytes, int], None] = store_record,
    ) -> None:
        if segments < FEWEST_SEGMENTS:
            raise ValueError(f"a ring needs {FEWEST_SEGMENTS} segments, {segments} were given")
        self._buffer = buffer
        self._words = words
        self._segment_size = segment_size
        self._store_record = store_record
        self._file_salt = salt
        self._run = run
        self._format = _HEAD % run.replace(b"%", b"%%")
        self.longest = segment_size - layout.SEGMENT_HEADER - layout.LINE_OVERHEAD - len(self._format) - _NUMBERS_ROOM
        """The most bytes that the JSON of an event's own fields may have."""
        self.next_seq = 0
        self._tick, self._text_seq = 0, -1  # of the last event that is a line
        self._forms = 0
        self._introduced: list[Form] = []  # those whose line is in the current segment
        self._closed = ""
        self._generations = [0] * segments
        self._first_seqs = [0] * segments
        self._useds = [0] * segments
        self._generation = 0
        self._changes = 0
        self._free = deque(range(segments))
        self._history: deque[int] = deque()  # segments with events older than the current one's, oldest first
        self._full: deque[int] = deque()  # those of them that are raw and not sealed yet, oldest first
        self._spent: list[Spent] = []
        self._filling: int | None = None  # the sealed segment that takes the next block
        # The raw segment that takes the next line, and where that goes:
        self._current = self._start = self._position = self._limit = self._used_word = 0
        self._salt = self._record_salt = 0
        self._take_for_lines()

    @property
    def lost(self) -> int:
        """How many events have been overwritten."""
        return self._first_seqs[self._history[0]] if self._history else self._first_seqs[self._current]

    @property
    def is_short(self) -> bool:
        """Whether taking another segment or two will cost the oldest events."""
        return len(self._free) <= _RESERVE + 1

    def append(self, tick: int, time_ns: int, own: bytes) -> bool:
        """Write one event; ``own`` is its JSON from ``"event"`` to the closing brace, at most ``longest`` bytes.

        Returns whether it is time to seal: a segment became full, and half of the room is taken.

        Raises:
            BlackBoxError: the ring is closed.
        """
        return self.append_body(tick, self._format % (self.next_seq, tick, time_ns, own))

    def append_body(self, tick: int, body: bytes) -> bool:
        """Write one event given its whole JSON, whose ``seq`` is ``next_seq``, no longer than `append` allows."""
        line = b"%08x %b\n" % (crc32(body, self._salt), body)
        start = self._position
        end = start + len(line)
        pressed = False
        if end > self._limit:
            pressed = self._roll()
            line = layout.make_line(body, self._salt)
            start = self._start
            end = start + len(line)
            if end > self._limit:
                raise ValueError(f"an event of {len(line)} bytes does not fit into a segment of {self._segment_size}")
        self._buffer[start:end] = line
        self._words[self._used_word] = end - self._start
        self._position = end
        self._tick, self._text_seq = tick, self.next_seq
        self.next_seq += 1
        return pressed

    def writer(
        self, forms: tuple[Form, ...], *, lock: Lock, clock: Callable[[], int], on_full: Callable[[], object]
    ) -> Writer:
        """A function that writes events as the numbers that one of these forms leaves open.

        It runs for each tick of each node: it looks nothing up and makes no call that can be avoided. It raises
        `BlackBoxError` once the ring is closed.

        Args:
            forms: the forms to choose from.
            lock: the owner's; only this function takes it here.
            clock: returns wall-clock nanoseconds since 1970.
            on_full: called without the lock when it is time to seal.
        """
        acquire, release = lock.acquire, lock.release
        buffer, words, store = self._buffer, self._words, self._store_record

        def write(tick: int, first_ns: int, which: int, second_ns: int = 0) -> None:
            form = forms[which]
            acquire()
            try:
                pressed = self._position > form.limit and self._introduce(form)
                start = self._position
                end = start + RECORD_SIZE
                fields = pack_fields(form.word, first_ns, second_ns, self.next_seq, tick, clock())
                store(buffer, start, fields, adler32(fields, self._record_salt))
                words[self._used_word] = end - self._start
                self._position = end
                self.next_seq += 1
            finally:
                release()
            if pressed:
                on_full()

        return write

    def form(self, event: dict[str, Any]) -> Form | None:
        """The form for events with these JSON fields, which are None for numbers; None if it would be too long."""
        made = Form.make(self._forms + 1, self._run, event)
        if (
            made is not None
            and len(made.json) + layout.LINE_OVERHEAD + RECORD_SIZE > self._segment_size - layout.SEGMENT_HEADER
        ):
            return None
        self._forms += made is not None
        return made

    def close(self, why: str) -> None:
        """Refuse events from now on: each raises a `BlackBoxError` that says why."""
        self._tick = self.tick
        self._text_seq = self.next_seq - 1
        self._closed = why
        self._limit = -1
        self._forget_forms()

    @property
    def tick(self) -> int:
        """The scheduler's tick of the last event."""
        if self._text_seq != self.next_seq - 1:  # a record, whose tick is kept nowhere else to save time
            record = bytes(self._buffer[self._position - RECORD_SIZE : self._position])
            return read_tick(record)
        return self._tick

    def _introduce(self, form: Form) -> bool:
        """Make room for a record after its form. Returns whether it is time to seal."""
        line = len(form.json) + layout.LINE_OVERHEAD
        pressed = self._position + (line + RECORD_SIZE) > self._limit and self._roll()
        if form.limit < 0:
            start = self._position
            self._buffer[start : start + line] = layout.make_line(form.json, self._salt)
            self._words[self._used_word] = start + line - self._start
            self._position = start + line
            self._introduced.append(form)
            form.limit = self._limit - RECORD_SIZE
        return pressed

    def _forget_forms(self) -> None:
        for form in self._introduced:
            form.limit = -1
        self._introduced.clear()

    def _roll(self) -> bool:
        """Go on in another segment. Returns whether it is time to seal."""
        if self._closed:
            raise BlackBoxError(self._closed)
        self._history.append(self._current)
        self._full.append(self._current)
        self._useds[self._current] = self._position - self._start
        self._take_for_lines()
        return self.is_pressed

    @property
    def is_pressed(self) -> bool:
        """Whether there are full segments and half of the room is taken; nothing is sealed before."""
        return bool(self._full) and 2 * len(self._free) <= len(self._generations)

    def take_full(self) -> FullSegment | None:
        """The content of the oldest full raw segment that is not sealed yet, or None."""
        if not self._full:
            return None
        index = self._full.popleft()
        start = self._offset(index) + layout.SEGMENT_HEADER
        lines = bytes(self._buffer[start : start + self._useds[index]])
        return FullSegment(index, self._generations[index], self._first_seqs[index], lines)

    def seal(self, full: FullSegment, packed: bytes, unpacked: int) -> bool:
        """Store the compressed lines of a full segment, unless it has been reused meanwhile.

        Args:
            full: the segment.
            packed: its events as lines, compressed.
            unpacked: how many bytes the lines had.

        Returns False when there is no room until something is released: the segment will be handed out again.
        """
        if self._generations[full.number] != full.generation:
            return True
        content = self._segment_size - layout.SEGMENT_HEADER
        need = layout.BLOCK_HEADER + len(packed)
        if need >= len(full.lines):
            self._filling = None  # no gain, so the raw segment stays; what follows must not get ahead of it
            return True
        if self._filling is None or self._useds[self._filling] + need > content:
            if not self._free:
                self._full.appendleft(full.number)
                return False
            self._filling = self._take_for_blocks(full)
        index, generation = self._filling, self._generations[self._filling]
        salt = layout.line_salt(self._file_salt, generation)
        used = self._useds[index]
        start = self._offset(index) + layout.SEGMENT_HEADER + used
        block = layout.make_block(packed, unpacked, full.generation, full.first_seq, salt)
        self._buffer[start : start + need] = block
        self._words[self._offset(index) // 8] = used + need
        self._useds[index] = used + need
        self._spent.append(Spent(full.number, full.generation, index, generation))
        return True

    def spent(self) -> tuple[Spent, ...]:
        """The raw segments that can be released once everything stored so far is safe."""
        return tuple(self._spent)

    def release(self, spent: Iterable[Spent]) -> None:
        """Free these raw segments: the blocks that hold their lines are safe."""
        for entry in spent:
            self._spent.remove(entry)
            index, generation, sealed_index, sealed_generation = entry
            # A block that was overwritten meanwhile is gone; its raw segment is the only copy again.
            if self._generations[index] == generation and self._generations[sealed_index] == sealed_generation:
                self._announce_change()
                self._words[(self._offset(index) + layout.GENERATION) // 8] = 0
                self._history.remove(index)
                self._free.append(index)

    def _take_for_lines(self) -> None:
        while len(self._free) <= _RESERVE:
            self._free.append(self._oldest())
        index = self._free.popleft()
        self._take(index, layout.RAW, self.next_seq)
        self._words[layout.NEWEST_WORD // 8] = self._generation
        self._current = index
        self._forget_forms()
        self._salt = layout.line_salt(self._file_salt, self._generation)
        self._record_salt = record_salt(self._salt)
        self._start = self._position = self._offset(index) + layout.SEGMENT_HEADER
        self._limit = self._offset(index) + self._segment_size
        self._used_word = self._offset(index) // 8

    def _take_for_blocks(self, full: FullSegment) -> int:
        index = self._free.popleft()
        self._take(index, layout.SEALED, full.first_seq)
        self._useds[index] = 0
        self._history.insert(self._history.index(full.number), index)
        return index

    def _oldest(self) -> int:
        """Give up the segment with the oldest events."""
        index = self._history.popleft()
        if self._full and self._full[0] == index:
            self._full.popleft()
        if self._filling == index:
            self._filling = None
        self._words[layout.OLDEST_WORD // 8] = self.lost
        self._announce_change()
        self._words[(self._offset(index) + layout.GENERATION) // 8] = 0
        self._generations[index] = 0
        return index

    def _announce_change(self) -> None:
        self._changes += 1
        self._words[layout.CHANGES_WORD // 8] = self._changes

    def _take(self, index: int, kind: int, first_seq: int) -> None:
        self._generation += 1
        self._generations[index] = self._generation
        self._first_seqs[index] = first_seq
        offset = self._offset(index)
        self._announce_change()
        self._words[(offset + layout.GENERATION) // 8] = 0
        self._words[(offset + layout.USED) // 8] = 0
        rest = layout.segment_rest(self._file_salt, self._generation, first_seq, kind)
        self._buffer[offset + layout.REST : offset + layout.SEGMENT_HEADER] = rest
        self._words[(offset + layout.GENERATION) // 8] = self._generation | layout.TAKEN

    def _offset(self, index: int) -> int:
        return layout.PAGE + index * self._segment_size
