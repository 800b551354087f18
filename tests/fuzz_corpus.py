"""What was found by attacks and fuzzers so far, made anew: each input once broke the law of `benchmarks.fuzz`.

Where an input was slow, it is made so large that a reader as slow as that one was would not end.
"""

from __future__ import annotations

import base64
import random
import struct
from typing import TYPE_CHECKING, Any

import lz4.frame
import orjson

from horus_async.blackbox import layout
from horus_async.recorder.frames import MAGIC, Seal, pack
from horus_async.topics.ring.layout import Word
from horus_async.topics.ring.region import header_crc

if TYPE_CHECKING:
    from collections.abc import Iterator

    Inputs = Iterator[tuple[str, str, bytes]]


def corpus() -> Inputs:
    """The target, what it is, and the input."""
    yield from _rings()
    yield from _payloads()
    yield from _recorded()
    yield from _boxes()
    yield from _traces()
    yield from _files_of_others()
    yield from _bodies()


def _rings() -> Inputs:
    from benchmarks.ring_damage import make

    whole = bytes(make(random.Random(1), checked=False, laps=0, grows=False).files[0])
    (data_at,) = struct.unpack_from("<Q", whole, 8 * Word.DATA_AT)

    def ring(**words: int) -> bytes:
        changed = bytearray(whole)
        for name, value in words.items():
            struct.pack_into("<Q", changed, 8 * Word[name], value)
        struct.pack_into("<Q", changed, 8 * Word.HEADER_CRC, header_crc(changed))
        return bytes(changed)

    yield "fuzz-ring", "whose next generation is itself", ring(NEXT=5, GENERATION=5)
    yield "fuzz-ring", "whose next generation is before it", ring(NEXT=1, GENERATION=7)
    yield "fuzz-ring", "of another version", ring(VERSION=3)
    yield "fuzz-ring", "without capacity", ring(CAPACITY=0)
    yield "fuzz-ring", "with a capacity beyond the file", ring(CAPACITY=1 << 40)
    yield "fuzz-ring", "whose newest message lies beyond the data", ring(LATEST=(1 << 62) + 4)
    yield "fuzz-ring", "whose oldest message is the last thinkable", ring(OLDEST=(1 << 64) - 8)
    yield "fuzz-ring", "whose schemas end before they begin", ring(SCHEMA_AT=4096, SCHEMA_LENGTH=(1 << 64) - 8)
    yield "fuzz-ring", "with publishers beyond the table", ring(PUBLISHERS=(1 << 64) - 1)
    yield (
        "fuzz-ring",
        "with a message longer than memory",
        whole[:data_at] + struct.pack("<Q", 1 << 62) + whole[data_at + 8 :],
    )
    yield "fuzz-ring", "cut short", whole[:2048]
    yield "fuzz-ring", "that is empty", b""


def _payloads() -> Inputs:
    yield "fuzz-payload", "an object of a library's class", b'{"$type":"threading.Thread","value":{"daemon":true}}'
    yield "fuzz-payload", "an array without end", b'{"$ndarray":{"dtype":"<f8","shape":[1099511627776],"data":""}}'
    yield "fuzz-payload", "an array of objects", b'{"$ndarray":{"dtype":"O","shape":[1],"data":"AAAAAAAAAAA="}}'
    yield "fuzz-payload", "an array with a letter of old", b'{"$ndarray":{"dtype":"|a4","shape":[1],"data":"AAAAAA=="}}'
    yield "fuzz-payload", "an integer of 5000 digits", b'{"$int":"' + b"9" * 5000 + b'"}'
    yield "fuzz-payload", "half a surrogate pair", b'{"a":"\\ud800"}'
    yield "fuzz-payload", "lists in lists", b"[" * 900 + b"]" * 900
    yield "fuzz-payload", "tuples in tuples", b'{"$tuple":[' * 400 + b"]}" * 400
    yield "fuzz-payload", "keys that are dicts", b'{"$dict":[[{"$dict":[]},1]]}'
    yield (
        "fuzz-payload",
        "a binary payload whose skeleton is longer than it",
        b"\0n" + struct.pack("<I", 1 << 31) + b"{}",
    )
    yield "fuzz-schema", "schemas in schemas", b'{"class":"a","fields":[["x",' * 300 + b'"int"' + b"]]}" * 300


