"""Makes trio run the tasks that are ready in the same order each time, in one thread.

trio shuffles them on purpose, so that nobody relies on their order. The nodes' ticks do not mind, as they take turns
anyway, but the tasks that a tick starts in a nursery of its own run as trio decides. In our runs they are to run in the
order in which they were started, each time.

trio has no public switch for that, only one made for Hypothesis: with the flag ``_ALLOW_DETERMINISTIC_SCHEDULING`` it
sorts tasks by when they were started before it shuffles them with the generator ``_r``. Both are process-wide, so the
flag is set while any of our runs goes on, and the generator is replaced by one that keeps the order in the threads of
those runs and shuffles as usual in others. If a version of trio lacks one of the names, nothing is changed, and such
tasks run in any order.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLAG, _RANDOM = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"
_lock = threading.Lock()
_here = threading.local()
_before: list[tuple[bool, Any]] = []
"""The values of both names before the first run of ours."""
_users = 0


class _Order:
    """Stands in for trio's generator."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def shuffle(self, batch: list[Any]) -> None:
        """Called with the ready tasks, sorted by when they were started; trio begins with the last."""
        if getattr(_here, "ours", 0):
            batch.reverse()
        else:
            self._original.shuffle(batch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def supported() -> bool:
    """Whether this version of trio has the switch."""
    inside = _inside()
    return inside is not None and isinstance(getattr(inside, _FLAG, None), bool) and hasattr(inside, _RANDOM)


@contextmanager
def tasks_in_order() -> Iterator[None]:
    """In a ``trio.run`` that this thread makes meanwhile, tasks run in the order in which they were started."""
    if not supported():
        yield
        return
    _here.ours = getattr(_here, "ours", 0) + 1
    _set()
    try:
        yield
    finally:
        _here.ours -= 1
        _unset()


def _inside() -> Any:
    return getattr(trio._core, "_run", None)  # noqa: SLF001 - see above


def _set() -> None:
    global _users  # noqa: PLW0603 - trio's switch is global, too
    inside = _inside()
    with _lock:
        _users += 1
        if _users == 1:
            _before.append((getattr(inside, _FLAG), getattr(inside, _RANDOM)))
            setattr(inside, _RANDOM, _Order(getattr(inside, _RANDOM)))
            setattr(inside, _FLAG, True)


def _unset() -> None:
    global _users  # noqa: PLW0603
    inside = _inside()
    with _lock:
        _users -= 1
        if _users == 0:
            flag, generator = _before.pop()
            setattr(inside, _FLAG, flag)
            setattr(inside, _RANDOM, generator)
