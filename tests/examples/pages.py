"""Reading a page of the documentation as its reader would type it: files, commands and Python, from top to bottom."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from .programs import ROOT, horus, python

_BLOCK = re.compile(r"^```(python|sh|toml)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block."""

    language: str
    file: str
    """The file that the reader is to write it to; empty for none."""
    text: str


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page that a reader can type; for a set-up command, the reader of the tests has done that."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = [Block(*match.groups(default="")) for match in _BLOCK.finditer(text)]
    blocks = [block for block in blocks if block.file or block.language != "toml"]  # a piece of one is not to be typed
    return [block for block in blocks if not block.text.startswith("python3 -m venv")]


def as_program(blocks: list[Block]) -> str:
    """One program that does what the blocks say, in their order, in the folder where it is started."""
    parts = ["from tests.examples.pages import write, run_line\n"]
    for language, file, text in blocks:
        if file:
            parts.append(f"write({file!r}, {text!r})\n")
        elif language == "python":
            parts.append(text)
        else:
            parts += [f"run_line({line!r})\n" for line in text.splitlines() if line]
    return "".join(parts)


def write(file: str, text: str) -> None:
    """Write a file that a page shows."""
    Path(file).write_text(text)


def run_line(line: str) -> None:
    """Run a command of a page: ``horus-async …  # exit 1``; without a remark it has to exit with 0."""
    command, _, remark = line.partition("  # exit ")
    name, *arguments = shlex.split(command)
    if name == "sed":
        _substitute(*arguments)
        return
    assert name in {"horus-async", "python"}, line
    done = (horus if name == "horus-async" else python)(*arguments, cwd=Path.cwd())
    assert done.returncode == int(remark or 0), f"{line}\n{done.stdout}{done.stderr}"


def _substitute(substitution: str, source: str, _: str, target: str) -> None:
    """``sed s/OLD/NEW/ SOURCE > TARGET``, and there has to be one to replace."""
    _, old, new, _ = substitution.split("/")
    text, count = re.subn(old, new, Path(source).read_text(), flags=re.MULTILINE)
    assert count == 1
    Path(target).write_text(text)


def as_notebook(blocks: list[Block]) -> str:
    """A program that runs the blocks as cells: under asyncio, where ``await`` may stand outside of functions."""
    cells = [block.text for block in blocks if block.language == "python"]
    return f"from tests.examples.pages import run_cells\nimport asyncio\nasyncio.run(run_cells({cells!r}, globals()))\n"


async def run_cells(cells: list[str], names: dict[str, Any]) -> None:
    """Run each cell in the same names, as a notebook does."""
    for number, cell in enumerate(cells, 1):
        code = compile(cell, f"<cell {number}>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result