def _recorded() -> Inputs:
    header = orjson.dumps({"kind": "header", "schema_version": 1, "session": "s", "node": "n", "sealed": True}) + b"\n"

    def sealed(*texts: bytes) -> bytes:
        frames = [pack(text, 1) for text in texts]
        key = Seal.of(frames[0], 0, 0).checksum
        return b"".join(frame + Seal.of(frame, number, key).pack() for number, frame in enumerate(frames))

    yield "fuzz-file", "nothing but beginnings of frames", MAGIC * 50_000
    yield "fuzz-file", "a header and zeros", sealed(header) + bytes(5000)
    yield "fuzz-file", "a line that would be 300 MB", sealed(header) + lz4.frame.compress(bytes(300 << 20))
    yield "fuzz-file", "lists in lists", sealed(header, b'{"kind":"tick","x":' + b"[" * 2000 + b"]" * 2000 + b"}\n")
    yield "fuzz-file", "a tick of 5000 digits", sealed(header, b'{"kind":"tick","tick":' + b"9" * 5000 + b"}\n")
    yield "fuzz-file", "a footer that names a path", sealed(header, b'{"kind":"footer","next":"../../x"}\n')
    yield (
        "fuzz-file",
        "an index of a billion rows",
        sealed(header) + b"HORUSIX1" + struct.pack("<III", 1 << 30, 1 << 31, 0) + b"HORUSIXE",
    )
    yield "fuzz-session", "a manifest that is a list", b"\6[]"
    yield "fuzz-session", "a manifest of lists in lists", b"\6" + b"[" * 100_000


def _boxes() -> Inputs:
    def box(*lines: bytes, length: int = 1 << 20, **fields: Any) -> bytes:
        said = {
            "schema_version": 1, "name": "b", "run": "r", "pid": 1, "started_at": "2026", "started_ns": 0,
            "size": 1 << 20, "segment_size": 1 << 16, "salt": 5, **fields,
        }  # fmt: skip
        page = layout.MAGIC + layout.make_line(orjson.dumps(said), layout.HEADER_SALT)
        salt = layout.line_salt(5, 1)
        text = b"".join(layout.make_line(line, salt) for line in lines)
        rest = layout.segment_rest(5, 1, 0, layout.RAW)
        segment = struct.pack("<QQ", len(text), 1 | layout.TAKEN) + rest + text
        parts = [(0, page), (layout.PAGE, segment)] if lines else [(0, page)]
        return struct.pack("<II", length, 0) + b"".join(struct.pack("<II", at, len(part)) + part for at, part in parts)

    yield "fuzz-blackbox", "whose segments are one byte", box(segment_size=33)
    yield "fuzz-blackbox", "whose segments are larger than any file", box(segment_size=(1 << 63) - 1)
    yield "fuzz-blackbox", "that says it is larger than any file", box(size=(1 << 63) - 1)
    yield "fuzz-blackbox", "whose size is below nothing", box(size=-5)
    yield "fuzz-blackbox", "an event with a seq of 5000 digits", box(b'{"seq":' + b"9" * 5000 + b',"run":"r"}')
    yield "fuzz-blackbox", "a form that is no JSON", box(b'{"form":1,"run":')
    yield "fuzz-blackbox", "a form whose number is a list", box(b'{"form":[1],"run":"r","event":"NodeTick"}')
    yield (
        "fuzz-blackbox",
        "a form with many places",
        box(b'{"form":1,"run":"r","event":"NodeTick","a":null,"b":null,"c":null}'),
    )


def _traces() -> Inputs:
    header = b'{"kind":"header","schema_version":1}\n'
    yield "fuzz-trace", "a header and lists in lists", header + b"[" * 5000 + b"\n"
    yield (
        "fuzz-trace",
        "a request with a seq of 5000 digits",
        header + b'{"kind":"request","seq":' + b"9" * 5000 + b"}\n",
    )
    yield "fuzz-trace", "gzip cut in its header", b"\x1f\x8b\x08"
    yield "fuzz-trace", "LZ4 that skips 4 GB", struct.pack("<II", 0x184D2A50, (1 << 32) - 1)
    yield "fuzz-trace", "half a surrogate pair", header + b'{"kind":"\\ud800"}\n'


