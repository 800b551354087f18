"""Callbacks that fork: the child ends with the callback, and the parent's run does not notice."""

from __future__ import annotations

import pytest

from tests.engine.programs import both_modes, run_script

SCRIPT = """
import multiprocessing, os, sys
import tests.engine.programs as programs
from horus_async import Node, Scheduler, sleep, tick
children, begun = [], []
async def work(node):
    await sleep(0.02)
    fork()
    {after}
def fork():
    child = os.fork()
    if child:
        children.append(child)
        return False
    return True
async def ticks(node):
    if tick() >= 3 and not begun:  # once; in real time a machine that is busy leaves ticks out
        begun.append(tick())
        {fork}
    node.send("t", tick())
def off(node):
    print("off", os.getpid() == parent, flush=True)
parent = os.getpid()
scheduler = Scheduler(deterministic={deterministic}, tick_rate=50, blackbox_mb=1)
scheduler.add(Node("a", tick=ticks, pubs=["t"], shutdown=off))
scheduler.add(Node("b", on=["t"], tick=lambda node: node.recv("t"), subs=["t"]))
programs.RUNNERS[{runner!r}](scheduler, 0.4)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(scheduler.stats().nodes["b"].ticks, codes, flush=True)
"""
FORKS = {
    "returns": ("if fork(): return", "", 1),
    "goes on": ("fork()", "", 1),
    "sys.exit": ("if fork(): sys.exit(7)", "", 7),
    "raises": ("if fork(): raise ValueError(3)", "", 1),
    "os._exit": ("if fork(): os._exit(5)", "", 5),
    "waits": ("fork(); await sleep(0.001)", "", 1),
    "waited": ("await sleep(0.001); fork()", "", 1),
    "waits again": ("await sleep(0.001); fork(); await sleep(0.001)", "", 1),
    "background": ("node.background(work, node)", "", 1),
    "background waits": ("node.background(work, node)", "await sleep(0.01)", 1),
}


@pytest.mark.usefixtures("namespace")
@both_modes
@pytest.mark.parametrize("runner", ["run_sync", "trio.run", "asyncio.run"])
@pytest.mark.parametrize("how", FORKS)
def test_a_forked_child_ends_with_its_callback(
    how: str, runner: str, deterministic: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Whatever it does there; the parent ticks to its end, and its shutdown runs once."""
    monkeypatch.setenv("HORUS_BLACKBOX_DIR", str(tmp_path))
    fork, after, code = FORKS[how]
    text = SCRIPT.format(fork=fork, after=after, deterministic=deterministic, runner=runner)
    done = run_script(text)
    assert done.returncode == 0, done.stderr
    *offs, last = done.stdout.splitlines()
    assert offs == ["off True"]
    ticks, codes = last.split(" ", 1)
    assert int(ticks) > 3  # it went on
    assert codes == f"[{code}]"
    assert ("was forked in a callback" in done.stderr) == (code == 1)
