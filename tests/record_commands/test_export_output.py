"""``record export``: where it writes. What is no plain file is written into, and never replaced."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import orjson
import pytest
from mcap.reader import make_reader

from tests.parquet import read_parquet
from tests.terminal import at_a_terminal

from .sessions import call, call_json, make, robot

FORMS = ["csv", "jsonl", "parquet", "mcap"]
COMMAND = [sys.executable, "-m", "horus_async", "record", "export"]


def one_topic(root: Path, name: str = "s", messages: int = 3) -> None:
    """A session of one topic."""
    make(root, name, {tick: [("n", "t", {"v": tick})] for tick in range(messages)}, ticks=messages)


def rows_in(data: bytes, form: str, folder: Path) -> int:
    """How many messages a finished export holds."""
    if form == "mcap":
        path = folder / "copy.mcap"
        path.write_bytes(data)
        with path.open("rb") as stream:
            return len(list(make_reader(stream, validate_crcs=True).iter_messages()))
    if form == "parquet":
        (folder / "copy.parquet").write_bytes(data)
        rows: int = read_parquet(folder / "copy.parquet").num_rows
        return rows
    return len(data.splitlines()) - (form == "csv")


@pytest.mark.parametrize("form", FORMS)
def test_a_named_pipe_is_written_into(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """Its reader gets the whole file, and the pipe is still a pipe."""
    one_topic(recordings_dir)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    result = call("export", "s", "--format", form, "--output", pipe)
    if not stat.S_ISFIFO(pipe.stat().st_mode):
        pytest.fail("the pipe was replaced")
    assert result.exit_code == 0, result.output
    reader.join()
    assert rows_in(got[0], form, tmp_path) == 3


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_its_target_is_filled(recordings_dir: Path, tmp_path: Path, form: str, there: bool) -> None:
    """Whether the target exists or not; a file of the same node as before, for those who have it open."""
    one_topic(recordings_dir)
    (tmp_path / "far").mkdir()
    target = tmp_path / "far" / "target"
    if there:
        target.write_text("old" * 1000)
    before = target.stat().st_ino if there else None
    (tmp_path / "link").symlink_to(target)
    assert call("export", "s", "--format", form, "--output", tmp_path / "link").exit_code == 0
    assert (tmp_path / "link").is_symlink()
    assert rows_in(target.read_bytes(), form, tmp_path) == 3
    assert before in {None, target.stat().st_ino}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_link_among_the_files_of_several_topics(recordings_dir: Path, tmp_path: Path) -> None:
    """The files that are named after topics are treated the same way."""
    robot(recordings_dir, "s", ticks=5)
    (tmp_path / "all.ctrl.cmd.csv").symlink_to(tmp_path / "elsewhere")
    assert call("export", "s", "--format", "csv", "--output", tmp_path / "all.csv").exit_code == 0
    assert (tmp_path / "all.ctrl.cmd.csv").is_symlink()
    assert len((tmp_path / "elsewhere").read_bytes().splitlines()) == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="making a device takes root")
@pytest.mark.parametrize("form", FORMS)
def test_a_device_is_never_replaced(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """A device of our own: it takes what is written, and is a device afterwards."""
    one_topic(recordings_dir)
    try:
        os.mknod(tmp_path / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(tmp_path / "full", 0o600 | stat.S_IFCHR, os.makedev(1, 7))
    except OSError:
        pytest.skip("no devices can be made here")
    assert call("export", "s", "--format", form, "--output", tmp_path / "null").exit_code == 0
    result = call("export", "s", "--format", form, "--output", tmp_path / "full")
    assert result.exit_code == 2
    assert "cannot write" in result.output
    assert "No space left" in result.output
    assert result.output.count("\n") == 1
    assert all(stat.S_ISCHR((tmp_path / name).stat().st_mode) for name in ("null", "full"))
    assert {path.name for path in tmp_path.iterdir()} == {"recordings", "null", "full"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("to_file", [True, False])
@pytest.mark.parametrize("output", ["-", "/dev/stdout"])
def test_standard_output_holds_nothing_else(
    recordings_dir: Path, tmp_path: Path, form: str, to_file: bool, output: str
) -> None:
    """``-`` and the device of that name: the data alone goes there, notes and counts go to standard error."""
    one_topic(recordings_dir)
    before = os.lstat("/dev/stdout")
    command = [*COMMAND, "s", "--format", form, "--output", output]
    with (tmp_path / "out").open("wb") as file:
        done = subprocess.run(
            command, stdout=file if to_file else subprocess.PIPE, stderr=subprocess.PIPE, check=True, cwd=tmp_path
        )
    data = (tmp_path / "out").read_bytes() if to_file else done.stdout
    assert rows_in(data, form, tmp_path) == 3
    assert b": 3 messages" in done.stderr
    assert os.lstat("/dev/stdout").st_ino == before.st_ino
    assert not (tmp_path / "-").exists()


def test_a_file_named_dash(recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``./-`` is a file."""
    one_topic(recordings_dir)
    monkeypatch.chdir(tmp_path)
    result = call("export", "s", "--format", "jsonl", "--output", "./-")
    assert result.exit_code == 0
    assert len((tmp_path / "-").read_bytes().splitlines()) == 3


def test_a_stream_takes_one_table(recordings_dir: Path) -> None:
    """Several topics cannot share it; the line says how to choose one. MCAP holds them all."""
    robot(recordings_dir, "s", ticks=5)
    result = call("export", "s", "--format", "jsonl", "--output", "-")
    assert result.exit_code == 2
    assert "takes one table, and there are 2" in result.output
    assert "--topic" in result.output
    assert "ctrl.cmd, sensor.reading" in result.output
    assert result.stdout_bytes == b""
    result = call("export", "s", "--format", "jsonl", "--output", "-", "--topic", "ctrl.cmd")
    assert [orjson.loads(line)["output"] for line in result.stdout_bytes.splitlines()] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert call("export", "s", "--format", "mcap", "--output", "-").stdout_bytes.startswith(b"\x89MCAP")


