"""Ctrl-C, SIGTERM and SIGHUP, sent to real processes."""

from __future__ import annotations

import re
import signal
import sys
import threading
from signal import SIGHUP, SIGINT, SIGTERM
from typing import TYPE_CHECKING

import pytest

from horus_async import Node
from horus_async.scheduler import unawaited
from horus_async.scheduler.held_up import held_up
from tests.engine.programs import both_modes, run_nodes, signalled_script

if TYPE_CHECKING:
    from types import FrameType

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


TWO = """
import anyio, asyncio, sys, time, trio
from horus_async import Node, Scheduler, sleep
said = []
def say(*words): print(*words, flush=True)
async def park(node):
    say("ready")
    {in_shutdown}
    say("parked")
arm = Node("arm", tick={tick}, shutdown=park, enter_safe_state=lambda node: say("arm safe"))
motor = Node("motor", tick=lambda node: None, shutdown=lambda node: say("motor off"),
             enter_safe_state=lambda node: say("motor safe"))
scheduler = Scheduler(deterministic={deterministic}, grace={grace}, tick_rate=50).add(arm).add(motor)
{run}
"""
BUSY = "lambda node: (say('ready'), time.sleep(1000))"
SAFE_AND_OFF = ["arm safe", "motor safe", "motor off"]


@pytest.mark.usefixtures("namespace")
@both_modes
@pytest.mark.parametrize("hangs", ["await anyio.sleep_forever()", "while True: time.sleep(1000)"])
@pytest.mark.parametrize("run", RUNS.values(), ids=[*RUNS])
def test_a_second_ctrl_c_makes_safe_and_shuts_down(run: str, hangs: str, deterministic: bool) -> None:
    """A shutdown that hangs or blocks is left behind at once, and named; the others are safe, then off; 130."""
    if deterministic and "await" in hangs:
        hangs = "sys.modules['threading'].Thread(target=time.sleep, args=(1000,), daemon=True).start(); " + hangs
    if deterministic and "while" in hangs and run != RUNS["run_sync"]:
        pytest.skip("what blocks a thread other than the main one cannot be broken off")
    text = TWO.format(
        in_shutdown=hangs,
        tick="lambda node: said or said.append(say('ready'))",
        deterministic=deterministic,
        grace=1000,
        run=run,
    )
    code, output, errors = signalled_script(text, SIGINT, SIGINT)
    assert code == 130, errors
    assert output.splitlines() == ["ready", "ready", *SAFE_AND_OFF]
    assert "shutdown of node 'arm'" in errors
    assert "Traceback" not in errors


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
@pytest.mark.parametrize("run", RUNS.values(), ids=[*RUNS])
def test_a_tick_that_blocks_is_broken_off_after_grace(run: str, number: signal.Signals) -> None:
    """One signal is enough: it is said which line blocks, and the run ends in order, with its exit code."""
    text = TWO.format(in_shutdown="", tick=BUSY, deterministic=False, grace=0.2, run=run)
    code, output, errors = signalled_script(text, number)
    assert code == 128 + number, errors
    assert output.splitlines() == ["ready", "arm safe", "motor safe", "ready", "parked", "motor off"]
    assert re.search(r"tick of node 'arm', at <string>:\d+ in <lambda>: it has not ended within 0.2 s", errors)
    assert "Traceback" not in errors


def test_nothing_is_raised_where_it_would_be_lost() -> None:
    """In a destructor, in `logging`, while a thread starts, and for the garbage collector, a signal waits."""
    found: dict[str, bool] = {}
    codes = {unawaited._collection.__code__: "collector", threading.Event.wait.__code__: "start of a thread"}

    def look(where: str, frame: FrameType | None = None) -> bool:
        held = held_up(frame or sys._getframe())
        assert held is not None
        found[where] = held.delicate
        return True

    class Gone:
        def __del__(self) -> None:
            look("destructor")

    def tick(node: Node) -> None:
        look("tick")
        Gone()
        node.log.logger.addFilter(in_log)
        node.log.warning("said")
        node.log.logger.removeFilter(in_log)
        sys.setprofile(in_code)
        unawaited._collection("stop", {})
        thread = threading.Thread(target=print)
        thread.start()
        sys.setprofile(None)
        thread.join()

    def in_log(_: object) -> bool:
        return look("log")

    def in_code(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in codes:
            look(codes[frame.f_code], frame)

    run_nodes(Node("n", tick=tick), duration=0.01)
    assert found == {"tick": False, "destructor": True, "log": True, "collector": True, "start of a thread": True}


NOTEBOOK = """
import asyncio, signal
from horus_async import Node, Scheduler, tick

def ready(node):
    if tick() == 100:
        print("ready", flush=True)

async def off(node):
    print("off", flush=True)

loop = asyncio.new_event_loop()
cell = loop.create_task(Scheduler(deterministic={deterministic}).add(Node("a", tick=ready, shutdown=off)).run())
signal.signal(signal.SIGINT, lambda *_: cell.cancel())  # as IPython does; nothing wakes the event loop
try:
    loop.run_until_complete(cell)
except asyncio.CancelledError:
    print("cancelled")
print(loop.run_until_complete(asyncio.sleep(0, "next cell")))
"""


@both_modes
def test_a_handler_that_cancels_without_waking_the_loop(deterministic: bool, namespace: str) -> None:
    """*Interrupt* in a notebook: the run ends in order, and the event loop is as before."""
    code, output, errors = signalled_script(NOTEBOOK.format(deterministic=deterministic), SIGINT)
    assert (code, output.split("\n")[:-1]) == (0, ["ready", "off", "cancelled", "next cell"]), errors
