"""Few files that may be open: the limit is raised before it is reached, and where it cannot be, one line names it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from horus_async.errors import DamagedRecordingError, RecordingError, TopicError
from horus_async.limits import open_files
from horus_async.recorder import open_session
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.topics import Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = (sys.executable, "-m", "horus_async")

ROBOT = """
from horus_async import Node, Scheduler
def build(args):
    count = int(args[0])
    scheduler = Scheduler(tick_rate=100)
    def make(i):
        return Node(name=f"n{i}", tick=lambda node: node.send(f"t{i}", i), pubs=[f"t{i}"], subs=[f"t{(i + 1) % count}"])
    for i in range(count):
        scheduler.add(make(i))
    return scheduler
"""

TAKES_ALL = """
import os, sys
from horus_async import Node, Scheduler
taken = []
class Greedy(Node):
    name = "greedy"; rate = 100; pubs = ["t"]
    async def tick(self):
        self.send("t", len(taken))
        if not taken:
            try:
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                self.log.warning("there is no descriptor any more")
        try:
            self.send("other", 1)
        except Exception as error:
            self.log.warning("%s: %s", type(error).__name__, error)
scheduler = Scheduler(tick_rate=100).add(Greedy())
"""


def limited(soft: int, hard: int, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may have so many files."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=lower, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def robot(tmp_path: Path) -> str:
    """As many nodes as it is told, each with a topic."""
    path = tmp_path / "robot.py"
    path.write_text(ROBOT)
    return f"{path}:build"


@pytest.mark.parametrize("soft", [32, 64, 128])
def test_what_a_run_needs_is_allowed_first(soft: int, robot: str) -> None:
    """More topics and recorded nodes than the soft limit has files."""
    done = limited(soft, 1024, *COMMAND, "run", "--record", "r", "--duration", "0.1", robot, "--", "100")
    assert done.returncode == 0, done.stderr
    assert check_session(open_session("r")).verdict is Verdict.WHOLE


@pytest.mark.parametrize("taken", [20, 26, 28, 29, 30])
@pytest.mark.parametrize("begin", ["scheduler.run_sync(duration=0.02)", "import trio; trio.run(scheduler.run, 0.02)"])
def test_a_program_that_has_taken_most_of_them_before(taken: int, begin: str) -> None:
    """The limit is raised when a scheduler is made: the event loop itself needs more than is left."""
    app = (
        f"import os\nkept = [os.open('/dev/null', os.O_RDONLY) for _ in range({taken} - 3)]\n"
        "from horus_async import Node, Scheduler\n"
        "scheduler = Scheduler().add(Node(name='n', tick=lambda node: node.send('t', 1), pubs=['t']))\n"
        f"{begin}\nprint(scheduler.stats().nodes['n'].errors)"
    )
    done = limited(32, 1024, sys.executable, "-c", app)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


@pytest.mark.parametrize("limit", [16, 20, 24, 28, 32, 40, 64, 100, 128])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_run_that_cannot_have_what_it_needs_is_refused(
    limit: int, recorded: bool, robot: str, tmp_path: Path
) -> None:
    """By one line with the limit and the way out, and nothing is left of what had begun."""
    record = ("--record", "r") if recorded else ()
    done = limited(limit, limit, *COMMAND, "run", *record, "--duration", "0.1", robot, "--", "120")
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"this process may have {limit}" in line
    assert "ulimit -n" in line
    assert not [*(tmp_path / "recordings").glob("*")]


@pytest.mark.parametrize("limit", range(18, 48, 3))
def test_at_whichever_file_the_limit_is_reached_it_is_named(limit: int, robot: str, tmp_path: Path) -> None:
    """A run of few topics, with limits around what it needs."""
    done = limited(limit, limit, *COMMAND, "run", "--record", "r", "--duration", "0.1", robot, "--", "4")
    if done.returncode == 0:
        assert check_session(open_session("r")).verdict is Verdict.WHOLE
        return
    assert done.returncode == 2
    assert f"this process may have {limit}" in done.stderr.splitlines()[-1]
    assert not [*(tmp_path / "recordings").glob("*")]


@pytest.mark.parametrize("mode", [(), ("--deterministic",)], ids=["real time", "deterministic"])
def test_a_node_that_takes_all_descriptors_costs_no_recording(mode: tuple[str, ...], tmp_path: Path) -> None:
    """The log's file, which is begun later, and the end of the session have a reserve; a new topic is a clear error."""
    app = tmp_path / "app.py"
    app.write_text(TAKES_ALL)
    duration = "0.3" if mode else "1"
    command = (*COMMAND, "run", *mode, "--record", "r", "--duration", duration, f"{app}:scheduler")
    done = limited(64, 64, *command)
    assert done.returncode == 0, done.stderr
    session = open_session("r")
    assert check_session(session).verdict is Verdict.WHOLE
    assert session.ended_at is not None
    ticks = len([*session.executions("greedy")])
    assert ticks == 30 if mode else ticks > 1  # a busy machine may leave ticks of real time out
    assert "this process may have 64" in done.stderr
    assert "stopped" not in done.stderr


