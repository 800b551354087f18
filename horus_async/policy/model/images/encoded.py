"""Images as bytes and as text: base64, hexadecimal digits, ``data:`` URLs, bytes as Python shows them, lists."""

from __future__ import annotations

import binascii
import json
import re
from typing import TYPE_CHECKING, Any

from .pixels import is_image_numbers
from .signatures import has_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHORTEST = 24
"""Characters of base64 from which on a piece of an image counts as one."""

# The same as base64, where one may begin behind other letters: JPEG, PNG, GIF, WebP, TIFF.
_SIGNATURE_BASE64 = re.compile(
    r"[/_]9j[/_][2-7]|iVBORw0KGgo|R0lGOD[dl]h|UklGR[\w+/-]{7}RUJQ|SUkqA[A-P]|TU0AK[g-v]", re.ASCII
)

_LETTER = "[A-Za-z0-9+/_-]"
_ESCAPED = r"(?:\\{1,16}/|\\{1,16}u002[bBfF]|%2[bBfF])"
_RUN = re.compile(f"{_LETTER}{{{SHORTEST},}}")
_ESCAPED_LETTER = re.compile(_ESCAPED)
_ESCAPED_RUN = re.compile(f"(?:{_LETTER}|{_ESCAPED}){{{SHORTEST},}}")
_BREAK = re.compile(r"(?:\r?\n|\\{1,16}r\\{1,16}n|\\{1,16}n|%0[dD]%0[aA]|%0[aA])[ \t]*")
_IN_LINES = re.compile(rf"(?:{_LETTER}|{_ESCAPED}|=|(?:\r?\n|\\{{1,16}}[rn]|%0[dDaA])[ \t]*)++")
_LINE = re.compile(rf"{_LETTER}++=*\s*")
_BREAKS = re.compile(r"(?:\s|\\{1,16}[rn]|%0[aAdD])+")
_PADDING = re.compile(r"(?:=|\\{1,16}u003[dD]|%3[dD]){0,2}")
_LINE_LENGTHS = range(SHORTEST, 129)
_LONG = 256
_LONG_HEX = 512
_LOOKED_AT = 4096
_HEX = re.compile(r"(?:0[xX])?([0-9a-fA-F]+)")
_HEX_BETWEEN = re.compile(r"[0-9a-fA-F_-]+")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_JWT_BEFORE = re.compile(r"eyJ[\w-]+\.[\w-]+\.\Z", re.ASCII)
_URL_BEFORE = re.compile(r"data:[^,\s]{0,200},\s*\Z", re.IGNORECASE)
_IMAGE_URL = re.compile(r":[iI][mM][aA][gG][eE]/[^,\s]{0,200}?(?:;base64,\s*[A-Za-z0-9+/_=%-]+|,[^\s\"'<>()\[\]{}\\]*)")
_NUMBERS = re.compile(r"\[[\[\]0-9,.eE+ \t\r\n-]{46,}")
_BYTES_SHOWN = re.compile(r"(?:\\{1,16}x[0-9a-fA-F]{2}[^\\'\"]{0,8}+(?:\\{1,16}[nrt\\'\"0abfv])*+[^\\]{0,8}+){8,}")
_JSON = json.JSONDecoder()
_PLAIN_NETPBM = re.compile(r"P[1-3]\s+(?:#[^\n]*\n|[\d\s])+")
_LATIN_1 = re.compile("ÿØÿ[À-þ]|\x89PNG\r\n\x1a\n|GIF8[79]a[^\n]{0,8}\0|RIFF.{4}WEBPVP8|II[*+]\0|MM\0[*+]", re.DOTALL)
_ASCII_CONTROL = bytes({*range(32), 127} - set(b"\a\b\t\n\f\r\x1b"))
_CONTROL = _ASCII_CONTROL + bytes(range(128, 160))


def is_binary(data: bytes) -> bool:
    """Whether ``data`` is something other than printable text in UTF-8."""
    if len(data.translate(None, _ASCII_CONTROL)) != len(data):
        return True
    try:
        data.decode()
    except UnicodeDecodeError as error:
        # The last character may be cut.
        return error.start < len(data) - 3
    return False


def is_image_bytes(data: bytes) -> bool:
    """Whether bytes are an image: whatever is not text, and text that holds one."""
    return is_binary(data) or has_signature(data) or bool(spans(data.decode(errors="replace")))


def spans(text: str) -> list[tuple[int, int]]:
    """Where ``text`` holds image data: start and end of each piece, in order and apart from each other."""
    return merged(_found(text))


