"""Every block of the tutorial, of the README and of the pages for newcomers runs, as a reader would type it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from horus_async import Scheduler

from .pages import as_notebook, as_program, blocks_of
from .programs import ROOT, horus, python

if TYPE_CHECKING:
    from pathlib import Path

CONCEPTS = [
    "docs/params.md",
    "docs/services.md",
    "docs/actions.md",
    "docs/sync.md",
    "docs/frames.md",
    "docs/record_start.md",
    "docs/viewers.md",
    "docs/record_around.md",
    "docs/finding_sessions.md",
    "docs/view.md",
]
PAGES = [
    "README.md",
    "docs/tutorial.md",
    "docs/from_ros2.md",
    "docs/notebooks.md",
    "docs/launch.md",
    "docs/hardware.md",
    "docs/mobile_base.md",
    *CONCEPTS,
]


@pytest.mark.parametrize(
    ("page", "at_least", "times"),
    [
        ("README.md", 6, 1),
        ("docs/tutorial.md", 20, 2),
        ("docs/from_ros2.md", 3, 2),
        ("docs/hardware.md", 1, 1),
        ("docs/launch.md", 5, 1),
        *((page, 2, 1) for page in CONCEPTS),
    ],
)
def test_every_block_of_a_page_runs(page: str, at_least: int, times: int, tmp_path: Path) -> None:
    """Files are written, commands exit as the page says, and the Python code, read as one program, raises nothing.

    Whoever starts again is not told that a recording exists already. (The README's commands say that it does.)
    """
    blocks = blocks_of(page)
    assert len(blocks) >= at_least
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "program.py").write_text(as_program(blocks))
    for _ in range(times):
        done = python("-W", "error", "program.py", cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_cell_of_the_notebook_page_runs(tmp_path: Path) -> None:
    """Under asyncio, cell by cell, in one namespace."""
    blocks = blocks_of("docs/notebooks.md")
    assert len(blocks) >= 4
    (tmp_path / "program.py").write_text(as_notebook(blocks))
    done = python("-W", "error", "program.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_programs_of_the_readme_run_twice(tmp_path: Path) -> None:
    """Whoever starts an example again is not told that its recording exists already."""
    blocks = [block for block in blocks_of("README.md") if block.language == "python"]
    assert [block.file for block in blocks] == ["robot.py", "try_controller.py"]
    for block in blocks:
        (tmp_path / block.file).write_text(block.text.replace("duration=5", "duration=0.1"))
    for program in ("robot.py", "try_controller.py") * 2:
        done = python("-W", "error", program, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")


def test_pages_do_not_take_each_others_names() -> None:
    """A session or file of one page is not in the way of the next, and none has the name of a position in a list."""
    taken: dict[str, str] = {}
    for page in PAGES:
        text = "".join(block.text for block in blocks_of(page))
        sessions = set(re.findall(r"""(?:--record |recording=["'])([\w.-]+)""", text))
        names = sessions | {block.file for block in blocks_of(page) if block.file}
        assert not names & {"first", "second"}, page
        for name in names:
            assert taken.setdefault(name, page) == page, name


def test_the_difference_in_the_readme_is_the_one_that_is_found(tmp_path: Path, recordings_dir: Path) -> None:
    """The line that it quotes is what the command prints."""
    for block in blocks_of("README.md"):
        if block.file:
            (tmp_path / block.file).write_text(block.text)
    horus("run", "--deterministic", "--record", "monday", "robot.py", cwd=tmp_path)
    assert "monday" in Scheduler.list_recordings(recordings_dir)
    changed = (tmp_path / "robot.py").read_text().replace("0.5", "0.6")
    (tmp_path / "changed.py").write_text(changed)
    done = horus("replay", "monday", "--speed", "max", "--verify", "changed.py", cwd=tmp_path)
    quoted = re.search(r"`(tick 0, node controller[^`]*)`", (ROOT / "README.md").read_text())
    assert quoted is not None
    assert " ".join(quoted[1].split()) in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_the_files_a_page_names_exist(page: str) -> None:
    """A path in backquotes that looks like one of the checkout is one."""
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`((?:examples|docs|tests|benchmarks|horus_async|cli)/[\w./-]*)`", text)
    links = re.findall(r"\]\(([\w./-]+\.md)(?:#[\w-]*)?\)", text)

    assert paths or links
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []
