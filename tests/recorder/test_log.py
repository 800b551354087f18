"""What nodes log is in the recording: from wherever in a run it was logged, with all that it says."""

from __future__ import annotations

import datetime
import gc
import logging
import math
import pathlib
import re
import signal
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import trio
from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from horus_async import Ignore, Node, RecordingOptions, Scheduler
from horus_async.observe import Logged
from horus_async.recorder import open_session
from horus_async.recorder.log_lines import OURS
from horus_async.recorder.read.check import Verdict, check_session
from tests.engine.programs import both_modes, run_script, scheduler_of

from . import independent
from .runs import recorder, run_info

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from horus_async.recorder import LogLine, Session


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """Leave the loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("", "horus_async", "horus_async.node", "horus_async.node.arm")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


def recorded(root: Path, *nodes: Node, duration: float = 0.03, deterministic: bool = True, **options: Any) -> Session:
    """Run nodes, with a recording."""
    recording = RecordingOptions(name="s", **options)
    scheduler = scheduler_of(*nodes, deterministic=deterministic, recording=recording, recordings_dir=root)
    scheduler.run_sync(duration)
    return open_session("s", root)


def log_text(session: Session) -> list[dict[str, Any]]:
    """The lines of the log's file, by the independent reader."""
    assert session.log_file is not None
    return [line for path in session.log_file.paths for line in independent.lines(path.read_bytes())]


def one_line(root: Path, *arguments: Any, level: str = "info", **named: Any) -> LogLine:
    """The line of what a node logs in its first tick."""
    node = Node("arm", rate=10, tick=lambda node: getattr(node.log, level)(*arguments, **named))
    (line,) = recorded(root, node).log
    return line


# -- from where --------------------------------------------------------------------------------------------------------


class Everywhere(Node):
    """Logs wherever a node's code may run."""

    name = "arm"
    rate = 100
    failure_policy = Ignore()

    def init(self) -> None:
        """Log, and start a task."""
        self.log.info("init")
        self.background(self.task)

    async def task(self) -> None:
        """Log later."""
        await trio.sleep(0.015)
        self.log.info("task")

    def tick(self) -> None:
        """Log, and fail."""
        self.log.info("tick")
        raise ValueError("no")

    def on_error(self, error: Exception) -> None:
        """Log what failed."""
        self.log.info("on_error %s", error)

    def shutdown(self) -> None:
        """Log."""
        self.log.info("shutdown")


def test_callbacks_and_tasks(tmp_path: Path) -> None:
    """Each with the tick of its callback, null outside of one, the tick that was going on, and the run's time."""
    lines = [line for line in recorded(tmp_path, Everywhere()).log if line.logger is None]
    assert [(line.message, line.tick, line.at_tick, line.now_ns) for line in lines] == [
        ("init", None, 0, 0),
        ("tick", 0, 0, 0),
        ("on_error no", 0, 0, 0),
        ("tick", 1, 1, 10_000_000),
        ("on_error no", 1, 1, 10_000_000),
        ("task", None, 1, 15_000_000),
        ("tick", 2, 2, 20_000_000),
        ("on_error no", 2, 2, 20_000_000),
        ("shutdown", None, 2, 20_000_000),
    ]
    assert {(line.node, line.level, line.levelno, line.file) for line in lines} == {("arm", "INFO", 20, "test_log.py")}


@both_modes
def test_threads(tmp_path: Path, deterministic: bool) -> None:
    """Ticks in a thread, threads that a tick waits for, and threads of a node's own."""
    logged = threading.Event()

    def own(node: Node) -> None:
        node.log.info("own thread")
        logged.set()

    def shutdown(node: Node) -> None:
        logged.wait()
        node.log.info("bye")

    async def tick(node: Node) -> None:
        await trio.to_thread.run_sync(lambda: node.log.info("thread of a tick"))

    nodes = [
        Node("own", init=lambda node: node.in_thread(own, node), tick=lambda _: None, shutdown=shutdown),
        Node("compute", compute=True, tick=lambda node: node.log.info("compute"), rate=10),
        Node("waits", tick=tick, rate=10),
    ]
    session = recorded(tmp_path, *nodes, deterministic=deterministic, duration=0.05)
    found = {(line.node, line.message): line.tick for line in session.log}
    assert found["own", "own thread"] is None
    assert isinstance(found["compute", "compute"], int)
    assert isinstance(found["waits", "thread of a tick"], int)
    assert ("own", "bye") in found


