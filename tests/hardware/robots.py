"""Running the examples with devices made here, until something has been seen, and verifying them without any."""

from __future__ import annotations

import runpy
from typing import TYPE_CHECKING, Any

from horus_async import Node, Scheduler
from horus_async.recorder import open_session
from horus_async.scheduler.in_force import overriding
from horus_async.scheduler.overrides import Overrides
from tests.engine.programs import PATIENCE
from tests.examples.programs import EXAMPLES, horus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Step = Callable[[], bool]


class _Steps(Node):
    """Goes on to the next step when one says that it is done; after the last one the run ends."""

    rate = 100

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__("steps")
        self.left = list(steps)

    def tick(self) -> None:
        """Look whether the step is done."""
        if self.left and self.left[0]():
            self.left.pop(0)
        if not self.left:
            self.request_stop()


class Robot:
    """An example with a device of a test.

    Args:
        example: Its file.
        args: What its ``build`` takes.
        driver: The name of the node that drives the device.
    """

    def __init__(self, example: str, args: list[str], driver: str) -> None:
        self.program = EXAMPLES / "hardware" / example
        self.scheduler: Scheduler = runpy.run_path(str(self.program))["build"](args)
        self.driver: Any = next(node for node in self.scheduler.nodes if node.name == driver)

    def counted(self, **least: int) -> Step:
        """A step: the driver has counted so much."""
        return lambda: all(self.driver.count[key] >= number for key, number in least.items())

    def run(self, *steps: Step, name: str = "", **overrides: Any) -> None:
        """Run until all steps are done, recorded if it has a name."""
        watching = _Steps(steps)
        self.scheduler.add(watching)
        with overriding(Overrides(recording=name or None, **overrides)):
            self.scheduler.run_sync(PATIENCE)
        assert len(watching.left) == 0, (self.driver.count, len(watching.left))

    def verify(self, name: str, node: str, cwd: Path) -> None:
        """See that a node does again what it did, in a process that has no device."""
        done = horus("replay", name, "--speed", "max", "--verify", self.program, "--nodes", node, cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr


def did(step: Callable[..., Any], *args: Any) -> Step:
    """A step that does something once."""

    def do() -> bool:
        step(*args)
        return True

    return do


def sent(name: str, node: str, topic: str, folder: Path) -> list[Any]:
    """What a recording holds of a node's messages."""
    return [message.value for message in open_session(name, folder).outputs(node) if message.topic == topic]
