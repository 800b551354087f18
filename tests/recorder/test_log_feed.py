"""Where lines of the log wait for the writer: whatever is logged, from wherever, is there in order, or counted."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.recorder.write import feed as feed_module
from horus_async.recorder.write.feed import LogFeed
from horus_async.recorder.write.room import Room, Wake

if TYPE_CHECKING:
    from types import FrameType

LIMIT = 200


def line(number: int, size: int = 0, source: int = 0) -> bytes:
    """A line of the log that knows its number."""
    return orjson.dumps({"kind": "log", "number": number, "source": source, "text": "x" * size}) + b"\n"


def accounted(text: bytes, source: int = 0) -> tuple[int, int]:
    """How many lines are there, and how many are counted as missing; they stand where they belong."""
    there = missing = expected = 0
    for fields in map(orjson.loads, text.splitlines()):
        if fields["kind"] == "gap":
            assert fields["dropped"] > 0
            assert fields["tick"] == expected
            missing += fields["dropped"]
            expected += fields["dropped"]
        elif fields["source"] == source:
            assert fields["number"] == expected
            there += 1
            expected += 1
    return there, missing


@given(st.lists(st.one_of(st.integers(0, 2 * LIMIT), st.none()), max_size=60))
def test_a_model_of_one_who_logs(steps: list[int | None]) -> None:
    """Lines of any size, and a writer that takes what there is at any moment: each line, or a gap in its place."""
    feed = LogFeed(LIMIT, Room(1 << 20, block=False), block=False)
    text, number, most = b"", 0, 0
    for step in steps:
        if step is None:
            text += feed.take()
            assert feed.lines + feed.counts.dropped == number
        else:
            feed.put(line(number, step), number)
            number += 1
            most = max(most, len(feed.text))
    text += feed.take() + feed.take()
    there, missing = accounted(text)
    assert there + missing == number
    assert (feed.lines, feed.counts.dropped) == (there, missing)
    assert feed.begun == (number > 0)
    assert most <= LIMIT + len(line(100, 2 * LIMIT))


@pytest.mark.parametrize("block", [True, False])
def test_several_threads(block: bool) -> None:
    """The lines of each come in its order, and the numbers are right, however they run; a run that waits loses none."""
    feed = LogFeed(2000, Room(1 << 20, block=block), block=block)
    threads, each = 4, 3000
    texts: list[bytes] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            texts.append(feed.take())
        texts.extend([feed.take(), feed.take()])

    def log(source: int) -> None:
        for number in range(each):
            feed.put(line(number, source=source), number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        writer = threading.Thread(target=write)
        loggers = [threading.Thread(target=log, args=(source,)) for source in range(threads)]
        for thread in (writer, *loggers):
            thread.start()
        for thread in loggers:
            thread.join()
        done.set()
        writer.join()
    finally:
        sys.setswitchinterval(interval)
    lines = [orjson.loads(text) for text in b"".join(texts).splitlines()]
    missing = sum(fields["dropped"] for fields in lines if fields["kind"] == "gap")
    there = [fields for fields in lines if fields["kind"] == "log"]
    assert len(there) + missing == threads * each
    assert (feed.lines, feed.counts.dropped) == (len(there), missing)
    for source in range(threads):
        numbers = [fields["number"] for fields in there if fields["source"] == source]
        assert numbers == sorted(set(numbers))
    assert not (block and missing)


@pytest.mark.parametrize("limit", [100, 1 << 20])
@pytest.mark.parametrize("where", ["put", "take"])
def test_logging_between_any_two_lines(limit: int, where: str) -> None:
    """A signal handler or ``__del__`` logs in the middle of logging, and of the writer's taking: nothing is lost."""
    feed = LogFeed(limit, Room(1 << 20, block=False), block=False)
    given_lines = 0
    inside = False

    def log() -> None:
        nonlocal given_lines
        given_lines += 1
        feed.put(line(given_lines - 1), given_lines - 1)

    def between(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal inside
        if frame.f_code.co_filename != feed_module.__file__ or inside or frame.f_code.co_name != where:
            return None
        if event == "line" and not inside:
            inside = True
            log()
            inside = False
        return between

    text = b""
    before = sys.gettrace()
    sys.settrace(between)
    try:
        for _ in range(20):
            log()
            text += feed.take()
    finally:
        sys.settrace(before)
    text += feed.take() + feed.take()
    lines = [orjson.loads(one) for one in text.splitlines()]
    numbers = [fields["number"] for fields in lines if fields["kind"] == "log"]
    missing = sum(fields["dropped"] for fields in lines if fields["kind"] == "gap")
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) + missing == given_lines > 100
    assert (feed.lines, feed.counts.dropped) == (len(numbers), missing)
    if where == "take":  # lines that come in the middle of another one are before it
        assert accounted(text) == (len(numbers), missing)


def test_who_waits_is_let_through_when_the_writer_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer may wait for the very thread that logs, through a lock of the program's: no hang, and nothing lost."""
    monkeypatch.setattr(feed_module, "_PATIENCE_MS", 3)
    feed = LogFeed(100, Room(1 << 20, block=True), block=True)
    for number in range(10):
        feed.put(line(number, 50), number)
    assert accounted(feed.take()) == (10, 0)


def test_nobody_waits_while_nothing_can_be_written() -> None:
    """The disk is full: what finds no room is counted at once, in a deterministic run too."""
    room = Room(1 << 20, block=True)
    feed = LogFeed(100, room, block=True)
    room.refusing = True
    for number in range(10):
        feed.put(line(number, 50), number)
    text = feed.take()
    there, missing = accounted(text)
    assert there + missing == 10
    assert missing > 0


def test_the_wake_up_can_be_set_in_the_middle_of_being_set() -> None:
    """As by a signal handler: it does not wait for itself."""
    wake = Wake()

    def between(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code is Wake.set.__code__:
            if event == "line":
                sys.settrace(None)
                wake.set()
                sys.settrace(between)
            return between
        return None

    before = sys.gettrace()
    sys.settrace(between)
    try:
        wake.set()
    finally:
        sys.settrace(before)
    assert wake.is_set()
    wake.wait(60)
    wake.clear()
    assert not wake.is_set()
    wake.wait(0)
