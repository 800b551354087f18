"""Memory for large messages on their way out of a ring, reused as soon as nothing refers to it.

Fresh memory costs far more than the copy into it: the allocator returns large blocks to the system when they are
freed, and the system hands out new ones page by page, each with a fault. A robot that takes one image after another
would pay that for every image.

A block is a ``bytearray``. It cannot be resized while a NumPy array or a ``memoryview`` refers to it, and so tells
whether it is still in use.
"""

from __future__ import annotations

from collections import deque

BLOCKS, BYTES = 16, 64 << 20
"""The most blocks that are kept, and the most bytes that they may have together."""

_kept: deque[bytearray] = deque()
"""In use or idle. A thread that examines one takes it out meanwhile, so no two threads find the same."""


def copy_of(source: memoryview) -> memoryview:
    """A writable copy of some bytes. Its memory is not reused while anything refers to it."""
    block = _find(len(source))
    if block is None:
        block = bytearray(source)
        copy = memoryview(block)
    else:
        copy = memoryview(block)[: len(source)]
        copy[:] = source
    _keep(block)
    return copy


def blank(size: int) -> memoryview:
    """``size`` writable bytes of undefined content, in memory that is reused like that of ``copy_of``."""
    block = _find(size) or bytearray(size)
    view = memoryview(block)[:size]
    _keep(block)
    return view


def _find(size: int) -> bytearray | None:
    """An idle block of that size or up to twice as large, removed from those that are kept."""
    for _ in range(len(_kept)):
        try:
            block = _kept.popleft()
        except IndexError:  # other threads have them
            return None
        if size <= len(block) <= 2 * size and _is_idle(block):
            return block
        _kept.append(block)
    return None


def _is_idle(block: bytearray) -> bool:
    try:
        last = block.pop()
    except BufferError:  # something refers to it
        return False
    block.append(last)
    return True


def _keep(block: bytearray) -> None:
    _kept.append(block)
    while len(_kept) > BLOCKS or sum(map(len, tuple(_kept))) > BYTES:
        try:
            _kept.popleft()
        except IndexError:  # other threads have them
            return
