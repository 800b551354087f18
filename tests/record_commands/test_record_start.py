"""``horus-async record start``, with real programs that are started, stopped and killed meanwhile."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest

from horus_async import Scheduler, Topic
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.clock.wall import wall_shift_ns
from horus_async.recorder import Session, open_session
from horus_async.recorder.options import RecordingOptions
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.running import session as running
from horus_async.recorder.running.session import RunningSession
from horus_async.topics.external.leftovers import reclaim
from horus_async.topics.external.notices import ring_title
from horus_async.topics.ring import memory
from tests.engine.programs import PATIENCE, environment
from tests.examples.programs import EXAMPLES
from tests.terminal import at_a_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMAND = [sys.executable, "-m", "horus_async", "record", "start"]

TALKER = """
import sys
from horus_async import Topic
from horus_async.messages import CmdVel

with Topic(sys.argv[1], capacity=int(sys.argv[2])) as topic:
    sent = 0
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            value = {"n": sent, "text": "x" * int(sys.argv[4])}
            topic.send(CmdVel(linear=float(sent)) if sys.argv[3] == "objects" else value)
            sent += 1
        print(sent, flush=True)
"""


@pytest.fixture(autouse=True)
def clean(namespace: str) -> Iterator[None]:
    """Remove what killed programs have left, and those that a test which failed has left."""
    yield
    while _started:
        process = _started.pop()
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
    reclaim(namespace, grace_ns=0)


_started: list[subprocess.Popen[str]] = []


def until(holds: Callable[[], Any]) -> Any:
    """Wait until something is so; gives it."""
    deadline = monotonic_ns() + PATIENCE * NANOSECONDS
    while not (found := holds()):
        assert monotonic_ns() < deadline
        threading.Event().wait(0.005)
    return found


class Talker:
    """A program that publishes as many messages as it is told to."""

    def __init__(self, topic: str, *, capacity: int = 1 << 20, kind: str = "dicts", size: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TALKER, topic, str(capacity), kind, str(size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        _started.append(self.process)
        assert self._told() == "ready"

    def _told(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def send(self, count: int) -> int:
        """Send so many more; how many that were in all."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        return int(self._told())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let it come to its end."""
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait()

    def kill(self) -> None:
        """Kill it."""
        self.process.kill()
        self.end()


