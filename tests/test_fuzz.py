"""The fuzzers of `benchmarks.fuzz` find what is planted, say how to repeat it, and find nothing in our readers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.fuzz import law as law_module
from benchmarks.fuzz import rounds
from benchmarks.fuzz.guided import is_there
from benchmarks.fuzz.law import Law
from benchmarks.fuzz.target import TARGETS, Fuzzed, Target
from horus_async.errors import HorusError
from tests.fuzz_corpus import corpus

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
INPUTS = 60
"""Of each target; the soak reads millions."""
FOUND = [(target, what, data) for target, what, data in corpus()]


@pytest.fixture(autouse=True)
def said_nothing(quiet: None) -> None:
    """Readers have much to say of what they are given."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_the_law(name: str, tmp_path: Path) -> None:
    """Some inputs of each target, the valid ones among them."""
    root = tmp_path / "root"
    root.mkdir()
    outcome = rounds.fuzz(name, root, tmp_path, 1, count=INPUTS, hurried=False)
    assert not outcome.faults
    assert outcome.inputs == INPUTS


@pytest.mark.parametrize("name", sorted({target for target, _, _ in FOUND}))
def test_what_was_found_is_not_found_again(name: str, tmp_path: Path) -> None:
    """Each of them once broke the law."""
    fuzzed = TARGETS[name].ready(tmp_path)
    with closing(fuzzed), Law(fuzzed.read, hurried=False) as law:
        for target, what, data in FOUND:
            if target == name:
                assert law.judge(data) is None, what


def test_the_corpus_names_targets_that_there_are() -> None:
    """None is left out by a wrong name."""
    kinds = defaultdict(list)
    for target, what, _ in FOUND:
        kinds[target].append(what)
    assert set(kinds) <= set(TARGETS)
    assert all(len(set(row)) == len(row) for row in kinds.values())


# What is planted


def raises_type_error(data: bytes) -> None:
    """An error of Python's, in two lines."""
    if data[:1] == b"x":
        raise TypeError(f"a raw error\nin two lines: {data!r}")


def warns(data: bytes) -> None:
    """A warning."""
    if data[:1] == b"x":
        warnings.warn("look here", stacklevel=1)


def loses_an_exception(data: bytes) -> None:
    """An exception where nobody can catch it."""

    class Odd:
        def __del__(self) -> None:
            raise ValueError("in __del__")

    if data[:1] == b"x":
        Odd()


class OddError(HorusError):
    """Ours, but for its text."""

    def __str__(self) -> str:
        return "half a pair: \ud800"


def says_what_cannot_be_encoded(data: bytes) -> None:
    """An error of ours that no terminal can show."""
    if data[:1] == b"x":
        raise OddError


def takes_memory(data: bytes) -> None:
    """256 MB."""
    if data[:1] == b"x":
        bytearray(range(256)) * (1 << 20)


def does_not_end(data: bytes) -> None:
    """An endless loop."""
    while data[:1] == b"x":
        pass


def takes_long(data: bytes) -> None:
    """A tenth of a second or more."""
    if data[:1] == b"x":
        sum(range(30_000_000))


