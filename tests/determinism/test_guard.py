"""The determinism guard: what it reports, what it leaves alone, and that nothing of it is left behind."""

from __future__ import annotations

import concurrent.futures
import datetime
import inspect
import logging
import os
import random
import secrets
import socket
import subprocess
import threading
import time
import uuid
from datetime import date
from datetime import datetime as moment
from time import time as what_time_it_is
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio

import horus_async
from horus_async import (
    ConfigurationError,
    ContextError,
    DeterminismError,
    Guard,
    GuardFinding,
    Ignore,
    Node,
    NodeFailure,
    Scheduler,
    np_rng,
    rng,
)
from horus_async.determinism.origins import is_users

if TYPE_CHECKING:
    from collections.abc import Callable

# Each call that a node should not make, the name under which it is reported, and a word of the advice.
CALLS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "time": (lambda: time.time(), "time.time()", "now()"),
    "time under another name": (lambda: what_time_it_is(), "time.time()", "now()"),
    "monotonic": (lambda: time.monotonic_ns(), "time.monotonic_ns()", "elapsed()"),
    "perf_counter": (lambda: time.perf_counter(), "time.perf_counter()", "stats()"),
    "time.sleep": (lambda: time.sleep(0), "time.sleep()", "horus_async.sleep"),
    "strftime": (lambda: time.strftime("%Y"), "time.strftime()", "now()"),
    "localtime": (lambda: time.localtime(), "time.localtime()", "now()"),
    "datetime.now": (lambda: datetime.datetime.now(), "datetime.datetime.now()", "now()"),
    "datetime.utcnow": (lambda: _utcnow(), "datetime.datetime.utcnow()", "now()"),
    "datetime under another name": (lambda: moment.now(datetime.UTC), "datetime.datetime.now()", "now()"),
    "date.today": (lambda: date.today(), "datetime.date.today()", "now()"),
    "random": (lambda: random.random(), "random.random()", "rng()"),
    "random.shuffle": (lambda: random.shuffle([1, 2]), "random.shuffle()", "rng()"),
    "random without a seed": (lambda: random.Random(), "random.Random() without a seed", "rng()"),
    "urandom": (lambda: os.urandom(4), "os.urandom()", "rng()"),
    "uuid1": (lambda: uuid.uuid1(), "uuid.uuid1()", "rng()"),
    "uuid4": (lambda: uuid.uuid4(), "uuid.uuid4()", "rng()"),
    "secrets": (lambda: secrets.token_hex(4), "secrets.token_hex()", "rng()"),
    "thread": (lambda: _thread(), "threading.Thread.start()", "to_thread"),
    "executor": (lambda: _executor(), "threading.Thread.start()", "to_thread"),
    "socket": (lambda: socket.socket().close(), "socket.socket", "replay"),
    "subprocess": (lambda: subprocess.run(["true"], check=True), "subprocess.Popen", "replay"),
    "np.random": (lambda: np.random.rand(2), "numpy.random.rand()", "np_rng()"),  # noqa: NPY002
    "default_rng": (lambda: np.random.default_rng(), "a NumPy generator without a seed", "np_rng()"),
    "PCG64": (lambda: np.random.PCG64(), "a NumPy generator without a seed", "np_rng()"),
}


def _utcnow() -> object:
    return datetime.datetime.utcnow()


def _thread() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _executor() -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        executor.submit(int).result()


def guarded(tick: Callable[[Node], Any], guard: Guard = Guard.WARN, **callbacks: Any) -> Scheduler:
    """A scheduler that has run three ticks of a node."""
    scheduler = Scheduler(tick_rate=100, deterministic=True, guard=guard)
    scheduler.add(Node("suspect", tick=tick, **callbacks)).run_sync(0.03)
    return scheduler


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_reported_with_its_line_and_what_to_use_instead(name: str) -> None:
    """Each call that differs from run to run is found: node, tick, file, line, advice."""
    function, call, advice = CALLS[name]

    async def tick(node: Node) -> None:
        function()

    (finding, *others) = guarded(tick).guard_findings

    assert not others
    assert (finding.node, finding.tick, finding.call, finding.file) == ("suspect", 0, call, __file__)
    assert advice in finding.instead
    code = function.__code__
    inside = inspect.getsourcelines(globals()[code.co_names[0]])[1] if code.co_names[0].startswith("_") else None
    assert finding.line == code.co_firstlineno or (inside is not None and inside < finding.line < inside + 6)


