"""Events from signal handlers and ``__del__``, which run in the middle of other events of the same thread."""

from __future__ import annotations

import gc
import linecache
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from horus_async.blackbox import BlackBox, DeadlineMiss
from horus_async.blackbox import file as file_module
from horus_async.blackbox import ring as ring_module
from horus_async.blackbox.sealing import SealingWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

SAFE = {
    "finally:",
    "entry.inside = False",
    "try:  # it may not be ours",
    "release()",
    "entry.lock.release()",
    "self._position = end",
    "self.next_seq += 1",
}
"""Lines before which no call returns: the interpreter looks for signals after calls only."""

MODULES = {file_module.__file__, ring_module.__file__}


@pytest.fixture
def _python_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are written by the Python code, line by line; the native core writes one in a single step."""
    monkeypatch.setattr(file_module, "core", None)
    monkeypatch.setattr(ring_module, "core", None)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[BlackBox]:
    """A small box."""
    with BlackBox.create(tmp_path, name="arm", size_mb=1, sync_interval=None) as box:
        yield box


def interrupting(act: Callable[[FrameType], object], only: frozenset[str] | None = None) -> Any:
    """A trace function that acts at every line of the box's own code, as a signal handler might."""

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in MODULES or (only is not None and frame.f_code.co_name not in only):
            return None
        if event == "line":
            act(frame)
        return trace

    return trace


@pytest.mark.usefixtures("_python_form")
def test_an_event_in_the_middle_of_any_line_of_another(box: BlackBox) -> None:
    """Whatever an event interrupts, both are in the box, once, and no number is missing."""
    ticked = box.tick_listener("arm")
    handled = 0

    def handle(_: FrameType) -> None:
        nonlocal handled
        handled += 1
        if handled % 2:
            box.custom("signal", "x" * (handled % 7), number=handled)
        else:
            ticked(handled, 1000, True)

    sys.settrace(interrupting(handle))
    try:
        for number in range(40):
            ticked(number, 1000, False)
            box.custom("usual", "x" * 100, nothing=float("nan") if number % 3 else None)
            box.record_late(DeadlineMiss, "arm", number, 1000, 2000)
    finally:
        sys.settrace(None)
    records = box.events()
    kinds = [(record.kind, getattr(record.event, "category", None)) for record in records]

    assert [record.seq for record in records] == [*range(len(records))]
    assert kinds.count(("Custom", "usual")) == 40
    assert kinds.count(("DeadlineMiss", None)) == 40
    assert kinds.count(("Custom", "signal")) == (handled + 1) // 2
    assert [record.data["number"] for record in records if record.kind == "Custom" and "number" in record.data]
    assert handled > 1000


def test_an_event_in_the_middle_of_one_that_takes_care(box: BlackBox) -> None:
    """In either form: what interrupts one that the native core leaves to Python waits until that is written."""
    ticked = box.tick_listener("arm")
    handled = 0

    def handle(_: FrameType) -> None:
        nonlocal handled
        if handled < 1000:
            handled += 1
            box.custom("signal", "x", number=handled)
            ticked(handled, 1000, True)

    sys.settrace(interrupting(handle, frozenset({"_put", "_put_encoded", "append", "append_body"})))
    try:
        for number in range(40):
            box.custom("usual", "x" * 100, nothing=float("nan"), number=-number)
    finally:
        sys.settrace(None)
    records = box.events()
    assert [record.seq for record in records] == [*range(len(records))]
    assert sum(record.kind == "Custom" and record.category == "usual" for record in records) == 40
    assert sum(record.kind == "Custom" and record.category == "signal" for record in records) == handled > 100
    assert sum(record.kind == "NodeTick" for record in records) == handled