def merged(found: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans in order, those that overlap as one."""
    apart: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if apart and start < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((start, end))
    return apart


def _found(text: str) -> Iterator[tuple[int, int]]:
    for match in _IMAGE_URL.finditer(text):
        start = match.start() - len("data")
        if text[max(start, 0) : match.start()].lower() == "data":
            yield start, _end_of_run(text, match.start(), match.end())
    if len(text) < SHORTEST:
        return
    yield from _runs(text)
    if "[" in text:
        yield from _lists(text)
    if "\\x" in text:
        yield from (match.span() for match in _BYTES_SHOWN.finditer(text))
    if has_signature(text[:256].encode("latin-1", "replace")) and (
        _PLAIN_NETPBM.fullmatch(text) or not text[:64].replace("\n", "").isprintable()
    ):
        yield 0, len(text)
    elif not (text.isascii() and "\0" not in text) and (begin := _start_of_latin_1(text)) is not None:
        yield begin, len(text)


def _lists(text: str) -> Iterator[tuple[int, int]]:
    """Lists of numbers that are images."""
    place = 0
    while match := _NUMBERS.search(text, place):
        place = match.end()
        try:
            value, end = _JSON.raw_decode(match[0])
        except (ValueError, RecursionError):
            continue
        if is_image_numbers(value):
            yield match.start(), match.start() + end
        place = match.start() + end


def _start_of_latin_1(text: str) -> int | None:
    """Where bytes begin that were taken for Latin-1 text."""
    if match := _LATIN_1.search(text):
        return match.start()
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        return None
    return 0 if len(data) >= 64 and len(data) - len(data.translate(None, _CONTROL)) >= len(data) / 8 else None


def runs(text: str) -> Iterator[tuple[int, int]]:
    """Where ``text`` holds 24 and more characters of base64 or hexadecimal digits, over line breaks as in MIME."""
    escaped = "%2" in text or ("\\" in text and ("\\/" in text or "\\u00" in text))
    pattern, place = _ESCAPED_RUN if escaped else _RUN, 0
    while match := pattern.search(text, place):
        place = _end_of_run(text, match.start(), match.end(), escaped=escaped)
        yield match.start(), place


def is_cut_text(value: list[Any] | tuple[Any, ...]) -> bool:
    """Whether the items of a list are one image in base64, cut into three and more texts of one length."""
    if len(value) < 3 or not all(isinstance(item, str) and _LINE.fullmatch(item) for item in value):
        return False
    if len(value[-1]) > len(value[0]) or {*map(len, value[:-1])} != {len(value[0])}:
        return False
    whole = "".join(map(str.strip, value))
    return spans(whole) == [(0, len(whole))]


def runs_in_lines(text: str) -> Iterator[tuple[int, int]]:
    """Where ``text`` holds that many on several lines together, however long each is: the end of an image, say."""
    for match in _IN_LINES.finditer(text):
        letters = _BREAKS.sub("", match[0])
        if SHORTEST <= len(letters) < len(match[0]):
            yield match.span()


def _runs(text: str) -> Iterator[tuple[int, int]]:
    for start, end in runs(text):
        begin = _start_of_image(text, start, end)
        if begin is not None:
            url = _URL_BEFORE.search(text, max(0, begin - 256), begin)
            yield (url.start() if url else begin), end


def _end_of_run(text: str, start: int, end: int, *, escaped: bool = False) -> int:
    """The end of base64 of which a line ends at ``end``: all its lines but the last are of one length."""
    line = text[max(start, text.rfind("\n", start, end) + 1, text.rfind(",", start, end) + 1) : end]
    length = len(_ESCAPED_LETTER.sub("/", line)) if escaped else len(line)
    if length in _LINE_LENGTHS and (gap := _BREAK.match(text, end)):
        gap_again, letter = re.escape(gap[0]), f"(?:{_LETTER}|{_ESCAPED})" if escaped else _LETTER
        more = re.compile(f"(?:{gap_again}{letter}{{{length}}})*(?:{gap_again}{letter}{{1,{length}}})?")
        match = more.match(text, end)
        end = match.end() if match else end
    padding = _PADDING.match(text, end)
    return padding.end() if padding else end


def _start_of_image(text: str, start: int, end: int) -> int | None:
    """Where an image begins in a run of base64 or hexadecimal digits; None if it is something else."""
    head = text[start : min(end, start + _LOOKED_AT)]
    if has_signature(decoded(head[:512])):
        return start
    if match := _SIGNATURE_BASE64.search(head):
        return start + match.start()
    digits = _HEX.fullmatch(_BREAKS.sub("", head))
    if digits and has_signature(bytes.fromhex(digits[1][: min(len(digits[1]), 512) // 2 * 2])):
        return start
    if end - start < _LONG or _is_text(text, start, head):
        return None
    if not is_binary(decoded(head)):
        inside = decoded(text[start:end])
        return start if is_binary(inside) or spans(inside.decode(errors="replace")) else None
    return start


def _is_text(text: str, start: int, head: str) -> bool:
    """Whether a long run is hexadecimal digits, a signature of a JSON web token, or words, as in paths and names."""
    if _HEX_BETWEEN.fullmatch(head):
        return head.isdecimal() or (len(set(head)) >= 8 and not _is_long_hex(head))
    if _JWT_BEFORE.search(text, max(0, start - _LOOKED_AT), start):
        return True
    words = _WORD.findall(head)
    small = sum(map(str.islower, head))
    return len(words) * 3 <= len(head) <= small * 2 and len(set(words)) >= 8


def _is_long_hex(head: str) -> bool:
    """Whether it is hexadecimal digits of more binary data than any digest has."""
    if len(head) < _LONG_HEX or not head.isalnum():
        return False
    return is_binary(bytes.fromhex(head[: len(head) // 2 * 2]))


def letters_of(run: str) -> str:
    """The letters of base64 without line breaks and escapes."""
    if not run.isalnum():
        run = "".join(run.split())
        if "\\" in run or "%" in run:
            run = re.sub(
                r"\\{1,16}u002[bB]|%2[bB]", "+", re.sub(r"\\{1,16}u002[fF]|%2[fF]|\\{1,16}/", "/", _BREAKS.sub("", run))
            )
    return run


def decoded(run: str) -> bytes:
    """The bytes in base64 of any alphabet, with line breaks and escapes in it; an incomplete end is left out."""
    if not run.isalnum():
        run = letters_of(run).partition("=")[0].replace("-", "+").replace("_", "/")
    whole, rest = run[: len(run) // 4 * 4], run[len(run) // 4 * 4 :]
    try:
        return binascii.a2b_base64(whole + (rest.ljust(4, "=") if len(rest) > 1 else ""))
    except ValueError:  # `binascii.Error`, or letters beyond ASCII
        return b""