def test_a_tick_that_waits_logs_under_the_tick_in_which_it_began(tmp_path: Path) -> None:
    """And it is said when that was; the order of the lines is that in which they were logged."""

    async def tick(node: Node) -> None:
        await trio.sleep(0.025)
        node.log.info("late")

    session = recorded(tmp_path, Node("arm", tick=tick, rate=10), Node("b", tick=lambda node: node.log.info("b")))
    assert [(line.message, line.tick, line.at_tick) for line in session.log] == [
        ("b", 0, 0),
        ("b", 1, 1),
        ("b", 2, 2),
        ("late", 0, 2),
    ]
    assert [line.message for line in session.log.select(start=2)] == ["b", "late"]
    assert [line.message for line in session.log.select(node="b", stop=0)] == ["b"]


def test_what_the_runtime_says_about_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With the node and the tick it is about; other loggers are not the robot's."""

    def tick(node: Node) -> None:
        logging.getLogger("requests").warning("not ours")
        logging.getLogger("horus_async.recorder").warning("nor that of the recorder")
        raise ValueError("no")

    (line,) = recorded(tmp_path, Node("arm", rate=10, tick=tick, failure_policy=Ignore())).log
    assert (line.node, line.tick, line.level, line.logger) == ("arm", 0, "WARNING", "horus_async")
    assert line.message == "node 'arm' failed in tick: ValueError: no"
    assert len(caplog.records) == 3


def test_two_runs_at_once_each_hear_their_own(tmp_path: Path) -> None:
    """Nodes of one name in two schedulers, in two threads, also what the runtime says about them."""
    barrier = threading.Barrier(2)

    def run(name: str) -> None:
        def tick(node: Node) -> None:
            barrier.wait()
            node.log.warning(name)
            raise ValueError(name)

        node = Node("arm", tick=tick, failure_policy=Ignore())
        Scheduler(deterministic=True, recording=name, recordings_dir=tmp_path).add(node).run_sync(0.05)

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in ("a", "b"):
        lines = list(open_session(name, tmp_path).log)
        own, about = (
            [line.message for line in lines if line.logger is None],
            [line.message for line in lines if line.logger],
        )
        assert own == [name] * 5
        assert about == [f"node 'arm' failed in tick: ValueError: {name}"] * 5


def test_a_node_that_runs_no_more_is_not_heard(tmp_path: Path) -> None:
    """Logging goes on as without a run; a second run hears it anew."""
    node = Node("arm", rate=10, tick=lambda node: node.log.info("tick"))
    first = recorded(tmp_path / "1", node)
    node.log.warning("between")
    second = recorded(tmp_path / "2", node)
    assert [line.message for line in first.log] == [line.message for line in second.log] == ["tick"]


# -- what --------------------------------------------------------------------------------------------------------------


@frozen
class Pose:
    """A class of the program's."""

    x: float


