"""Sets of what is alive, in the hands of several threads."""

from __future__ import annotations

import gc
import sys
import threading

from horus_async.live_objects import LiveObjects


class Thing:
    """Something that can be referred to weakly; all of them are equal, and none can be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Thing)


def test_it_has_what_others_hold() -> None:
    """By identity; what nobody else has is gone, also if only the collector finds that."""
    live: LiveObjects[Thing] = LiveObjects()
    one, other, third = Thing(), Thing(), Thing()
    live.update([one, other, one])
    assert len(live) == 2
    assert one in live
    assert third not in live
    live.discard(third)
    live.discard(other)
    assert [thing is one for thing in live] == [True]
    one.itself = one  # type: ignore[attr-defined]
    del one
    gc.collect()
    assert len(live) == 0
    live.add(third)
    live.clear()
    assert list(live) == []


def test_it_is_listed_while_other_threads_make_and_drop_some() -> None:
    """What is there all the time is in every list."""
    interval = sys.getswitchinterval()
    live: LiveObjects[Thing] = LiveObjects()
    stay = [Thing() for _ in range(100)]
    live.update(stay)
    stop = threading.Event()

    def make_and_drop() -> None:
        while not stop.is_set():
            for thing in [Thing() for _ in range(100)]:
                live.add(thing)

    threads = [threading.Thread(target=make_and_drop) for _ in range(2)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(2000):
            assert len({id(thing) for thing in live} & {id(thing) for thing in stay}) == len(stay)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert len(live) == len(stay)
