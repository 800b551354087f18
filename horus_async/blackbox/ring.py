"""The ring: which bytes to store where, in an order that a crash may interrupt at any point.

Pure: it writes into a buffer it is given and knows nothing of time, threads or files. Its owner calls it under a lock.
Events gather as lines and compact records in a raw segment. When that is full, the next one is taken, and once half of
the ring is full the owner's worker seals the oldest, a piece at a time: ``take_full`` hands out a copy of a piece, the
worker compresses it outside the lock, ``seal`` stores the block. Once the blocks of all its pieces are safe,
``release`` frees the raw segment. When free segments run out, those with the oldest events are reused, raw or sealed.

A worker that gets no time must not make the history shorter. So where full segments pile up, the writer itself seals
a piece for each half of one that it writes. A raw segment is freed as soon as it is sealed if no sync has promised its
events to anybody: they are so new that a power cut may cost them.

One free segment is always kept to seal into, so that sealing by itself never costs an event.

Crash safety rests on two rules. A store that makes something valid comes after all the stores it vouches for (a
segment's ``generation``, then the ``used`` word after each line or block). And at every moment each line is in the file
at least once: a raw segment is reused only when the block with its lines is whole, or when it is the oldest.

Every store into the file is made in this module, so that their order can be judged in one reading.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import suppress
from functools import partial
from mmap import mmap
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from zlib import adler32, crc32

import lz4.block
import orjson

from horus_async.errors import BlackBoxError
from horus_async.native import core

from . import layout
from .compact import RECORD_SIZE, Form, pack_fields, read_tick, record_salt, store_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .entry import Entry

FEWEST_SEGMENTS = 4
"""One being written, one sealed from, one sealed into, one to go on with."""

_HEAD = b'{"seq":%%d,"run":%b,"tick":%%d,"time_ns":%%d,%%b'
_RESERVE = 1
"""Free segments that only sealing may take."""

_BACKLOG = 2
"""Full segments that may wait for the worker, and free ones that have to be left, before the writer seals itself."""

_WORTH_IT = 7 / 8
"""Of its size, at most, a segment's first piece has to be when compressed. Until the next sync both take room."""

PIECE = 32 * 1024
"""Bytes of a segment that are sealed at a time, unless one event is larger: to compress them takes some 50 µs."""

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
    """A piece of a full raw segment, to be compressed."""

    number: int
    generation: int
    first_seq: int
    lines: bytes
    """Lines, and compact records between them, each after its form."""
    piece: int = 0
    """Counts the pieces of the segment from 0."""


class Spent(NamedTuple):
    """A raw segment whose content is also in blocks."""

    number: int
    generation: int
    sealed: tuple[tuple[int, int], ...]
    """Number and generation of each sealed segment that holds them."""


class RingCore:
    """What the native core has to know of a ring."""

    __slots__ = (
        "_limit",
        "_memory",
        "_position",
        "_record_salt",
        "_salt",
        "_start",
        "_text_seq",
        "_tick",
        "_used_word",
        "longest",
        "next_seq",
    )

    if TYPE_CHECKING:

        def put(self, entry: Entry, fields: dict[str, Any], head: int, /) -> bool:
            """Write one event, if it is as usual; whether it is in the ring now. Only in the native core."""


if not TYPE_CHECKING and core is not None:
    core.connect_box(orjson.dumps, (TypeError, ValueError, RecursionError))
    RingCore = core.RingCore


