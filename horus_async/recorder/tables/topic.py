"""The messages of one topic as a sequence, and as tables of other libraries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

from horus_async.errors import RecordingError
from horus_async.hints.installed import install
from horus_async.notebook.html_table import html_table
from horus_async.recorder.messages import RecordedMessage

from .flatten import FIXED, Batch, columns_of
from .stream import in_batches, topic_batches, topic_messages
from .table import arrow_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.recorder.messages import Recorded

_BLOCK = 1024
"""About how many messages are read for one of them."""
_SHOWN, _SHOWN_COLUMNS = 5, 8
"""Messages and columns that a notebook shows."""


class TopicMessages(Sequence[RecordedMessage]):
    """The messages of a topic, of all its publishers, in the order of their ticks and within a tick of their stamps.

    Read when they are asked for, and never all at once but by the tables: iterating takes memory for some thousands.
    ``len()`` and the first index read the topic once, to know where its messages are. Of a session that is still being
    recorded there is what was written by then; ``session[topic]`` anew has what came since.
    """

    def __init__(
        self,
        session: Recorded,
        topic: str,
        start: int | None = None,
        stop: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.topic = topic
        """Its name."""
        self._session = session
        self._start, self._stop = start, stop
        self._notes = notes
        self._places: range | None = None
        """Of a slice: which messages of the topic; None for all."""
        self._index: _Index | None = None
        self._block: tuple[int, list[RecordedMessage]] = 0, []

    def __iter__(self) -> Iterator[RecordedMessage]:
        if self._places is None:
            messages = topic_messages(self._session, self.topic, self._start, self._stop)
            return messages if self._index is None else islice(messages, self._index.count)
        if self._places.step == 1:
            return islice(self._from(self._places.start), len(self._places))
        return (self._at(place) for place in self._places)

    def __len__(self) -> int:
        return self._known().count if self._places is None else len(self._places)

    @overload
    def __getitem__(self, place: int) -> RecordedMessage: ...

    @overload
    def __getitem__(self, place: slice) -> TopicMessages: ...

    def __getitem__(self, place: int | slice) -> RecordedMessage | TopicMessages:
        places = range(len(self)) if self._places is None else self._places
        if isinstance(place, slice):
            part = TopicMessages(self._session, self.topic, self._start, self._stop, self._notes)
            part._index, part._places = self._known(), places[place]
            return part
        try:
            return self._at(places[place])
        except IndexError:
            raise IndexError(f"message {place} of topic {self.topic!r}, which has {len(places)}") from None

    def __repr__(self) -> str:
        name = f"session {self._session.name!r}, topic {self.topic!r}"
        count = len(self._places) if self._places is not None else self._index.count if self._index else None
        return f"<{name}>" if count is None else f"<{name}: {count} message{'s' * (count != 1)}>"

    # Tables

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table`` with a column for each field, the one that a Parquet export of the topic holds.

        Its columns are ``tick``, ``stamp_ns``, ``seq`` and ``publisher``, then the fields by their dotted paths: see
        "Opening it in other tools" in ``docs/recording.md``.

        Raises:
            RecordingError: The package ``pyarrow`` is missing.
        """
        _need("pyarrow", "to_arrow()")
        return arrow_table(self.topic, self._batches)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a column for each field; its index are the stamps, as UTC.

        Integers and booleans that some messages lack are pandas' nullable ones, so none loses digits. Arrays of one
        shape are NumPy arrays of that shape. What stands for other values is text, as `to_arrow` has it. Stamps that
        are no 64-bit integers stay numbers.

        Raises:
            RecordingError: The package ``pandas`` or ``pyarrow`` is missing.
        """
        _need("pandas", "to_pandas()")
        from .frames import frame_of

        return frame_of(self.to_arrow())

    def to_numpy(self) -> dict[str, Any]:
        """A NumPy array for each column, by its name, as long as there are messages.

        Arrays of one shape, and lists of numbers of one length, add their dimensions: images are
        ``(messages, height, width, 3)``. Integers that some messages lack are floats with NaN where these hold them
        exactly. All that has no type of its own is of the type ``object``, with None for what is not there.

        Raises:
            RecordingError: The package ``pyarrow`` is missing.
        """
        table = self.to_arrow()
        from .frames import arrays_of

        return arrays_of(table)

    def _batches(self) -> Iterator[Batch]:
        if self._places is None and self._index is None:
            return topic_batches(self._session, self.topic, self._start, self._stop)
        return in_batches(self)

    def _repr_html_(self) -> str:
        count = len(self)
        shown = list(islice(iter(self), _SHOWN))
        columns = columns_of(Batch.of(shown)) if shown else dict.fromkeys(FIXED, ())
        names = [*columns][:_SHOWN_COLUMNS]
        notes = [*self._notes]
        if len(columns) > len(names):
            notes.insert(0, f"and {len(columns) - len(names)} more columns")
        if count > len(shown):
            notes.insert(0, f"the first {len(shown)} of {count} messages")
        rows = [[_short(columns[name][row]) for name in names] for row in range(len(shown))]
        caption = f"topic {self.topic} of session {self._session.name}: {count} message{'s' * (count != 1)}"
        return html_table(caption, names, rows, notes)

    # Places

    def _known(self) -> _Index:
        if self._index is None:
            self._index = _Index(topic_batches(self._session, self.topic, self._start, self._stop))
        return self._index

    def _at(self, place: int) -> RecordedMessage:
        begin, messages = self._block
        if not begin <= place < begin + len(messages):
            begin = max(0, place - place % _BLOCK)
            messages = list(islice(self._from(begin), _BLOCK))
            self._block = begin, messages
        return messages[place - begin]

    def _from(self, place: int) -> Iterator[RecordedMessage]:
        before, tick = self._known().before(place)
        start = self._start if tick is None else tick
        return islice(topic_messages(self._session, self.topic, start, self._stop), place - before, None)


class _Index:
    """How many messages there are, and at which places a tick begins from which they can be read."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.count = 0
        self._places: list[int] = [0]
        self._ticks: list[int | None] = [None]
        last, in_order = -1, True
        for batch in batches:
            for place, tick in enumerate(batch.ticks, self.count):
                if tick > last and place - self._places[-1] >= _BLOCK:
                    self._places.append(place)
                    self._ticks.append(tick)
                in_order = in_order and tick >= last
                last = tick
            self.count += len(batch.ticks)
        if not in_order:  # a repeated replay: it can be read from its beginning only
            self._places, self._ticks = [0], [None]

    def before(self, place: int) -> tuple[int, int | None]:
        """The last known place up to one, and the tick that begins there; None for the beginning."""
        found = bisect_right(self._places, place) - 1
        return self._places[found], self._ticks[found]


def _need(package: str, what: str) -> None:
    """Refuse if a package is not installed.

    Raises:
        RecordingError: It is not; the text says what installs it.
    """
    from importlib import import_module

    try:
        import_module(package)
    except ImportError:
        extra = "pandas" if package == "pandas" else "parquet"
        raise RecordingError(f"{what} needs the package {package}: install it with  {install(extra)}") from None


def _short(cell: Any) -> object:
    """A cell as a table shows it."""
    if hasattr(cell, "dtype"):
        return f"{cell.dtype} {'×'.join(map(str, cell.shape))}"
    if isinstance(cell, list) and len(cell) > 4:
        return f"[{', '.join(map(str, cell[:3]))}, … {len(cell)}]"
    return cell
