"""The box as a file: real kills, restarts, full disks, two processes, readers of a live box."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import lz4.block
import numpy as np
import orjson
import pytest

from horus_async.blackbox import (
    BlackBox,
    Custom,
    DeadlineMiss,
    EmergencyStop,
    NodeTick,
    newest_box,
    open_blackbox,
    place,
    sealing,
)
from horus_async.blackbox import file as file_module
from horus_async.blackbox.__main__ import read
from horus_async.blackbox.compact import MARK
from horus_async.errors import BlackBoxError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MAIN = Path(file_module.__file__).with_name("__main__.py")

WRITER = """
import os, sys
from horus_async.blackbox import BlackBox, DeadlineMiss, Custom
box = BlackBox.create(sys.argv[1], name="arm", size_mb=1, run="run-1", sync_interval=0.01)
ticked = box.tick_listener("arm")
n = 0
while True:
    if n % 10 == 0:
        box.record(Custom("c", "x" * (n * 37 % 900), {"n": n}), n, n)
    elif n % 2 == 0:
        box.record_late(DeadlineMiss, "arm", n, 1000 * n, 2000 * n)
    else:
        ticked(n, 1000 * n, True)
    n += 1
    os.write(1, b".")
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[BlackBox]:
    """A small box."""
    with BlackBox.create(tmp_path, name="arm", size_mb=1, run="run-1") as box:
        yield box


def run_writer(folder: Path, events: int) -> None:
    """Kill a writing process after it said that it recorded so many."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    left = events
    while left > 0:
        left -= len(os.read(process.stdout.fileno(), left))
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("events", [1, 2, 50, 3000, 20_000])
def test_kill_nine(tmp_path: Path, events: int) -> None:
    """J.1-30: after kill -9, from the first event on, the last events are there without a gap and without damage."""
    run_writer(tmp_path, events)
    with open_blackbox(tmp_path / "arm.hbb") as box:
        records = box.events()

        assert [record.seq for record in records] == list(range(box.lost, box.lost + len(records)))
        assert records[-1].seq >= events - 1
        assert all(record.tick == record.seq for record in records)
        assert all(record.actual_us == 2 * record.seq for record in records if isinstance(record.event, DeadlineMiss))
        assert all(record.duration_us == record.seq for record in records if isinstance(record.event, NodeTick))
        assert box.damage == []
        assert box.path.stat().st_size == 2**20


def test_restarts_keep_the_evidence(tmp_path: Path) -> None:
    """A new run moves the boxes of the last three aside, in order, and drops the one before them."""
    for number in range(6):
        with BlackBox.create(tmp_path, name="arm", size_mb=1, run=f"run-{number}") as box:
            box.custom("n", "n", number=number)
    found = {path.name: open_blackbox(path).run for path in tmp_path.iterdir()}

    assert found == {"arm.hbb": "run-5", "arm~1.hbb": "run-4", "arm~2.hbb": "run-3", "arm~3.hbb": "run-2"}
    assert newest_box(tmp_path).name == "arm.hbb"


def test_a_crash_while_boxes_are_moved_leaves_a_hole_that_is_filled(tmp_path: Path) -> None:
    """What is older than the hole stays where it is; a file left half made is made again."""
    for name in ("arm", "arm~2", "arm~3"):
        (tmp_path / f"{name}.hbb").write_text(name)
    (tmp_path / ".arm.hbb.new").write_text("half made")
    BlackBox.create(tmp_path, name="arm", size_mb=1).close()

    assert [(tmp_path / f"arm~{n}.hbb").read_text() for n in (1, 2, 3)] == ["arm", "arm~2", "arm~3"]
    assert not (tmp_path / ".arm.hbb.new").exists()


def test_second_writer_is_refused(box: BlackBox, tmp_path: Path) -> None:
    """A box that a live run writes is not taken away from it; the message says who has it and what to do."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "BlackBoxError: the black box" in line
    assert f"is in use by another run (process {os.getpid()})" in line
    assert "blackbox_dir" in line
    assert sorted(path.name for path in tmp_path.glob("*.hbb")) == ["arm.hbb"]
    box.custom("still", "mine")


def test_the_box_is_free_after_close_and_readable(tmp_path: Path) -> None:
    """A closed box takes no events, still shows its own, also after the next run took the name."""
    first = BlackBox.create(tmp_path, name="arm", size_mb=1)
    first.record(NodeTick("a", 1, True), 1, 1)
    first.close()
    first.close()
    with BlackBox.create(tmp_path, name="arm", size_mb=1) as second:
        second.custom("a", "b")

        assert [record.kind for record in first.events()] == ["NodeTick"]
        assert [record.kind for record in second.events()] == ["Custom"]
    assert first.lost == 0
    for kept in tmp_path.glob("arm~*.hbb"):
        kept.unlink()
    with pytest.raises(BlackBoxError, match="is no longer in"):
        first.events()
    with pytest.raises(BlackBoxError, match="is closed"):
        first.custom("a", "b")


def test_modes(tmp_path: Path) -> None:
    """New folders are 0700 and boxes 0600."""
    with BlackBox.create(tmp_path / "a" / "b", name="arm", size_mb=1) as box:
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
        assert stat.S_IMODE(box.path.stat().st_mode) == 0o600


def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """A link in place of the box is neither followed nor moved."""
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "arm.hbb").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BlackBoxError, match="symbolic link"):
        BlackBox.create(tmp_path, name="arm", size_mb=1)

    assert (tmp_path / "elsewhere").read_text() == "mine"


def test_size_is_exact_and_allocated(box: BlackBox) -> None:
    """J.1-29: the file has its full size, in blocks of the disk, before the first event."""
    status = box.path.stat()

    assert status.st_size == 2**20
    assert status.st_blocks * 512 >= 2**20


def test_full_disk_is_an_error_at_open(tmp_path: Path) -> None:
    """Without room for the whole box there is an error then, no half a box, and the last run's box stays."""
    BlackBox.create(tmp_path, name="arm", size_mb=1, run="last").close()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, limits[1]))
    try:
        with pytest.raises(BlackBoxError, match=r"too large \(it needs 2 MiB\); make room") as caught:
            BlackBox.create(tmp_path, name="arm", size_mb=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["arm.hbb"]
    assert open_blackbox(tmp_path / "arm.hbb").run == "last"


@pytest.mark.parametrize("options", [{"size_mb": 0}, {"size_mb": 1.5}, {"keep": 0}, {"sync_interval": 0.0}])
def test_options_that_cannot_work(tmp_path: Path, options: dict[str, float]) -> None:
    """The message names the value."""
    with pytest.raises(ConfigurationError, match=str(next(iter(options.values())))):
        BlackBox.create(tmp_path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "a\n", "arm~1", "x" * 201])
def test_names_that_cannot_be_files(tmp_path: Path, name: str) -> None:
    """A scheduler's name that cannot name a box is refused."""
    with pytest.raises(ConfigurationError, match="cannot name a black box"):
        BlackBox.create(tmp_path, name=name, size_mb=1)


def test_filters(box: BlackBox) -> None:
    """J.1-32: events by kind, node, ticks and number, and the anomalies; an unknown kind lists the kinds."""
    for tick in range(10):
        box.record(NodeTick("a", tick, True), tick, tick)
        box.record(DeadlineMiss("b", 1, tick), tick, tick)

    assert len(box.events()) == 20
    assert {record.run for record in box.events()} == {"run-1"}
    assert [record.tick for record in box.events(kind="deadlinemiss", ticks=(3, 5))] == [3, 4, 5]
    assert [record.tick for record in box.events(kind=DeadlineMiss, ticks=range(3, 5))] == [3, 4]
    assert [record.name for record in box.events(ticks=4)] == ["a", "b"]
    assert [record.tick for record in box.events(node="a", last=2)] == [8, 9]
    assert len(box.events(kind=[NodeTick, "Custom"])) == 10
    assert box.events(last=0) == []
    assert box.anomalies() == box.events(kind=DeadlineMiss)
    with pytest.raises(BlackBoxError, match="no event kind 'Miss'; the kinds are SchedulerStart"):
        box.events(kind="Miss")


def test_custom_events(box: BlackBox) -> None:
    """J.1-32: a program's own events carry any data, and the tick of the event before."""
    box.record(NodeTick("a", 1, True), 41, 1)
    box.custom("arm", "limit", joint=3, message="mine", category=float("inf"))
    record = box.events(last=1)[0]

    assert record.event == Custom("arm", "limit", {"joint": 3, "message": "mine", "category": float("inf")})
    assert record.tick == 41
    assert record.time_ns > 10**18


def test_the_clock_may_step_backwards(box: BlackBox) -> None:
    """The order is that of the calls, whatever the time of day says."""
    for number, time_ns in enumerate((5_000, 4_000, -3, 6_000)):
        box.record(NodeTick("a", 1, True), number, time_ns)

    assert [record.tick for record in box.events()] == [0, 1, 2, 3]
    assert [record.time_ns for record in box.events()] == [5_000, 4_000, -3, 6_000]


