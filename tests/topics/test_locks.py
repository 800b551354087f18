"""The order of locks, and what may not stop anybody: Ctrl-C anywhere, signal handlers, destructors."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Topic
from horus_async.errors import TopicError
from horus_async.topics import Bus, publisher
from horus_async.topics import topic as topic_module
from horus_async.topics.ring import abandoned, locks, turn, writer
from horus_async.topics.ring.locks import LockOrderError, Rank, new_lock
from horus_async.topics.ring.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType


@pytest.fixture
def expected_violation() -> Iterator[None]:
    """The test breaks the order on purpose."""
    yield
    assert locks.violations
    locks.violations.clear()


def test_the_tests_check_the_order_of_locks() -> None:
    """Without that, the tests below and all others say nothing about it."""
    assert locks.CHECKING


@pytest.mark.usefixtures("expected_violation")
def test_a_lock_out_of_order_is_found() -> None:
    """Whether or not another thread is there to be waited for."""
    outer, inner = new_lock(Rank.BUS), new_lock(Rank.CHANNEL)
    with outer, inner, outer:  # one that is held already waits for nobody
        pass
    with inner, pytest.raises(LockOrderError, match="BUS is taken while CHANNEL is held"), outer:
        pass


@pytest.mark.usefixtures("expected_violation")
def test_a_turn_out_of_order_is_found() -> None:
    """A thread that holds a channel must not wait for a publisher, who may want that channel."""
    with Bus() as bus:
        first = bus.publisher("t", "a")
        with new_lock(Rank.CHANNEL), pytest.raises(LockOrderError, match="TURN is taken while CHANNEL is held"):
            first.publish(b"1", 0)


def test_new_publishers_and_new_subscribers_do_not_wait_for_each_other(namespace: str) -> None:
    """A publisher's first message shows its ring to the subscribers; a new subscriber looks at all rings."""
    with Bus() as bus:
        bus.publisher("t", "first").publish(b"1", 0)
        stop = threading.Event()

        def subscribe() -> None:
            while not stop.is_set():
                with Bus(namespace, from_start=False) as other:
                    other.subscriber("t").close()

        thread = threading.Thread(target=subscribe)
        thread.start()
        try:
            for number in range(150):
                bus.publisher("t", f"n{number}").publish(b"2", 0)
                with Topic("t") as topic:
                    topic.send(number)
        finally:
            stop.set()
            thread.join()


# Ctrl-C between any two lines

CRITICAL: tuple[CodeType, ...] = (
    publisher.Publisher.publish_slowly.__code__,
    publisher.Publisher.open.__code__,
    publisher.Publisher._describe.__code__,
    publisher.Publisher._open.__code__,
    publisher.Publisher._write.__code__,
    writer.RingWriter.write.__code__,
    writer.RingWriter.make_room.__code__,
    writer.RingWriter.make_ready.__code__,
    writer.RingWriter.add_publisher.__code__,
    writer.RingWriter._open_generation.__code__,
    writer.RingWriter._move_to.__code__,
    turn.Turn.wait.__code__,
    turn.Turn.take.__code__,
    turn.Turn.give.__code__,
)


