"""An MCAP file as its records, wherever they lie; what is damaged costs itself."""

from __future__ import annotations

import os
import zlib
from functools import cache, partial
from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, Any

from attrs import frozen

from horus_async.bounds.unpacking import most_entries, unpack_lz4, unpack_zstd
from horus_async.errors import RecordingError

from .source import Enclosed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Stored = tuple[int, int, int, bytes]
    """A message: its log time, channel, sequence number and data."""

_MAGIC_BYTES = 8
_RECORD_HEAD = 9
_LENGTH = Struct("<xQ")
_MESSAGE = Struct("<xQHIQ8x")
_MESSAGE_HEAD = _MESSAGE.size - _RECORD_HEAD
_CRC = 4
_UNPACK: dict[str, Callable[[bytes], bytes]] = {"": bytes, "lz4": unpack_lz4, "zstd": unpack_zstd}


@frozen
class Piece:
    """A chunk, or messages outside of chunks that follow each other."""

    number: int
    """In the order of the file."""
    offset: int
    count: int | None
    """Of the messages outside of chunks; None for a chunk."""
    first_ns: int
    last_ns: int


@cache
def _reader_class() -> Any:
    """The library's reader, which passes over the indexes of chunks: it would read them number by number."""
    from mcap.exceptions import EndOfFile
    from mcap.opcode import Opcode
    from mcap.records import MessageIndex
    from mcap.stream_reader import StreamReader

    class Reader(StreamReader):
        def _read_record(self, opcode: int, length: int) -> Any:
            if opcode == Opcode.MESSAGE_INDEX:
                if len(self._stream.read(length)) < length:
                    raise EndOfFile
                return MessageIndex(0, [])
            return super()._read_record(opcode, length)

    return Reader


def stored(message: Any) -> Stored:
    """A message that the library has read."""
    return message.log_time, message.channel_id, message.sequence, message.data


def of_chunk(chunk: Any) -> tuple[list[Stored], list[Any], int]:
    """The messages in a chunk, the library's records of the schemas and channels in it, and how many records are none.

    The library reads a message by five calls for its five fields, which takes longer than all else that is done with
    it; so messages are read here.

    Raises:
        Exception: it is damaged.
    """
    from mcap.data_stream import ReadDataStream
    from mcap.opcode import Opcode
    from mcap.records import Channel, Schema

    content = _content_of(chunk)
    end = len(content)
    messages: list[Stored] = []
    definitions: list[Any] = []
    of_message, of_schema, of_channel = int(Opcode.MESSAGE), int(Opcode.SCHEMA), int(Opcode.CHANNEL)
    at = too_short = 0
    most = most_entries(len(chunk.data))
    while at < end:
        code = content[at]
        if code == of_message:
            length, channel, sequence, stamp_ns = _MESSAGE.unpack_from(content, at)
            place, at = at, at + _RECORD_HEAD + length
            if length < _MESSAGE_HEAD:
                too_short += 1
            else:
                messages.append((stamp_ns, channel, sequence, content[place + _MESSAGE.size : at]))
                if len(messages) > most:
                    raise RecordingError(f"it holds more than {most} messages")
            continue
        (length,) = _LENGTH.unpack_from(content, at)
        place, at = at + _RECORD_HEAD, at + _RECORD_HEAD + length
        if code in {of_schema, of_channel}:
            kind = Schema if code == of_schema else Channel
            definitions.append(kind.read(ReadDataStream(BytesIO(content[place:at]))))
    if at > end:
        raise RecordingError("its last record goes on beyond its end")
    return messages, definitions, too_short


def _content_of(chunk: Any) -> bytes:
    unpack = _UNPACK.get(chunk.compression)
    if unpack is None:
        raise RecordingError(f"compression {chunk.compression!r:.40} is not known")
    content = unpack(chunk.data)
    if chunk.uncompressed_crc and zlib.crc32(content) != chunk.uncompressed_crc:
        raise RecordingError("its checksum is wrong")
    return content


class McapRecords:
    """Reads the records of a file. The library raises what its parts raise, hence the broad ``except``."""

    def __init__(self, stream: Any, notes: list[str]) -> None:
        self._stream = stream
        self._notes = notes
        self.size = stream.seek(0, os.SEEK_END)
        """Bytes of the file."""

    def all(self) -> Iterator[tuple[int, Any]]:
        """Every record with its offset, chunks as they are, to the end of the file.

        Behind damage it goes on with the next chunk that the file's index names, if it has one.
        """
        from mcap.stream_reader import CRCValidationError

        begin: int | None = 0
        while begin is not None:
            offset = begin
            try:
                for offset, record in self._from(begin):
                    yield offset, record
                return
            except CRCValidationError:  # of all that comes before the index
                self._notes.append("the checksum of the file's data is wrong: values may be damaged")
                begin = self._stream.tell()
            except Exception as error:  # noqa: BLE001
                begin = self._chunk_behind(offset)
                rest = "what comes after is lost" if begin is None else f"what comes before byte {begin} is lost"
                why = f"{type(error).__name__}: {error}".removesuffix(": ")
                self._notes.append(f"the file is cut off or damaged at byte {offset} ({why}): {rest}")

    def _from(self, begin: int) -> Iterator[tuple[int, Any]]:
        from mcap.records import Footer

        self._stream.seek(begin)
        limit = max(self.size, 1)
        is_whole = not begin  # only then is there a checksum to compare; a chunk has its own
        reader = _reader_class()(
            self._stream, skip_magic=not is_whole, emit_chunks=True, validate_crcs=is_whole, record_size_limit=limit
        )
        records = iter(reader.records)
        offset = begin or _MAGIC_BYTES
        while (record := next(records, None)) is not None:
            yield offset, record
            if isinstance(record, Footer):
                return
            offset = self._stream.tell()

    def _chunk_behind(self, offset: int) -> int | None:
        from mcap.reader import SeekingReader

        try:
            self._stream.seek(0)
            summary = SeekingReader(self._stream, validate_crcs=True).get_summary()
        except Exception:  # noqa: BLE001
            return None
        indexes = [] if summary is None else summary.chunk_indexes
        starts = [index.chunk_start_offset for index in indexes if offset < index.chunk_start_offset < self.size]
        return min(starts, default=None)

    def of_piece(self, piece: Piece) -> list[Stored]:
        """The messages of a piece, in the order of the file."""
        from mcap.records import Chunk, Message

        messages: list[Stored] = []
        for _, record in self._from(piece.offset):
            if piece.count is None:
                assert isinstance(record, Chunk)
                return of_chunk(record)[0]
            if isinstance(record, Message):
                messages.append(stored(record))
                if len(messages) == piece.count:
                    break
        return messages

    def enclosed(self, offset: int, attachment: Any) -> Enclosed:
        """An attachment, which is read again when it is wanted."""
        load = partial(self._load, offset, attachment.name)
        return Enclosed(attachment.name, attachment.media_type, attachment.log_time, attachment.create_time, load)

    def _load(self, offset: int, name: str) -> bytes:
        _, attachment = next(self._from(offset))
        self._stream.seek(offset)
        head = self._stream.read(_RECORD_HEAD)
        content = self._stream.read(min(int.from_bytes(head[1:], "little"), self.size))  # a file may promise anything
        promised = int.from_bytes(content[-_CRC:], "little")
        if promised and promised != zlib.crc32(content[:-_CRC]):
            self._notes.append(f"attachment {name}: its checksum is wrong: it may be damaged")
        return bytes(attachment.data)
