"""What a program prints, line by line. Nothing is lost: not the end without a newline, not what is no UTF-8."""

from __future__ import annotations

from attrs import define

LONGEST = 1 << 14
"""Bytes of a line; a longer one comes in pieces."""

MORE = "…"
"""Stands at the end of a piece that the next one goes on with."""

_LONGEST_LETTER = 4


@define
class Lines:
    """Makes lines of the pieces in which a pipe gives them."""

    _rest: bytes = b""

    def take(self, data: bytes) -> list[str]:
        """The lines that are whole with this."""
        *whole, rest = (self._rest + data).split(b"\n")
        found = [text for line in whole for text in _texts(_pieces(line))]
        *pieces, self._rest = _pieces(rest)
        return found + [_text(piece) + MORE for piece in pieces]

    def end(self) -> list[str]:
        """The last line, if it has no newline."""
        rest, self._rest = self._rest, b""
        return [_text(rest)] if rest else []


def _texts(pieces: list[bytes]) -> list[str]:
    *others, last = map(_text, pieces)
    return [*(text + MORE for text in others), last]


def _pieces(line: bytes) -> list[bytes]:
    """A line, or the pieces of one that is too long. At least one."""
    if len(line) <= LONGEST:
        return [line]
    found, at = [], 0
    while at < len(line):
        end = _cut(line, at + LONGEST)
        found.append(line[at:end])
        at = end
    return found


def _cut(line: bytes, end: int) -> int:
    """Where a piece that should end here ends, so that no letter is in two."""
    if end >= len(line):
        return len(line)
    for back in range(_LONGEST_LETTER):
        if line[end - back] & 0xC0 != 0x80:
            return end - back
    return end  # it is no UTF-8


def _text(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="backslashreplace")
