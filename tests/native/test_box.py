"""The native core and the Python code write the same bytes into a black box."""

from __future__ import annotations

import math
import mmap
import os
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.blackbox import BlackBox, layout
from horus_async.blackbox import ring as ring_module
from horus_async.blackbox.entry import Entry
from horus_async.blackbox.ring import Ring
from horus_async.errors import BlackBoxError
from horus_async.native import core
from tests.blackbox.memory import SALT, packed_lines, read_image

if TYPE_CHECKING:
    from pathlib import Path

native = pytest.mark.skipif(core is None, reason="the native core is not in use")

SEGMENT = 1024
HEAD = len(orjson.dumps({"seq": 0, "run": "r", "tick": 0, "time_ns": 0, "event": 0}))
NUMBERS = st.one_of(st.integers(0, 3), st.integers(0, 2**63 - 1), st.sampled_from([2**63, 2**64 - 1]))
VALUES = st.one_of(
    st.integers(),
    st.text(max_size=30),
    st.floats(),
    st.none(),
    st.sampled_from(["null", "nul", "nnull", "\udc80", "x" * 700, math.nan, object, (1, 2), {3: 4}, [None]]),
)
CLOCK = 1_795_230_000_123_456_789


class Box:
    """A ring in memory of its own, written by one form or the other."""

    def __init__(self, *, slowly: bool) -> None:
        self.map = mmap.mmap(-1, layout.PAGE + 6 * SEGMENT)
        self.entry = Entry()
        was, ring_module.core = ring_module.core, None if slowly else core  # type: ignore[attr-defined]
        try:
            words = memoryview(self.map).cast("Q")
            self.ring = Ring(self.map, words, segments=6, segment_size=SEGMENT, salt=SALT, run=b'"r"', piece=400)
            forms = [self.ring.form({"event": "NodeTick", "name": "a", "duration_us": None, "ok": n}) for n in (0, 1)]
            # int() of a number is a call into C, as that of the clock
            self.write = self.ring.writer(
                tuple(form for form in forms if form), entry=self.entry, clock=CLOCK.__int__, on_full=lambda: None
            )
        finally:
            ring_module.core = was  # type: ignore[attr-defined]
        self.slowly = slowly

    def put(self, tick: int, value: Any) -> Any:
        """An event with a value of its own; whether it was an event for orjson alone."""
        fields = {"seq": 0, "run": "r", "tick": tick, "time_ns": CLOCK, "event": "Custom", "data": value}
        if not self.slowly and self.ring.put(self.entry, fields, HEAD):
            return True
        fields["seq"] = self.ring.next_seq
        try:
            body = orjson.dumps(fields)
        except (TypeError, ValueError):
            return False
        if body.find(b"null", HEAD) >= 0 or len(body) > self.ring.longest:
            return False
        self.ring.append_body(tick, body)
        return True

    def tick(self, *numbers: int) -> Any:
        """A record; the error, if it is refused."""
        try:
            return self.write(*numbers)
        except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
            return type(error), str(error)

    def seal(self, _: int) -> None:
        """The worker's part."""
        full = self.ring.take_full()
        if full is not None:
            self.ring.seal(full, *packed_lines(full))
        self.ring.release(self.ring.begin_sync())

    def close(self, _: int) -> None:
        """The box takes no event from now on."""
        self.ring.close("closed")


STEPS = st.lists(
    st.tuples(st.just("put"), NUMBERS, VALUES)
    | st.tuples(st.just("tick"), NUMBERS, NUMBERS, st.integers(0, 1))
    | st.tuples(st.just("tick"), NUMBERS | st.integers(-2, -1), NUMBERS, st.integers(0, 2), NUMBERS)
    | st.tuples(st.just("seal"), st.just(0)),
    max_size=60,
)


def outcome(box: Box, step: tuple[Any, ...]) -> Any:
    """What a step gives, or its error."""
    name, *arguments = step
    try:
        return getattr(box, name)(*arguments)
    except (BlackBoxError, OverflowError, TypeError, ValueError) as error:
        return type(error), str(error)


@native
@given(STEPS, st.booleans())
@settings(max_examples=300, deadline=None)
def test_both_forms_write_the_same_box(steps: list[tuple[Any, ...]], ended: bool) -> None:
    """Whatever is recorded, over many segments, and after the end."""
    one, other = Box(slowly=False), Box(slowly=True)
    steps = [*steps, ("close", 0), ("put", 1, "late"), ("tick", 1, 2, 0)] if ended else steps
    for step in steps:
        assert outcome(one, step) == outcome(other, step)
        assert one.map[:] == other.map[:]
        assert (one.ring.next_seq, one.ring.tick, one.ring.lost) == (
            other.ring.next_seq,
            other.ring.tick,
            other.ring.lost,
        )
    lines, damage = read_image(one.map[:], SEGMENT)
    assert not damage
    assert len(lines) == one.ring.next_seq - one.ring.lost


@native
def test_the_usual_events_are_written_natively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python is asked only where the ring goes on in another piece."""
    with BlackBox.create(tmp_path, size_mb=1) as box:
        ticked = box.tick_listener("arm")
        asked = 0
        slowly = box._put

        def put(fields: dict[str, Any]) -> bool:
            nonlocal asked
            asked += 1
            return slowly(fields)

        monkeypatch.setattr(box, "_put", put)
        introduce, went = Ring._introduce, [0]

        def noted(ring: Ring, form: Any) -> bool:
            went[0] += 1
            return introduce(ring, form)

        monkeypatch.setattr(Ring, "_introduce", noted)
        for number in range(1000):
            ticked(number, 1000, True)
            box.custom("a", "b", number=number)
        assert asked < 20
        assert went[0] < 40
        assert len(box.events()) == 2000


@native
@pytest.mark.parametrize("event", ["line", "record"])
def test_events_leak_nothing(tmp_path: Path, event: str) -> None:
    """References and memory are as before after many of them."""
    with BlackBox.create(tmp_path, size_mb=1) as box:
        ticked = box.tick_listener("arm")
        numbers = 10**6 + 1, 10**7 + 1

        def record(times: int) -> None:
            for _ in range(times):
                if event == "record":
                    ticked(*numbers, True)
                else:
                    box.custom("arm", "limit", joint=numbers[0])

        record(2000)
        counts = [sys.getrefcount(number) for number in numbers]
        tracemalloc.start()
        try:
            record(1000)
            before, _ = tracemalloc.get_traced_memory()
            record(30_000)
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [sys.getrefcount(number) for number in numbers] == counts
        assert after - before < 300_000


def test_threads_and_a_fork_leave_every_event_whole(tmp_path: Path) -> None:
    """Events of several threads, amid which the process forks: each is there once, and the child can record none."""
    with BlackBox.create(tmp_path, size_mb=4) as box:
        ticked = box.tick_listener("arm")

        def work(number: int) -> None:
            for count in range(1500):
                ticked(count, number, True)
                box.custom("thread", "x", number=number, nothing=None if count % 50 == 0 else 1)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        child = os.fork()
        if not child:
            refused = 0
            for number in range(2):
                try:
                    if number:
                        ticked(1, 1, True)
                    else:
                        box.custom("child", "x")
                except BlackBoxError:
                    refused += 1
            os._exit(refused)
        _, status = os.waitpid(child, 0)
        for thread in threads:
            thread.join()
        assert os.waitstatus_to_exitcode(status) == 2
        records = box.events()
        assert [record.seq for record in records] == [*range(box.lost, box.lost + len(records))]
        assert box.lost + len(records) == 3 * 3000