def _files_of_others() -> Inputs:
    begin = b"rosbag2_bagfile_information:\n  relative_file_paths: [bag.mcap]\n  custom_data:\n"
    laughs = b"    a: &a [x, x]\n" + b"".join(
        b"    %c: &%c [*%c, *%c]\n" % (letter, letter, letter - 1, letter - 1) for letter in range(ord("b"), ord("z"))
    )
    yield "fuzz-bag2", "aliases of aliases", begin + laughs
    yield "fuzz-bag2", "lists in lists", b"rosbag2_bagfile_information: " + b"[" * 20_000
    yield "fuzz-bag2", "maps in maps", b"- " * 5000
    yield (
        "fuzz-ulog",
        "that ends in its definitions",
        b"ULog\x01\x12\x35\x01" + bytes(8) + struct.pack("<HB", 9, ord("F")),
    )
    cut = struct.pack("<HB", 20_000, 0) + b"?" * 5
    yield "fuzz-ulog", "that ends in a message of no known kind", b"ULog\x01\x12\x35\x01" + bytes(8) + cut
    yield "fuzz-mcap", "a chunk of a terabyte", b"\x89MCAP0\r\n" + struct.pack("<BQ", 6, 1 << 40) + bytes(100)
    yield "fuzz-mcap", "a record of minus one byte", b"\x89MCAP0\r\n" + struct.pack("<BQ", 1, (1 << 64) - 1)
    attachment = struct.pack("<QQIIQI", 1, 2, 0, 0, 0, 0)
    footer = struct.pack("<BQQQI", 2, 20, 0, 0, 0)
    record = struct.pack("<BQ", 9, len(attachment)) + attachment
    yield "fuzz-mcap", "an attachment before all else", b"\x89MCAP0\r\n" + record + footer + b"\x89MCAP0\r\n"
    yield "fuzz-bag1", "a header of 4 GB", b"#ROSBAG V2.0\n" + struct.pack("<I", (1 << 32) - 1)
    yield "fuzz-sqlite", "a page and no more", b"SQLite format 3\0" + bytes(84)
    yield "fuzz-definition", "an array of a terabyte", b"\1uint8[1099511627776] data\n"
    yield "fuzz-definition", "a type that holds itself", b"\1pkg/Thing thing\n"
    yield "fuzz-definition", "a number of 5000 digits", b"\1int8[" + b"9" * 5000 + b"] x\n"


def _bodies() -> Inputs:
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()
    odd = png[:12] + "\u202e" + png[13:]
    yield (
        "fuzz-act",
        "a letter in base64 that no alphabet has",
        orjson.dumps({"instruction": "pick up the red cup", "image": odd}),
    )
    digits = {"instruction": "9" * 400_000, "image": png}
    yield "fuzz-act", "a row of digits beside an image", orjson.dumps(digits)
    yield "fuzz-act", "lists in lists", b'{"x":' + b"[" * 500 + b"]" * 500 + b"}"
    yield "fuzz-act", "no object", b"[]"
    yield "fuzz-act", "half a surrogate pair", b'{"instruction":"\\ud800"}'
    yield "fuzz-msgpack", "an array that is longer than its data", b"\x81\xc4\x0b__ndarray__\xc3"
    old = b"\x81\xa1x\x84\xc4\x0b__ndarray__\xc3\xc4\x04data\xc4\x04abcd\xc4\x05dtype\xa3|a4\xc4\x05shape\x91\x01"
    yield "fuzz-msgpack", "an array with a letter of old", old
    yield "fuzz-msgpack", "a map of a billion", b"\xdf\x3f\xff\xff\xff"
    yield "fuzz-policy", "lists in lists", b"[" * 100_000
    yield "fuzz-policy", "an integer of 5000 digits", b'{"concurrency":' + b"9" * 5000 + b"}"
    yield "fuzz-policy", "half a surrogate pair", b'{"embodiment":"\\ud800"}'
    yield "fuzz-policy", "half a surrogate pair in an error", b'{"inputs":{"\\ud800":{"shape":0}}}'
    yield "fuzz-image", "a GIF cut off", b"GIF89a" + bytes(4)
