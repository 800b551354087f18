r"""Turns messages into rows of a table: nested fields become columns with dotted names. Pure.

Works on the parsed JSON with its tags, so that a table looks the same whichever classes happen to be imported. A column
is named after the path of its field, ``pose.x``. No two fields of dicts share a name, whatever the order or the message
that they come in: a dot that belongs to a key is written ``\.`` and a backslash ``\\``, and what would be called like
one of the first four columns is prefixed with ``data.``, as is what is called ``data.tick`` without that. A message
that is not a dict is the column ``value``.

Cells hold numbers, booleans and text unchanged; bytes as base64 text; dates and times as ISO 8601 text; durations as
seconds; paths, UUIDs, decimal numbers and integers beyond 64 bits (`Digits`) as text; lists, tuples and sets as lists;
arrays as `arrays` says. An object of a class is the dict of its fields.
"""

from __future__ import annotations

import re
from datetime import timedelta
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define

from horus_async.json_text import FLOATS

from .arrays import array_form

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from horus_async.recorder.messages import RecordedMessage

    Columns = dict[str, Sequence[Any]]
    """Cells by column, all of one length."""

FIXED = ("tick", "stamp_ns", "seq", "publisher")
"""The first columns of every table."""

VALUE = "value"
"""The column of a message that is not a dict."""

OBJECT = ("$type", "value")
"""The keys of an object of a class."""
_LIKE_FIXED = re.compile(rf"(data\.)*({'|'.join(FIXED)})").fullmatch
_is_atomic = {int, float, str, bool, type(None)}.issuperset


class Digits(str):
    """An integer beyond 64 bits, in decimal; beyond 2048 bits in hexadecimal, after ``0x``."""

    __slots__ = ()


@define
class Batch:
    """Some messages of a topic, column by column."""

    ticks: Sequence[int]
    stamps_ns: Sequence[int]
    seqs: Sequence[int]
    publishers: Sequence[str]
    _data: Sequence[Any] | None = None
    text: bytes = b""
    """Their JSON text, with a newline between two; empty if they are here as data."""

    @classmethod
    def of(cls, messages: Sequence[RecordedMessage]) -> Batch:
        """That of some messages."""
        ticks, stamps_ns, publishers, _, seqs, data = zip(*messages, strict=True)
        return cls(ticks, stamps_ns, seqs, publishers, data)

    @property
    def data(self) -> Sequence[Any]:
        """As parsed from JSON, with the codec's tags."""
        if self._data is None:
            self._data = parsed(self.text)
        return self._data


def parsed(text: bytes) -> list[Any]:
    """The values of JSON texts with a newline between two."""
    return list(map(orjson.loads, text.split(b"\n")))  # all at once orjson takes some ten times the text's room


def columns_of(batch: Batch) -> Columns:
    """The columns of some messages, at least one, the fixed ones first; None where a message lacks a field."""
    fixed = dict(zip(FIXED, (batch.ticks, batch.stamps_ns, batch.seqs, batch.publishers), strict=True))
    found: Columns = {}
    if not _spread(batch.data, None, found):
        rows = [_row_of(data) for data in batch.data]
        names = dict.fromkeys(name for row in rows for name in row)
        found = {name: [row.get(name) for row in rows] for name in names}
    return {**fixed, **found}


def _row_of(data: Any) -> dict[str, Any]:
    """The cells of one message by column."""
    row: dict[str, Any] = {}
    _fill(row, None, plain(data))
    return row


def _spread(values: Sequence[Any], path: str | None, found: Columns) -> bool:
    """Add the columns of the fields of values that all have the same form, without a look at each by itself.

    Returns:
        False if they have not: then each is a row of its own.
    """
    types = set(map(type, values))
    if types == {dict}:
        keys = tuple(values[0])
        if keys == OBJECT and {*map(tuple, values)} == {OBJECT}:
            return _spread([value["value"] for value in values], path, found)
        if keys and keys[0] not in _PLAIN:
            return _spread_dicts(values, keys, path, found)
    if types & {dict, list}:
        values = list(map(plain, values))
        if dict in set(map(type, values)):
            return False
    found[name_of(path)] = values
    return True


