"""MCAP files, through ``mcap``.

A file is read by its records, not by its index: whether it has chunks, an index or an end makes no difference to what
is read, and in which order. A first pass finds the pieces of the file, and the second merges them by log time. So
memory holds the pieces whose times overlap, and no more.
"""

from __future__ import annotations

import heapq
import itertools
from math import isfinite
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson

from horus_async.bounds.unpacking import most_entries, most_of_file
from horus_async.errors import TopicNameError
from horus_async.recorder.exports.mcap_export import PUBLISHERS, REGULAR, RESTS, SESSION, TOPIC
from horus_async.recorder.exports.mcap_rests import REST
from horus_async.recorder.exports.output import need
from horus_async.topics.ring.names import check_topic_name

from .mcap_records import McapRecords, Piece, of_chunk, stored
from .mcap_rests import Rests, is_rest, own_channel
from .mcap_values import decoder_of
from .source import ALL_TOPICS, LEFT_OUT, Source, SourceMessage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from .mcap_records import Stored
    from .source import Enclosed

    Decode = Callable[[Any], Any]

_RUN_BYTES = 1 << 20


def open_mcap(path: Path, stack: ExitStack) -> Source:
    """Open an MCAP file.

    Raises:
        RecordingError: The package ``mcap`` is missing.
    """
    try:
        import mcap as _  # noqa: F401 - whether it is there
    except ImportError:
        raise need("mcap", "mcap", "importing MCAP files") from None
    return _Mcap(stack.enter_context(path.open("rb")))


class _Mcap(Source):
    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._records = McapRecords(stream, self.notes)
        survey = _Survey(self._records, self)
        self._pieces = survey.pieces
        self._schemas, self._channels = survey.schemas, survey.channels
        self._publishers = self._name_publishers()
        self._rests = Rests(survey.rests, self.notes)
        if (told := survey.told_rests or 0) > self._rests.found:
            self.notes.append(
                f"{told - self._rests.found} of {told} attachments {REST} are missing: numbers and arrays of their "
                "messages are as CDR has them"
            )
        self.named = _named(self._channels)
        self._made: dict[Any, Decode] = {}
        for number, (count, first_ns, last_ns) in survey.flows.items():
            channel = self._channels.get(number)
            if channel is None:
                name = f"(channel {number})"
                for _ in range(count):
                    self.faults.add(name, first_ns, LEFT_OUT, "the file does not describe their channel")
            else:
                self.see_all(channel.topic, self._publishers[number], count, first_ns, last_ns)
        self._note_claims(survey.statistics)

    def messages(self) -> Iterator[SourceMessage]:
        routes: dict[int, tuple[Decode | None, Any, str, str, bool]] = {}
        for stamp_ns, number, sequence, data in self._in_order():
            route = routes.get(number)
            if route is None:
                route = routes[number] = self._route(number)
            decode, decode_own, topic, publisher, is_ours = route
            try:
                value = decode_own(data, sequence) if decode is None else decode(data)
            except Exception as error:  # noqa: BLE001 - as in Source.decoded, which one call more would be
                value = self.undecoded(topic, stamp_ns, data, error)
            yield SourceMessage(stamp_ns, topic, publisher, value, data, sequence if is_ours else None)

    def _route(self, number: int) -> tuple[Decode | None, Any, str, str, bool]:
        channel, publisher = self._channels[number], self._publishers[number]
        schema = self._schemas.get(channel.schema_id)
        is_ours = PUBLISHERS in channel.metadata  # of others a sequence number may mean anything
        own = own_channel(schema, channel)
        if own is not None:
            return None, self._rests.decoder(own, channel.topic, publisher), channel.topic, publisher, is_ours
        return decoder_of(schema, channel, self._made), None, channel.topic, publisher, is_ours

    def _in_order(self) -> Iterator[Stored]:
        """The messages by log time, and at one time in the order of the file."""
        wanted = {number for number, channel in self._channels.items() if self.takes(channel.topic)}
        pieces = sorted(self._pieces, key=lambda piece: (piece.first_ns, piece.number))
        waiting: list[tuple[int, int, int, Stored]] = []
        for place, piece in enumerate(pieces):
            while waiting and waiting[0][:2] < (piece.first_ns, piece.number):
                yield heapq.heappop(waiting)[3]
            messages = [message for message in self._records.of_piece(piece) if message[1] in wanted]
            if not waiting and (place + 1 == len(pieces) or piece.last_ns < pieces[place + 1].first_ns):
                messages.sort(key=itemgetter(0))
                yield from messages
                continue
            for position, message in enumerate(messages):
                heapq.heappush(waiting, (message[0], piece.number, position, message))
        while waiting:
            yield heapq.heappop(waiting)[3]

    def _name_publishers(self) -> dict[int, str]:
        """Who published on each channel. Several channels of one topic, of which nothing is said, are several."""
        names: dict[int, str] = {}
        unnamed: dict[str, int] = {}
        told_of = {number: _told_publishers(channel) for number, channel in self._channels.items()}
        taken = {name for told in told_of.values() for name in told}
        free = (name for count in itertools.count(2) if (name := f"bag_{count}") not in taken)
        spare = [""]
        for number, channel in self._channels.items():
            told = told_of[number]
            if len(told) > 1:
                self.notes.append(
                    f"topic {channel.topic} has messages of {', '.join(told)}, and the file does not say which are "
                    "whose: they are of the node bag"
                )
            if len(told) == 1:
                names[number] = told[0]
            else:
                count = unnamed[channel.topic] = unnamed.get(channel.topic, 0) + 1
                spare += itertools.islice(free, max(count - len(spare), 0))
                names[number] = spare[count - 1]
        return names

    def _note_claims(self, statistics: Any) -> None:
        if statistics is None:
            return
        if not statistics.channel_message_counts:
            self.expected = {ALL_TOPICS: statistics.message_count}
        for number, count in statistics.channel_message_counts.items():
            channel = self._channels.get(number)
            topic = f"(channel {number})" if channel is None else channel.topic
            self.expected[topic] = self.expected.get(topic, 0) + count