def test_an_event_too_large_is_shortened_and_says_so(box: BlackBox) -> None:
    """It is kept in part, and the box goes on."""
    box.record(EmergencyStop("x" * 3_000_000), 1, 1)
    box.custom("a", "b", data=list(range(500_000)))
    first, second = box.events()

    assert "shortened by" in first.reason
    assert first.reason.startswith("xxx")
    assert "shortened by" in second.data["shortened"]


def test_threads_share_a_box(box: BlackBox) -> None:
    """Events of many threads are all there, each whole, each thread's in its order."""

    def write(name: str) -> None:
        for number in range(1000):
            box.record(NodeTick(name, number, True), number, number)

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = box.events()

    assert [record.seq for record in records] == list(range(box.lost, 4000))
    for name in ("t0", "t1", "t2", "t3"):
        durations = [record.duration_us for record in records if record.name == name]
        assert durations == list(range(1000))[len(durations) * -1 :]


def test_reading_while_it_is_written(tmp_path: Path) -> None:
    """J.1-30: a reader of a live box always sees a gapless row of events, newer each time, and no damage."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        os.read(process.stdout.fileno(), 1)
        drain = threading.Thread(target=process.stdout.read)
        drain.start()
        with open_blackbox(tmp_path / "arm.hbb") as box:
            newest, looks = -1, 0
            while looks < 12 or newest < 1000:
                looks += 1
                box.refresh()
                found = [record.seq for record in box.events()]
                assert found == list(range(box.lost, box.lost + len(found)))
                assert found[-1] >= newest
                assert box.damage == []
                newest = found[-1]
    finally:
        process.kill()
        process.wait()
        drain.join()
        process.stdout.close()


def test_a_forked_child_leaves_the_box_alone(box: BlackBox) -> None:
    """The child cannot write, and does not keep the box locked when its parent goes."""
    box.custom("parent", "before")
    child = os.fork()
    if child == 0:
        try:
            box.custom("child", "after")
        except BlackBoxError as error:
            os._exit(7 if "belongs to process" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    box.custom("parent", "after")
    assert [record.category for record in box.events()] == ["parent", "parent"]


def test_closing_gives_the_lock_back(box: BlackBox) -> None:
    """After close nothing of the box is held."""
    box.close()
    with box.path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_failing_sync_is_said_and_costs_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the disk is logged once and kept; events are still taken."""

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sealing, "_fdatasync", fail)
    with BlackBox.create(tmp_path, name="arm", size_mb=1) as box:
        box.custom("a", "b")
    assert box.sync_error == "Input/output error"
    assert len(box.events()) == 1
    assert ["cannot be brought to the disk" in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("sync_interval", [None, 0.001])
def test_close_brings_everything_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync_interval: float | None
) -> None:
    """J.1-30: with a sync interval the file is synced, at the latest when it is closed; without one never."""
    synced: list[int] = []
    monkeypatch.setattr(sealing, "_fdatasync", synced.append)
    with BlackBox.create(tmp_path, name="arm", size_mb=1, sync_interval=sync_interval) as box:
        box.custom("a", "b")
    assert bool(synced) == (sync_interval is not None)


def test_fuzzed_files_give_events_or_an_error(box: BlackBox, tmp_path: Path) -> None:
    """Whatever happened to a file, reading it gives true events or a BlackBoxError, and says what is missing."""
    ticked = box.tick_listener("a")
    for number in range(800):
        if number % 3:
            box.record(Custom("c", "m" * (number % 50), {"n": number}), number, number)
        else:
            ticked(number, number, True)
    true = set(map(repr, box.events()))
    whole = box.path.read_bytes()
    chance = random.Random(5)
    target = tmp_path / "fuzzed"
    used = 120_000
    refused: list[str] = []
    for round_number in range(60):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            start = chance.randrange(used)
            end = start + chance.choice((1, 8, 200, 5000))
            data[start:end] = chance.choice((chance.randbytes(end - start), bytes(end - start), data[: end - start]))
        target.write_bytes(data[: chance.randrange(len(data))] if round_number % 3 == 0 else data)
        try:
            with open_blackbox(target) as reader:
                assert set(map(repr, reader.events())) <= true
                assert reader.damage or (reader.lost, len(reader.events())) == (0, 800)
                small, places = read(target.read_bytes())
                assert bool(places) <= bool(reader.damage)
                assert {record.seq for record in reader.events()} <= set(small)
                assert small.items() <= read(whole)[0].items()
        except BlackBoxError as error:
            refused.append(str(error))
    assert all("is not a readable black box" in words for words in refused)
    assert len(refused) < 30


