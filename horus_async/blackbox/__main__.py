"""Print a black box with nothing but Python and lz4: ``python -m horus_async.blackbox FILE``.

A second, independent reader that shares no code with the package: the file can be copied to another machine together
with the box. Prints the JSON of one event per line, oldest first, and reports damage on standard error. Exit code 0, or
2 when the file cannot be read. ``layout.py`` beside this file and docs/blackbox.md describe the format.
"""

from __future__ import annotations

import json
import re
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import lz4.block

PAGE = 4096
MAGIC = b"HORUS-BLACKBOX 1\n"
TAKEN = 1 << 63
MARK = b"\xb5"
MOST_UNPACKED = 17
"""As many times as large as its segment can a block become."""
START = re.compile(MARK + rb"|[0-9a-f]{8} \{")
FATAL = b"Fatal Python error: "
SIGNALS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}


def checked_line(line: bytes, salt: int) -> bytes | None:
    """The JSON of a line, or None when it fails its checksum."""
    return line[9:] if line[:9] == b"%08x " % zlib.crc32(line[9:], salt) else None


def salt_of(generation: int, file_salt: int) -> int:
    """What the checksums in a segment start from."""
    return zlib.crc32(struct.pack("<Q", generation), file_salt)


def file_header(data: bytes) -> dict[str, Any]:
    """The JSON header at the start of the file, or else its copy."""
    for offset in (0, 2048):
        magic, _, rest = data[offset : offset + 2048].partition(b"\n")
        body = checked_line(rest.partition(b"\n")[0], 0x31424248)
        if magic + b"\n" == MAGIC and body is not None:
            header: dict[str, Any] = json.loads(body)
            return header
    raise ValueError("it has no readable header")


def collect(content: bytes, used: int, salt: int, events: dict[int, bytes]) -> int:
    """Add the events of a raw segment; returns how many places in it are damaged."""
    damaged = position = 0
    forms: dict[int, dict[str, Any]] = {}
    while position < len(content):
        end = take(content, position, salt, forms, events)
        if end < 0 and position >= used:
            break
        if end < 0:
            damaged += 1
            starts = (match.start() for match in START.finditer(content, position + 1))
            end = next((start for start in starts if take(content, start, salt, forms, events) > 0), len(content))
        position = end
    return damaged


def take(content: bytes, start: int, salt: int, forms: dict[int, dict[str, Any]], events: dict[int, bytes]) -> int:
    """Add the form or event at ``start``; returns where it ends, or -1 when nothing there is whole."""
    if content[start : start + 1] == MARK and start + 48 <= len(content):
        fields, check = content[start : start + 44], content[start + 44 : start + 48]
        if check != struct.pack("<I", zlib.adler32(fields, salt & 0x7FFF7FFF)):
            return -1
        word, first, second, seq, tick, time_ns = struct.unpack("<IQQQQq", fields)
        form = dict(forms.get(word >> 8, ()))
        if not form:
            return -1
        numbers = iter((first // 1000, second // 1000))
        place = {"seq": seq, "run": form.pop("run"), "tick": tick, "time_ns": time_ns}
        own = {key: next(numbers) if value is None else value for key, value in form.items()}
        events[seq] = compact({**place, **own})
        return start + 48
    end = content.find(b"\n", start)
    body = checked_line(content[start:end], salt) if end >= 0 else None
    if body is None:
        return -1
    data = json.loads(body)
    if "form" in data:
        forms[data.pop("form")] = data
    else:
        events[data["seq"]] = body
    return end + 1


def compact(data: dict[str, Any]) -> bytes:
    """JSON without spaces, as in the file."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


def collect_blocks(content: bytes, used: int, salt: int, file_salt: int, events: dict[int, bytes]) -> int:
    """Add the events of a sealed segment; returns how many places in it are damaged."""
    damaged = position = 0
    while position < used:
        header = content[position : position + 36]
        if len(header) < 36 or header[12:16] != struct.pack("<I", zlib.crc32(header[:12] + header[16:], salt)):
            return damaged + 1
        packed, unpacked, _, generation, _ = struct.unpack("<4xIIIQQ4x", header)
        position += 36 + packed
        if unpacked > MOST_UNPACKED * len(content):
            damaged += 1
            continue
        try:
            lines = lz4.block.decompress(content[position - packed : position], uncompressed_size=unpacked)
        except lz4.block.LZ4BlockError:
            damaged += 1
            continue
        damaged += collect(lines, unpacked, salt_of(generation, file_salt), events)
    return damaged


def add_fatal(text: bytes, header: dict[str, Any], events: dict[int, bytes]) -> None:
    """Add what a fatal signal left after the segments, as the last two events of the run."""
    if not text.startswith(FATAL):
        return
    dump = text.partition(b"\0")[0].decode("utf-8", "replace")
    what = dump[len(FATAL) :].partition("\n")[0].strip()
    signal = SIGNALS.get(what, what)
    last = json.loads(events[max(events)]) if events else {"seq": -1, "tick": 0, "time_ns": header["started_ns"]}
    error = f"Fatal Python error: {what} ({signal})"
    for event in (
        {"event": "NodeError", "name": header["name"], "error": error, "traceback": dump},
        {"event": "SchedulerStop", "reason": f"signal {signal}", "total_ticks": last["tick"] + 1},
    ):
        place = {"seq": last["seq"] + 1, "run": header["run"], "tick": last["tick"], "time_ns": last["time_ns"]}
        last = {**place, **event}
        events[last["seq"]] = compact(last)


def printable(text: str) -> str:
    """JSON with escapes for what a terminal would take for more than text; its values stay what they are."""
    return text if text.isprintable() else "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def read(data: bytes) -> tuple[dict[int, bytes], int]:
    """The events of a whole file by seq, and how many damaged places it has."""
    header = file_header(data)
    size, file_salt = header["segment_size"], header["salt"]
    events: dict[int, bytes] = {}
    damaged = last = 0
    oldest, newest = struct.unpack_from("<QQ", data, 4072)
    for offset in range(PAGE, len(data) - size + 1, size):
        used, word, _, kind, check = struct.unpack_from("<QQQII", data, offset)
        if word == 0:
            continue
        if check != zlib.crc32(data[offset + 8 : offset + 28], file_salt):
            damaged += 1
            continue
        content, salt = data[offset + 32 : offset + size], salt_of(word & ~TAKEN, file_salt)
        if kind == 1:
            last = max(last, word & ~TAKEN)
            damaged += collect(content, used, salt, events)
        else:
            damaged += collect_blocks(content, used, salt, file_salt, events)
    damaged += (min(events, default=oldest) > oldest) + (newest > last or (newest == 0 and last > 1))
    add_fatal(data[PAGE + (header["size"] - PAGE) // size * size :], header, events)
    return events, damaged


def main(arguments: list[str]) -> int:
    """Print the box named by the only argument."""
    if len(arguments) != 1:
        print("usage: python -m horus_async.blackbox FILE", file=sys.stderr)
        return 2
    try:
        events, damaged = read(Path(arguments[0]).read_bytes())
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{printable(arguments[0])} cannot be read: {printable(str(error))}", file=sys.stderr)
        return 2
    for seq in sorted(events):
        print(printable(events[seq].decode(errors="replace")))
    if damaged:
        print(f"{damaged} damaged places were left out", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
