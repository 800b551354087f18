"""How many values a text may hold: parsing makes objects of them, each many times as large as its text. Pure."""

from __future__ import annotations

from attrs import frozen

_MARKS = (b",", b"[", b"{", b"\n")
"""Of JSON: there is one before nearly each value."""


@frozen
class Most:
    """The most that a JSON text may hold. Texts in it count with their commas and brackets."""

    values: int
    """Commas, opening brackets and braces, and line ends."""
    objects: int
    """Opening braces: an object takes 240 bytes where a number takes 32."""

    def exceeded_by(self, text: bytes) -> str | None:
        """What a text holds too much of; None if nothing."""
        if len(text) < min(self.values, 3 * self.objects):  # an object is two braces, and there is a comma before it
            return None
        return self.exceeded(*counted(text))

    def exceeded(self, values: int, objects: int) -> str | None:
        """The same of a text that was counted."""
        if values > self.values:
            return f"more than {self.values} values"
        return f"more than {self.objects} objects" if objects > self.objects else None


def counted(text: bytes) -> tuple[int, int]:
    """At least how many values, and how many objects, a JSON text or a part of it holds."""
    return sum(map(text.count, _MARKS)), text.count(b"{")
