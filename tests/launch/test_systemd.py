"""Units: read back they say what the launch file says, and systemd itself finds nothing wrong with them."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from horus_async.errors import LaunchError
from horus_async.launch.files.commands import command_of
from horus_async.launch.files.reading import read_launch_file
from horus_async.launch.files.systemd import MARK, quoted, write_units
from tests.engine.programs import PATIENCE
from tests.examples.programs import EXAMPLES, horus

from .robots import robot

if TYPE_CHECKING:
    from pathlib import Path

AWKWARD = [
    "a b",
    "50%",
    "$HOME",
    "${X}",
    '"quoted"',
    "it's",
    "back\\slash",
    ";",
    "",
    "new\nline",
    "tab\t",
    "é",
    "@x",
    "\x07",
]

TOML = """
[programs.base]
required = true
[programs.arm]
after = ["base"]
after_topics = ["scan"]
restart = "on-failure"
backoff = 0.5
backoff_limit = 8
max_restarts = 4
restart_window = 20
grace = 3
env = { A = "50% of \\"$HOME\\"" }
params = { "arm.name" = "left arm" }
"""


def read_back(text: str, *, command: bool) -> list[str]:
    """The words of a line, by the rules of systemd.syntax(7) and systemd.service(5)."""
    words, word, inside, at = [], None, "", 0
    escapes = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
    raw = bytearray()
    while at < len(text):
        letter = text[at]
        if inside and letter == inside:
            inside = ""
        elif not inside and letter in "\"'":
            inside, word = letter, word or ""
            raw += b""
        elif not inside and letter == " ":
            if word is not None:
                words.append(raw.decode())
            word, raw = None, bytearray()
        else:
            word = ""
            if letter == "\\" and text[at + 1] == "x":
                raw.append(int(text[at + 2 : at + 4], 16))
                at += 3
            elif letter == "\\":
                raw += escapes[text[at + 1]].encode()
                at += 1
            else:
                assert letter != "%" or text[at + 1] == "%", "a specifier"
                assert not command or letter != "$" or text[at + 1] == "$", "a variable"
                at += letter == "%" or (command and letter == "$")
                raw += letter.encode()
        at += 1
    return words if word is None else [*words, raw.decode()]


def values(text: str, key: str) -> list[str]:
    """All values of a key in a unit."""
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


def test_units_say_what_the_file_says(tmp_path: Path) -> None:
    """Command line, order, restarts, times, environment."""
    file = read_launch_file(robot(tmp_path, TOML, base="", arm=""))
    units = write_units(file, tmp_path / "units", namespace="left")
    assert [path.name for path in units.files] == ["robot-base.service", "robot-arm.service", "robot.target"]
    assert units.notes == ["base is required: systemd does not end the others with it"]
    text = units.files[1].read_text()
    assert text.startswith(MARK)
    assert read_back(values(text, "ExecStart")[0], command=True) == command_of("arm", file.programs["arm"])
    assert values(text, "After") == values(text, "Wants") == ["robot-base.service"]
    expected = {
        "Type": "notify",
        "Restart": "on-failure",
        "RestartSec": "0.5",
        "RestartMaxDelaySec": "8",
        "RestartSteps": "4",
        "StartLimitBurst": "5",
        "StartLimitIntervalSec": "20",
        "TimeoutStopSec": "3",
        "WorkingDirectory": str(tmp_path),
        "PartOf": "robot.target",
    }
    assert {key: values(text, key) for key in expected} == {key: [value] for key, value in expected.items()}
    environment = [read_back(value, command=False)[0] for value in values(text, "Environment")]
    assert environment == ['A=50% of "$HOME"', "HORUS_NAMESPACE=left", "PYTHONUNBUFFERED=1"]
    assert values(text, "ExecStartPre")[0].endswith("-P -m horus_async topic echo -n 1 scan")
    assert values(units.files[0].read_text(), "Restart") == ["no"]


@given(st.lists(st.sampled_from(AWKWARD) | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_every_word_is_read_back_as_it_was(words: list[str]) -> None:
    """Blanks, percent and dollar signs, quotes, backslashes, controls."""
    assert read_back(" ".join(map(quoted, words)), command=True) == words
    assert read_back(" ".join(quoted(word, dollar=False) for word in words), command=False) == words
    assert all(quoted(word).count("\n") == 0 for word in words)


def test_files_of_others_are_not_overwritten(tmp_path: Path) -> None:
    """Ours are; nothing is written where one of them cannot be."""
    file = read_launch_file(robot(tmp_path, "[programs.arm]\n[programs.base]", arm="", base=""))
    write_units(file, tmp_path)
    write_units(file, tmp_path)
    (tmp_path / "robot-base.service").write_text("[Unit]\n")
    (tmp_path / "robot-arm.service").unlink()
    with pytest.raises(LaunchError, match=r"robot-base\.service is there and not of launch"):
        write_units(file, tmp_path)
    assert not (tmp_path / "robot-arm.service").exists()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """Of the example, and of awkward arguments. Older ones do not know how to back off, and say so."""
    toml = f"{TOML}args = [{', '.join(map(_toml, AWKWARD))}]\n"
    file = robot(tmp_path, toml, base="", arm="")
    for source, folder in ((file, tmp_path / "one"), (EXAMPLES / "fleet" / "robot.toml", tmp_path / "two")):
        done = horus("launch", source, "--systemd", "--output", folder, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        checked = subprocess.run(
            ["systemd-analyze", "verify", *map(str, folder.iterdir())],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        found = [line for line in checked.stderr.splitlines() if not re.search("Unknown key .*Restart(Max|St)", line)]
        ours = [line for line in found if str(folder) in line or "robot" in line]
        assert (checked.returncode, ours) == (0, []), checked.stderr


def _toml(text: str) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in text) + '"'
