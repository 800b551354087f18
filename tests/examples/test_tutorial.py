"""Every block of the tutorial and of the README runs, in order, as a reader would type it."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest

from .programs import ROOT, horus, python, write_log

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = re.compile(r"^```(python|sh)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page: str) -> list[tuple[str, str, str]]:
    """Language, file name and text of each block."""
    return [match.groups(default="") for match in BLOCK.finditer((ROOT / page).read_text(encoding="utf-8"))]  # type: ignore[misc]


def _run_line(line: str, folder: Path) -> None:
    command, _, remark = line.partition("  # exit ")
    name, *arguments = shlex.split(command)
    if name == "sed":
        substitution, source, _, target = arguments
        _, old, new, _ = substitution.split("/")
        text, count = re.subn(old, new, (folder / source).read_text(), flags=re.MULTILINE)
        assert count == 1
        (folder / target).write_text(text)
        return
    assert name in {"horus-async", "python"}, line
    done = (horus if name == "horus-async" else python)(*arguments, cwd=folder)
    assert done.returncode == int(remark or 0), f"{line}\n{done.stdout}{done.stderr}"


def test_every_block_of_the_tutorial_runs(tmp_path: Path) -> None:
    """Files are written, commands exit as the page says, and the Python code, read as one program, raises nothing."""
    blocks = _blocks("docs/tutorial.md")
    program = ""
    for language, file, text in blocks:
        if file:
            (tmp_path / file).write_text(text)
        elif language == "python":
            program += text
        else:
            for line in text.splitlines():
                _run_line(line, tmp_path)
    (tmp_path / "program.py").write_text(program)
    done = python("-W", "error", "program.py", cwd=tmp_path)

    assert len(blocks) > 12
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_readme_shows_runs(tmp_path: Path) -> None:
    """Its Python blocks are one program, and its commands work on what that recorded and on a robot's log."""
    blocks = [block for block in _blocks("README.md") if not block[2].startswith("python3 -m venv")]
    (tmp_path / "readme.py").write_text("".join(text for language, _, text in blocks if language == "python"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    write_log(tmp_path / "drive.dat")
    done = python("-W", "error", "readme.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for language, _, text in blocks if language == "sh" for line in text.splitlines() if line]
    assert len(lines) == 7
    for line in lines:
        _run_line(line, tmp_path)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_the_files_a_page_names_exist(page: str) -> None:
    """A path in backquotes that looks like one of the checkout is one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:examples|docs|tests|benchmarks|horus_async|cli)/[\w./-]*)`", text)

    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
