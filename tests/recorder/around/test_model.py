"""What is recorded around certain moments, compared with a full recording of the same run: random runs and triggers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async import Around, Node, RecordingOptions, Scheduler, rng, sleep, tick
from horus_async.recorder import Session
from horus_async.recorder.around import window as window_module
from horus_async.recorder.around.ranges import LONGEST
from horus_async.recorder.messages import session_messages
from horus_async.recorder.read.check import Verdict, check_session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pytest

RATE = 100


def merged(ticks: Sequence[int], before: int, after: int, end: int) -> list[tuple[int, int]]:
    """The ranges that a user would expect: the plain definition."""
    longest = LONGEST * (before + after + 1)
    found: list[tuple[int, int]] = []
    for at in ticks:
        first, last = max(0, at - before), at + after
        if not found or first > found[-1][1]:
            found.append((first, last))
            continue
        begun, until = found[-1]
        if last - begun < longest:
            found[-1] = begun, max(until, last)
            continue
        if at < begun + longest:
            until = begun + longest - 1
            found[-1] = begun, until
        found.append((until + 1, last))
    return [(first, min(last, end)) for first, last in found if first <= end]


def robot(at: Sequence[int], trigger: Callable[[str], None]) -> list[Node]:
    """A sensor, one that follows it, one that is suspended for long, one that never ends, one that is rarely heard."""

    def sense(n: Node) -> None:
        n.send("odom", {"v": rng().random(), "tick": tick()})
        for _ in range(list(at).count(tick())):
            trigger(f"in {tick()}")

    async def slow(n: Node) -> None:
        n.send("slow", ("begin", tick()))
        await sleep(0.0333)
        n.send("slow", ("end", tick()))

    async def driver(n: Node) -> None:
        n.send("map", "the map")
        while True:
            await sleep(0.05)
            n.send("driver", tick())

    def follow(n: Node) -> None:
        n.send("cmd", (n.recv("odom"), n.latest("map")))

    return [
        Node("sensor", tick=sense, pubs="odom"),
        Node("follower", tick=follow, subs=["odom", "map"], pubs="cmd", rate=50),
        Node("slow", tick=slow, pubs="slow", rate=9),
        Node("driver", tick=driver, pubs=["driver", "map"]),
        Node("rare", tick=lambda n: n.send("rare", tick()), pubs="rare", rate=0.5),
    ]


def run(root: Path, seconds: float, at: Sequence[int], recording: Any, around: Around) -> Scheduler:
    """A deterministic run."""
    scheduler = Scheduler(
        tick_rate=RATE, deterministic=True, seed=3, recording=recording, recordings_dir=root, blackbox_mb=0
    )
    for node in robot(at, around.trigger):
        scheduler.add(node)
    scheduler.run_sync(seconds)
    return scheduler


def lines(session: Session, first: int, last: int) -> list[Any]:
    """The messages of some ticks, in one order."""
    found = [message for message in session_messages(session) if first <= message.tick <= last]
    return sorted(found, key=lambda m: (m.tick, m.publisher, m.topic, m.seq, m.stamp_ns))


def contents(folder: Path) -> dict[str, list[bytes]]:
    """All lines of a session, but for what says when and as what it was recorded."""
    found = {}
    for file in Session(folder).all_files():
        found[file.path.name.partition("@")[0]] = [
            line for line in file.lines() if b'"kind":"header"' not in line and b'"kind":"footer"' not in line
        ]
    return found


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 1199), max_size=6).map(sorted),
    st.sampled_from([0, 1, 37, 100, 300]),
    st.sampled_from([0, 1, 20, 150]),
    st.integers(1, 1200),
)
def test_each_session_is_what_a_full_recording_has_there(
    tmp_path_factory: pytest.TempPathFactory, at: list[int], before: int, after: int, ticks: int
) -> None:
    """The ticks around each trigger, merged where they overlap, with all messages; a check finds them whole."""
    root = tmp_path_factory.mktemp("around")
    around = Around(before=before / RATE, after=after / RATE, on=())
    run(root, ticks / RATE, at, "full", Around(on=()))
    scheduler = run(root, ticks / RATE, at, RecordingOptions(name="s", around=around), around)
    full = Session(root / "full")
    assert full.last_tick is not None
    wanted = merged([tick for tick in at if tick <= full.last_tick], before, after, full.last_tick)

    stats = scheduler.stats().recording
    assert stats is not None
    assert stats.sessions is not None
    assert len(stats.sessions) == len(wanted)
    assert {folder.name for folder in root.iterdir()} == {"full", *stats.sessions}
    for name, (first, last) in zip(stats.sessions, wanted, strict=True):
        made = Session(root / name)
        assert (made.first_tick, made.last_tick) == (first, last)
        assert list(made.scheduler_ticks()) == list(full.scheduler_ticks(first, last))
        assert lines(made, first, last) == lines(full, first, last)
        assert len(list(session_messages(made))) == len(lines(full, first, last))
        checked = check_session(made)
        assert checked.verdict is Verdict.WHOLE
        assert not any(file.problems for file in checked.files)
    assert set(scheduler.stop_recording()) == {
        str(file.path) for name in stats.sessions for file in Session(root / name).all_files()
    }


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 999), min_size=1, max_size=4).map(sorted))
def test_two_runs_make_the_same_sessions(tmp_path_factory: pytest.TempPathFactory, at: list[int]) -> None:
    """Line by line, byte by byte, but for when they were made; and their manifests say the same."""
    made = []
    for number in range(2):
        root = tmp_path_factory.mktemp(f"around{number}")
        around = Around(before=2, after=0.5, on=())
        scheduler = run(root, 10, at, RecordingOptions(name="s", around=around), around)
        stats = scheduler.stats().recording
        assert stats is not None
        assert stats.sessions
        made.append({name: contents(root / name) for name in stats.sessions})
    assert made[0] == made[1]


def test_what_is_on_disk_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the run, also of a node that is in one tick for ever; and nothing is left."""
    around = Around(before=2, after=1, on=())
    bytes_there, files_there = [], []
    turned = window_module.Window.turn

    def turn(self: Any, files: Any, can_write: bool) -> None:
        turned(self, files, can_write)
        there = [path.stat().st_size for path in files.folder.iterdir()]
        bytes_there.append(sum(there))
        files_there.append(len(there))

    monkeypatch.setattr(window_module.Window, "turn", turn)
    run(tmp_path, 300, [], RecordingOptions(name="s", around=around, interval=0.001), around)
    assert list(tmp_path.iterdir()) == []
    run(tmp_path, 300, [], "full", around)
    rows = len(Session(tmp_path / "full").all_files())
    assert max(bytes_there) < sum(path.stat().st_size for path in (tmp_path / "full").iterdir()) / 4
    assert max(files_there) < rows * (2 + 1 + 4)  # before, what is kept besides, and a few that are on the way
