"""The memory of large messages on their way out of a ring."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from horus_async.topics.values import blocks

SIZE = 1 << 17


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> deque[bytearray]:
    """Blocks of this test alone."""
    own: deque[bytearray] = deque()
    monkeypatch.setattr(blocks, "_kept", own)
    return own


def test_memory_is_used_again_when_nobody_looks_into_it_any_more() -> None:
    """The next copy of about that size lies where the last one was, and so costs no fresh memory."""
    copy = blocks.copy_of(memoryview(b"a" * SIZE))
    block = copy.obj
    del copy

    again = blocks.copy_of(memoryview(b"b" * (SIZE - 100)))

    assert again.obj is block
    assert bytes(again) == b"b" * (SIZE - 100)
    assert not again.readonly


def test_memory_in_use_is_left_alone() -> None:
    """As long as any part of a copy is looked at, no other copy gets its memory."""
    part = blocks.copy_of(memoryview(b"a" * SIZE))[5:7]

    others = [blocks.copy_of(memoryview(bytes([number]) * SIZE)) for number in range(40)]

    assert bytes(part) == b"aa"
    assert [bytes(other[:1]) for other in others] == [bytes([number]) for number in range(40)]
    assert len({id(other.obj) for other in [part, *others]}) == 41


def test_a_block_much_larger_than_needed_is_not_taken() -> None:
    """A small message does not hold the memory of a large one."""
    blocks.blank(SIZE * 8)

    assert len(blocks.copy_of(memoryview(bytes(SIZE))).obj) == SIZE  # type: ignore[arg-type]


def test_little_is_kept(kept: deque[bytearray]) -> None:
    """What is kept has a bound, in number and in bytes, whoever holds what."""
    held = [blocks.blank(SIZE) for _ in range(100)]
    assert len(kept) == blocks.BLOCKS
    held.clear()
    for size in (30 << 20, 30 << 20, 30 << 20, 200 << 20):
        held.append(blocks.blank(size))
        assert sum(map(len, kept)) <= blocks.BYTES


def test_threads_never_get_the_same_memory() -> None:
    """Many threads at once: each finds in its copy what it put there."""
    wrong: list[int] = []

    def use(number: int) -> None:
        source = memoryview(bytes([number]) * SIZE)
        for _ in range(300):
            copy = blocks.copy_of(source)
            if copy != source:
                wrong.append(number)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
