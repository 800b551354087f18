"""The messages of one topic in the lines of a file, without the rest of the lines. Pure: text in, columns out.

What reads a whole topic, as tables do, has no use for records: of a line it needs the messages of that topic alone. The
native core finds them without parsing the others (`native/sent.c`); whatever it does not know at once it leaves to this
code, a frame at a time.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from horus_async.native import core

from .flatten import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Whole = list[int] | array[int]
    """Whole numbers; an array of 64-bit ones from the native core."""

_OF_NODE = frozenset({"tick", "init", "shutdown", "safe_state", "request", "sends"})
_OUTSIDE = "message"


@define
class Sent:
    """Messages of one topic, in the order of their lines; all columns are of one length."""

    ticks: Whole
    stamps_ns: Whole
    seqs: Whole
    publishers: list[str]
    """Empty in a node's file: all are the node's."""
    size: int
    """Bytes of the frame that they stand in."""
    _data: list[Any] | None = field(default=None, repr=False)
    text: bytes = field(default=b"", repr=False)
    """Their JSON text, with a newline between two; empty if they are here as data."""

    @property
    def data(self) -> list[Any]:
        """As parsed from JSON, with the codec's tags."""
        if self._data is None:
            self._data = parsed(self.text)
        return self._data

    def within(self, start: int | None, stop: int | None) -> Sent:
        """Those of some ticks, both included; None for no limit."""
        places = [
            place
            for place, tick in enumerate(self.ticks)
            if (start is None or tick >= start) and (stop is None or tick <= stop)
        ]
        if len(places) == len(self.ticks):
            return self

        def some(column: Whole | list[Any]) -> list[Any]:
            return [column[place] for place in places] if column else []

        columns = some(self.ticks), some(self.stamps_ns), some(self.seqs), some(self.publishers)
        return Sent(*columns, self.size, some(self.data))


def sent_in(
    text: bytes, topic: str, lines_of: Callable[[bytes], Iterable[bytes | memoryview]], note: Callable[[str], None]
) -> Sent | None:
    """The messages in a frame of a node's file, or of the one for external messages.

    Args:
        text: Whole lines. Lines that do not hold the topic's name as JSON text are not looked at.
        topic: Whose messages.
        lines_of: Takes them apart.
        note: Told why, of each line that cannot be read.

    Returns:
        None if there are none.
    """
    name = orjson.dumps(topic)
    if name not in text:
        return None
    if core is not None:
        found = _by_core(text, name)
        if found is not None:
            return found if found.ticks else None
    data: list[Any] = []
    ticks: list[int] = []
    stamps_ns: list[int] = []
    seqs: list[int] = []
    found = Sent(ticks, stamps_ns, seqs, [], len(text), data)
    for line in lines_of(text):
        try:
            if name in (line if isinstance(line, bytes) else bytes(line)):
                _take(orjson.loads(line), topic, found)
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
            note(f"a line that cannot be read ({reason}): {bytes(line[:60])!r}")
    return found if found.ticks else None


def _by_core(text: bytes, name: bytes) -> Sent | None:
    """None where the Python code has to look."""
    assert core is not None
    columns = core.sent_in(text, name)
    if columns is None:
        return None
    if not text.isascii():
        try:
            text.decode()
        except ValueError:
            return None
    ticks, stamps_ns, seqs, publishers, values = columns
    return Sent(array("q", ticks), array("q", stamps_ns), array("q", seqs), publishers, len(text), None, values)


def _take(fields: dict[str, Any], topic: str, found: Sent) -> None:
    """Add what a line holds of the topic.

    Raises:
        ValueError, TypeError, LookupError, AttributeError: A field that is needed is missing, or is something else.
    """
    kind = fields["kind"]
    rows: list[tuple[int, dict[str, Any]]] = []
    if kind == _OUTSIDE:
        if fields["topic"] == topic:
            rows = [(fields["tick"], fields)]
    elif kind in _OF_NODE and "digest" not in fields:
        tick = fields["tick"]
        rows = [(sent.get("tick", tick), sent) for sent in fields["outputs"] if sent["topic"] == topic]
    for tick, sent in rows:
        if not (type(tick) is type(sent["stamp_ns"]) is type(sent["seq"]) is int and sent["seq"] >= 0):
            raise TypeError("tick, stamp_ns and seq have to be whole numbers")
        if kind == _OUTSIDE and type(sent["publisher"]) is not str:
            raise TypeError("publisher has to be text")
        sent["data"]
    for tick, sent in rows:
        found.ticks.append(tick)
        found.stamps_ns.append(sent["stamp_ns"])
        found.seqs.append(sent["seq"])
        found.data.append(sent["data"])
        if kind == _OUTSIDE:
            found.publishers.append(sent["publisher"])
