"""Compact records: events that come by the thousand per second take 48 bytes each instead of 170.

Events of one kind and node differ only in two numbers, so the rest of their JSON is written once per piece of a
segment, as a *form*: a line like that of an event, with the form's number in place of ``seq`` and ``null`` where a
number belongs::

    {"form":1,"run":"...","event":"NodeTick","name":"arm","duration_us":null,"success":true}

Records stand between the lines of a raw segment, each after its form. No line begins with their first byte, ``MARK``.

    0   form        32 bits: MARK, and the form's number times 256
    4   first       64 bits: a duration in nanoseconds; the form's first null stands for it, in microseconds
    12  second      64 bits: the same for the second null; 0 where there is only one
    20  seq         64 bits
    28  tick        64 bits
    36  time_ns     64 bits, signed
    44  check       32 bits: Adler-32 (RFC 1950) of the other 44 bytes, starting from the segment's salt with bits 15
                    and 31 cleared (so that both halves are valid)

Adler-32 rather than the CRC-32 of lines: over so few bytes it catches any change to one or two of them just as surely,
in a quarter of the time.

The run waits only while the numbers are stored. Turning them into JSON is left to readers.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import adler32

import orjson

from horus_async.native import core

MARK = 0xB5
RECORD_SIZE = 48
FORM_BEGINNING = b'{"form":'
LONGEST_FORM = 400
"""Bytes of a form's JSON. Longer ones gain nothing."""

_FIELDS = Struct("<IQQQQq")
_CHECK = Struct("<I")
_WHOLE = Struct("<44sI")
_VALID_HALVES = 0x7FFF_7FFF
_NUMBERS = 2
"""Of its own that a record has."""

pack_fields = _FIELDS.pack
"""The first 44 bytes of a record, from its six fields."""

store_record = _WHOLE.pack_into
"""Stores a record: takes a buffer, an offset, the first 44 bytes and the check."""


def record_salt(salt: int) -> int:
    """What the checks of a segment's records start from, given the segment's salt."""
    return salt & _VALID_HALVES


class FormCore:
    """What the native core has to know of a form."""

    __slots__ = ("limit", "word")

    word: int
    """The first field of its records."""
    limit: int
    """The last offset in the current segment where a record may begin; -1 while the form itself is not in it."""


if not TYPE_CHECKING and core is not None:
    FormCore = core.FormCore


class Form(FormCore):
    """What the records of one kind and node share, for the writer."""

    __slots__ = ("json",)

    def __init__(self, word: int, json: bytes) -> None:
        self.word = word
        self.json = json
        self.limit = -1

    @classmethod
    def make(cls, number: int, run: bytes, event: dict[str, Any]) -> Form | None:
        """A form, or None when its JSON would be too long.

        Args:
            number: counts the forms of a box from 1.
            run: JSON text of the run's id.
            event: its JSON fields from ``event`` on, with None for the numbers.
        """
        body = FORM_BEGINNING + b'%d,"run":%b,' % (number, run) + orjson.dumps(event)[1:]
        return cls(MARK | number << 8, body) if len(body) <= LONGEST_FORM and number < 2**24 else None


class Shape(NamedTuple):
    """A form as readers use it: a template for the JSON of its records."""

    number: int
    template: bytes
    fields: int
    """How many numbers the template takes."""

    @classmethod
    def of(cls, body: bytes) -> Shape:
        """Parse the JSON of a form's line.

        Raises:
            ValueError: it is not the JSON of a form.
        """
        fields = orjson.loads(body)
        try:
            number, run = fields.pop("form"), fields.pop("run")
        except KeyError as error:
            raise ValueError(f"a form has no {error}") from None
        holes = sum(value is None for value in fields.values())
        if type(number) is not int or holes > _NUMBERS:
            raise ValueError(f"a form with the number {number!r} and {holes} places for numbers")
        own = b",".join(
            b"%b:%b" % (_literal(key), b"%d" if value is None else _literal(value)) for key, value in fields.items()
        )
        return cls(number, b'{"seq":%%d,"run":%b,"tick":%%d,"time_ns":%%d,%b}' % (_literal(run), own), 3 + holes)

    def render(self, record: CompactFields) -> bytes:
        """The JSON of a record's event."""
        return self.template % record[: self.fields]


class CompactFields(NamedTuple):
    """The content of a record, in the order of its JSON."""

    seq: int
    tick: int
    time_ns: int
    first_us: int
    second_us: int
    form: int


def read_tick(record: bytes) -> int:
    """The tick of a record, given its bytes."""
    tick: int = _FIELDS.unpack_from(record)[4]
    return tick


def _literal(value: Any) -> bytes:
    return orjson.dumps(value).replace(b"%", b"%%")


def open_record(content: bytes, offset: int, salt: int) -> CompactFields | None:
    """The record at an offset, or None when none there passes its checksum."""
    fields = content[offset : offset + _FIELDS.size]
    if len(content) - offset < RECORD_SIZE or fields[0] != MARK:
        return None
    if _CHECK.unpack_from(content, offset + _FIELDS.size)[0] != adler32(fields, record_salt(salt)):
        return None
    word, first, second, seq, tick, time_ns = _FIELDS.unpack(fields)
    return CompactFields(seq, tick, time_ns, first // 1000, second // 1000, word >> 8)