class _Survey:
    """The first pass over a file."""

    def __init__(self, records: McapRecords, source: Source) -> None:
        self.pieces: list[Piece] = []
        self.schemas: dict[int, Any] = {}
        self.channels: dict[int, Any] = {}
        self.statistics: Any = None
        self.rests: list[Enclosed] = []
        self.told_rests: int | None = None
        self.flows: dict[int, tuple[int, int, int]] = {}
        """By channel: the number of its messages, and the lowest and the highest stamp."""
        self._records = records
        self._source = source
        self._run: list[Stored] = []
        self._run_offset = self._run_bytes = 0
        self._size = records.size
        self._unpacked = self._count = 0
        self._full = False
        for offset, record in records.all():
            self._take(offset, record)
        self._end_run()

    def _take(self, offset: int, record: Any) -> None:
        kind = type(record).__name__
        if kind == "Message":
            if not self._run:
                self._run_offset = offset
            self._run.append(stored(record))
            self._run_bytes += len(record.data)
            if self._run_bytes >= _RUN_BYTES:
                self._end_run()
        elif kind == "Chunk":
            self._end_run()
            self._take_chunk(offset, record)
        elif kind == "Attachment":
            into = self.rests if is_rest(record) else self._source.enclosed
            into.append(self._records.enclosed(offset, record))
        elif kind == "Metadata" and record.name == SESSION:
            self._source.start_ns = _whole(record.metadata.get("start_ns"))
            self._source.tick_rate = _rate(record.metadata)
            self.told_rests = _whole(record.metadata.get(RESTS))
        elif kind == "Metadata":
            self._source.metadata.append((record.name, dict(record.metadata)))
        elif kind == "Statistics":
            self.statistics = record
        else:
            self._define(kind, record)

    def _define(self, kind: str, record: Any) -> None:
        if kind == "Schema":
            self.schemas[record.id] = record
        elif kind == "Channel":
            self.channels[record.id] = record

    def _take_chunk(self, offset: int, chunk: Any) -> None:
        if self._full:
            return
        try:
            messages, definitions, too_short = of_chunk(chunk)
        except Exception as error:  # noqa: BLE001 - see McapRecords
            self._source.notes.append(
                f"a chunk at byte {offset} is cut off or damaged ({type(error).__name__}: {error}): "
                "its messages are lost"
            )
            return
        if too_short:
            self._source.notes.append(
                f"a chunk at byte {offset} is damaged: {too_short} messages in it are shorter than their head, and lost"
            )
        for record in definitions:
            self._define(type(record).__name__, record)
        if chunk.compression:
            self._unpacked += sum(len(message[3]) for message in messages)
            self._count += len(messages)
        if self._unpacked > most_of_file(self._size) or self._count > most_entries(self._size):
            self._full = True
            self._source.notes.append(
                f"the chunks become more than {most_of_file(self._size)} bytes or {most_entries(self._size)} messages, "
                f"the most that are read of a file of this size: those from byte {offset} on are lost"
            )
            return
        self._add_piece(offset, messages, None)

    def _end_run(self) -> None:
        self._add_piece(self._run_offset, self._run, len(self._run))
        self._run, self._run_bytes = [], 0

    def _add_piece(self, offset: int, messages: list[Stored], count: int | None) -> None:
        if not messages:
            return
        by_channel: dict[int, list[int]] = {}
        for stamp_ns, channel, _, _ in messages:
            stamps = by_channel.get(channel)
            if stamps is None:
                by_channel[channel] = [stamp_ns]
            else:
                stamps.append(stamp_ns)
        for channel, stamps in by_channel.items():
            earlier, first_ns, last_ns = self.flows.get(channel, (0, stamps[0], stamps[0]))
            found = len(stamps)
            stamps.extend((first_ns, last_ns))
            self.flows[channel] = earlier + found, min(stamps), max(stamps)
        of_all = [message[0] for message in messages]
        self.pieces.append(Piece(len(self.pieces), offset, count, min(of_all), max(of_all)))


def _told_publishers(channel: Any) -> list[str]:
    """Whom a channel names as its publishers."""
    metadata = channel.metadata
    try:
        names = orjson.loads(metadata.get(PUBLISHERS, "[]"))
    except orjson.JSONDecodeError:
        names = []
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    caller = metadata.get("callerid", "")
    return [caller] if caller else []


def _named(channels: dict[int, Any]) -> dict[str, str]:
    """The names that the file gives to the topics of the session, from those in the file; none where it gives two."""
    told: dict[str, set[str]] = {}
    for channel in channels.values():
        told.setdefault(channel.topic, set()).add(channel.metadata.get(TOPIC, ""))
    return {topic: name for topic, (name, *more) in told.items() if not more and _is_topic_name(name)}


def _is_topic_name(name: str) -> bool:
    try:
        check_topic_name(name)
    except TopicNameError:
        return False
    return True


def _rate(told: dict[str, str]) -> float | None:
    """The tick rate of a session whose ticks follow from it."""
    try:
        rate = float(told.get("tick_rate", "")) if told.get(REGULAR) == "true" else 0.0
    except ValueError:
        return None
    return rate if isfinite(rate) and rate > 0 else None


def _whole(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
