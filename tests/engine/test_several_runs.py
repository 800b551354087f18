"""Several runs in one process: a signal ends all of them, and the process ends as it would with one."""

from __future__ import annotations

import os
import pty
import select
import sys
from signal import SIGHUP, SIGINT, SIGTERM
from typing import TYPE_CHECKING

import pytest

from tests.engine.programs import signalled_script
from tests.engine.test_signals import hangs_up

if TYPE_CHECKING:
    import signal

SCRIPT = """
import asyncio, threading, trio
from horus_async import Node, Scheduler, sleep
begun = threading.Barrier(2, action=lambda: print("ready", flush=True))
def make(name, wait):
    said = []
    def tick(node):
        if not said:
            said.append(True)
            threading.Thread(target=begun.wait, daemon=True).start()
    async def off(node):
        await sleep(wait)
        print(f"off {{name}}\\n", end="", flush=True)  # in one piece
    return Scheduler(name=name, deterministic={deterministic}).add(Node(name, tick=tick, shutdown=off))
quick, slow = make("quick", 0), make("slow", 0.2)
{run}
print("not reached")
"""

NURSERY = """
async def main():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(quick.run)
        nursery.start_soon(slow.run)
trio.run(main)
"""
GATHER = """
async def main():
    await asyncio.gather(quick.run(), slow.run())
asyncio.run(main())
"""
GROUP = """
async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(quick.run())
        group.create_task(slow.run())
asyncio.run(main())
"""
BESIDE = """
thread = threading.Thread(target={other}.run_sync)
thread.start()
{main}.run_sync()
"""
THREADS = """
threads = [threading.Thread(target=one.run_sync, daemon={daemon}) for one in (quick, slow)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
RUNS = {
    "a nursery": NURSERY,
    "gather": GATHER,
    "a task group": GROUP,
    "slow in a thread": BESIDE.format(other="slow", main="quick"),
    "quick in a thread": BESIDE.format(other="quick", main="slow"),
    "threads": THREADS.format(daemon=False),
    "daemons": THREADS.format(daemon=True),
}


@pytest.mark.parametrize("number", [SIGINT, SIGTERM, pytest.param(SIGHUP, marks=hangs_up)])
@pytest.mark.parametrize("run", RUNS.values(), ids=[*RUNS])
def test_a_signal_ends_all_of_them(run: str, number: signal.Signals, namespace: str) -> None:
    """Each `shutdown` runs to its end, and the exit code is 130, 143 or 129."""
    code, output, errors = signalled_script(SCRIPT.format(run=run, deterministic=False), number)
    assert code == 128 + number, errors
    assert sorted(output.splitlines()) == ["off quick", "off slow", "ready"]
    if "threads" not in run:  # there Ctrl-C is an exception of the main thread
        assert "Traceback" not in errors


def test_in_virtual_time_too(namespace: str) -> None:
    """Both are in threads of their own then."""
    code, output, errors = signalled_script(SCRIPT.format(run=NURSERY, deterministic=True), SIGTERM)
    assert code == 143, errors
    assert sorted(output.splitlines()) == ["off quick", "off slow", "ready"]


def test_while_no_run_goes_on_signals_do_what_they_did(namespace: str) -> None:
    """A scheduler that was only made keeps nobody from ending the process, nor does one that has ended."""
    for run in ("", "quick.run_sync(0.02)"):
        text = SCRIPT.format(run=f"{run}\nprint('ready', flush=True)\nthreading.Event().wait()", deterministic=False)
        code, output, _ = signalled_script(text, SIGTERM)
        assert code == -SIGTERM
        assert "not reached" not in output


def test_forked_children_end_by_themselves(namespace: str) -> None:
    """A signal to a child that was forked while a run went on ends the child, as if there were no run."""
    run = """
import os, signal, time
def fork(node):
    if node.state is None:
        begun, begins = os.pipe()
        node.state = os.fork()
        if not node.state:
            os.write(begins, b"x")
            while True:
                time.sleep(0.01)
        os.read(begun, 1)  # a signal that comes before Python is ready in the child is lost
        os.kill(node.state, signal.SIGTERM)
        print(os.waitstatus_to_exitcode(os.waitpid(node.state, 0)[1]), flush=True)
        print("ready", flush=True)
Scheduler().add(Node("n", tick=fork)).run_sync()
"""
    code, output, errors = signalled_script(SCRIPT.format(run=run, deterministic=False), SIGTERM)
    assert code == 143, errors
    assert output.splitlines()[0] == f"{-SIGTERM}"


class Prompt:
    """A Python prompt on a terminal."""

    def __init__(self) -> None:
        self.pid, self._file = pty.fork()
        if not self.pid:
            os.execv(sys.executable, [sys.executable, "-q", "-i", "-c", ""])

    def expect(self, text: bytes) -> bytes:
        """What came up to that text.

        Raises:
            OSError: It has ended.
        """
        came = b""
        while text not in came:
            assert select.select([self._file], [], [], 300)[0], came
            came += os.read(self._file, 4096)
        return came

    def type(self, text: bytes) -> None:
        """Type it."""
        os.write(self._file, text)

    def type_until(self, text: bytes, answer: bytes) -> None:
        """Type it, and again as a person would, until the answer comes.

        Python's own prompt does not see a Ctrl-C that comes just before it waits for a key, with or without a run.
        """
        came = b""
        while answer not in came:
            self.type(text)
            while answer not in came and select.select([self._file], [], [], 1)[0]:
                came += os.read(self._file, 4096)

    def close(self) -> None:
        """End it."""
        os.close(self._file)
        os.waitpid(self.pid, 0)


def test_ctrl_c_gives_the_prompt_back(namespace: str) -> None:
    """It ends the run, in the main thread or another, and not the interpreter with all that was in it."""
    prompt = Prompt()
    try:
        prompt.expect(b">>> ")
        prompt.type(
            b"from horus_async import Node, Scheduler; import threading; "
            b"s = Scheduler().add(Node('n', tick=lambda n: None, init=lambda n: print('be' + 'gun', flush=True), "
            b"shutdown=lambda n: print('shut' + 'down', flush=True)))\n"
        )
        prompt.expect(b">>> ")
        prompt.type(b"s.run_sync()\n")
        prompt.expect(b"begun")
        prompt.type(b"\x03")
        assert b"shutdown" in prompt.expect(b">>> ")
        prompt.type(b"t = threading.Thread(target=s.run_sync); t.start()\n")
        prompt.expect(b"begun")
        prompt.type_until(b"\x03", b"shutdown")
        prompt.type_until(b"t.join(); print('j' + 'oined')\n", b"joined")
        prompt.type(b"exit()\n")
    finally:
        prompt.close()
