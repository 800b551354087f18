"""How inputs are changed: bytes, texts with numbers, and the values of JSON."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    Change = Callable[[bytes, Sequence[bytes], random.Random], bytes]
    """Takes an input, all valid ones, and chance."""

_WORDS = [0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
_LONG_WORDS = [*_WORDS, 1 << 32, 1 << 48, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
_NUMBERS = [*(b"%d" % word for word in _LONG_WORDS), b"-1", b"1" + b"0" * 20, b"9" * 5000, b"0.5", b"1e999"]
_LARGEST = 1 << 18
"""Bytes: what is repeated does not grow for ever."""

_TOKENS = [
    b"", b"\0", b"\n", b"\r\n", b"-", b"-0", b"1e400", b"-1", b"9" * 30, b"0.1", b"NaN", b"null", b"true", b'"', b"\\",
    b"{", b"}", b"[", b"]", b",", b":", b"[" * 2000, b'{"a":' * 500, b"$", b'"$type"', b"\xff\xfe", b"\xed\xa0\x80",
    b"\\ud800", b"\xe2\x80\xae", b"\x1b[2J", b"../../x", b"/dev/null", b"%s%n", b"A" * 300,
]  # fmt: skip

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 0.0, -0.0, 1e308, 5e-324, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, 2**63, -(2**63),
    2**64, 10**400, float("inf"), float("nan"), "", " ", "a", "\0", "\n", "\ud800", "\u202e", "\x1b[2J",
    "x" * 300, "..", "../x", "/", "$type", "nan", "1", "1e999", "2026-01-01T00:00:00Z", "[/]", [], {}, [[]], [{}],
    [None], [0], [""], {"": 0}, {"$bytes": "!"}, {"$ndarray": 1},
    {"$ndarray": {"dtype": "<f8", "shape": [2**40], "data": ""}},
    {"$float": "x"}, {"$int": "9" * 5000}, {"$tuple": 0}, {"$dict": [[[], 0]]}, {"$datetime": "9999"},
    {"$type": "threading.Lock", "value": {}}, {"$type": "horus_async.messages.CmdVel", "value": {"linear": "fast"}},
    {"$type": "", "value": 0}, {"$type": 1},
]  # fmt: skip
"""What stands in JSON where something else was expected."""


def change_bytes(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Do one to four of the things that happen to bytes, or that somebody does to them on purpose."""
    for _ in range(1 if chance.random() < 0.5 else chance.randrange(2, 5)):
        data = chance.choice(_CHANGES)(data or b"\0", others, chance)[:_LARGEST]
    return data


def _flip(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _set_byte(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _cut(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _remove(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice([1, 2, 4, 8, 16, 100]) :]


def _insert(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice([1, 2, 4, 8, 100])) + data[at:]


def _token(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    token = chance.choice(_TOKENS)
    return data[:at] + token + data[at + chance.choice([0, 0, 1, len(token)]) :]


def _word(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    form = chance.choice(["<H", "<I", "<I", "<Q", ">H", ">I"])
    size = struct.calcsize(form)
    at = chance.randrange(len(data))
    if chance.random() < 0.3 and at + size <= len(data):
        word = struct.unpack_from(form, data, at)[0] + chance.choice([-8, -1, 1, 8])
    else:
        word = chance.choice(_LONG_WORDS if size == 8 else _WORDS)
    return data[:at] + struct.pack(form, word % (1 << 8 * size)) + data[at + size :]


def _repeat(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at, to = sorted(chance.randrange(len(data) + 1) for _ in "12")
    times = chance.choice([2, 2, 3, 50]) if to - at < 1000 else 2
    return data[:at] + data[at:to] * times + data[to:]


def _splice(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(others)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def _fill(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    at, to = sorted(chance.randrange(len(data) + 1) for _ in "12")
    return data[:at] + chance.choice([b"\0", b"\xff", b"1", b" "]) * (to - at) + data[to:]


def _number(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Another number in the place of one in a text."""
    at = chance.randrange(len(data))
    begin = next((place for place in range(at, len(data)) if 48 <= data[place] < 58), None)
    if begin is None:
        return _flip(data, (), chance)
    end = begin
    while end < len(data) and 48 <= data[end] < 58:
        end += 1
    return data[:begin] + chance.choice(_NUMBERS) + data[end:]


_CHANGES: list[Change] = [
    _flip, _flip, _set_byte, _cut, _remove, _insert, _token, _word, _word, _repeat, _splice, _fill, _number,
]  # fmt: skip


def change_json(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change the values in a JSON text, or now and then its bytes."""
    if chance.random() < 0.3:
        return change_bytes(data, others, chance)
    try:
        value = json.loads(data)
        for _ in range(chance.choice([1, 1, 1, 2, 4])):
            value = change_value(value, chance)
        return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
    except (ValueError, RecursionError):  # it was changed before, or is deeper than Python writes
        return change_bytes(data, others, chance)


def change_lines(data: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """Change the values in one of several lines of JSON, or their order, or now and then the bytes."""
    lines = data.splitlines(keepends=True)
    kind = chance.randrange(10)
    if kind < 3 or not lines:
        return change_bytes(data, others, chance)
    at, to = chance.randrange(len(lines)), chance.randrange(len(lines))
    if kind == 3:
        lines[at], lines[to] = lines[to], lines[at]
    elif kind == 4:
        lines.insert(to, lines[at])
    elif kind == 5:
        del lines[at]
    else:
        lines[at] = change_json(lines[at], lines, chance) + b"\n"
    return b"".join(lines)


def change_value(value: Any, chance: random.Random) -> Any:
    """A value of JSON with one thing in it changed."""
    if isinstance(value, dict | list) and value and chance.random() < 0.85:
        return _change_inside(value, chance)
    kind = chance.randrange(6)
    if kind == 0 and type(value) in (int, float):
        return value + chance.choice([-1, 1, 2**32] if type(value) is int else [-1.0, 0.5])
    if kind == 1 and isinstance(value, str):
        return value + chance.choice(["x", "\0", "\n", "\ud800", "/", "é", "\u202e"])
    if kind == 2:
        return [value] * chance.choice([1, 2, 30])
    if kind == 3:
        return {chance.choice(["", "$type", "$x", "a"]): value}
    return _deep(value, chance) if kind == 4 and chance.random() < 0.1 else chance.choice(VALUES)


def _change_inside(value: Any, chance: random.Random) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = chance.choice(keys)
    changed = value.copy()
    kind = chance.randrange(12)
    if kind == 0:
        del changed[key]
    elif kind == 1 and isinstance(value, dict):
        changed[chance.choice(["", "$type", "kind", key + "x", "\ud800"])] = changed.pop(key)
    elif kind == 2:
        other = chance.choice(keys)
        changed[key], changed[other] = changed[other], changed[key]
    else:
        changed[key] = change_value(value[key], chance)
    return changed


def _deep(value: Any, chance: random.Random) -> Any:
    for _ in range(chance.choice([100, 260, 900])):
        value = [value] if chance.random() < 0.5 else {"a": value}
    return value
