"""``horus-async run --asyncio``: nodes that use libraries for asyncio, in every form of program."""

from __future__ import annotations

from signal import SIGINT, SIGTERM
from typing import TYPE_CHECKING

import pytest

from horus_async import Node, Scheduler
from horus_async.errors import ConfigurationError, ContextError
from horus_async.recorder import open_session
from horus_async.scheduler.in_force import overriding
from horus_async.scheduler.overrides import Overrides
from tests.engine.programs import signalled_script
from tests.examples.programs import horus

if TYPE_CHECKING:
    from pathlib import Path
    from signal import Signals

PROGRAM = """
import asyncio, sys
from horus_async import Node, Scheduler

class Asks(Node):
    name, rate, pubs = "asks", 50, ["got"]

    async def init(self):
        await asyncio.sleep(0)
        self.background(self.beside)

    async def beside(self):
        while True:
            await asyncio.wait_for(asyncio.sleep(0.001), 30)
            self.send("got", "beside")

    async def tick(self):
        queue = asyncio.Queue()
        asyncio.get_running_loop().call_later(0.001, queue.put_nowait, "answer")
        self.send("got", await queue.get())
        print("ready", flush=True)

    async def shutdown(self):
        await asyncio.sleep(0.001)
        print("off", flush=True)

def build(args):
    return Scheduler(tick_rate=100).add(Asks())

if __name__ == "__main__":
    if "trio" in sys.argv:
        import trio
        trio.run(build([]).run, 1)
    elif "asyncio" in sys.argv:
        asyncio.run(build([]).run(1))
    elif "inside" in sys.argv:
        async def main():
            build([]).run_sync()
        asyncio.run(main())
    elif "alone" in sys.argv:
        build([]).run_sync(duration=1)
    elif "deterministic" in sys.argv:
        Scheduler(deterministic=True).add(Asks()).run_sync(1)
    elif "two" in sys.argv:
        build([]).run_sync(0.1)
        Scheduler().add(Node("other", tick=print)).run_sync(0.05)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program with a node that needs asyncio."""
    path = tmp_path / "asks.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize(
    ("app", "argument"),
    [
        ("asks.py", "alone"),
        ("asks.py", "build"),
        ("asks.py:build", "any"),
        ("asks:build", "any"),
        ("asks.py", "asyncio"),
    ],
)
def test_libraries_for_asyncio_work(app: str, argument: str, program: Path, recordings_dir: Path) -> None:
    """In ticks, in tasks beside them, in init and shutdown; recorded as under trio."""
    run = ("run", "--asyncio", "--duration", "0.3", "--record", "asked", app, "--", argument)
    done = horus(*run, cwd=program.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "off"
    sent = [message.value for message in open_session("asked", recordings_dir).outputs("asks")]
    assert {"answer", "beside"} == set(sent)


def test_without_it_the_error_says_what_to_type(program: Path) -> None:
    """Under trio, which is what a run is in otherwise."""
    done = horus("run", "--duration", "1", "asks.py", cwd=program.parent)
    assert done.returncode == 1
    assert "horus-async run --asyncio" in done.stderr


@pytest.mark.parametrize("number", [SIGINT, SIGTERM])
@pytest.mark.parametrize("argument", ["alone", "build"])
def test_signals_end_it_in_order(number: Signals, argument: str, program: Path) -> None:
    """Shutdown runs, and the exit code is 130 or 143, as without the option."""
    arguments = ["horus-async", "run", "--asyncio", str(program), "--", argument]
    text = f"import sys; sys.argv = {arguments!r}; from horus_async.cli import main; main()"
    if argument == "alone":
        program.write_text(PROGRAM.replace("duration=1", "duration=None"))
    code, output, errors = signalled_script(text, number)
    assert code == 128 + number, errors
    assert output.splitlines()[-1] == "off"
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("options", "argument", "said"),
    [
        (["--deterministic"], "build", "--asyncio and --deterministic contradict each other"),
        ([], "deterministic", "--asyncio: scheduler 'asks' is deterministic, and virtual time runs under trio"),
        ([], "trio", "--asyncio: the program runs scheduler 'asks' under trio; let it call scheduler.run_sync()"),
        ([], "inside", "run_sync() was called inside an asyncio loop: write 'await scheduler.run(...)' there"),
    ],
)
def test_what_cannot_be_is_refused(options: list[str], argument: str, said: str, program: Path) -> None:
    """In a line that names the way out; nothing has run."""
    done = horus("run", "--asyncio", *options, "asks.py", "--", argument, cwd=program.parent)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_replay_is_refused() -> None:
    """Its time is virtual, too."""
    node = Node("sends", tick=lambda node: node.send("t", 1), rate=10)
    Scheduler(deterministic=True, recording="played").add(node).run_sync(0.2)
    scheduler = Scheduler.replay_from("played")
    with overriding(Overrides(asyncio=True)), pytest.raises(ConfigurationError, match="replays, and virtual time"):
        scheduler.run_sync()


async def test_inside_trio_it_is_an_error() -> None:
    """As without the option."""
    scheduler = Scheduler()
    with overriding(Overrides(asyncio=True)), pytest.raises(ConfigurationError, match="under trio"):
        scheduler.run_sync()
    with pytest.raises(ContextError, match="inside a trio run"):
        scheduler.run_sync()


def test_it_is_for_the_first_scheduler(program: Path) -> None:
    """Another one runs as it was made, and that is said."""
    done = horus("run", "--asyncio", "asks.py", "--", "two", cwd=program.parent)
    assert done.returncode == 0, done.stderr
    assert "is not the first one that runs" in done.stderr