class Strike:
    """Raises KeyboardInterrupt at one line that is reached in a critical function, by its number."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.passed = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> Strike | None:
        """Trace a line."""
        if event == "call":
            return self if frame.f_code in CRITICAL else None
        if event == "line":
            self.passed += 1
            if self.passed == self.at:
                raise KeyboardInterrupt
        return self


def struck(at: int, payloads: list[bytes]) -> bool:
    """Send with Ctrl-C at the line ``at``; then others send and all is received. Returns whether it struck."""
    with Bus() as bus:
        subscriber = bus.subscriber("t")
        mine, other = bus.publisher("t", "mine", capacity=4096), bus.publisher("t", "other")
        done = []
        strike = Strike(at)
        sys.settrace(strike)
        try:
            mine.open()
            for payload in payloads:
                done.append(payload)
                mine.publish(payload, 0)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        threads = [threading.Thread(target=publish.publish, args=(b"last", 0)) for publish in (mine, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive(), f"the turn is lost after Ctrl-C at line {at}"
        taken = []
        while (message := subscriber.take()) is not None:
            taken.append(message)
        before = [payload for payload, name, _, _ in taken if name == "mine"][:-1]
        assert before in (done, done[:-1])
        assert [payload for payload, *_ in taken[-2:]] == [b"last", b"last"]
        numbers = [seq for _, name, seq, _ in taken if name == "mine"]
        assert numbers == list(range(len(numbers)))
        assert subscriber.lost == 0
        assert subscriber.arrived == len(taken)
        return strike.passed >= at


def test_ctrl_c_between_any_two_lines_of_sending() -> None:
    """Whatever line it strikes: the message is sent or not, nothing else is missing, and nobody waits for ever."""
    at = 1
    while struck(at, [b"1", b"1", b"2" * 3000, b"3"]):
        at += 1
    assert at > 100


def test_ctrl_c_between_any_two_lines_of_waiting_for_a_turn() -> None:
    """Who is interrupted while another thread writes neither takes the turn away from it nor loses it."""
    for at in range(1, 40):
        with Bus() as bus:
            sender = bus.publisher("t", "a")
            sender.publish(b"1", 0)
            held, go = threading.Event(), threading.Event()
            taken = sender._turn

            def hold(taken: Turn = taken, held: threading.Event = held, go: threading.Event = go) -> None:
                taken.take()
                held.set()
                go.wait(60)
                taken.give()

            holder = threading.Thread(target=hold)
            holder.start()
            assert held.wait(60)
            strike = Strike(at)
            sys.settrace(strike)
            try:
                sender.publish(b"2", 0)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            assert strike.passed >= at
            with pytest.raises(IndexError):
                taken.take()
            go.set()
            holder.join()
            sender.publish(b"3", 0)


def test_a_turn_that_went_with_its_holder_is_found() -> None:
    """A function that ended without giving it back holds it no more."""

    @turn.takes_turn
    def lose(lost: Turn) -> None:
        free = lost.free
        held, free[0] = free[0], False
        assert held

    lost = Turn()
    lose(lost)
    with lost:
        assert not lost.free[0]


# Signal handlers and destructors

HANDLER = """
import signal
from horus_async import HorusError, Topic
refused = 0
with Topic("t", capacity=1 << 16) as topic:
    def handle(*_):
        global refused
        try:
            topic.send("from the handler")
        except HorusError as error:
            assert "signal handler" in str(error), error
            refused += 1
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for number in range(20000):
        topic.send({"number": number, "text": "x" * (number % 500)})
    signal.setitimer(signal.ITIMER_REAL, 0)
    topic.send("the end")
    assert topic.latest() == "the end"
print("ended")
"""


def test_a_signal_handler_that_sends() -> None:
    """It goes through, or is refused where it interrupts a send on the same topic; it never hangs."""
    result = subprocess.run([sys.executable, "-c", HANDLER], capture_output=True, text=True, timeout=300, check=False)
    assert result.stdout == "ended\n", result.stderr


def test_sending_in_the_middle_of_sending_is_an_error() -> None:
    """On the same topic; on another one it goes through."""
    with Topic("t") as topic, Topic("u") as other:
        topic.send(0)
        inner = topic._bus.publisher("t", "a")

        @turn.takes_turn
        def interrupted() -> None:
            held: object = False
            free = inner.free
            try:
                held, free[0] = free[0], False
                with pytest.raises(TopicError, match="a signal handler or __del__ cannot"):
                    topic.send(1)
            finally:
                if held:
                    held, free[0] = False, True

        interrupted()
        other.send(2)
        topic.send(3)
        assert topic.recv_all() == [0, 3]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_collected_while_locks_are_held_is_closed_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """The garbage collector may find a handle that nobody closed anywhere, also where a bus is locked."""

    class Ring:
        """Keeps a handle alive until the collector comes."""

        def __init__(self) -> None:
            self.me = self
            self.topic = Topic("t")
            self.topic.send(1)

    Ring()
    monkeypatch.setitem(collect_in_the_middle.__globals__, "__name__", "horus_async.topics.stand_in")
    with Bus() as bus:
        collect_in_the_middle(bus)
        assert abandoned._waiting
        with Topic("u"):
            pass
    assert not abandoned._waiting
    assert not topic_module._buses
    assert not locks.violations


def collect_in_the_middle(bus: Bus) -> None:
    """As any function of ours that holds a lock."""
    with bus._lock:
        gc.collect()