def _spread_dicts(dicts: Sequence[Any], keys: tuple[str, ...], path: str | None, found: Columns) -> bool:
    if set(map(len, dicts)) != {len(keys)} or any(key in _PLAIN for key in keys):
        return False
    try:
        rows = map(itemgetter(*keys), dicts)
        fields = [tuple(rows)] if len(keys) == 1 else zip(*rows, strict=True)
        return all(_spread(values, below(path, key), found) for key, values in zip(keys, fields, strict=True))
    except KeyError:
        return False


def plain(data: Any) -> Any:
    """A recorded value with its tags replaced by numbers, text, lists and dicts."""
    if type(data) is list:
        return data if _is_atomic(map(type, data)) else [plain(item) for item in data]
    if type(data) is not dict:
        return data
    for tag in data:
        if tag[:1] == "$" and tag in _PLAIN:
            try:
                return _PLAIN[tag](data)
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):  # not one of our tags after all
                break
        break
    return {key: plain(item) for key, item in data.items()}


def _plain_dict(pairs: list[list[Any]]) -> dict[str, Any]:
    """The dict of these, with keys as text: ``{1: "a", "1": "b"}`` keeps both, and text keeps its name."""
    names: dict[str, int] = {}
    for place in sorted(range(len(pairs)), key=lambda place: _text_first(pairs[place][0])):
        name = str(plain(pairs[place][0]))
        while name in names:
            name += "_"
        names[name] = place
    return {name: plain(pairs[place][1]) for name, place in sorted(names.items(), key=itemgetter(1))}


def _text_first(key: Any) -> tuple[bool, str]:
    return type(key) is not str, repr(key)


def _fill(row: dict[str, Any], path: str | None, value: Any) -> None:
    """Add the fields of ``value``, which is at ``path``; None for the message itself."""
    if type(value) is dict and (value or path is None):
        for key, item in value.items():
            _fill(row, below(path, key), item)
    else:
        row[name_of(path)] = value


def is_tag(key: str) -> bool:
    """Whether a dict whose first key it is stands for something else."""
    return key in _PLAIN


def below(path: str | None, key: str) -> str:
    """The path of a field of what is at ``path``."""
    step = key.replace("\\", "\\\\").replace(".", "\\.") if "." in key or "\\" in key else key
    return step if path is None else f"{path}.{step}"


def name_of(path: str | None) -> str:
    """The column of a field; None stands for a message that is not a dict."""
    if path is None:
        return VALUE
    return f"data.{path}" if _LIKE_FIXED(path) else path


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "$bytes": lambda data: data["$bytes"],
    "$ndarray": lambda data: array_form(data["$ndarray"], plain),
    "$float": lambda data: FLOATS[data["$float"]],
    "$int": lambda data: Digits(data["$int"]),
    "$tuple": lambda data: [plain(item) for item in data["$tuple"]],
    "$dict": lambda data: _plain_dict(data["$dict"]),
    "$set": lambda data: [plain(item) for item in data["$set"]],
    "$frozenset": lambda data: [plain(item) for item in data["$frozenset"]],
    "$datetime": lambda data: data["$datetime"],
    "$date": lambda data: data["$date"],
    "$time": lambda data: data["$time"],
    "$timedelta": lambda data: timedelta(*data["$timedelta"]).total_seconds(),
    "$path": lambda data: data["$path"],
    "$uuid": lambda data: data["$uuid"],
    "$decimal": lambda data: data["$decimal"],
    "$complex": lambda data: [plain(part) for part in data["$complex"]],
    "$bytearray": lambda data: data["$bytearray"],
    "$type": lambda data: plain(data.get("value")),
}
