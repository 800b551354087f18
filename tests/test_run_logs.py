"""What nodes log is shown by ``horus-async run``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.engine.programs import run_script

if TYPE_CHECKING:
    from pathlib import Path

RUN = "import sys; from horus_async.cli import main; main(sys.argv[1:], prog_name='horus-async')"
PROGRAM = """
import logging
from horus_async import Node, Scheduler, tick
{setup}
def work(node):
    node.log.debug("hidden")
    node.log.info("moved %d", tick())
    node.log.warning("hot")
    logging.getLogger("elsewhere").info("hidden too")
Scheduler(deterministic=True).add(Node("arm", tick=work, rate=10)).run_sync(0.1)
"""


def shown(tmp_path: Path, setup: str = "") -> list[str]:
    """The lines about nodes that a program's run prints."""
    (tmp_path / "robot.py").write_text(PROGRAM.format(setup=setup))
    done = run_script(RUN, "run", str(tmp_path / "robot.py"), "--no-blackbox")
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if "moved" in line or "hot" in line or "hidden" in line]


def test_lines_with_the_nodes_name(tmp_path: Path) -> None:
    """From INFO up, each with its node (nodes/25)."""
    assert shown(tmp_path) == ["[arm] moved 0", "[arm] WARNING: hot"]


def test_a_program_that_sets_up_logging_itself(tmp_path: Path) -> None:
    """Its own format and level hold, and no line comes twice."""
    setup = "logging.basicConfig(level=logging.WARNING, format='mine: %(message)s')"
    assert shown(tmp_path, setup) == ["mine: hot"]


def test_a_program_that_sets_the_level_of_its_nodes(tmp_path: Path) -> None:
    """A level of its own holds."""
    setup = "logging.getLogger('horus_async.node').setLevel(logging.WARNING)"
    assert shown(tmp_path, setup) == ["[arm] WARNING: hot"]
