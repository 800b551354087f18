"""Thousands of topics: opening them costs the same for each, and the limit of open files is named."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from horus_async import Topic
from horus_async.topics import Bus, discovery
from horus_async.topics import bus as bus_module
from horus_async.topics.exchange import Channel
from horus_async.topics.external.rings import ExternalRing, RingFile, list_folder, ring_file
from horus_async.topics.ring.writer import RingWriter
from tests.topics.test_processes import child, clean, until

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.topics.ring.region import Cursor

__all__ = ["clean"]

TOPICS = 600
TOPICS_OF_OTHER = 30
MANY = """
    from contextlib import ExitStack
    with ExitStack() as opened:
        for number in range(int(sys.argv[1])):
            opened.enter_context(Topic(f"t{number}")).send(number)
        tell("sent")
        heard()
    """

APP = """
import resource, sys
from horus_async.observe import Execution, External, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions
recorder = Recorder(RecordingOptions(name="s"), None, block=True)
recorder.run_started(RunInfo("scheduler", 10.0, True, 7, 1, 0, "default", (NodeInfo("n", None),)))
for number in range(200):
    if {outside}:
        recorder.received_external(External(0, f"t{{number}}", "p", 0, 1, b"1", 0))
    else:
        recorder.sent(Sent("n", f"t{{number}}", 0, 1, b"1", 0, 0))
recorder.executed(Execution("tick", "n", 0, 0, 1, 0, [], None))
recorder.tick_ended(TickEnd(0, 0, ["n"]))
recorder.run_stopped("duration", 1)
resource.setrlimit(resource.RLIMIT_NOFILE, ({limit}, {limit}))
from horus_async.cli import main
sys.argv = ["horus-async", "replay", "s", "--speed", "max"]
main()
"""


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each listing of the folder, by the number of files in it."""
    found: list[int] = []

    def counting(namespace: str) -> tuple[tuple[int, int], list[str]] | None:
        listed = list_folder(namespace)
        found.append(0 if listed is None else len(listed[1]))
        return listed

    monkeypatch.setattr(discovery, "list_folder", counting)
    monkeypatch.setattr(discovery, "_LISTENERS_NS", 1 << 60)  # however slow the machine is
    return found


def test_not_every_ring_that_opens_or_closes_lists_the_folder(listings: list[int]) -> None:
    """What is listed grows with the number of topics, not with its square."""
    with Bus(isolated=True) as bus:
        for number in range(TOPICS):
            bus.publisher(f"t{number}", "n").publish(b"1", 1)
        assert len(listings) < TOPICS / 4
        assert sum(listings) < 20 * TOPICS
        listings.clear()
    assert sum(listings) < 20 * TOPICS


def test_few_rings_are_announced_to_whoever_listens_now(listings: list[int]) -> None:
    """With few topics every listing is fresh."""
    with Bus(isolated=True) as bus:
        for number in range(5):
            bus.publisher(f"t{number}", "n").publish(b"1", 1)
    assert len(listings) >= 5


@pytest.mark.parametrize("outside", [False, True], ids=["nodes", "outside"])
@pytest.mark.parametrize("limit", [40, 100, 180, 204, 208, 212, 220, 300])
def test_at_the_limit_of_open_files_one_line_names_it(tmp_path: Path, limit: int, *, outside: bool) -> None:
    """And the way out; no traceback, at whichever file it is reached."""
    app = tmp_path / "app.py"
    app.write_text(APP.format(limit=limit, outside=outside))
    done = subprocess.run([sys.executable, str(app)], capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    if done.returncode == 0:
        assert limit > 220
        assert not lines
        return
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert f"this process may have {limit}" in lines[0]
    assert "ulimit -n" in lines[0]
    assert "--topic" in lines[0]


def test_a_handle_looks_at_no_ring_of_another_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that this process has already are of no interest to it, however many there are."""
    looks: list[str] = []
    end = RingWriter.end

    def counting(ring: RingWriter) -> Cursor:
        looks.append(ring.namespace)
        return end(ring)

    monkeypatch.setattr(RingWriter, "end", counting)
    with ExitStack() as opened:
        for number in range(40):
            opened.enter_context(Topic(f"t{number}")).send(number)
        assert looks == []


def test_only_names_that_came_or_went_are_looked_at(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of thousands of rings is listed again when one comes; the others are known."""
    looked: list[str] = []

    def counting(name: str) -> RingFile | None:
        looked.append(name)
        return ring_file(name)

    monkeypatch.setattr(discovery, "ring_file", counting)
    with ExitStack() as opened:
        for number in range(40):
            opened.enter_context(Topic(f"t{number}")).send(number)
        found = discovery._open[namespace]
        for _ in range(3):
            found._stamp = None  # as if the folder had changed
            found.refresh()
        rings = [name for name in looked if not name.startswith("bell-")]
        assert sorted(rings) == sorted(set(rings))
        assert len(rings) == 40


def test_a_ring_that_ends_is_taken_from_its_own_topic_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With thousands of topics, a process that ends would otherwise cost a million steps."""
    removed: list[str] = []
    remove = Channel.remove_external

    def counting(channel: Channel, ring: ExternalRing) -> None:
        removed.append(ring.file.component)
        remove(channel, ring)

    monkeypatch.setattr(Channel, "remove_external", counting)
    with ExitStack() as opened:
        topics = [opened.enter_context(Topic(f"t{number}")) for number in range(TOPICS_OF_OTHER)]
        with child(MANY, TOPICS_OF_OTHER) as other:
            assert other.line() == "sent"
            for number, topic in enumerate(topics):
                until(topic.has_msg)
                assert topic.recv() == number
            other.go()
            assert other.end() == 0
            (found,) = discovery._open.values()

            def looked() -> bool:
                found.refresh()
                return not found._rings

            until(looked)
    assert len(removed) <= TOPICS_OF_OTHER + 2


def test_a_ring_found_while_another_topic_is_opened_is_shown_to_its_own(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the folder has come to rest by the next look."""
    monkeypatch.setattr(discovery, "_GLANCE_NS", 1 << 60)
    with Topic("t0") as topic, child(MANY, 1) as other:
        assert other.line() == "sent"
        with Topic("one"):
            found = discovery._open[namespace]
            found._stamp_seen_ns -= 1 << 40  # an age ago
            with Topic("two"):
                found.refresh()
                assert topic.recv() == 0
        other.go()
        assert other.end() == 0


def test_a_look_that_was_interrupted_finds_each_ring_once(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle: what had been noted is noted again, and opened once."""
    with Topic("t0") as topic:
        found = discovery._open[namespace]
        with child(MANY, 1) as other:
            assert other.line() == "sent"
            found.refresh()
            found._listed = set()  # as if it had not come so far
            found._stamp = None
            found.refresh()
            found.refresh()
            assert len(found._rings) == 1
            assert topic.recv_all() == [0]
            other.go()
            assert other.end() == 0


def test_the_last_bus_of_a_namespace_forgets_its_doorbells(namespace: str) -> None:
    """And none before it; each is looked for by its number."""
    first, second = Bus(), Bus(isolated=True)
    assert bus_module._open_in[namespace] == {id(first), id(second)}
    first.close()
    assert bus_module._open_in[namespace] == {id(second)}
    second.close()
    assert not bus_module._open_in[namespace]
