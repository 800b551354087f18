"""PX4 flight logs (ULog), through ``pyulog``.

Each topic is one of the log's; of one with several instances, ``name.0``, ``name.1`` and so on. A message is a dict of
its fields: nested types are dicts, arrays of numbers NumPy arrays, arrays of characters texts.

A log's stamps count from the start of the autopilot. They become times of day by the first GPS fix in it, and stay as
they are without one. What a log says beside its topics is kept with the session: its information and parameters as
metadata, parameters that changed and the autopilot's messages as JSON lines.
"""

from __future__ import annotations

import io
import math
import os
import re
from contextlib import redirect_stdout
from functools import partial
from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Any

import orjson
from attrs import define, field

from horus_async.errors import RecordingError
from horus_async.recorder.exports.output import need

from .source import LEFT_OUT, Enclosed, Source, SourceMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

_GPS = ("vehicle_gps_position", "sensor_gps", "vehicle_gnss_position")
_FIRST_TIME_US = 10**15
"""Below it, in 2001, no receiver knows the time."""

_STEP = re.compile(r"([^.\[\]]+)(?:\[(\d+)\])?")
_BLOCK = 4096

_HEADER = 16
"""Bytes before the first message of a log."""
_MESSAGE = Struct("<HB")
"""Before each message: its size and its kind."""
_FORMAT = ord("F")
_DESCRIBING = (_FORMAT, ord("A"))
"""Messages that describe a type, and that add a topic."""
_MOST_FIELDS = 1 << 18
"""Fields of all topics that are logged, items of arrays and nested ones too: real logs have some ten thousands."""
_DEEPEST, _DIGITS = 50, 10


def open_ulog(path: Path, stack: ExitStack) -> Source:
    """Open a PX4 log. All of it is in memory while it is open.

    Raises:
        RecordingError: It cannot be read, or the package ``pyulog`` is missing.
    """
    del stack
    try:
        from pyulog import ULog
    except ImportError:
        raise need("pyulog", "ulog", "importing PX4 logs") from None
    said = io.StringIO()
    _check_formats(path)
    try:
        with redirect_stdout(said), _Log(path) as file:  # which the library leaves open when it fails
            log = ULog(file)
    except Exception as error:  # the library has many kinds of errors
        raise RecordingError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    notes = said.getvalue().splitlines()
    if not log.file_corruption:
        notes += _cut_note(path)
    return _ULog(log, notes)


class _Log(io.BufferedReader):
    """A log as the library reads it: message by message, and back to the beginning of one that it does not know.

    At one that is cut off it would go back further than that, and so round in circles for ever.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._reads = 0, 0
        """Bytes of the last two reads: a message and what is before it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and know how much."""
        data = super().read(size)
        self._reads = self._reads[1], len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go there.

        Raises:
            EOFError: It is before what was read last.
        """
        if whence == io.SEEK_CUR and -offset > sum(self._reads):
            raise EOFError(f"the log is cut off at byte {self.tell()}, in the middle of a definition")
        return super().seek(offset, whence)


def _check_formats(path: Path) -> None:
    """Refuse a log that describes more fields than its messages can have: the library makes an object of each.

    Raises:
        RecordingError: It does.
    """
    formats: dict[str, list[tuple[str, int]]] = {}
    counts: dict[str, int] = {}
    total = 0
    with path.open("rb") as file:
        file.seek(_HEADER)
        while len(head := file.read(_MESSAGE.size)) == _MESSAGE.size:
            size, kind = _MESSAGE.unpack(head)
            if kind not in _DESCRIBING:
                file.seek(size, os.SEEK_CUR)
                continue
            data = file.read(size)
            if kind == _FORMAT:
                name, _, fields = data.decode("latin-1").partition(":")
                formats[name] = [_count_of(one) for one in fields.split(";") if one]
            else:
                total += _fields_of(data[3:].decode("latin-1"), formats, counts)
            if total > _MOST_FIELDS:
                raise RecordingError(f"{path} cannot be read: its topics have more than {_MOST_FIELDS} fields")