PLANTED: dict[str, tuple[Callable[[bytes], None], str]] = {
    "an error of Python's": (raises_type_error, "TypeError: a raw error in two lines"),
    "a warning": (warns, "UserWarning at .*look here"),
    "a lost exception": (loses_an_exception, "ValueError that nobody could catch: in __del__"),
    "a text that cannot be shown": (says_what_cannot_be_encoded, "cannot be encoded"),
    "memory": (takes_memory, r"it took [23]\d\d MB of memory"),
    "an endless loop": (does_not_end, "has not ended"),
    "a second and more": (takes_long, "s of the processor's time"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_what_is_planted_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the reader is judged on afterwards."""
    read, expected = PLANTED[what]
    if "time" in expected:
        monkeypatch.setattr(law_module, "SECONDS", 0.01)
    elif "ended" in expected:
        monkeypatch.setattr(law_module, "HOPELESS_SECONDS", 0.2)
    with Law(read) as law:
        assert law.judge(b"y") is None
        broken = law.judge(b"x")
        assert law.judge(b"y") is None
    assert broken is not None
    assert re.search(expected, broken.what), broken.what
    assert "\n" not in broken.what


def test_an_error_of_ours_is_no_fault() -> None:
    """It is counted."""

    def read(data: bytes) -> None:
        raise HorusError(f"{data!r} is none")

    with Law(read) as law:
        assert law.judge(b"x") is None
        assert law.refused == 1


def planted(root: Path) -> Fuzzed:
    """A target that fails on every tenth input or so."""
    del root

    def read(data: bytes) -> None:
        if data and data[0] > 230:
            raise KeyError(data[0])

    return Fuzzed([b"valid", b"also"], read)


def test_a_fault_is_kept_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command that repeats it; the input in the file does."""
    monkeypatch.setitem(TARGETS, "fuzz-planted", Target("nothing", "planted"))
    monkeypatch.setattr(Target, "ready", lambda _self, root: planted(root))
    outcome = rounds.fuzz("fuzz-planted", tmp_path, tmp_path, 3, count=2000)
    ((broken, path, times),) = outcome.faults.values()
    assert times > 1
    assert broken.what.startswith("KeyError")
    printed = capsys.readouterr().out
    assert printed.count("again:") == 1
    assert f"python -m benchmarks.soak fuzz-planted --input {path}" in printed
    again = rounds.repeat("fuzz-planted", tmp_path, path.read_bytes())
    assert again is not None
    assert again.place == broken.place


def test_a_seed_gives_the_same_inputs_again(tmp_path: Path) -> None:
    """Another one gives others."""
    runs = []
    for number, seed in enumerate((5, 5, 6)):
        root = tmp_path / str(number)
        root.mkdir()
        inputs: list[bytes] = []
        rounds.fuzz("fuzz-policy", root, tmp_path, seed, count=100, begun=inputs.append, hurried=False)
        runs.append(inputs)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def soak(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command."""
    command = [sys.executable, "-m", "benchmarks.soak", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_says_what_it_did() -> None:
    """How many inputs, at which speed, from which seed, and how they were made."""
    done = soak("fuzz-policy", "--count", "50", "--seed", "9", "--plain")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seed 9, at random" in done.stdout
    assert "50 inputs (" in done.stdout
    assert "no fault" in done.stdout


def test_the_command_repeats_an_input(tmp_path: Path) -> None:
    """The one in a file."""
    path = tmp_path / "input.bin"
    path.write_bytes(b"{}")
    done = soak("fuzz-policy", "--input", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the law holds for this input" in done.stdout


@pytest.mark.skipif(not is_there(), reason="atheris is not installed")
def test_with_atheris_inputs_are_guided() -> None:
    """By the code that they reach."""
    done = soak("fuzz-schema", "--count", "300", "--seed", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "guided by atheris" in done.stdout
    assert "300 inputs (" in done.stdout


CRASHES = """
import os, sys
from benchmarks.fuzz import target
from benchmarks.fuzz.__main__ import main
target.Target.ready = lambda self, root: target.Fuzzed([b"valid"], lambda data: data == b"valid" or os.abort())
sys.exit(main())
"""


def test_a_crash_of_the_interpreter_leaves_its_input(tmp_path: Path) -> None:
    """The process is gone, and the file has what it read last."""
    options: dict[str, Any] = {"seed": 1, "count": 10, "seconds": None, "guided": False, "input": None}
    command = [sys.executable, "-c", CRASHES, "fuzz-policy", str(tmp_path), str(tmp_path), json.dumps(options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode < 0
    left = (tmp_path / "fuzz-policy-last.bin").read_bytes()
    length = int.from_bytes(left[:8], "little")
    assert left[8 : 8 + length] not in (b"", b"valid")