class Ring(RingCore):
    """The writer's side of a box.

    Args:
        buffer: the bytes of the whole file; those after the first page are zero or left over.
        words: the same bytes as 64-bit words.
        segments: how many segments there are.
        segment_size: bytes per segment, a multiple of 8.
        salt: the file's.
        run: JSON text of the run's id.
        piece: about how many bytes are sealed at a time.
        store_record: as in ``compact``; tests replace it for buffers that only look like one.

    Attributes:
        promised: events with a smaller ``seq`` have to survive a power cut. Set by `begin_sync`.
    """

    __slots__ = (  # attribute look-ups in a dict are a tenth of the cost of a record
        "_buffer",
        "_changes",
        "_closed",
        "_current",
        "_end",
        "_file_salt",
        "_filled",
        "_filling",
        "_first_seqs",
        "_format",
        "_forms",
        "_free",
        "_full",
        "_generation",
        "_generations",
        "_history",
        "_into",
        "_introduced",
        "_marks",
        "_piece",
        "_piece_end",
        "_piece_size",
        "_run",
        "_segment_size",
        "_spent",
        "_store_record",
        "_useds",
        "_words",
        "promised",
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
        piece: int = PIECE,
        store_record: Callable[[Any, int, bytes, int], None] = store_record,
    ) -> None:
        if segments < FEWEST_SEGMENTS:
            raise ValueError(f"a ring needs {FEWEST_SEGMENTS} segments, {segments} were given")
        self._buffer = buffer
        self._words = words
        self._memory = buffer if isinstance(buffer, mmap) and sys.byteorder == "little" else None
        """What the native core writes into."""
        self._segment_size = segment_size
        self._store_record = store_record
        self._file_salt = salt
        self._run = run
        self._format = _HEAD % run.replace(b"%", b"%%")
        self.longest = segment_size - layout.SEGMENT_HEADER - layout.LINE_OVERHEAD - len(self._format) - _NUMBERS_ROOM
        """The most bytes that the JSON of an event's own fields may have."""
        self.next_seq = 0
        self.promised = 0
        self._tick, self._text_seq = 0, -1  # of the last event that is a line
        self._forms = 0
        self._introduced: list[Form] = []  # those whose line is in the current piece of the current segment
        self._closed = ""
        self._generations = [0] * segments
        self._first_seqs = [0] * segments
        self._useds = [0] * segments
        self._piece_size = piece
        self._marks: list[list[tuple[int, int]]] = [[] for _ in range(segments)]  # where each piece begins: byte, seq
        self._generation = 0
        self._changes = 0
        self._free = deque(range(segments))
        self._history: deque[int] = deque()  # segments with events older than the current one's, oldest first
        self._full: deque[int] = deque()  # those of them that are raw and not sealed yet, oldest first
        self._spent: dict[int, Spent] = {}
        self._filling: int | None = None  # the sealed segment that takes the next block
        self._filled: set[tuple[int, int]] = set()  # number and generation of the raw segments that it has blocks of
        self._piece = 0  # the next piece to seal of the first of _full; and where the blocks of those before it are:
        self._into: list[tuple[int, int]] = []
        # The raw segment that takes the next line, where that goes, where to look up next (see _go_on), and where this
        # piece and the segment end:
        self._current = self._start = self._position = self._limit = self._piece_end = self._end = self._used_word = 0
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
            pressed = self._go_on(len(line))
            line = layout.make_line(body, self._salt)
            start = self._position
            end = start + len(line)
        self._buffer[start:end] = line
        self._words[self._used_word] = end - self._start
        self._position = end
        self._tick, self._text_seq = tick, self.next_seq
        self.next_seq += 1
        return pressed

    def writer(
        self, forms: tuple[Form, ...], *, entry: Entry, clock: Callable[[], int], on_full: Callable[[], object]
    ) -> Writer:
        """A function that writes events as the numbers that one of these forms leaves open.

        It runs for each tick of each node: it looks nothing up and makes no call that can be avoided. It raises
        `BlackBoxError` once the ring is closed.

        Args:
            forms: the forms to choose from.
            entry: the owner's; this function goes through it by itself.
            clock: returns wall-clock nanoseconds since 1970.
            on_full: called without the lock when it is time to seal.
        """
        acquire, release, later = entry.lock.acquire, entry.lock.release, entry.later
        buffer, words, store = self._buffer, self._words, self._store_record

        def write(tick: int, first_ns: int, which: int, second_ns: int = 0) -> None:
            if entry.inside and entry.is_mine():
                later.append(partial(write, tick, first_ns, which, second_ns))
                return
            form = forms[which]
            pressed = False
            try:
                acquire()
                entry.inside = True
                pressed = self._position > form.limit and self._introduce(form)
                start = self._position
                end = start + RECORD_SIZE
                fields = pack_fields(form.word, first_ns, second_ns, self.next_seq, tick, clock())
                store(buffer, start, fields, adler32(fields, self._record_salt))
                words[self._used_word] = end - self._start
                self._position = end
                self.next_seq += 1
            finally:
                entry.inside = False
                try:  # it may not be ours
                    release()
                except RuntimeError:  # Ctrl-C came before it was acquired: see `Entry`
                    entry.inside = True
                if later:
                    entry.catch_up()
            if pressed:
                on_full()

        if core is None or self._memory is None:
            return write
        native: Writer = core.RecordWriter(self, entry, forms, clock, write).write
        return native

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
        need = line + RECORD_SIZE
        pressed = self._position + need > self._limit and self._go_on(need)
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

    def _go_on(self, need: int) -> bool:
        """Go on in the second half of the piece, in another piece, or in another segment, with room for ``need`` bytes.

        Returns whether it is time to seal.
        """
        if self._closed:
            raise BlackBoxError(self._closed)
        room = self._segment_size - layout.SEGMENT_HEADER
        if need > room:
            raise ValueError(f"an event of {need} bytes does not fit into a segment of {self._segment_size}")
        if self.is_pressed and (len(self._full) > _BACKLOG or len(self._free) <= _RESERVE + _BACKLOG):
            self._seal_one()
        pressed = False
        if self._position + need > self._end:
            self._history.append(self._current)
            self._full.append(self._current)
            self._useds[self._current] = self._position - self._start
            self._take_for_lines()
            pressed = self.is_pressed
        elif self._position + need > self._piece_end:
            self._marks[self._current].append((self._position - self._start, self.next_seq))
            self._forget_forms()
        else:
            self._limit = min(self._piece_end, self._position + max(need, self._piece_size // 2))
            return False
        self._piece_end = min(self._end, self._position + max(need, self._piece_size))
        self._limit = min(self._piece_end, self._position + max(need, self._piece_size // 2))
        return pressed

    def _seal_one(self) -> None:
        """Seal a piece here and now: the worker has no time, and the oldest events would have to go."""
        with suppress(MemoryError):  # then the oldest do go
            piece = self.take_full()
            if piece is not None:
                self.seal(piece, lz4.block.compress(piece.lines, store_size=False), len(piece.lines))

    @property
    def is_pressed(self) -> bool:
        """Whether there are full segments and half of the room is taken; nothing is sealed before."""
        return bool(self._full) and 2 * len(self._free) <= len(self._generations)

    def take_full(self) -> FullSegment | None:
        """The next piece to seal of the oldest full raw segment, or None. It stays the next one until it is sealed."""
        if not self._full:
            return None
        index = self._full[0]
        marks = self._marks[index]
        begin, first_seq = marks[self._piece]
        end = marks[self._piece + 1][0] if self._piece + 1 < len(marks) else self._useds[index]
        start = self._offset(index) + layout.SEGMENT_HEADER
        content = bytes(self._buffer[start + begin : start + end])
        return FullSegment(index, self._generations[index], first_seq, content, self._piece)

    def seal(self, full: FullSegment, packed: bytes, unpacked: int) -> bool:
        """Store a compressed piece, unless it has been sealed or its segment reused meanwhile.

        Args:
            full: the piece, as `take_full` gave it.
            packed: its content, compressed.
            unpacked: how many bytes that had.

        Returns False when there is no room until something is released: the piece will be handed out again.
        """
        index = full.number
        if not self._full or self._full[0] != index or self._piece != full.piece:
            return True
        if self._generations[index] != full.generation:
            return True
        content = self._segment_size - layout.SEGMENT_HEADER
        need = layout.BLOCK_HEADER + len(packed)
        if need > content or (need > len(full.lines) * _WORTH_IT and full.piece == 0):
            self._filling = None  # the raw segment stays; what follows must not get ahead of it
            self._next_full()
            return True
        may_go = self._first_seqs[index] >= self.promised
        if full.piece == 0 and may_go and any(self._generations[raw] == generation for raw, generation in self._filled):
            self._filling = None  # a segment that is released sooner than an older one shares none with it: see _oldest
        if self._filling is None or self._useds[self._filling] + need > content:
            if not self._free:
                return False
            self._filling = self._take_for_blocks(full)
        self._store_block(self._filling, full, packed, unpacked)
        self._piece += 1
        if self._piece == len(self._marks[index]):
            self._spent[index] = Spent(index, full.generation, tuple(dict.fromkeys(self._into)))
            self._next_full()
            if may_go:
                self.release((self._spent[index],))
        return True

    def _store_block(self, index: int, full: FullSegment, packed: bytes, unpacked: int) -> None:
        generation = self._generations[index]
        salt = layout.line_salt(self._file_salt, generation)
        used = self._useds[index]
        need = layout.BLOCK_HEADER + len(packed)
        start = self._offset(index) + layout.SEGMENT_HEADER + used
        block = layout.make_block(packed, unpacked, full.generation, full.first_seq, salt)
        self._buffer[start : start + need] = block
        self._words[self._offset(index) // 8] = used + need
        self._useds[index] = used + need
        self._into.append((index, generation))
        self._filled.add((full.number, full.generation))

    def _next_full(self) -> None:
        """Turn to the next full segment."""
        self._full.popleft()
        self._piece = 0
        self._into.clear()

    def spent(self) -> tuple[Spent, ...]:
        """The raw segments that can be released once everything stored so far is safe."""
        return tuple(self._spent.values())

    def begin_sync(self) -> tuple[Spent, ...]:
        """Say that everything recorded so far is about to be safe from a power cut, and what can be released then."""
        self.promised = self.next_seq
        return self.spent()

    def release(self, spent: Iterable[Spent]) -> None:
        """Free these raw segments: the blocks that hold their content are safe."""
        for entry in spent:
            index = entry.number
            if self._spent.get(index) != entry:
                continue  # released by the writer, or reused, meanwhile
            del self._spent[index]
            left = [sealed for sealed, generation in entry.sealed if self._generations[sealed] == generation]
            if len(left) == len(entry.sealed):
                self._announce_change()
                self._words[(self._offset(index) + layout.GENERATION) // 8] = 0
                self._generations[index] = 0
                self._history.remove(index)
                self._free.append(index)
            elif left:
                # A block that was overwritten meanwhile is gone: the raw segment is the only copy again, of events that
                # are older than those of the blocks that are left.
                self._history.remove(index)
                self._history.insert(self._history.index(left[0]), index)

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
        self._end = self._offset(index) + self._segment_size
        self._piece_end = min(self._end, self._start + self._piece_size)
        self._limit = min(self._piece_end, self._start + self._piece_size // 2)
        self._marks[index] = [(0, self.next_seq)]
        self._used_word = self._offset(index) // 8

    def _take_for_blocks(self, full: FullSegment) -> int:
        index = self._free.popleft()
        self._take(index, layout.SEALED, full.first_seq)
        self._useds[index] = 0
        self._filled.clear()
        self._history.insert(self._history.index(full.number), index)
        return index

    def _oldest(self) -> int:
        """Give up the segment with the oldest events.

        A sealed one stands before the raw ones that it was made of. So if those are still there, they follow next, and
        what is left is without gaps.
        """
        index = self._history.popleft()
        self._spent.pop(index, None)
        if self._full and self._full[0] == index:
            self._next_full()
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