def test_what_libraries_of_the_runtime_do_is_no_finding(caplog: pytest.LogCaptureFixture) -> None:
    """Sleeping, threads that a tick waits for, seeded generators, logging and imports are fine."""
    caplog.set_level(logging.INFO)

    async def tick(node: Node) -> None:
        await trio.sleep(0.001)
        await horus_async.sleep(0.001)
        await trio.to_thread.run_sync(int)
        rng().random()
        np_rng().random()
        random.Random(4).random()
        np.random.default_rng(4).random()
        time.localtime(0)
        time.strftime("%Y", time.gmtime(0))
        datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat()
        node.log.info("a line with a time stamp")
        import imaplib  # noqa: F401 - it makes a generator without a seed

        node.send("topic", {"value": horus_async.now()})

    assert guarded(tick, Guard.ERROR).guard_findings == ()
    assert "a line with a time stamp" in caplog.text


def test_a_place_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """Three ticks, two lines: two warnings, and two findings."""

    def tick(node: Node) -> None:
        time.time()
        time.time()

    findings = guarded(tick).guard_findings

    first = inspect.getsourcelines(tick)[1]
    assert [finding.line for finding in findings] == [first + 1, first + 2]
    warnings = [record.getMessage() for record in caplog.records if "not deterministic" in record.getMessage()]
    assert warnings == [f"not deterministic: {finding}" for finding in findings]
    assert f"{__file__}:{first + 1}: node 'suspect' calls time.time() in tick 0: use horus_async.now()" in warnings[0]


def test_init_is_watched_and_shutdown_is_not() -> None:
    """What a node does in ``init`` decides what it sends; what it does in the end is its own affair."""
    findings = guarded(lambda _: None, init=lambda _: time.time(), shutdown=lambda _: time.time()).guard_findings

    assert [(finding.tick, finding.call) for finding in findings] == [(None, "time.time()")]


def test_worker_threads_of_a_tick_are_watched() -> None:
    """A tick in a thread (``compute=True``) is a tick."""
    scheduler = Scheduler(tick_rate=100, deterministic=True)
    scheduler.add(Node("thinker", tick=lambda _: random.random(), compute=True)).run_sync(0.01)

    assert [finding.call for finding in scheduler.guard_findings] == ["random.random()"]


def test_error_raises_in_the_node_each_time() -> None:
    """``Guard.ERROR``: the call does not take place; by the node's failure policy the run may go on."""
    errors = []
    reached = []

    def tick(node: Node) -> None:
        time.time()
        reached.append(node)

    guarded(tick, Guard.ERROR, failure_policy=Ignore(), on_error=lambda _, error: errors.append(error))

    assert [type(error) for error in errors] == [DeterminismError] * 3
    assert not reached
    with pytest.raises(NodeFailure) as failure:
        guarded(tick, Guard.ERROR)
    assert "time.time()" in str(failure.value.exceptions[0])


def test_off_changes_nothing() -> None:
    """``Guard.OFF``: the functions are the ones there were, in a tick too."""
    before = (time.time, random.random, threading.Thread.start, vars(moment)["now"])
    seen = []

    def tick(node: Node) -> None:
        seen.append((time.time, random.random, threading.Thread.start, vars(moment)["now"]))

    assert guarded(tick, Guard.OFF).guard_findings == ()
    assert all(inside is outside for row in seen for inside, outside in zip(row, before, strict=True))


def test_real_time_is_not_guarded() -> None:
    """In real time the wall clock is what a node should go by."""
    scheduler = Scheduler(tick_rate=100).add(Node("clock", tick=lambda _: time.time()))
    scheduler.run_sync(0.02)

    assert scheduler.guard_findings == ()


def test_a_guard_must_be_one() -> None:
    """A string is no `Guard`; the error says what is."""
    with pytest.raises(ConfigurationError, match=r"guard='warn': give Guard\.WARN"):
        Scheduler(deterministic=True, guard="warn")  # type: ignore[arg-type]


def _originals() -> list[object]:
    return [
        *(time.time, time.sleep, what_time_it_is, os.urandom, uuid.uuid4, random.random, secrets.token_hex),
        *(random.Random.__init__, threading.Thread.start, socket.socket.__init__, subprocess.Popen.__init__),
        *(vars(moment)["now"], vars(date)["today"], np.random.rand, np.random.bit_generator.randbits),  # type: ignore[attr-defined]
    ]


