"""Names that were meant."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from horus_async.spelling import did_you_mean, is_one_edit, nearest

WORDS = st.text("ab_", max_size=6)


def edits(word: str) -> set[str]:
    """Every word that one edit makes of it."""
    letters = "ab_"
    places = range(len(word) + 1)
    return (
        {word[:i] + word[i + 1 :] for i in places}
        | {word[:i] + letter + word[i:] for i in places for letter in letters}
        | {word[:i] + letter + word[i + 1 :] for i in places for letter in letters if i < len(word)}
        | {word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(len(word) - 1)}
    ) - {word}


@given(WORDS, WORDS)
def test_one_edit(one: str, other: str) -> None:
    """As a search through all edits says, in both directions."""
    assert is_one_edit(one, other) == is_one_edit(other, one) == (other in edits(one))


@given(WORDS)
def test_every_edit_is_one(word: str) -> None:
    """Each of them is recognised."""
    assert all(is_one_edit(word, other) for other in edits(word))
    assert not is_one_edit(word, word)


def test_nearest() -> None:
    """The name that is most like it; nothing where none is."""
    topics = ["scan", "odom", "cmd_vel", "in"]
    assert nearest("scann", topics) == "scan"
    assert nearest("odometry", topics) == "odom"
    assert nearest("ni", topics) == "in"
    assert nearest("scan", ["scan"]) is None
    assert nearest("battery", topics) is None
    assert did_you_mean("cmdvel", topics) == "; did you mean 'cmd_vel'?"
    assert did_you_mean("battery", topics) == ""
