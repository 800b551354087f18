"""A writer that overtakes a reader in the middle of its look at the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from horus_async.native import core
from horus_async.topics.ring.layout import record_size
from horus_async.topics.ring.reader import RingReader
from horus_async.topics.ring.writer import RingWriter

if TYPE_CHECKING:
    from collections.abc import Callable


class Overtaken:
    """The words of a ring, behind whose reader the writer moves on right after a chosen look."""

    def __init__(self, words: memoryview, after: int, move_on: Callable[[], None]) -> None:
        self._words = words
        self._after = after
        self._move_on = move_on

    def __getitem__(self, at: int) -> Any:
        found = self._words[at]
        self._after -= 1
        if not self._after:
            self._move_on()
        return found

    def __setitem__(self, at: int, value: int) -> None:
        self._words[at] = value


@pytest.mark.parametrize("look", range(1, 25))
@pytest.mark.parametrize("size", [8, 16, 24, 1000])
@pytest.mark.parametrize("ask", ["take", "next_order", "has_message", "latest", "lost"])
def test_a_reader_that_is_overtaken_goes_on(look: int, size: int, ask: str) -> None:
    """Whenever the writer laps a reader, even one at the padding of the last word: it goes on, and the count is right.

    73 records of 56 bytes leave 8 bytes of 4096: the word that says "padding" is the last one of the mapping.
    """
    writer = RingWriter(lambda _, count: bytearray(count), topic="t", namespace="n", capacity=4096, checked=False)
    writer.add_publisher("a")
    reader = RingReader(writer.start(), lambda number: writer.generations[number])
    sent = 0

    def send(length: int, count: int) -> None:
        nonlocal sent
        for _ in range(count):
            writer.write(sent.to_bytes(4, "little") * (length // 4), 0, sent, sent)
            sent += 1

    send(8, 73)
    taken = [reader.take() for _ in range(73)]
    send(8, 1)
    assert record_size(8) == 56 == 4088 // 73
    words = reader.words
    reader.words = reader.region.words = Overtaken(words, look, lambda: send(size, 150))  # type: ignore[assignment]
    if ask == "take":
        taken.append(reader.take_slowly() if core else reader.take())
    elif ask == "lost":
        assert reader.lost >= 0
    else:
        getattr(reader, ask)()
    reader.words = reader.region.words = words
    if sent == 74:
        return  # it did not look so often
    while (message := reader.take()) is not None:
        taken.append(message)

    found = [message for message in taken if message is not None]
    for payload, publisher, seq, stamp_ns in found:
        assert (publisher, seq, payload[:4]) == ("a", stamp_ns, seq.to_bytes(4, "little"))
    numbers = [message[2] for message in found]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == sent - 1
    assert len(numbers) + reader.lost == sent
