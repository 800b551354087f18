"""Reads messages of ours that an export wrote as CDR, with what stands beside them (see `exports.mcap_rests`)."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.bounds.unpacking import unpack_lz4
from horus_async.encodings import MisfitError, recorded_channel
from horus_async.encodings.rest import with_rest
from horus_async.errors import RecordingError
from horus_async.recorder.exports.mcap_export import CLASS, TOPIC
from horus_async.recorder.exports.mcap_rests import REST, REST_TYPE
from horus_async.recorder.limits import too_much
from horus_async.topics.codec import decode

from .source import Packed

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.encodings import RecordedChannel

    from .source import Enclosed

    Lines = dict[tuple[str, str], dict[str, Any]]
    """What an attachment says, by topic and publisher."""

_HELD = 8
"""Attachments that are kept in memory."""


def is_rest(attachment: Any) -> bool:
    """Whether an attachment is one of those."""
    return (attachment.name, attachment.media_type) == (REST, REST_TYPE)


def own_channel(schema: Any, channel: Any) -> RecordedChannel | None:
    """How to read a channel that an export wrote; None if it is another's, or of a class that is not known here."""
    metadata = channel.metadata
    if channel.message_encoding != "cdr" or CLASS not in metadata or schema is None:
        return None
    known = recorded_channel(metadata[CLASS], metadata.get(TOPIC, ""))
    if known is None or (schema.name, bytes(schema.data)) != (known.schema_name, known.schema_data):
        return None
    return known


class Rests:
    """What stands beside the messages of a file."""

    def __init__(self, enclosed: list[Enclosed], notes: list[str]) -> None:
        self._places: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        """By topic and publisher: the first and the last message that an attachment speaks of, and its number."""
        self.found = 0
        lines = lru_cache(_HELD)(lambda number: _lines(enclosed[number]))
        self._lines: Callable[[int], Lines] = lines
        for number in range(len(enclosed)):
            try:
                for key, line in lines(number).items():
                    self._places.setdefault(key, []).append((line["first"], line["last"], number))
                self.found += 1
            except Exception as error:  # noqa: BLE001 - of anybody's making
                notes.append(f"attachment {REST} {number + 1} cannot be read ({type(error).__name__}: {error})")
        for places in self._places.values():
            places.sort()

    def decoder(self, known: RecordedChannel, topic: str, publisher: str) -> Callable[[bytes, int], Packed]:
        """What makes payloads of a channel's messages and their sequence numbers."""
        places = self._places.get((topic, publisher), [])
        starts = [first for first, _, _ in places]

        def decoded(data: bytes, sequence: int) -> Packed:
            read = known.read(data)
            at = bisect_right(starts, sequence) - 1
            if at < 0 or sequence > places[at][1]:
                return Packed(orjson.dumps(read))
            rests = self._lines(places[at][2])[topic, publisher]["rests"]
            place = bisect_right(rests, sequence, key=lambda rest: rest[0]) - 1
            rest = rests[place][1] if place >= 0 else None
            if not rest:
                return Packed(orjson.dumps(read))
            whole = with_rest(read, rest)
            if known.write(whole) != data:
                raise MisfitError("what is kept beside it is of another message")
            payload = orjson.dumps(whole)
            decode(payload)  # whether a reader will understand it
            return Packed(payload)

        return decoded


def _lines(enclosed: Enclosed) -> Lines:
    text = unpack_lz4(enclosed.load())
    found: Lines = {}
    for row in text.splitlines():
        if (what := too_much(row)) is not None:
            raise RecordingError(f"it has {what}")
        line = orjson.loads(row)
        found[line["topic"], line["publisher"]] = line
        if not all(type(line[key]) is int for key in ("first", "last")) or not all(
            type(number) is int and isinstance(rest, list | None) for number, rest in line["rests"]
        ):
            raise RecordingError("it is no such attachment")
    return found
