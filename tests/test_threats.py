"""``docs/threats.md`` names a test for each promise, and there is one of that name."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "threats.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what ")]
"""The rows of its tables."""


@cache
def names_of(file: str) -> frozenset[str]:
    """The names of the tests in a file; none if there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_there_are_promises() -> None:
    """And the pattern finds them."""
    assert len(PROMISES) > 40
    assert len(NAMED.findall(PAGE)) >= len(PROMISES)


@pytest.mark.parametrize("row", PROMISES, ids=lambda row: row.split("|")[1].strip()[:40])
def test_each_promise_names_a_test(row: str) -> None:
    """Which is there, in its last column."""
    named = NAMED.findall(row.rsplit("|", 2)[1])
    assert named
    for file, name in named:
        assert name in names_of(file), f"{file} has no {name}"


def test_each_test_that_the_page_names_is_there() -> None:
    """Also those in its text."""
    assert [f"{file}::{name}" for file, name in NAMED.findall(PAGE) if name not in names_of(file)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/design.md"])
def test_the_page_can_be_found(page: str) -> None:
    """From where people begin."""
    assert "threats.md" in (ROOT / page).read_text(encoding="utf-8")
