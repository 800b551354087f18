"""Ctrl-C, SIGTERM and SIGHUP, sent to real processes."""

from __future__ import annotations

import signal
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from tests.engine.programs import both_modes, signalled_script

SCRIPT = """
import asyncio, os, sys, time, trio
from horus_async import Node, Scheduler, Topic, sleep, tick
said = False
def tick_a(node):
    global said
    node.send("t", {{"x": 1}})
    if not said:
        said = True
        print("ready", flush=True)
    {in_tick}
async def waiting(node):
    await node.receive("never")
async def off(node):
    await sleep(0.01)
    print("off", node.name, flush=True)
scheduler = Scheduler(deterministic={deterministic})
scheduler.add(Node("a", tick=tick_a, shutdown=off)).add(Node("b", tick=waiting, shutdown=off))
{run}
print("not reached")
"""

RUNS = {
    "run_sync": "scheduler.run_sync()",
    "trio.run": "trio.run(scheduler.run)",
    "asyncio.run": "asyncio.run(scheduler.run())",
}


hangs_up = pytest.mark.skipif(signal.getsignal(SIGHUP) is signal.SIG_IGN, reason="nohup: no process here hangs up")


@both_modes
@pytest.mark.parametrize("number", [SIGINT, SIGTERM, pytest.param(SIGHUP, marks=hangs_up)])
@pytest.mark.parametrize("run", RUNS.values(), ids=[*RUNS])
def test_a_signal_shuts_down_in_order(run: str, number: signal.Signals, deterministic: bool, namespace: str) -> None:
    """Every shutdown runs to its end, shared memory is gone, and the exit code is 130, 143 or 129 (J.1-43)."""
    code, output, errors = signalled_script(SCRIPT.format(run=run, deterministic=deterministic, in_tick=""), number)
    assert code == 128 + number, errors
    assert output.splitlines() == ["ready", "off a", "off b"]
    assert "Traceback" not in errors


@pytest.mark.usefixtures("namespace")
@both_modes
@pytest.mark.parametrize("run", RUNS.values(), ids=[*RUNS])
def test_a_second_ctrl_c_breaks_a_stuck_tick(run: str, deterministic: bool) -> None:
    """The first waits for the tick to end; the second breaks it, and the process ends with a non-zero code."""
    wait = "while not scheduler._stop_asked: time.sleep(0.01)"
    stuck = f"{wait}\n    print('ready', flush=True)\n    while True: time.sleep(0.01)"
    text = SCRIPT.format(run=run, deterministic=deterministic, in_tick=stuck)
    code, output, _ = signalled_script(text, SIGINT, SIGINT)
    assert code not in (0, None)
    assert "not reached" not in output


def test_a_program_that_catches_ctrl_c_goes_on() -> None:
    """A signal comes out of run as a KeyboardInterrupt too, with everything shut down."""
    run = "try: scheduler.run_sync()\nexcept KeyboardInterrupt: print('caught')\nsys.exit(0)"
    code, output, errors = signalled_script(SCRIPT.format(run=run, deterministic=False, in_tick=""), SIGINT)
    assert (code, output.splitlines()) == (0, ["ready", "off a", "off b", "caught"]), errors


def test_the_programs_own_handler_is_left_alone() -> None:
    """A handler that the program set itself is called, and the run goes on."""
    own = "import signal\nsignal.signal(signal.SIGTERM, lambda *_: scheduler.stop())\nscheduler.run_sync()"
    code, output, errors = signalled_script(SCRIPT.format(run=own, deterministic=False, in_tick=""), SIGTERM)
    assert (code, output.splitlines()[-1]) == (0, "not reached"), errors


def test_a_signal_during_init_ends_the_run() -> None:
    """It need not wait for the first tick."""
    text = """
from horus_async import Node, Scheduler, sleep
async def init(node):
    print("ready", flush=True)
    await sleep(30)
Scheduler().add(Node("a", init=init, tick=print, shutdown=lambda n: print("off", flush=True))).run_sync()
"""
    code, output, errors = signalled_script(text, SIGTERM)
    assert (code, output.splitlines()) == (143, ["ready", "off"]), errors