def _count_of(described: str) -> tuple[str, int]:
    """The type of a field, and how many of it there are."""
    kind, _, count = described.split(" ", maxsplit=1)[0].partition("[")
    digits = count.rstrip("]")
    if not digits.isdecimal():
        return kind, 1
    return kind, min(int(digits[:_DIGITS]), _MOST_FIELDS + 1)


def _fields_of(name: str, formats: dict[str, list[tuple[str, int]]], counts: dict[str, int], depth: int = 0) -> int:
    """How many fields a type has with those of the types in it; too many if it is part of itself, or nested deeply."""
    if name not in formats:
        return 1
    if name not in counts:
        counts[name] = _MOST_FIELDS + 1  # until it is known: who comes here again is within itself
        if depth < _DEEPEST:
            found = (count * _fields_of(kind, formats, counts, depth + 1) for kind, count in formats[name])
            counts[name] = min(sum(found), _MOST_FIELDS + 1)
    return counts[name]


def _cut_note(path: Path) -> Iterator[str]:
    """Whether a log ends in the middle of a message, as when the power went: the library leaves that out in silence."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        place = _HEADER
        while place < size:
            file.seek(place)
            header = file.read(_MESSAGE.size)
            after = place + _MESSAGE.size
            if len(header) == _MESSAGE.size:
                after += _MESSAGE.unpack(header)[0]
            if after > size:
                yield f"the log is cut off at byte {place}, in the middle of a message: what comes after is lost"
            place = after


class _ULog(Source):
    def __init__(self, log: Any, said: list[str]) -> None:
        super().__init__()
        self.notes += dict.fromkeys(said)
        if log.file_corruption and not said:
            self.notes.append("the log is damaged: some of its messages are lost")
        if log.dropouts:
            lost_ms = sum(dropout.duration for dropout in log.dropouts)
            self.notes.append(f"the log has {len(log.dropouts)} dropouts, {lost_ms} ms together, in which it lost data")
        self._offset_ns = _utc_offset_ns(log)
        if self._offset_ns is None:
            self.notes.append("the log has no GPS time: stamps count from the start of the autopilot")
        self._data: dict[str, Any] = {}
        for topic, data in _named(log.data_list):
            stamps = data.data.get("timestamp")
            if stamps is None:
                for _ in range(len(next(iter(data.data.values()), ()))):
                    self.faults.add(topic, 0, LEFT_OUT, "they have no field timestamp")
            elif len(stamps):
                self._data[topic] = data
                self.see_all(topic, "", len(stamps), self._stamp(stamps.min()), self._stamp(stamps.max()))
        self.metadata = _metadata(log)
        self.enclosed = list(self._enclosed(log))

    def _stamp(self, microseconds: Any) -> int:
        return int(microseconds) * 1000 + (self._offset_ns or 0)

    def messages(self) -> Iterator[SourceMessage]:
        import numpy as np

        chosen = {topic: data for topic, data in self._data.items() if self.takes(topic)}
        if not chosen:
            return
        stamps = [data.data["timestamp"] for data in chosen.values()]
        numbers = np.repeat(np.arange(len(stamps)), [len(of_one) for of_one in stamps])
        order = np.argsort(np.concatenate(stamps), kind="stable")
        rows = [(topic, _rows(data)) for topic, data in chosen.items()]
        for block in range(0, len(order), _BLOCK):
            for number in numbers[order[block : block + _BLOCK]].tolist():
                topic, values = rows[number]
                value = next(values)
                yield SourceMessage(self._stamp(value["timestamp"]), topic, "", value)

    def _enclosed(self, log: Any) -> Iterator[Enclosed]:
        changed = [(stamp, {"name": name, "value": _plain(value)}) for stamp, name, value in log.changed_parameters]
        said: list[tuple[Any, dict[str, Any]]] = [(line, {}) for line in log.logged_messages]
        for tag, lines in log.logged_messages_tagged.items():
            said += [(line, {"tag": tag}) for line in lines]
        told = [
            (line.timestamp, {"level": line.log_level_str(), "message": line.message, **more}) for line, more in said
        ]
        for name, found in (("changed_parameters.jsonl", changed), ("logged_messages.jsonl", told)):
            if not found:
                continue
            found.sort(key=lambda line: int(line[0]))
            stamp_ns = self._stamp(found[0][0])
            load = partial(_json_lines, [(self._stamp(stamp), fields) for stamp, fields in found])
            yield Enclosed(name, "application/x-ndjson", stamp_ns, stamp_ns, load)


def _named(datasets: list[Any]) -> Iterator[tuple[str, Any]]:
    """The topics: by their names, with the number of the instance where there are several."""
    instances: dict[str, set[int]] = {}
    for data in datasets:
        instances.setdefault(data.name, set()).add(data.multi_id)
    for data in datasets:
        yield (data.name if len(instances[data.name]) == 1 else f"{data.name}.{data.multi_id}"), data


def _utc_offset_ns(log: Any) -> int | None:
    """What makes a time of day of a stamp: by the first GPS fix; None without one."""
    for data in log.data_list:
        times = data.data.get("time_utc_usec") if data.name in _GPS else None
        if times is None:
            continue
        fixed = (times > _FIRST_TIME_US).nonzero()[0]
        if len(fixed):
            first = fixed[0]
            return (int(times[first]) - int(data.data["timestamp"][first])) * 1000
    return None


# -- values ------------------------------------------------------------------------------------------------------------


@define
class _Field:
    """A field of a message: a column, numbered ones of an array, or fields of its own."""

    column: Any = None
    is_text: bool = False
    items: dict[int, _Field] = field(factory=dict)
    fields: dict[str, _Field] = field(factory=dict)

    def rows(self) -> Iterator[Any]:
        """Its value in each message."""
        if self.column is not None:
            return _blocks(self.column, lambda block: block.tolist())
        if self.fields:
            keys = list(self.fields)
            values = zip(*(of_one.rows() for of_one in self.fields.values()), strict=True)
            return (dict(zip(keys, row, strict=True)) for row in values)
        items = [self.items[number] for number in sorted(self.items)]
        if all(item.column is not None for item in items):
            return self._arrays(items)
        return map(list, zip(*(item.rows() for item in items), strict=True))

    @staticmethod
    def _arrays(items: list[_Field]) -> Iterator[Any]:
        import numpy as np

        table = np.stack([item.column for item in items], axis=1)
        if items[0].is_text:
            return _blocks(table, lambda block: [_text(row.tobytes()) for row in block])
        return iter(table)


def _rows(data: Any) -> Iterator[dict[str, Any]]:
    """The messages of a topic by their stamps."""
    order = data.data["timestamp"].argsort(kind="stable")
    kinds = {described.field_name: described.type_str for described in data.field_data}
    whole = _Field()
    for path, column in data.data.items():
        place = whole
        for name, number in _STEP.findall(path):
            place = place.fields.setdefault(name, _Field())
            if number:
                place = place.items.setdefault(int(number), _Field())
        kind = kinds.get(path)
        place.column = column[order].astype(bool) if kind == "bool" else column[order]  # the library has numbers
        place.is_text = kind == "char"
    return whole.rows()


def _blocks(column: Any, values: Callable[[Any], list[Any]]) -> Iterator[Any]:
    return chain.from_iterable(values(column[begin : begin + _BLOCK]) for begin in range(0, len(column), _BLOCK))


def _text(data: bytes) -> str | bytes:
    """An array of characters up to its first zero."""
    text = data.partition(b"\0")[0]
    try:
        return text.decode()
    except UnicodeDecodeError:
        return data


# -- what is kept besides ----------------------------------------------------------------------------------------------


def _metadata(log: Any) -> list[tuple[str, dict[str, Any]]]:
    several = {
        name: ["".join(map(str, parts)) for parts in values] for name, values in log.msg_info_multiple_dict.items()
    }
    records = [("information", {**log.msg_info_dict, **several}), ("parameters", log.initial_parameters)]
    if log.has_default_parameters:
        for number, whose in enumerate(("system", "airframe")):
            records.append((f"default parameters ({whose})", log.get_default_parameters(number)))
    return [(name, {key: _plain(value) for key, value in values.items()}) for name, values in records if values]


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if isinstance(value, int | str) else str(value)


def _json_lines(lines: list[tuple[int, dict[str, Any]]]) -> bytes:
    return b"".join(orjson.dumps({"stamp_ns": stamp_ns, **fields}) + b"\n" for stamp_ns, fields in lines)