class Unlucky:
    """Raises whatever is asked of it."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


def nested(levels: int, kind: type) -> object:
    """That many of ``kind`` in each other."""
    value: object = kind()
    for _ in range(levels):
        value = {"in": value} if kind is dict else kind((value,))
    return value


def endless() -> list[object]:
    """A list that holds itself, three times."""
    value: list[object] = []
    value.extend([value, value, value])
    return value


STRANGE = {
    "deep tuples": lambda: nested(300, tuple),
    "deep lists": lambda: nested(50_000, list),
    "deep dicts": lambda: nested(50_000, dict),
    "cycle": endless,
    "raises": Unlucky,
    "raises as a key": lambda: {Unlucky(): 1},
    "set": lambda: {1, "a", frozenset({2})},
    "bytes": lambda: b"\xff\0",
    "NaN": lambda: [float("nan"), float("-inf")],
    "huge integer": lambda: -(10**20_000),
    "huge text": lambda: "x" * 3_000_000,
    "huge list": lambda: list(range(300_000)),
    "lone surrogate": lambda: "\ud800",
    "NumPy": lambda: [np.float32("nan"), np.arange(3), np.array([1j]), np.array([{1}], dtype=object)],
    "huge array": lambda: np.zeros((1000, 1000)),
    "NaT": lambda: np.datetime64("NaT", "s"),
}


@pytest.mark.parametrize("make", STRANGE.values(), ids=STRANGE)
def test_no_value_hurts_the_run(box: BlackBox, make: Callable[[], object]) -> None:
    """J.1-32: whatever is in an event, recording it returns, reading it works, and the next event is whole."""
    box.custom("category", "message", value=make())
    box.custom("next", "one")
    records = box.events()

    assert [record.category for record in records] == ["category", "next"]
    assert records[0].data
    with open_blackbox(box.path) as reader:
        assert reader.damage == []
        assert [orjson.loads(record.to_json())["seq"] for record in reader.events()] == [0, 1]


def test_strange_values_come_back_where_they_can(box: BlackBox) -> None:
    """What JSON lacks comes back as it was or as a text that says what it was."""
    box.custom("c", "m", big=-(10**20_000), small=2**64, array=np.arange(2), lot={3}, bad=Unlucky(), raw=b"a")

    assert box.events()[0].data == {
        "big": -(10**20_000),
        "small": 2**64,
        "array": [0, 1],
        "lot": [3],
        "bad": "<Unlucky that cannot be shown: RuntimeError>",
        "raw": "b'a'",
    }


def test_a_name_too_long_for_compact_events(box: BlackBox) -> None:
    """A node's ticks and misses are recorded whatever its name is."""
    name = "é%d" * 200
    box.tick_listener(name)(3, 5_999, False)
    box.record_late(DeadlineMiss, name, 4, 1_900_000, 4_200_999)

    assert [record.event for record in box.events()] == [NodeTick(name, 5, False), DeadlineMiss(name, 1900, 4200)]
    assert [record.tick for record in box.events()] == [3, 4]