@pytest.mark.parametrize("form", FORMS)
def test_a_reader_that_leaves_ends_it_quietly(recordings_dir: Path, form: str) -> None:
    """``| head``: exit code 1, and not a word."""
    make(recordings_dir, "s", {t: [("n", "t", {"v": os.urandom(300_000)})] for t in range(20)}, ticks=20)
    command = [*COMMAND, "s", "--format", form, "--output", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4)
        process.stdout.close()
        said = process.stderr.read()
        assert (process.wait(), said) == (1, b"")


@pytest.mark.parametrize("form", FORMS)
def test_ctrl_c_leaves_nothing_behind(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """Exit code 130, one line, and no half of a file; what was there before is as it was."""
    one_topic(recordings_dir)
    (tmp_path / "t").write_text("old")
    script = (
        "import os, signal, sys\n"
        "from horus_async.recorder.exports import mcap_export\n"
        "from horus_async.recorder.tables import stream\n"
        "from horus_async.recorder import messages\n"
        "real = messages.session_messages\n"
        "def slow(*args):\n"
        "    yield from real(*args)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "stream.session_messages = mcap_export.session_messages = slow\n"
        "from horus_async.cli import main\n"
        "main()\n"
    )
    arguments = ["record", "export", "s", "--format", form, "--output", str(tmp_path / "t")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"horus-async: interrupted\n")
    assert {path.name for path in tmp_path.iterdir()} == {"recordings", "t"}
    assert (tmp_path / "t").read_text() == "old"


@pytest.mark.parametrize("form", FORMS)
def test_a_full_disk_is_said_and_leaves_nothing(recordings_dir: Path, tmp_path: Path, form: str) -> None:
    """One line that names the file asked for, exit code 2, and no half of it."""
    make(recordings_dir, "s", {t: [("n", "t", {"v": os.urandom(300_000)})] for t in range(20)}, ticks=20)
    script = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "from horus_async.cli import main\n"
        "main()\n"
    )
    arguments = ["record", "export", "s", "--format", form, "--output", "t"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, b"horus-async: cannot write t: File too large\n")
    assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


def test_topics_may_be_repeated(recordings_dir: Path, tmp_path: Path) -> None:
    """Each of them, and no other; an unknown one is an error that names the nearest, and nothing is written."""
    sent = {tick: [("n", "scan", 1), ("n", "odom", 2), ("m", "image", 3)] for tick in range(4)}
    make(recordings_dir, "s", sent, ticks=4)
    base = ("export", "s", "--output", tmp_path / "f.csv", "--format", "csv", "--topic", "scan")
    files = call_json(*base, "--topic", "odom", "--topic", "scan")["files"]
    assert files == {str(tmp_path / "f.scan.csv"): 4, str(tmp_path / "f.odom.csv"): 4}
    for path in files:
        Path(path).unlink()
    for form in FORMS:
        result = call(*base[:4], "--format", form, "--topic", "scan", "--topic", "imgae")
        assert result.exit_code == 2
        assert "no messages of topic 'imgae'; it has image, odom, scan; did you mean 'image'?" in result.output
        assert [path.name for path in tmp_path.iterdir()] == ["recordings"]


def test_more_topics_than_files_may_be_open(recordings_dir: Path, tmp_path: Path) -> None:
    """Tables that are being written need no descriptor each."""
    topics = [f"t{number}" for number in range(60)]
    make(recordings_dir, "s", {0: [("n", topic, {"v": 1}) for topic in topics]}, ticks=1)
    for form in ("csv", "jsonl", "parquet"):
        script = (
            "import resource\n"
            "import pyarrow.parquet, horus_async.recorder.exports.export\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n"
            "from horus_async.cli import main\n"
            "main()\n"
        )
        arguments = ["record", "export", "s", "--format", form, "--output", str(tmp_path / f"t.{form}")]
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob(f"t.*.{form}"))) == 60


def test_the_bar_moves_with_the_messages(recordings_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the messages are, and whatever their ticks; its end is the number of messages, if it is known."""
    from horus_async.cli import record_data

    bars: list[Any] = []

    class Bar:
        task_ids = (0,)

        def __init__(self, total: int | None) -> None:
            self.total, self.steps = total, [0]
            bars.append(self)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing."""

        def update(self, _: int, completed: int) -> None:
            self.steps.append(completed)

    monkeypatch.setattr(record_data, "progress", lambda _, total: Bar(total))
    make(recordings_dir, "s", {0: [("n", "t", {"v": 1})] * 1000}, ticks=1)
    call("export", "s", "--format", "jsonl", "--output", tmp_path / "t")
    call("diff", "s", "s")
    for bar in bars:
        assert bar.total == 1000
        assert len(bar.steps) > 10
        assert bar.steps[-1] > 900
    assert len(bars) == 2


def test_a_pipe_that_nobody_reads_yet(recordings_dir: Path, tmp_path: Path) -> None:
    """The export waits, as every program does that opens one; at a terminal it says for what."""
    robot(recordings_dir, "s", ticks=3)
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", "pipe"], cwd=tmp_path, stdout=subprocess.PIPE) as reader:
        arguments = ("record", "export", "s", "--format", "csv", "--topic", "ctrl.cmd", "--output", "pipe")
        code, lines = at_a_terminal(*arguments, columns=200, cwd=tmp_path)
        assert reader.stdout is not None
        assert len(reader.stdout.readlines()) == 1 + 3
    assert code == 0
    assert "writes into pipe as soon as somebody reads it" in lines