class Recording:
    """The command, while it records."""

    def __init__(self, folder: Path, name: str, *options: str) -> None:
        self.folder = folder / name
        self.process = subprocess.Popen(
            [*COMMAND, name, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        _started.append(self.process)
        until(lambda: (self.folder / "session.json").exists() or self.process.poll() is not None)
        self.errors = ""

    def ended(self, number: int | None = signal.SIGINT) -> tuple[int, str]:
        """End it; its exit code and standard output. What it complained of is in ``errors``."""
        if number is not None:
            self.process.send_signal(number)
        output, self.errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output

    def messages(self) -> int:
        """How many are in its files by now."""
        return sum(1 for _ in open_session(self.folder).external())

    def has(self, count: int) -> None:
        """Wait until so many are."""
        until(lambda: self.messages() >= count)


def values(session: Session, topic: str) -> list[Any]:
    """What was recorded of a topic."""
    return [message.data for message in session.external() if message.topic == topic]


def horus(*arguments: str) -> tuple[int, str]:
    """Another command; its exit code and all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "horus_async", *arguments],
        env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_all_topics_of_a_namespace_become_a_session(recordings_dir: Path) -> None:
    """Those that were there, and those that come later, from their first message; the commands for sessions take it."""
    with Talker("arm/joints") as arm:
        assert arm.send(5) == 5  # before: not recorded
        recording = Recording(recordings_dir, "s")
        arm.send(200)
        with Talker("odom", kind="objects") as odom:
            odom.send(100)  # and it ends before anybody has had to read it
        recording.has(300)
        code, output = recording.ended()
    assert (code, recording.errors) == (130, "")
    assert "recorded 300 messages of 2 topics" in output

    session = open_session("s")
    assert [data["n"] for data in values(session, "arm/joints")] == [*range(5, 205)]
    assert [data["value"]["linear"] for data in values(session, "odom")] == [float(n) for n in range(100)]
    assert not session.nodes
    assert check_session(session).condition == "whole"
    assert horus("record", "check", "s")[0] == 0
    code, said = horus("record", "info", "s", "--json")
    assert (code, {row["topic"]: row["count"] for row in json.loads(said)["topics"]}) == (
        0,
        {"arm/joints": 200, "odom": 100},
    )
    assert horus("record", "diff", "s", "s") == (0, horus("record", "diff", "s", "s")[1])
    code, said = horus("record", "export", "s", "--format", "jsonl", "--topic", "odom", "--output", "-")
    assert code == 0
    assert '"linear":99.0' in said


def test_what_was_recorded_plays_again(recordings_dir: Path, namespace: str) -> None:
    """A replay is heard, with publishers, numbers and stamps as they were; and can be recorded from outside in turn."""
    recording = Recording(recordings_dir, "first")
    with Talker("t") as talker:
        talker.send(50)
        talker.send(50)
        recording.has(100)
    assert recording.ended()[0] == 130
    again = Recording(recordings_dir, "again")
    with Topic("t", namespace=namespace) as topic:
        assert horus("replay", "first")[0] == 0
        heard = [topic.recv_message() for _ in range(100)]
    again.has(100)
    assert again.ended()[0] == 130
    first, second = (
        [(m.topic, m.publisher, m.seq, m.stamp_ns, m.data) for m in open_session(name).external()]
        for name in ("first", "again")
    )
    assert first == second
    assert [(m.publisher, m.seq, m.stamp_ns) for m in heard if m] == [one[1:4] for one in first]


def test_ticks_are_milliseconds_at_which_messages_were_sent(recordings_dir: Path) -> None:
    """However late they were read: each is in the tick of its stamp."""
    recording = Recording(recordings_dir, "s")
    with Talker("t") as talker:
        recording.process.send_signal(signal.SIGSTOP)
        for _ in range(20):
            talker.send(1)
            threading.Event().wait(0.02)
        recording.process.send_signal(signal.SIGCONT)
        recording.has(20)
    assert recording.ended()[0] == 130
    session = open_session("s")
    lines = {line.tick: line for line in session.scheduler_ticks()}
    for message in session.external():
        assert 0 <= message.stamp_ns - lines[message.tick].now_ns < NANOSECONDS // 1000
    assert len({message.tick for message in session.external()}) == 20


def test_a_publisher_that_was_killed_and_comes_back_is_recorded(recordings_dir: Path) -> None:
    """And so is one of another topic meanwhile; the two lives of it are told apart."""
    recording = Recording(recordings_dir, "s")
    for count in (30, 40):
        talker = Talker("t")
        talker.send(count)
        talker.kill()
    recording.has(70)
    assert recording.ended()[0] == 130
    session = open_session("s")
    assert [data["n"] for data in values(session, "t")] == [*range(30), *range(40)]
    assert len({message.publisher for message in session.external()}) == 2
    assert check_session(session).verdict is Verdict.WHOLE


def test_what_was_overwritten_before_it_was_read_is_counted(recordings_dir: Path) -> None:
    """To the message: said, in a gap line, and by the exit code; also where the publisher has ended meanwhile."""
    recording = Recording(recordings_dir, "s", "--json")
    small = Talker("small", capacity=4096, size=100)
    with Talker("calm") as calm:
        small.send(10)
        calm.send(10)
        recording.has(20)
        recording.process.send_signal(signal.SIGSTOP)
        small.send(1000)
        small.end()
        calm.send(5)
        recording.process.send_signal(signal.SIGCONT)
        recording.has(26)
        code, output = recording.ended()
    found = json.loads(output)
    assert code == 1
    assert found["lost"].keys() == {"small"}
    assert found["topics"]["small"] + found["lost"]["small"] == 1010
    assert found["topics"]["calm"] == 15
    assert f"lost: {found['lost']['small']} messages of small were overwritten" in recording.errors
    assert "horus-async: recording s is not whole" in recording.errors
    session = open_session("s")
    (gap,) = [gap for gaps in session.gaps().values() for gap in gaps]
    assert (gap.dropped, "small" in gap.reason) == (found["lost"]["small"], True)
    assert check_session(session).condition == "incomplete"
    assert horus("record", "check", "s")[0] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_signal_closes_the_session_whole(recordings_dir: Path, number: signal.Signals) -> None:
    """With everything that was sent before it, on a topic that was not known before, too."""
    recording = Recording(recordings_dir, "s")
    with Talker("t") as talker:
        talker.send(5000)
        code, output = recording.ended(number)
    assert code == 128 + number, recording.errors
    assert "recorded 5000 messages" in output
    session = open_session("s")
    assert session.ended_at is not None
    assert [data["n"] for data in values(session, "t")] == [*range(5000)]
    assert check_session(session).condition == "whole"


def test_nothing_recorded_is_a_failure_and_leaves_the_name_free(recordings_dir: Path) -> None:
    """Exit code 1, said in one line, as JSON too."""
    assert horus("record", "start", "s", "--duration", "0.2")[0] == 1
    code, said = horus("record", "start", "s", "--duration", "0.2", "--json")
    assert code == 1
    assert "nothing was recorded: no message came in namespace" in said
    assert json.loads(said.splitlines()[0])["session"] is None
    assert not (recordings_dir / "s").exists()


def test_a_name_that_is_taken_is_refused(recordings_dir: Path) -> None:
    """Before anything is written, whether that session still goes on or has ended."""
    with Talker("t") as talker:
        recording = Recording(recordings_dir, "s")
        talker.send(3)
        recording.has(3)
        code, said = horus("record", "start", "s", "--duration", "0.1")
        assert (code, "already" in said) == (2, True)
        assert recording.ended()[0] == 130
        code, said = horus("record", "start", "s", "--duration", "0.1")
        assert (code, "already" in said) == (2, True)
    assert check_session(open_session("s")).condition == "whole"
    assert horus("record", "start", "a/b", "--duration", "0.1")[0] == 2


def test_several_record_at_the_same_time_what_they_are_to(recordings_dir: Path) -> None:
    """By patterns of topics."""
    some = Recording(recordings_dir, "some", "--topic", "camera/*", "--topic", "odom", "--exclude", "*/depth")
    rest = Recording(recordings_dir, "rest", "--exclude", "camera/*")
    for topic in ("camera/rgb", "camera/depth", "odom", "odom2"):
        with Talker(topic) as talker:
            talker.send(10)
    some.has(20)
    rest.has(20)
    assert (some.ended()[0], rest.ended()[0]) == (130, 130)
    assert {message.topic for message in open_session("some").external()} == {"camera/rgb", "odom"}
    assert {message.topic for message in open_session("rest").external()} == {"odom", "odom2"}
    assert check_session(open_session("some")).condition == "whole"


def test_another_namespace(recordings_dir: Path, namespace: str) -> None:
    """Nothing of the usual one is in it."""
    recording = Recording(recordings_dir, "s", "--namespace", f"{namespace}-other")
    with Talker("t") as talker:
        talker.send(5)
        code, _ = recording.ended()
    assert code == 1
    assert "nothing was recorded" in recording.errors


VIRTUAL = """
from horus_async import Node, Scheduler
def tick(node):
    node.send("virtual", {"n": node.state})
    node.state += 1
node = Node("v", tick=tick, rate=100, pubs=["virtual"])
node.state = 0
scheduler = Scheduler(tick_rate=100, deterministic=True).add(node)
if __name__ == "__main__":
    scheduler.run_sync(5)
"""


def test_a_run_in_virtual_time_is_recorded_with_its_stamps(recordings_dir: Path, tmp_path: Path) -> None:
    """The axis is the recorder's: the messages are where they were read, and their stamps are virtual."""
    (tmp_path / "app.py").write_text(VIRTUAL)
    recording = Recording(recordings_dir, "s")
    assert horus("run", "--no-blackbox", str(tmp_path / "app.py"))[0] == 0
    recording.has(500)
    assert recording.ended()[0] == 130
    session = open_session("s")
    found = [message for message in session.external() if message.topic == "virtual"]
    assert [message.data["n"] for message in found] == [*range(500)]
    assert [message.stamp_ns for message in found] == [n * NANOSECONDS // 100 for n in range(500)]
    assert [message.tick for message in found] == sorted(message.tick for message in found)
    assert check_session(session).condition == "whole"


KEEPER = """
import sys
from horus_async import Topic

with Topic("map", keep=2) as topic:
    for number in range(5):
        topic.send({"n": number})
    print("ready", flush=True)
    sys.stdin.readline()
"""


def test_what_publishers_keep_is_there_at_the_start(recordings_dir: Path) -> None:
    """As for any late reader: the last messages of a topic that was published before."""
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    )
    _started.append(keeper)
    assert keeper.stdout is not None
    assert keeper.stdout.readline() == "ready\n"
    recording = Recording(recordings_dir, "s")
    recording.has(2)
    assert recording.ended()[0] == 130, recording.errors
    keeper.communicate("\n")
    assert [data["n"] for data in values(open_session("s"), "map")] == [3, 4]
    assert check_session(open_session("s")).condition == "whole"


def test_killed_it_leaves_what_was_written(recordings_dir: Path) -> None:
    """A session that is cut, of which nothing is damaged, with all messages up to somewhere."""
    with Talker("t") as talker:
        for lap in range(20):
            recording = Recording(recordings_dir, f"s{lap}")
            begin = talker.send(0)
            for _ in range(lap % 7):
                talker.send(50)
                threading.Event().wait(lap / 200)
            recording.process.kill()
            recording.process.communicate()
            session = open_session(f"s{lap}")
            assert [data["n"] for data in values(session, "t")] == [*range(begin, begin + recording.messages())]
            found = check_session(session)
            assert (found.verdict, found.problems) == (Verdict.CUT, [])
        assert horus("record", "check", "s3")[0] == 0


def test_it_ends_by_itself(recordings_dir: Path) -> None:
    """After some time, or at some size; the exit code is 0 then."""
    with Talker("t", size=2000) as talker:
        over = threading.Event()

        def talk() -> None:
            while not over.wait(0.01):
                talker.send(20)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            for options, reason in ((("--max-mb", "0.001"), "max-mb"), (("--duration", "1"), "duration")):
                recording = Recording(recordings_dir, reason, *options, "--json")
                code, output = recording.ended(None)
                assert code == 0, recording.errors
                assert json.loads(output)["ended_by"] == reason
                assert check_session(open_session(reason)).condition == "whole"
        finally:
            over.set()
            thread.join()


def test_a_terminal_shows_how_it_goes(recordings_dir: Path) -> None:
    """A line that is written over, with messages, megabytes and losses; nothing of it into a pipe."""
    with Talker("t") as talker:
        over = threading.Event()

        def talk() -> None:
            while not over.wait(0.05):
                talker.send(1)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            code, lines = at_a_terminal("record", "start", "s", "--duration", "2.5")
        finally:
            over.set()
            thread.join()
    assert code == 0
    said = "\n".join(lines)
    assert "recording namespace" in said
    assert "messages of 1 topics" in said
    assert "0 lost, 0 dropped" in said
    assert (recordings_dir / "s").is_dir()


def test_a_wall_clock_that_is_set_moves_no_tick(
    recordings_dir: Path, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks go by the monotonic clock; times of day follow the wall clock, and the session can be replayed."""
    jump, shift = [0], wall_shift_ns

    def shifted(known_ns: int | None = None) -> int:
        return shift(None if known_ns is None else known_ns - jump[0]) + jump[0]

    monkeypatch.setattr(running, "wall_shift_ns", shifted)
    recording = RunningSession(RecordingOptions(name="s"), namespace)
    with Talker("t") as talker:
        for step_ns in (0, -3600 * NANOSECONDS, 3600 * NANOSECONDS):
            jump[0] += step_ns
            talker.send(3)
            until(lambda: recording.step() and not recording.step() < 5_000_000)
    recording.finish("test")
    session = open_session("s")
    ticks = [line.tick for line in session.scheduler_ticks()]
    assert ticks == sorted(set(ticks))
    elapsed = [session.clock.elapsed_of(line) for line in session.scheduler_ticks()]
    assert elapsed == [tick * 1_000_000 for tick in ticks]
    assert session.clock.was_set
    assert [data["n"] for data in values(session, "t")] == [*range(9)]
    Scheduler.replay_from(session).set_replay_speed(float("inf")).run_sync()


def test_no_bytes_that_are_no_message_end_it(recordings_dir: Path, namespace: str) -> None:
    """What another program writes that is no message is counted, with its place, and the rest is recorded."""
    code = """
import sys
from horus_async.topics import Bus
with Bus() as bus:
    publisher = bus.publisher("t", "odd")
    print("ready", flush=True)
    for payload in eval(sys.stdin.readline()):
        publisher.publish(payload, 1)
    print("done", flush=True)
    sys.stdin.readline()
"""
    recording = Recording(recordings_dir, "s")
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
    ) as talker:
        payloads = [b"1", b'{"a":', b"\0\1\0\0", b"\0$nobody!xx", b'"\xff"', b"NaN", b'"\\ud800"', b"2"]
        talker.communicate(f"{payloads!r}\n", timeout=PATIENCE)
    recording.has(2)
    assert recording.ended()[0] == 1
    session = open_session("s")
    found = values(session, "t")
    assert (found[0], found[-1]) == (1, 2)
    assert sum(gap.dropped for gaps in session.gaps().values() for gap in gaps) == len(payloads) - len(found)
    assert "could not be written" in recording.errors


def test_the_memory_of_the_namespace_is_left_as_it_was(recordings_dir: Path, namespace: str) -> None:
    """It puts nothing into any topic, and takes its doorbell away."""
    recording = Recording(recordings_dir, "s")
    with Topic("t", namespace=namespace) as topic:
        topic.send(1)
        recording.has(1)
        assert recording.ended()[0] == 130
        code, said = horus("topic", "list", "--json")
        assert (code, [row["topic"] for row in json.loads(said)]) == (0, ["t"])
    assert os.listdir(recordings_dir) == ["s"]  # noqa: PTH208 - names


def spoilt(namespace: str, topic: str) -> Path:
    """A ring of another process that no version can read, beside those that are there."""
    file = memory.root() / namespace / f"{topic}@1f-00112233-1.0"
    file.write_bytes(b"no ring" * 1000)
    return file


@pytest.mark.parametrize("gone", [False, True])
def test_a_ring_that_cannot_be_read_shows_in_the_exit_code(gone: bool, recordings_dir: Path, namespace: str) -> None:
    """All others are recorded; and also where it has gone meanwhile."""
    with Talker("odom") as talker:
        file = spoilt(namespace, "scan")
        recording = Recording(recordings_dir, "night", "--json")
        talker.send(5)
        until(lambda: recording.messages() == 5)
        threading.Event().wait(1.5)  # so long nothing is said of a ring whose writer may be about to finish it
        if gone:
            file.unlink()
        code, output = recording.ended()
        assert code == 1
        said = json.loads(output)
        assert (said["messages"], list(said["unreadable"])) == (5, [ring_title(file.name)])
        assert f"recording night is not whole: 1 ring could not be read ({ring_title(file.name)}" in recording.errors


def test_a_ring_that_was_not_to_be_read_may_be_unreadable(recordings_dir: Path, namespace: str) -> None:
    """Its topic was not chosen."""
    with Talker("odom") as talker:
        spoilt(namespace, "scan")
        recording = Recording(recordings_dir, "night", "--topic", "odom")
        talker.send(5)
        until(lambda: recording.messages() == 5)
        threading.Event().wait(1.5)
        assert recording.ended()[0] == 130


def test_beside_a_launch(recordings_dir: Path) -> None:
    """The programs of a robot that is launched later, and ended before the recording is."""
    recording = Recording(recordings_dir, "drive")
    launch = subprocess.Popen(
        [*COMMAND[:3], "launch", str(EXAMPLES / "fleet" / "robot.toml"), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    )
    _started.append(launch)
    until(lambda: recording.messages() > 50)
    launch.send_signal(signal.SIGINT)
    assert launch.wait(PATIENCE) == 130
    code, output = recording.ended()
    assert code == 130, (output, recording.errors)
    session = open_session(recordings_dir / "drive")
    assert {(message.topic, message.publisher) for message in session.external()} == {
        ("cmd_vel", "planner"),
        ("odom", "base"),
        ("scan", "lidar"),
    }
    assert check_session(session).verdict is Verdict.WHOLE
