"""What others wrote is shown by every command, and controls no terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async import Node, Scheduler, Topic
from horus_async.blackbox import BlackBox
from horus_async.spelling import printable, printable_json, printable_lines
from tests.engine.programs import environment
from tests.policy.traces import foreign_lines, write_lines
from tests.terminal import at_a_terminal_raw

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "go\x1b[2J [red]x[/red] \x1b]0;owned\x07\r\x9b31m \u202egnp.exe\u202c \u2066x\u2069 [/x]"
"""Clears the screen, has Rich's markup, sets the title, begins as C1 does, overrides the direction of writing."""
FORBIDDEN = ("\x1b[2J", "\x1b]0;", "\x07", "\x9b", "\u202e", "\u2066", "\rx")
KEPT = "赤い\u3000コップ, café\u00a0!, \u0645\u06cc\u200c\u062e, \U0001f469\u200d\U0001f527, naïve, 5 µm, \\x1b"


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    """Nor an override of direction, nor anything that cannot be encoded, nor a further line."""
    shown = printable(text)
    shown.encode()
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in shown)
    assert not any(unicodedata.bidirectional(letter) in ("RLO", "LRO", "RLE", "LRI", "FSI", "PDF") for letter in shown)
    assert printable_lines(text).split("\n") == [printable_lines(line) for line in text.split("\n")]


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner, max_size=3)))
def test_json_keeps_its_values(value: object) -> None:
    """Escapes of JSON stand for the same text, and no control character is left in it."""
    text = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert printable(text) == text


def test_text_of_any_language_stays_as_it_is() -> None:
    """Wide blanks, joiners of words and emoji, and a backslash that was one all along."""
    assert printable(KEPT) == KEPT


def test_joiners_stay_where_they_join() -> None:
    """Elsewhere nobody sees them, and a name would look like another; a letter has one variant at most."""
    for text in ("\u2764\ufe0f\u200d\U0001f525", "1\ufe0f\u20e3", "\u845b\U000e0100\u57ce", "\u06cc\u200c\u062e"):
        assert printable(text) == text
    assert printable("a\u200db\u200cc\ufe0fd") == r"a\u200db\u200cc\ufe0fd"
    assert printable("\u06cc\u200c") == "\u06cc" + r"\u200c"
    assert printable("\u2764\ufe0f\ufe0e\u200d\u200d") == "\u2764\ufe0f" + r"\ufe0e\u200d\u200d"
    assert printable("\u00adx\u3164\u115f") == r"\xadx\u3164\u115f"


def test_what_is_escaped_can_be_read() -> None:
    """As in Python's and JSON's own spelling."""
    assert printable("a\x1b[2J\n\u202e\U000e0041") == r"a\x1b[2J\n\u202e\U000e0041"
    assert printable_json('"\x7f\U000e0041"') == r'"\u007f\udb40\udc41"'


@pytest.fixture
def place(tmp_path: Path, recordings_dir: Path, blackbox_dir: Path) -> Path:
    """A trace, a session, a box and a program that are hostile wherever others may write text."""
    lines = foreign_lines(2, embodiment=HOSTILE, model_hash=HOSTILE)
    lines[1]["request"]["instruction"] = lines[1]["episode_id"] = HOSTILE
    lines[2] |= {"error": {"slug": HOSTILE, "message": HOSTILE}, "response": {"actions": []}}
    (tmp_path / "traces").mkdir()
    write_lines(tmp_path / "traces" / "t.jsonl", lines)
    scheduler = Scheduler(deterministic=True, recording="s")
    scheduler.add(Node("talker", tick=lambda node: node.send("words", {HOSTILE: HOSTILE}), rate=10))
    scheduler.run_sync(0.3)
    other = Scheduler(deterministic=True, recording="other")
    other.add(Node("talker", tick=lambda node: node.send("words", {HOSTILE: "else"}), rate=10))
    other.run_sync(0.3)
    with BlackBox.create(name="scheduler", size_mb=1) as box:
        box.custom(HOSTILE, HOSTILE, x=HOSTILE)
    (tmp_path / "policy.py").write_text(f"def fails(request):\n    raise ValueError({HOSTILE!r})\n")
    (tmp_path / "robot.py").write_text(
        "from horus_async import Node, Scheduler\n"
        f"def tick(node):\n    node.log.warning('%s', {HOSTILE!r})\n    raise ValueError({HOSTILE!r})\n"
        "def build(args):\n    return Scheduler(deterministic=True).add(Node('n', tick=tick, rate=10))\n"
    )
    return tmp_path


COMMANDS = {
    "trace query": ("trace", "query", "traces"),
    "trace summary": ("trace", "summary", "traces", "--by", "task"),
    "trace list": ("trace", "list", "traces"),
    "trace replay": ("replay", "traces/t.jsonl", "--model", "policy.py:fails"),
    "trace --no-replay": ("trace", "replay", "traces/t.jsonl", "--no-replay"),
    "record diff": ("record", "diff", "s", "other"),
    "blackbox": ("blackbox",),
    "run": ("run", "robot.py", "--no-blackbox", "--duration", "0.2"),
}
AS_JSON = ("trace query", "trace list", "record diff", "blackbox")


@pytest.mark.parametrize("name", COMMANDS)
def test_commands_show_what_others_wrote(name: str, place: Path) -> None:
    """At a terminal and into a pipe, on both streams: as escapes, with markup as it is."""
    _, at_terminal = at_a_terminal_raw(*COMMANDS[name], cwd=place)
    piped = _in_a_pipe(*COMMANDS[name], cwd=place)
    for text in (at_terminal, piped):
        assert not any(forbidden in text for forbidden in FORBIDDEN), repr(text)
        assert r"\x1b[2J" in text or r"\u001b[2J" in text
        assert "[red]x[/red]" in text.replace("\n", " ")


@pytest.mark.parametrize("name", AS_JSON)
def test_json_stays_exact(name: str, place: Path) -> None:
    """A program that reads the output gets the very text, and a terminal no control character."""
    text = _in_a_pipe(*COMMANDS[name], "--json", cwd=place, with_errors=False)
    assert not any(forbidden in text for forbidden in FORBIDDEN)
    values = [json.loads(line) for line in (text.splitlines() if name == "blackbox" else [text])]
    assert HOSTILE in _texts(values)


def test_topic_echo_shows_what_was_sent(tmp_path: Path) -> None:
    """Whatever another process sends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "horus_async", "topic", "echo", "words", "-n", "1"],
        stdout=subprocess.PIPE, text=True, env=environment(), cwd=tmp_path,
    )  # fmt: skip
    with process, Topic("words") as topic:
        while process.poll() is None:
            topic.send(HOSTILE)
            topic.recv()
        assert process.stdout is not None
        text = process.stdout.read()
    assert not any(forbidden in text for forbidden in FORBIDDEN), repr(text)
    assert "[red]x[/red]" in text


def _in_a_pipe(*arguments: str, cwd: Path, with_errors: bool = True) -> str:
    command = [sys.executable, "-m", "horus_async", *arguments]
    done = subprocess.run(command, capture_output=True, env=environment(), cwd=cwd, check=False)
    return (done.stdout + (done.stderr if with_errors else b"")).decode()


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [value] if isinstance(value, str) else []
