"""A few seconds of the hunts for torn messages and for harm done by killed processes; and that the hunts would see it.

``python -m benchmarks.hunts --minutes N`` does the same for as long as one likes.
"""

from __future__ import annotations

import pytest

from benchmarks import hunts
from benchmarks.hunters import Account, HuntError, make
from horus_async import Topic


@pytest.mark.parametrize("seed", [1, 3])
def test_no_reader_sees_a_torn_message(seed: int) -> None:
    """Writers at full speed, random sizes, small rings that grow: all is whole, in order, received + lost = sent."""
    found = hunts.torn_read_round(seed, 0.7)
    while found.messages <= 1000 or not found.lost:  # on a busy machine
        found += hunts.torn_read_round(seed, 0.7)
    assert found.rounds < 20


def test_random_kills_harm_nobody_else() -> None:
    """Writers and readers killed and stopped at random: gaps = lost, nothing is missing or left (J.1-50)."""
    found = hunts.kill_round(2, 1.5)
    while found.kills < 8 or found.messages <= 1000:
        found += hunts.kill_round(2 + found.rounds, 1.5)
    assert found.rounds < 20


def test_a_torn_message_is_found() -> None:
    """One flipped bit anywhere in a message is a finding."""
    whole = make(1, 0, bytes(range(50)))
    for at in (20, 24, 40, len(whole) - 1):
        torn = bytearray(whole)
        torn[at] ^= 4
        with pytest.raises(HuntError, match="torn"):
            Account().enter(bytes(torn))


def test_a_message_twice_or_too_early_is_found() -> None:
    """Each number comes once, in order; numbers left out are counted."""
    account = Account()
    account.enter(make(1, 0, b""))
    account.enter(make(1, 3, b""))
    account.enter(make(2, 1, b""))
    assert account.missing == {1: 2, 2: 1}
    for number in (3, 1):
        with pytest.raises(HuntError, match="where 4 was due"):
            account.enter(make(1, number, b""))


def test_wrong_counts_are_found() -> None:
    """A gap that was not counted, one that was counted without being there, and a lost end are findings."""
    account = Account()
    account.enter(make(1, 2, b""))
    hunts._judge_survivor(account, {1: 2}, lost=2)
    with pytest.raises(HuntError, match="counted as lost"):
        hunts._judge_survivor(account, {}, lost=1)
    with pytest.raises(HuntError, match="counted as lost"):
        hunts._judge_survivor(account, {}, lost=3)
    with pytest.raises(HuntError, match="had sent 3"):
        hunts._judge_survivor(account, {1: 3}, lost=2)


def test_what_is_left_in_shared_memory_is_found() -> None:
    """A ring of a live process in the namespace of a round that is over is a finding."""
    stage = hunts._Stage(1)
    with Topic("t", namespace=stage.namespace) as topic:
        topic.send(1)
        with pytest.raises(HuntError, match=r"left in shared memory.*t@"):
            stage.__exit__(None)


def test_a_child_that_fails_is_found() -> None:
    """A process that ends by itself is a finding, with its name and exit code."""
    with hunts._Stage(1) as stage:
        process = stage.start("reader")
        with pytest.raises(HuntError, match="reader ended: 1"):
            stage.line(process)
        process.wait()
        with pytest.raises(HuntError, match="ended by itself: 1"):
            stage.kill(process)