def test_everything_is_put_back() -> None:
    """After a run, whether it went well or not, each function is the original."""
    before = _originals()

    def fail(node: Node) -> None:
        raise ValueError("on purpose")

    guarded(lambda _: time.time())
    with pytest.raises(NodeFailure):
        guarded(fail)

    assert all(now is then for now, then in zip(_originals(), before, strict=True))


def test_what_somebody_else_put_there_meanwhile_stays() -> None:
    """A substitute that a tick installs is not overwritten at the end of the run."""
    original = time.ctime
    mine = lambda: "never"  # noqa: E731

    def tick(node: Node) -> None:
        time.ctime = mine  # type: ignore[assignment]

    try:
        guarded(tick)
        assert time.ctime is mine
    finally:
        time.ctime = original


def test_a_module_imported_in_a_tick_keeps_no_trap(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """``from time import time`` in a module that is loaded during the run gets the original back."""
    (tmp_path / "loaded_in_a_tick.py").write_text("from time import time\nclass Clock:\n    read = time\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    readings = []

    def tick(node: Node) -> None:
        import loaded_in_a_tick  # type: ignore[import-not-found]

        readings.append(loaded_in_a_tick.Clock().read())  # no method: it takes no argument
        readings.append(loaded_in_a_tick.time())

    findings = guarded(tick).guard_findings
    import loaded_in_a_tick

    assert loaded_in_a_tick.time is time.time
    assert len(readings) == 6
    assert [finding.call for finding in findings] == ["time.time()"] * 2


def test_runs_in_several_threads_keep_apart() -> None:
    """Each scheduler has its own findings; another thread may call the functions meanwhile; all is put back."""
    before = _originals()
    go_on = threading.Event()
    called = []

    def bystander() -> None:
        while not go_on.is_set():
            called.append((time.time(), random.random()))

    def tell(number: int) -> tuple[GuardFinding, ...]:
        return guarded((lambda _: time.time()) if number % 2 else (lambda _: None)).guard_findings

    thread = threading.Thread(target=bystander)
    thread.start()
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        found = list(executor.map(tell, range(12)))
    go_on.set()
    thread.join()

    assert [len(findings) for findings in found] == [0, 1] * 6
    assert called
    assert all(now is then for now, then in zip(_originals(), before, strict=True))


async def test_outside_of_the_ticks_nobody_is_watched() -> None:
    """Between ``tick_once`` calls, a program's own calls are no findings."""
    scheduler = Scheduler(tick_rate=100, deterministic=True, guard=Guard.ERROR).add(Node("idle", tick=lambda _: None))
    async with scheduler:
        for _ in range(2):
            await scheduler.tick_once()
            assert time.time() > 0
            assert moment.now(datetime.UTC).year > 2000
            with pytest.raises(ContextError):
                horus_async.dt()

    assert scheduler.guard_findings == ()


def test_sending_from_a_thread_of_ones_own_is_reported() -> None:
    """A message that a thread sends between ticks belongs to no tick: its line is named."""
    ended = threading.Event()

    def tick(node: Node) -> None:
        if horus_async.tick() == 0:
            threading.Thread(target=send, args=(node,)).start()
            ended.wait()

    def send(node: Node) -> None:
        node.send("stray", 1)
        ended.set()

    calls = {finding.call: finding.line for finding in guarded(tick).guard_findings}

    assert calls["send('stray') from outside its tick"] == inspect.getsourcelines(send)[1] + 1
    assert "threading.Thread.start()" in calls


def test_a_library_is_named_with_the_line_that_used_it() -> None:
    """A socket that trio opens for a node is the node's."""

    async def tick(node: Node) -> None:
        trio.socket.socket().close()
        trio.socket.socket().close()

    findings = guarded(tick).guard_findings

    first = inspect.getsourcelines(tick)[1] + 1
    assert [finding.line for finding in findings] == [first, first + 1]
    assert all(f"{os.sep}trio{os.sep}" in finding.via and finding.via in str(finding) for finding in findings)


@pytest.mark.parametrize(
    ("file", "users"),
    [
        ("/home/me/robot/node.py", True),
        ("robot.py", True),
        ("<stdin>", True),
        (np.__file__, False),
        (trio.__file__, False),
        (logging.__file__, False),
        (random.__file__, False),
        (horus_async.__file__, False),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_whose_file_it_is(file: str, users: bool) -> None:
    """A user's own code is told from libraries, the standard library and this package."""
    assert is_users(file) is users
