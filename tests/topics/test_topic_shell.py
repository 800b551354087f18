"""``horus-async topic`` as a shell sees it: signals, pipes, exit codes, and what is left in shared memory."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING

import pytest

from horus_async import Topic
from horus_async.topics.external.leftovers import reclaim
from tests.topics.test_processes import SECONDS, files, until

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = [sys.executable, "-m", "horus_async", "topic"]


@pytest.fixture
def busy() -> Iterator[str]:
    """The name of a topic on which messages come all the time."""
    ended = threading.Event()

    def send() -> None:
        with Topic("busy") as topic:
            while not ended.wait(0.001):
                topic.send({"x": [1, None, "ä"]})

    thread = threading.Thread(target=send)
    thread.start()
    yield "busy"
    ended.set()
    thread.join()


def start(*args: str, stdout: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command."""
    return subprocess.Popen([*COMMAND, *args], stdout=stdout, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("args", [("echo",), ("echo", "--json"), ("hz", "--window", "0.1"), ("bw", "--window", "0.1")])
def test_a_signal_ends_watching_in_order(
    sent: signal.Signals, args: tuple[str, ...], busy: str, namespace: str
) -> None:
    """Ctrl-C: exit code 130, SIGTERM 143; one line at most on standard error, nothing left in shared memory."""
    before = until(lambda: files(namespace)[1:] and files(namespace))  # our ring and doorbell
    command = start(args[0], busy, *args[1:])
    assert command.stdout is not None
    assert command.stdout.readline()
    command.send_signal(sent)
    _, errors = command.communicate(timeout=SECONDS)

    assert command.returncode == 128 + sent
    assert errors in ("", "horus-async: interrupted\n")
    assert files(namespace) == before


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_sending_in_order(sent: signal.Signals, namespace: str) -> None:
    """The same for ``pub`` at a rate; what it sent before arrives."""
    with Topic("t") as topic:
        command = start("pub", "t", "1", "-r", "100")
        until(topic.has_msg)
        command.send_signal(sent)
        _, errors = command.communicate(timeout=SECONDS)
        assert topic.recv() == 1
    assert command.returncode == 128 + sent, errors
    assert errors in ("", "horus-async: interrupted\n")
    reclaim(namespace, grace_ns=0)
    assert files(namespace) == []


@pytest.mark.parametrize("args", [("echo",), ("echo", "--json"), ("hz", "--window", "0.05")])
def test_the_reader_of_the_output_may_go(args: tuple[str, ...], busy: str, namespace: str) -> None:
    """As with ``| head -n 1``: the command ends by itself, without a word, and leaves nothing."""
    before = until(lambda: files(namespace)[1:] and files(namespace))  # our ring and doorbell
    command = start(args[0], busy, *args[1:])
    assert command.stdout is not None
    assert command.stderr is not None
    assert command.stdout.readline()
    command.stdout.close()

    assert command.wait(SECONDS) == 1
    assert command.stderr.read() == ""
    command.stderr.close()
    assert files(namespace) == before


def test_list_into_a_closed_pipe(busy: str) -> None:
    """A command that prints once into a pipe that nobody reads ends without a traceback."""
    script = f"{sys.executable} -m horus_async topic list | true"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ('"text"', "text"),
        ("-1.5e3", -1500.0),
        ("-7", -7),
        ('{"a": [1, {"b": null}], "$x": "ä"}', {"a": [1, {"b": None}], "$x": "ä"}),
        ("123456789012345678901234567890", 123456789012345678901234567890),
        ("[]", []),
    ],
)
def test_what_can_be_published(text: str, value: object, namespace: str) -> None:
    """Any JSON value arrives as it is, once, with exit code 0."""
    with Topic("t") as topic:
        run = subprocess.run([*COMMAND, "pub", "t", text], capture_output=True, text=True, check=False, timeout=SECONDS)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        assert topic.recv(default="nothing") == value
        assert topic.recv(default="nothing") == "nothing"
    reclaim(namespace, grace_ns=0)


def test_publishing_at_a_rate() -> None:
    """``-r 50 -n 11`` sends eleven messages in two tenths of a second, not all at once."""
    with Topic("t") as topic:
        subprocess.run([*COMMAND, "pub", "t", "1", "-r", "50", "-n", "11"], check=True, timeout=SECONDS)
        stamps = []
        while (message := topic.recv_message()) is not None:
            stamps.append(message.stamp_ns)
    assert len(stamps) == 11
    assert stamps[-1] - stamps[0] > 150_000_000


@pytest.mark.parametrize(
    "args",
    [
        ("pub", "t", "{'a': 1}"),
        ("pub", "t", ""),
        ("pub", "t", "1", "-r", "0"),
        ("pub", "t", "1", "-n", "0"),
        ("pub", "..", "1"),
        ("pub", "t"),
        ("info", "t"),
        ("info",),
        ("echo", "/t"),
        ("echo", "t", "-n", "x"),
        ("hz", "t", "--window", "0"),
        ("clean", "--namespace", "../x"),
        ("pub", "t", "1", "--rat", "5"),
        ("nonsense",),
    ],
)
def test_wrong_usage_is_code_2(args: tuple[str, ...], namespace: str) -> None:
    """Nothing on standard output, no traceback, nothing left."""
    run = subprocess.run([*COMMAND, *args], capture_output=True, text=True, check=False, timeout=SECONDS)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr
    assert "Traceback" not in run.stderr
    assert files(namespace) == []


def test_what_a_dead_process_left_is_shown_and_cleaned(namespace: str) -> None:
    """``list`` and ``info`` say that it is left over; ``clean --dry-run`` removes nothing, ``clean`` does, once."""
    program = "import os; from horus_async import Topic; t = Topic('dead'); t.send(7); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program], check=False)

    def shown(*args: str) -> str:
        return subprocess.run([*COMMAND, *args], capture_output=True, text=True, check=True, timeout=SECONDS).stdout

    assert "left over" in shown("list")
    before = files(namespace)
    would = shown("clean", "--dry-run").splitlines()
    assert files(namespace) == before
    assert would[-1] == f"{len(before)} files would be removed"
    info = json.loads(shown("info", "dead", "--json"))
    assert (info["rings"][0]["live"], info["newest"]["value"]) == (False, 7)
    removed = shown("clean").splitlines()
    assert removed[-1].endswith("files were removed")
    assert files(namespace) == []
    assert shown("clean") == "0 files were removed\n"


def test_what_came_too_fast_is_counted(namespace: str) -> None:
    """``hz`` and ``bw`` count the messages that they could not look at, and ``echo`` says that there were some."""
    program = "from horus_async import Topic\nwith Topic('t', capacity=4096) as t:\n while True: t.send('x' * 100)"
    with subprocess.Popen([sys.executable, "-c", program]) as sender:
        try:
            for name in ("hz", "bw"):
                command = [*COMMAND, name, "t", "--window", "0.5", "-n", "2", "--json"]
                run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
                second = json.loads(run.stdout.splitlines()[1])
                assert second["messages"] > second["lost"] > 0
            command = [*COMMAND, "echo", "t", "-n", "200"]
            run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SECONDS)
            assert run.stdout.splitlines().count("---") == 200
            assert "messages lost: they came too fast" in run.stderr
        finally:
            sender.kill()
    reclaim(namespace, grace_ns=0)