def test_a_closed_box_takes_no_ticks(box: BlackBox) -> None:
    """What records ticks says so as well when the box is closed, also in a forked child."""
    ticked = box.tick_listener("arm")
    ticked(1, 1000, True)
    child = os.fork()
    if child == 0:
        try:
            ticked(2, 1000, True)
        except BlackBoxError as error:
            os._exit(7 if "belongs to process" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    ticked(2, 1000, True)
    box.close()
    with pytest.raises(BlackBoxError, match="is closed"):
        ticked(3, 1000, True)
    assert [record.tick for record in box.events()] == [1, 2]


def test_compact_events_are_sealed_as_they_are(tmp_path: Path) -> None:
    """A block holds compact events and their forms, and both readers show the same events as before."""
    with BlackBox.create(tmp_path, name="arm", size_mb=1, sync_interval=0.001) as box:
        ticked = box.tick_listener("arm")
        for number in range(13_000):  # more than half of the box: nothing is sealed before
            ticked(number, number * 1000, True)
        sealed: list[bytes] = []
        while not sealed:
            sealed = blocks_of(box.path.read_bytes(), open_blackbox(box.path).header.segment_size)
        assert sealed[0].count(MARK.to_bytes()) > 100
        shown = box.events()
        assert [(record.seq, record.duration_us) for record in shown] == [(seq, seq) for seq in range(13_000)]
    events, damaged = read(box.path.read_bytes())
    assert damaged == 0
    assert [orjson.loads(events[seq]) for seq in sorted(events)] == [orjson.loads(r.to_json()) for r in shown]


def blocks_of(data: bytes, segment_size: int) -> list[bytes]:
    """The first block of each sealed segment, unpacked."""
    found = []
    for offset in range(4096, len(data) - segment_size + 1, segment_size):
        used, kind = int.from_bytes(data[offset : offset + 8], "little"), data[offset + 24]
        packed, unpacked = struct.unpack_from("<II", data, offset + 36)
        if any(data[offset + 8 : offset + 16]) and kind == 2 and used:
            content = data[offset + 68 : offset + 68 + packed]
            with contextlib.suppress(lz4.block.LZ4BlockError):  # read while it was written
                found.append(lz4.block.decompress(content, uncompressed_size=unpacked))
    return found


def test_a_wiped_segment_is_damage(tmp_path: Path) -> None:
    """Zeros in place of any segment that held events are reported as missing events, and never as overwritten ones."""
    with BlackBox.create(tmp_path, name="arm", size_mb=1, run="run-1", sync_interval=0.001) as box:
        listener = box.tick_listener("a")
        for number in range(4000):
            box.record(Custom("c", "m" * 500, {"n": number}), number, number)
            listener(number, 1000, True)
    data = box.path.read_bytes()
    lost, shown = box.lost, len(box.events())
    size, segments = open_blackbox(box.path).header.segment_size, open_blackbox(box.path).header.segments
    offsets = [offset for offset in range(4096, 4096 + segments * size, size) if any(data[offset + 8 : offset + 16])]
    target = tmp_path / "wiped"
    costly = 0
    for offset in offsets:
        target.write_bytes(data[:offset] + bytes(size) + data[offset + size :])
        with open_blackbox(target) as reader:
            missing = shown - len(reader.events())
            assert reader.lost == lost
            assert not missing or any("missing" in words for words in reader.damage)
        costly += missing > 0
    assert costly >= len(offsets) // 2


@pytest.mark.parametrize("content", [b"", b"x", bytes(10_000), b"HORUS-BLACKBOX 1\n", os.urandom(9000)])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no box is an error that says so."""
    (tmp_path / "f.hbb").write_bytes(content)
    with pytest.raises(BlackBoxError, match="is not a readable black box"):
        open_blackbox(tmp_path / "f.hbb")
    with pytest.raises(BlackBoxError, match="no black box in"):
        newest_box(tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, a FIFO and nothing at all are errors, not a hang."""
    os.mkfifo(tmp_path / "fifo")
    for path, words in ((tmp_path, "folder"), (tmp_path / "fifo", "special file"), (tmp_path / "no", "No such file")):
        with pytest.raises(BlackBoxError, match=words):
            open_blackbox(path)


def test_one_header_is_enough(box: BlackBox, tmp_path: Path) -> None:
    """A damaged file header is reported, and its copy used."""
    box.custom("a", "b")
    data = bytearray(box.path.read_bytes())
    data[30] ^= 1
    (tmp_path / "damaged.hbb").write_bytes(data)
    reader = open_blackbox(tmp_path / "damaged.hbb")

    assert len(reader.events()) == 1
    assert reader.damage == ["the header at byte 0 fails its checksum"]


def test_the_small_reader_agrees(tmp_path: Path) -> None:
    """The independent reader prints the same events, and imports nothing but lz4."""
    run_writer(tmp_path, 6000)
    probe = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    command = [sys.executable, "-I", "-c", probe, str(MAIN), str(tmp_path / "arm.hbb")]
    done = subprocess.run(command, capture_output=True, check=True)
    with open_blackbox(tmp_path / "arm.hbb") as box:
        assert [orjson.loads(line) for line in done.stdout.splitlines()] == [
            orjson.loads(record.to_json()) for record in box.events()
        ]
    assert not {"horus_async", "orjson", "attrs", "attr"} & set(done.stderr.decode().split())


def test_the_small_reader_as_a_module(box: BlackBox) -> None:
    """``python -m horus_async.blackbox FILE`` prints the events; exit code 2 when the file cannot be read."""
    box.custom("a", "b")
    command = [sys.executable, "-m", "horus_async.blackbox"]
    done = subprocess.run([*command, str(box.path)], capture_output=True, check=True)
    assert orjson.loads(done.stdout)["event"] == "Custom"
    bad = subprocess.run([*command, "/dev/null"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stdout, bad.stderr) == (2, "", "/dev/null cannot be read: it has no readable header\n")


def test_default_folder(blackbox_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HORUS_BLACKBOX_DIR, else the user's state folder."""
    with BlackBox.create(size_mb=1) as box:
        assert box.path == blackbox_dir / "scheduler.hbb"
    monkeypatch.delenv("HORUS_BLACKBOX_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    expected = Path("/somewhere/horus/blackbox")
    assert sys.platform != "linux" or place.default_blackbox_dir() == expected