VALUES = [
    3,
    2**70,
    1.5,
    math.inf,
    None,
    True,
    "text\nof two lines",
    b"bytes",
    (1, [2, {"a": 3}]),
    {1: "one"},
    {"$type": "no tag"},
    {3, 1, 2},
    datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    pathlib.Path("/dev/null"),
    uuid.UUID(int=7),
    Pose(1.5),
    1 + 2j,
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_extra_fields_come_back(tmp_path: Path, value: Any) -> None:
    """Whatever a message can hold, equal and of the same type."""
    found = one_line(tmp_path, "x", extra={"value": value}).extra["value"]
    assert (found, type(found)) == (value, type(value))


def test_arrays_come_back(tmp_path: Path) -> None:
    """NumPy's too."""
    found = one_line(tmp_path, "x", extra={"scan": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int8(3)}).extra
    assert found["scan"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (found["scan"].dtype, type(found["n"])) == (np.float32, np.int8)


class Broken:
    """Cannot even be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Plain:
    """No message can hold it."""


def test_what_no_message_can_hold_is_shown(tmp_path: Path) -> None:
    """As its ``repr``, without an address, which would differ from run to run; whatever fails breaks nothing."""
    endless: list[Any] = []
    endless.append(endless)
    huge = np.broadcast_to(np.zeros(1), (1 << 40,))
    extra = {
        "plain": Plain(),
        "broken": Broken(),
        "endless": endless,
        "text": "\ud800",
        "huge": huge,
        "deep": [Plain()],
    }
    found = one_line(tmp_path, "x", extra=extra)
    assert found.extra["plain"] == "<tests.recorder.test_log.Plain object>"
    assert found.extra["broken"] == "<Broken whose repr failed: RuntimeError>"
    assert found.extra["endless"] == "[[...]]"
    assert found.extra["deep"] == "[<tests.recorder.test_log.Plain object>]"
    assert found.extra.keys() == extra.keys()


@pytest.mark.parametrize("name", sorted(OURS | {"name", "args", "message", "asctime", "exc_info", "outputs", "data"}))
def test_a_field_takes_the_place_of_none_of_ours(tmp_path: Path, name: str) -> None:
    """It is kept with an underscore; so is one that logging itself would refuse with an exception."""
    session = recorded(tmp_path, Node("arm", rate=10, tick=lambda node: node.log.info("x", extra={name: [{"n": 1}]})))
    (line,) = session.log
    assert (line.kind, line.tick, line.node, line.level, line.message) == ("log", 0, "arm", "INFO", "x")
    assert line.extra == {name if name in {"outputs", "data"} else f"{name}_": [{"n": 1}]}


def test_odd_extra(tmp_path: Path) -> None:
    """Names that are no texts, names that collide with an underscore too, and what is no dict at all."""
    assert one_line(tmp_path / "1", "x", extra={1: 2}).extra == {"1": 2}
    assert one_line(tmp_path / "2", "x", extra={"level": 1, "level_": 2}).extra == {"level__": 1, "level_": 2}
    assert one_line(tmp_path / "3", "x", extra=[1]).extra == {"extra": [1]}


def test_exceptions_and_stacks(tmp_path: Path) -> None:
    """``log.exception`` and ``stack_info=``: the whole text, and no more on lines without."""

    def tick(node: Node) -> None:
        try:
            raise ValueError("broken wheel")
        except ValueError as error:
            node.log.exception("failed")
            node.log.info("again", exc_info=error)
        node.log.error("none", exc_info=(None, None, None))
        node.log.info("where", stack_info=True)

    failed, again, none, where = recorded(tmp_path, Node("arm", rate=10, tick=tick)).log
    assert failed.level == "ERROR"
    assert failed.exception is not None
    assert failed.exception == again.exception
    assert re.fullmatch(r'(?s)Traceback .*test_log\.py", line \d+, in tick.*ValueError: broken wheel', failed.exception)
    assert none.exception is None
    assert where.stack is not None
    assert "in tick" in where.stack
    assert (where.exception, failed.stack) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [(("%d wheels", "x"), "%d wheels % ('x',)"), ((Broken(),), "<Broken that cannot be shown: RuntimeError> % ()")],
)
def test_a_text_that_cannot_be_made(tmp_path: Path, arguments: tuple[Any, ...], expected: str) -> None:
    """Logging complains about it on standard error, as ever; the line is there all the same."""
    raising, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        (line,) = recorded(tmp_path, Node("arm", rate=10, tick=lambda node: node.log.info(*arguments))).log
    finally:
        logging.raiseExceptions = raising
    assert line.message == expected


def test_texts_that_no_file_can_hold(tmp_path: Path) -> None:
    """Half of a surrogate pair becomes a question mark, in texts, names and tracebacks."""
    try:
        raise ValueError("\ud800")
    except ValueError:
        record = logging.makeLogRecord({"msg": "\ud800", "exc_info": sys.exc_info(), "\ud800": 1})
    observer = recorder(tmp_path)
    observer.run_started(run_info())
    observer.logged(Logged("sensor", 0, 0, 0, 20, "half of \ud800", record))
    observer.run_stopped("duration", 0)
    (line,) = open_session("session", tmp_path).log
    assert (line.message, line.extra) == ("half of ?", {"?": 1})
    assert line.exception is not None
    assert line.exception.endswith("ValueError: ?")


def test_levels_of_the_programs_own(tmp_path: Path) -> None:
    """By name, with the number."""
    logging.addLevelName(35, "NOTICE")
    node = Node("arm", rate=10, tick=lambda node: (node.log.log(35, "a"), node.log.log(25, "b"))[0])
    session = recorded(tmp_path, node)
    assert [(line.level, line.levelno) for line in session.log] == [("NOTICE", 35), ("Level 25", 25)]
    assert [line.message for line in session.log.select(level=30)] == ["a"]


def test_the_line_that_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is named rightly, for handlers too, with and without a recording, also through an adapter around ours."""
    here = sys._getframe().f_lineno + 3

    def tick(node: Node) -> None:
        node.log.warning("direct")
        node.log.log(30, "by number")
        logging.LoggerAdapter(node.log, {}).warning("wrapped")

    session = recorded(tmp_path, Node("arm", rate=10, tick=tick))
    assert [(line.file, line.line) for line in session.log] == [("test_log.py", here + number) for number in range(3)]
    scheduler_of(Node("arm", rate=10, tick=tick)).run_sync(0.03)
    places = [(record.filename, record.lineno, record.funcName) for record in caplog.records]
    assert places == [("test_log.py", here + number, "tick") for number in range(3)] * 2


# -- which -------------------------------------------------------------------------------------------------------------


def talk(node: Node) -> None:
    """Log at every level."""
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        if node.log.isEnabledFor(level):
            node.log.log(level, logging.getLevelName(level))


@pytest.mark.parametrize(
    ("logger", "level", "options", "expected"),
    [
        (None, 0, {}, ["INFO", "WARNING", "ERROR"]),
        ("", logging.DEBUG, {}, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("", logging.ERROR, {}, ["INFO", "WARNING", "ERROR"]),
        ("horus_async.node", logging.WARNING, {}, ["WARNING", "ERROR"]),
        ("horus_async.node.arm", logging.DEBUG, {}, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("horus_async", logging.ERROR, {}, ["ERROR"]),
        ("horus_async.node", logging.ERROR, {"log_level": logging.DEBUG}, ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("horus_async.node", logging.DEBUG, {"log_level": logging.WARNING}, ["WARNING", "ERROR"]),
        ("horus_async.node", logging.DEBUG, {"log": False}, []),
        ("horus_async.node", logging.DEBUG, {"exclude_nodes": ("a*",)}, []),
        ("horus_async.node", logging.DEBUG, {"nodes": ("a*",)}, ["DEBUG", "INFO", "WARNING", "ERROR"]),
    ],
)
def test_levels(tmp_path: Path, logger: str | None, level: int, options: dict[str, Any], expected: list[str]) -> None:
    """What the loggers let through, and from INFO up all unless somebody said otherwise of nodes' loggers; options."""
    if logger is not None:
        logging.getLogger(logger).setLevel(level)
    session = recorded(tmp_path, Node("arm", rate=10, tick=talk), **options)
    assert [line.message for line in session.log] == expected
    assert (session.log_file is None) == (not expected)


def test_logging_disabled(tmp_path: Path) -> None:
    """``logging.disable`` is obeyed."""
    logging.disable(logging.WARNING)
    try:
        session = recorded(tmp_path, Node("arm", rate=10, tick=talk))
    finally:
        logging.disable(logging.NOTSET)
    assert [line.message for line in session.log] == ["ERROR"]


def test_a_filter_of_the_program(tmp_path: Path) -> None:
    """It drops and changes what is recorded, as what is shown."""

    class Secrets(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            record.msg = record.msg.replace("1234", "****")
            record.robot = 7
            return record.msg != "drop me"

    node = Node("arm", rate=10, tick=lambda node: [node.log.info("pin 1234"), node.log.info("drop me")].clear())
    secrets = Secrets()
    node.log.logger.addFilter(secrets)
    try:
        (line,) = recorded(tmp_path, node).log
    finally:
        node.log.logger.removeFilter(secrets)
    assert (line.message, line.extra) == ("pin ****", {"robot": 7})


ODD: list[dict[str, Any]] = [
    {"levelno": "x"},
    {"levelname": 3},
    {"filename": None},
    {"lineno": "y"},
    {"exc_info": (1,)},
    {"now_ns": "z"},
    {"node": 3},
    {"stack_info": 1.5},
    {"msg": None},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_filter_that_puts_anything_into_a_record(tmp_path: Path, odd: dict[str, Any]) -> None:
    """The line says what it can; recorder and black box hear on."""

    class Odd(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            if record.tick == 0:  # type: ignore[attr-defined]
                vars(record).update(odd)
            return True

    method = "info" if "levelno" in odd else "warning"  # handlers fail with that by themselves
    node = Node("arm", tick=lambda node: getattr(node.log, method)("x"), rate=50)
    node.log.logger.addFilter(filters := Odd())
    node.log.logger.propagate = False
    options: dict[str, Any] = {"recording": "s", "recordings_dir": tmp_path, "blackbox_dir": tmp_path}
    try:
        scheduler = scheduler_of(node, blackbox_mb=1, **options)
        scheduler.run_sync(0.03)
    finally:
        node.log.logger.removeFilter(filters)
        node.log.logger.propagate = True
    first, second = open_session("s", tmp_path).log
    assert (first.node, first.tick, second.message) == (str(odd.get("node", "arm")), 0, "x")
    assert first.message in {"x", "None", "(a line of the log that cannot be written: TypeError)"}
    assert scheduler.blackbox is not None
    assert len(scheduler.blackbox.events("Custom")) == 2 * (method == "warning")


@pytest.mark.parametrize("emitted", [True, False])
def test_calls_that_fail(tmp_path: Path, emitted: bool) -> None:
    """Where no handler would have heard, a recording does not let the run fail either: the line says so."""

    class Fails(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise ValueError(record.msg)

    caught: list[type[Exception]] = []

    def tick(node: Node) -> None:
        choices: tuple[dict[str, Any], ...] = ({"bogus": 1}, {})
        for options in choices:
            try:
                node.log.info("secret", **options)
            except (TypeError, ValueError) as error:
                caught.append(type(error))

    filtered = Node("arm", rate=10, tick=tick)
    filtered.log.logger.setLevel(logging.INFO if emitted else logging.NOTSET)
    filtered.log.logger.addFilter(fails := Fails())
    try:
        session = recorded(tmp_path, filtered)
    finally:
        filtered.log.logger.removeFilter(fails)
    assert caught == ([TypeError, ValueError] if emitted else [])
    found = [line.message for line in session.log]
    texts = [f"(this call of the log fails with {name})" for name in ("TypeError", "ValueError")]
    assert found == ([] if emitted else texts)
    assert {(line.tick, line.file) for line in session.log} <= {(0, "test_log.py")}


# -- a recording changes nothing ---------------------------------------------------------------------------------------

UNCHANGED = """
import sys
from horus_async import Node, Scheduler
from horus_async.recorder import open_session
def tick(node):
    node.log.info("hidden")
    node.log.warning("shown once")
    raise ValueError("no")
from horus_async import Ignore
Scheduler(deterministic=True, recording="s" if sys.argv[1:] else False).add(
    Node("arm", tick=tick, rate=10, failure_policy=Ignore())).run_sync(0.05)
if sys.argv[1:]:
    print([line.message for line in open_session("s").log])
"""


def test_a_program_that_has_set_up_no_logging(tmp_path: Path) -> None:
    """It shows the same with and without a recording; INFO is recorded, and not shown."""
    plain = run_script(UNCHANGED)
    with_it = run_script(UNCHANGED, "record", HORUS_RECORDINGS_DIR=str(tmp_path))
    assert plain.stderr == with_it.stderr == "shown once\nnode 'arm' failed in tick: ValueError: no\n"
    assert with_it.stdout == "['hidden', 'shown once', \"node 'arm' failed in tick: ValueError: no\"]\n"


def busy(*, compute: bool) -> list[Node]:
    """Nodes that log a great deal, at the same moments."""

    async def task(node: Node) -> None:
        for number in range(5):
            await trio.sleep(0.01)
            node.log.info("task %d", number, extra={"set": {"b", "a"}, "object": Plain()})

    async def waits(node: Node) -> None:
        node.log.info("begins")
        await trio.sleep(0.013)
        await trio.to_thread.run_sync(lambda: node.log.info("in a thread"))
        node.log.warning("ends", extra={"value": math.nan})
        raise ValueError("no")

    return [
        Node("a", tick=waits, rate=50, failure_policy=Ignore(), init=lambda node: node.background(task, node)),
        Node("b", tick=waits, rate=50, failure_policy=Ignore(), init=lambda node: node.background(task, node)),
        Node("c", tick=lambda node: node.log.info("c"), compute=compute),
        Node("d", tick=lambda node: (node.send("t", 1), node.log.error("d"))[1], compute=compute),
    ]


@pytest.mark.parametrize("compute", [True, False])
def test_two_recordings_have_the_same_lines(tmp_path: Path, compute: bool) -> None:
    """In a deterministic run, byte for byte; no wall time, no thread, no address is in them."""
    texts = []
    for number in range(3):
        session = recorded(tmp_path / str(number), *busy(compute=compute), duration=0.2)
        lines = log_text(session)[1:-1]
        assert len(lines) > 50
        texts.append(lines)
    assert texts[0] == texts[1] == texts[2]


HASHED = """
import sys
from tests.recorder.test_log import busy, recorded
recorded(__import__("pathlib").Path(sys.argv[1]), *busy(compute=True), duration=0.1)
"""


def test_two_processes_record_the_same_lines(tmp_path: Path) -> None:
    """Whatever the order of their sets."""
    texts = []
    for seed in ("1", "2"):
        done = run_script(HASHED, str(tmp_path / seed), PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
        texts.append(log_text(open_session("s", tmp_path / seed))[1:-1])
    assert texts[0] == texts[1]
    assert len(texts[0]) > 20


PROGRAM = st.lists(
    st.lists(st.sampled_from(["log", "warn", "sleep", "long sleep", "thread", "raise"]), max_size=6),
    min_size=1,
    max_size=4,
)


@both_modes
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(programs=PROGRAM, background=st.booleans())
def test_a_model_of_robots_that_log(
    tmp_path_factory: pytest.TempPathFactory, deterministic: bool, programs: list[list[str]], background: bool
) -> None:
    """Nodes and their tasks log, wait, use threads and fail: what they logged is recorded, in that order, once."""
    said: list[tuple[str, str, str]] = []

    async def carry_out(node: Node, program: list[str]) -> None:
        for number, step in enumerate(program):
            if step in {"log", "warn"}:
                text = f"{step} {number}"
                said.append((node.name, "INFO" if step == "log" else "WARNING", text))
                getattr(node.log, {"log": "info", "warn": "warning"}[step])("%s %d", step, number)
            elif step == "thread":
                await trio.to_thread.run_sync(threading.Event().is_set)
            elif step == "raise":
                raise ValueError("no")
            else:
                await trio.sleep(0.002 if step == "sleep" else 0.013)

    def node(number: int, program: list[str]) -> Node:
        init = (lambda node: node.background(carry_out, node, program)) if background else None
        tick = lambda node: carry_out(node, program)  # noqa: E731 - a lambda beside another
        return Node(f"n{number}", init=init, tick=tick, rate=50, failure_policy=Ignore())

    root = tmp_path_factory.mktemp("model")
    session = recorded(root, *map(node, range(len(programs)), programs), duration=0.05, deterministic=deterministic)
    own = [(line.node, line.level, line.message) for line in session.log if line.logger is None]
    assert own == said
    assert check_session(session).verdict is Verdict.WHOLE
    ticks = [line.at_tick for line in session.log]
    assert ticks == sorted(ticks)


def test_messages_are_the_same_with_and_without_a_log(tmp_path: Path) -> None:
    """Nor do digests, which cover messages, know of it."""
    digests = []
    choices: list[dict[str, Any]] = [{}, {"log": False}, {"log_level": 1}]
    for number, options in enumerate(choices):
        session = recorded(tmp_path / str(number), *busy(compute=False), duration=0.1, **options)
        digests.append([(tick.order, tick.digest) for tick in session.scheduler_ticks()])
    assert digests[0] == digests[1] == digests[2]


# -- signal handlers, the garbage collector ----------------------------------------------------------------------------


@pytest.mark.parametrize("memory_mb", [0.01, 64])
def test_signal_handlers_and_finalizers(tmp_path: Path, memory_mb: float) -> None:
    """They may log in the middle of anything, when there is hardly room too; in a deterministic run all is there."""
    logged = []

    class Last:
        def __init__(self, node: Node) -> None:
            self.node, self.me = node, self

        def __del__(self) -> None:
            self.node.log.info("finalizer")
            logged.append("finalizer")

    def tick(node: Node) -> None:
        def handle(*_: object) -> None:
            node.log.info("handler", extra={"filler": "x" * 1000})
            logged.append("handler")

        before = signal.signal(signal.SIGUSR1, handle)
        try:
            for _ in range(20):
                Last(node)
                signal.raise_signal(signal.SIGUSR1)
                node.log.info("tick", extra={"filler": "x" * 1000})
                logged.append("tick")
            gc.collect()
        finally:
            signal.signal(signal.SIGUSR1, before)

    scheduler = scheduler_of(
        Node("arm", tick=tick),
        recording=RecordingOptions(name="s", memory_mb=memory_mb, interval=0.01),
        recordings_dir=tmp_path,
    )

    async def steps() -> None:
        async with scheduler:
            for _ in range(5):
                await scheduler.tick_once()

    trio.run(steps)
    recording = scheduler.stats().recording
    assert recording is not None
    assert recording.dropped == 0
    found = [line.message for line in open_session("s", tmp_path).log]
    assert sorted(found) == sorted(logged)
    assert len(found) == 300