def test_a_late_file_without_a_descriptor_is_the_only_one_that_suffers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that nobody announced: its lines are counted as dropped, and the recording of the others goes on."""
    from .recorder.runs import execution, recorder, run_info, settled

    observer = recorder(tmp_path, block=True, interval=0.002)
    observer.run_started(run_info(deterministic=True))
    real = os.open

    def refuse(path: Path, *arguments: int) -> int:
        if "late@" in str(path):
            raise OSError(errno.ENFILE, "Too many open files in system", str(path))
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    observer.executed(execution("late", 0))
    observer.executed(execution("sensor", 0))
    settled(observer)
    observer.executed(execution("sensor", 1))
    observer.run_stopped("duration", 2)
    assert observer.stats().state.value == "off"
    assert observer.stats().dropped == 1
    assert "fs.file-max" in caplog.text
    session = open_session("session", tmp_path)
    assert session.ended_at is not None
    assert len([*session.executions("sensor")]) == 2


@pytest.fixture
def no_descriptor() -> Iterator[None]:
    """No file can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_session_is_not_damaged_because_it_cannot_be_opened(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That would be said of the session; this is said of the machine, with the way out."""
    from .recorder.runs import recorder, run_info

    observer = recorder(tmp_path)
    observer.run_started(run_info())
    paths = observer.stop()
    real = os.open

    def refuse(path: Path, *arguments: int) -> int:
        if str(path).endswith(".lz4"):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", refuse)
    from horus_async.recorder.read.reader import RecordedFile

    with pytest.raises(RecordingError, match=r"ulimit -n|fs\.file-max") as refused:
        RecordedFile(paths[0])
    assert not isinstance(refused.value, DamagedRecordingError)


@pytest.mark.parametrize("use", [lambda: Topic("t").send(1), lambda: Topic("t").recv()], ids=["send", "receive"])
def test_a_full_table_of_the_machine_is_a_topic_error(
    use: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No raw ``OSError``; raising the limit of the process would not help, and is not tried."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    real = os.open

    def refuse(path: str, *arguments: int, **options: int) -> int:
        if "/dev/shm" in str(path):
            raise OSError(errno.ENFILE, "Too many open files in system", path)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(TopicError, match=r"fs\.file-max"):
        use()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits


def test_the_reserve_is_for_what_is_urgent(no_descriptor: None) -> None:
    """Who is not gets the error; who is gets a descriptor of the reserve."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard[0] + open_files.RESERVE, hard[1]))
    let_go = open_files.hold_reserve()

    def opening() -> int:
        return os.open(os.devnull, os.O_RDONLY)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(open_files, "_raise_limit", lambda: False)
            with pytest.raises(OSError, match="Too many"):
                open_files.with_room(opening)
            os.close(open_files.with_room(opening, urgent=True))
        assert not open_files.give_up_reserve()
    finally:
        let_go()


OWN_MAIN = """
from horus_async import Node, Scheduler
scheduler = Scheduler(tick_rate=100)
for i in range(3):
    scheduler.add(Node(name=f"n{i}", tick=lambda node, i=i: node.send(f"t{i}", i), pubs=[f"t{i}"]))
if __name__ == "__main__":
    scheduler.run_sync(duration=0.1)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Python itself takes other numbers of files elsewhere")
@pytest.mark.parametrize("hard", [6, 9, 12, 15, 18])
def test_with_hardly_any_descriptors_a_program_ends_in_one_line(hard: int, tmp_path: Path) -> None:
    """Whether it is the event loop, a topic or an import that lacks one, and however the program begins its run."""
    app = tmp_path / "robot.py"
    app.write_text(OWN_MAIN)
    for where in (str(app), f"{app}:scheduler"):
        done = limited(hard, hard, *COMMAND, "run", "--no-blackbox", where)
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("horus-async: ")
        assert f"this process may have {hard}; raise the limit (ulimit -n)" in line


@pytest.mark.skipif(sys.platform != "linux", reason="Python itself takes other numbers of files elsewhere")
@pytest.mark.parametrize("hard", [6, 12])
@pytest.mark.parametrize("command", [("--version",), ("doctor",), ("record", "list"), ("record", "check", "none")])
def test_what_needs_few_descriptors_does_with_few(command: tuple[str, ...], hard: int) -> None:
    """Or says what is missing; `limited` looks for tracebacks."""
    assert limited(hard, hard, *COMMAND, *command).returncode in {0, 1, 2}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("OSError(24, 'Too many open files', '/usr/lib/python3/x.py')", "too many open files: this process may have"),
        ("ImportError('/x/y.so: cannot open shared object file: Too many open files')", "too many open files"),
        ("ImportError('/x/y.so: failed to map segment from shared object')", "there is no memory left"),
    ],
)
def test_an_import_that_lacks_something_is_no_mistake_of_the_program(error: str, said: str, tmp_path: Path) -> None:
    """Its line is named, and no frames of Python's own."""
    fails = "in_python.set_exception({})\nin_python.result()\n"
    app = tmp_path / "robot.py"
    app.write_text(f"import concurrent.futures\nin_python = concurrent.futures.Future()\n{fails.format(error)}")
    done = subprocess.run([*COMMAND, "run", str(app)], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "robot.py:" in line
    assert said in line
