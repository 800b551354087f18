"""The lock of the publishers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from horus_async.topics.ring.turn import Turn


def test_one_thread_at_a_time() -> None:
    """While one thread has the turn another one waits until it is given back."""
    turn = Turn()
    order: list[str] = []
    trying = threading.Event()

    def other() -> None:
        trying.set()
        with turn:
            order.append("other")

    thread = threading.Thread(target=other)
    with turn:
        with pytest.raises(IndexError):
            turn.take()
        thread.start()
        assert trying.wait(300)
        order.append("first")
    thread.join()

    assert order == ["first", "other"]


def test_giving_back_what_was_not_taken() -> None:
    """However often it is given back, one thread can take it."""
    turn = Turn()
    turn.give(None)
    turn.give(None)

    turn.take()

    with pytest.raises(IndexError):
        turn.take()


def test_ctrl_c_while_sending_does_not_hang_the_next_send() -> None:
    """A program interrupted at any point of a send can still send in its shutdown, and nothing is torn or missing."""
    program = """
import signal
from horus_async.topics import Bus
with Bus() as bus:
    subscriber = bus.subscriber("t")
    publisher = bus.publisher("t", "a", capacity=4096)
    interrupted = 0
    def strike(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, strike)
    taken = []
    while interrupted < 200:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.0001 + interrupted * 0.000001)
            while True:
                publisher.publish(b"x" * (interrupted % 7), 0)
        except KeyboardInterrupt:
            interrupted += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    last = publisher.publish(b"shutdown", 0)
    while (message := subscriber.take()) is not None:
        taken.append(message)
    assert taken[-1] == (b"shutdown", "a", last, 0), taken[-1]
    assert subscriber.lost + len(taken) == subscriber.arrived == last + 1, (subscriber.lost, len(taken), last)
    assert [m[2] for m in taken] == list(range(last + 1 - len(taken), last + 1))
"""
    unchecked = os.environ | {"HORUS_CHECK_LOCKS": ""}  # checked locks are Python, and can be interrupted themselves
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300, env=unchecked)