def test_an_event_while_a_segment_is_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the ring goes on in another segment, and seals."""
    monkeypatch.setattr(SealingWorker, "_seal_full", lambda _: None)
    with BlackBox.create(tmp_path, name="arm", size_mb=1, sync_interval=None) as box:
        handled = 0

        def handle(_: FrameType) -> None:
            nonlocal handled
            handled += 1
            box.custom("signal", "b")

        sys.settrace(interrupting(handle, frozenset({"_go_on", "seal", "_take", "_seal_one", "release", "_oldest"})))
        try:
            for number in range(900):
                box.custom("usual", f"{number} " * 250)
        finally:
            sys.settrace(None)
        records = box.events()
    assert [record.seq for record in records] == [*range(box.lost, box.lost + len(records))]
    assert handled > 300
    assert sum(record.category == "signal" for record in records) == handled


@pytest.mark.usefixtures("_python_form")
@pytest.mark.parametrize("function", ["write", "_put"])
def test_ctrl_c_at_any_line_leaves_a_box_that_works(box: BlackBox, function: str) -> None:
    """A `KeyboardInterrupt` between any two lines costs at most that event; other threads can still record."""
    ticked = box.tick_listener("arm")
    record = ticked if function == "write" else lambda *_: box.custom("a", "b")
    for stop_at in range(1, 60):
        lines = 0

        def strike(frame: FrameType, stop_at: int = stop_at) -> None:
            nonlocal lines
            lines += 1
            if lines == stop_at and not SAFE & {linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()}:
                raise KeyboardInterrupt

        sys.settrace(interrupting(strike, frozenset({function})))
        try:
            record(1, 1000, True)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        other = threading.Thread(target=box.custom, args=("other", str(stop_at)), daemon=True)
        other.start()
        other.join(60)
        assert not other.is_alive()
    records = box.events()
    assert [record.seq for record in records] == [*range(len(records))]
    assert sum(record.kind == "Custom" and record.category == "other" for record in records) == 59


def test_real_signals(box: BlackBox) -> None:
    """An emergency button that is a signal, pressed again and again during a storm of ticks."""
    ticked = box.tick_listener("arm")
    pressed = 0

    def press(*_: object) -> None:
        nonlocal pressed
        pressed += 1
        box.custom("operator", "emergency button", times=pressed)

    before = signal.signal(signal.SIGALRM, press)
    try:
        number = 0
        while pressed < 200:
            signal.setitimer(signal.ITIMER_REAL, 0.0001)
            for _ in range(300):
                ticked(number, 1000, True)
                number += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = [record.times if hasattr(record, "times") else record.data["times"] for record in box.events("Custom")]
    assert found == [*range(found[0], pressed + 1)]


def test_a_finalizer_records(box: BlackBox) -> None:
    """``__del__`` of whatever the garbage collector finds may record too, also in the middle of an event."""

    class Dropped:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            box.custom("dropped", "by the collector")

    thresholds = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        for _ in range(200):
            Dropped()
            box.custom("usual", "b", data=[[]])
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    categories = [record.category for record in box.events()]
    assert categories.count("usual") == categories.count("dropped") == 200


@pytest.mark.parametrize("event", ["line", "record"])
def test_ctrl_c_while_another_thread_is_in_the_middle(box: BlackBox, event: str) -> None:
    """Whoever waited for it and was struck leaves it alone: what comes next waits, too, and nothing is half written."""
    ticked = box.tick_listener("arm")
    entry = box._entry
    ticked(0, 1, True)
    struck, waits = threading.Event(), threading.Event()

    def change() -> None:
        with entry:
            waits.set()
            struck.wait(60)

    other = threading.Thread(target=change)
    other.start()
    assert waits.wait(60)

    def strike(frame: FrameType) -> None:
        if "acquire()" in linecache.getline(frame.f_code.co_filename, frame.f_lineno):
            raise KeyboardInterrupt

    def record() -> None:
        if event == "line":
            box.custom("a", "b")
        else:
            ticked(1, 1000, True)

    sys.settrace(interrupting(strike, frozenset({"write", "_put"})))
    try:
        with pytest.raises(KeyboardInterrupt):
            record()
    finally:
        sys.settrace(None)
    assert entry.inside
    later = threading.Thread(target=record)
    later.start()
    later.join(0.2)
    assert later.is_alive(), "it waits for the other thread"
    struck.set()
    for thread in (other, later):
        thread.join(60)
        assert not thread.is_alive()
    record()
    assert not entry.inside
    assert [record.seq for record in box.events()] == [0, 1, 2]


@pytest.mark.usefixtures("_python_form")
def test_a_handler_closes_the_box(box: BlackBox) -> None:
    """In the middle of an event it is closed after that event."""
    closed = 0

    def close(_: FrameType) -> None:
        nonlocal closed
        closed += 1
        if closed == 5:
            box.close()

    sys.settrace(interrupting(close, frozenset({"append_body"})))
    try:
        box.custom("last", "event")
    finally:
        sys.settrace(None)
    assert closed >= 5
    assert [record.category for record in box.events()] == ["last"]


def test_a_burst_of_large_events_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six times what fits uncompressed, while the thread that should seal gets no time at all."""
    monkeypatch.setattr(SealingWorker, "_seal_full", lambda _: None)
    with BlackBox.create(tmp_path, name="arm", size_mb=1) as box:
        for number in range(6000):
            box.custom("burst", f"joint {number % 6} beyond its limit " * 33, number=number)
        records = box.events()
    assert box.lost == 0
    assert [record.data["number"] for record in records] == [*range(6000)]


def test_a_box_that_is_dropped_lets_go_of_its_file(tmp_path: Path) -> None:
    """Nobody closed it: its thread ends, and the next box can be made."""
    names = {thread.name for thread in threading.enumerate()}
    box: BlackBox | None = BlackBox.create(tmp_path, name="arm", size_mb=1)
    assert box is not None
    box.custom("a", "b")
    del box
    gc.collect()
    assert {thread.name for thread in threading.enumerate()} == names
    with BlackBox.create(tmp_path, name="arm", size_mb=1):
        pass
