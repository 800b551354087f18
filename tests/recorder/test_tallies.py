"""What a footer says of topics is what its file holds, so that nobody has to read the file for it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from horus_async.observe import Execution, External, NodeInfo, Sent, TickEnd
from horus_async.recorder import Recorder, open_session
from horus_async.recorder.frames import MAGIC
from horus_async.recorder.read import reader as reader_module
from horus_async.recorder.read.info import session_info
from horus_async.recorder.records import Footer, parse_line
from horus_async.recorder.tallies import Tallies, TopicTally
from horus_async.recorder.write import writer as writer_module
from horus_async.topics.codec import as_bytes, encode

from .runs import PERIOD_NS, play, recorder, run_info, settled, tell

if TYPE_CHECKING:
    from pathlib import Path

VALUES = (1, 2.5, {"x": 1}, b"bytes", np.zeros((4, 5), np.uint8), "x" * 9000, {"nested": {"list": [1, 2, 3]}}, None)


def busy(observer: Recorder, ticks: int, noise: random.Random) -> None:
    """Two nodes that send any number of messages of any kind on three topics each, also late ones; two outsiders."""
    observer.run_started(run_info((NodeInfo("a", 100.0), NodeInfo("b", 100.0)), deterministic=True))
    seq = 0
    free = {"a": 0, "b": 0}
    for tick in range(ticks):
        now_ns = tick * PERIOD_NS
        for node in ("a", "b"):
            if free[node] > tick:
                continue
            sent = []
            for _ in range(noise.choice([0, 0, 1, 1, 1, 4])):
                payload = as_bytes(encode(noise.choice(VALUES)))
                free[node] = max(free[node], tick + noise.choice([0, 0, 0, 3]))
                sent.append(Sent(node, f"{node}.{noise.choice('xyz')}", seq, now_ns, payload, max(tick, free[node])))
                seq += 1
            tell(observer, Execution("tick", node, tick, now_ns, PERIOD_NS, 0, [], None), sent)
        if noise.random() < 0.1:
            publisher = noise.choice(["pilot", "base"])
            observer.received_external(External(tick, "cmd", publisher, seq, now_ns, as_bytes(encode(noise.random()))))
        observer.tick_ended(TickEnd(tick, now_ns, ["a", "b"]))


def parsed_lines(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long each line is that is parsed from now on."""
    lines: list[int] = []

    def counting(line: bytes) -> object:
        lines.append(len(line))
        return parse_line(line)

    monkeypatch.setattr(reader_module, "parse_line", counting)
    return lines


@pytest.mark.parametrize("rotate_mb", [None, 0.01], ids=["one file", "rotated"])
@pytest.mark.parametrize("seed", range(4))
def test_info_of_a_closed_session_is_that_of_its_lines(
    tmp_path: Path, seed: int, rotate_mb: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J.1-25: count, bytes, first and last tick of each topic are the same from the footers and from all the lines."""
    observer = recorder(tmp_path, rotate_mb=rotate_mb, interval=0.001)
    busy(observer, 2000, random.Random(seed))
    observer.run_stopped("duration", 2000)
    lines = parsed_lines(monkeypatch)
    told = session_info(open_session("session", tmp_path))
    assert 0 < len(lines) < 2000  # of more than 4000
    for path in observer.stop():
        data = path.read_bytes()
        path.write_bytes(data[: data.rindex(MAGIC)])  # without its footer and index
    read = session_info(open_session("session", tmp_path))
    assert len(told.topics) == 8
    for one, other in zip(told.topics, read.topics, strict=True):
        assert attrs.evolve(one, type="") == attrs.evolve(other, type="")
    for one_node, other_node in zip(told.nodes, read.nodes, strict=True):
        assert attrs.evolve(one_node, bytes=0) == attrs.evolve(other_node, bytes=0)
    assert {topic.type for topic in told.topics} == {"mixed", "float"}


def test_three_topics_a_node_are_no_reason_to_read_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``info`` of a long session parses some lines near the ends, however many topics its nodes have."""
    observer = recorder(tmp_path)
    busy(observer, 20_000, random.Random(1))
    observer.run_stopped("duration", 20_000)
    lines = parsed_lines(monkeypatch)
    session_info(open_session("session", tmp_path))
    assert 0 < len(lines) < 8_000  # of more than 40,000: an entry of the index at each end of a file


def test_a_file_that_lost_lines_does_not_say_what_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where lines were lost on their way to the disk, the footer leaves its topics out, and ``info`` reads the file."""
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.0)
    observer = recorder(tmp_path, interval=0.001)
    observer.run_started(run_info())
    play(observer, range(100), random.Random(1))
    settled(observer)
    assert observer._writer is not None
    sensor = observer._writer.files.nodes["sensor"]
    failed: list[bool] = []

    def failing(data: bytes) -> None:
        if not failed:
            failed.append(True)
            raise OSError(28, "No space left on device")
        type(sensor)._append(sensor, data)

    monkeypatch.setattr(sensor, "_append", failing)
    play(observer, range(100, 200), random.Random(1))
    settled(observer)
    play(observer, range(200, 300), random.Random(1))
    observer.run_stopped("duration", 300)
    session = open_session("session", tmp_path)
    footer = session.files["sensor"].footer
    assert footer is not None
    assert (footer.topics, failed) == (None, [True])
    (topic,) = [topic for topic in session_info(session).topics if topic.publisher == "sensor"]
    assert topic.count == footer.outputs < 300
    assert topic.type == "dict"


def test_a_message_of_a_tick_that_began_long_before_has_its_type_too(tmp_path: Path) -> None:
    """A topic whose only message was sent by a tick that was suspended for long is not without a type."""
    observer = recorder(tmp_path)
    observer.run_started(run_info((NodeInfo("a", None),)))
    sent = [Sent("a", "late", 0, 0, b"1.5", 900)]
    tell(observer, Execution("tick", "a", 0, 0, PERIOD_NS, 0, [], None), sent)
    for tick in range(901, 1000):
        observer.executed(Execution("tick", "a", tick, 0, PERIOD_NS, 0, [], None))
    observer.run_stopped("duration", 1000)
    (topic,) = session_info(open_session("session", tmp_path)).topics
    assert (topic.first_tick, topic.last_tick, topic.type) == (900, 900, "float")


def test_footers_of_other_releases(tmp_path: Path) -> None:
    """A footer without topics is as good as before; one whose topics are nonsense is a damaged line."""
    line = b'{"kind":"footer","ended_at":"","ticks":1,"inputs":0,"outputs":0,"dropped":0%b}'
    plain = parse_line(line % b"")
    assert isinstance(plain, Footer)
    assert plain.topics is None
    told = parse_line(line % b',"topics":[{"topic":"t","count":2,"bytes":3,"first_tick":4,"last_tick":5,"new":1}]')
    assert isinstance(told, Footer)
    assert told.topics == (TopicTally("t", None, 2, 3, 4, 5),)


@pytest.mark.parametrize("seed", range(5))
def test_tallies_add_up(seed: int) -> None:
    """Tallies of two halves, added, are the tally of the whole, whatever the order of the ticks."""
    noise = random.Random(seed)
    seen: list[Any] = [(noise.choice("ab"), None, noise.randrange(50), noise.randrange(9)) for _ in range(40)]
    whole, first, second = Tallies(), Tallies(), Tallies()
    for one in seen:
        whole.see(*one)
        noise.choice([first, second]).see(*one)
    for tally in second.rows():
        first.add(tally)
    first.add(TopicTally("never"))
    assert first.rows() == whole.rows()
    assert sum(tally.count for tally in whole.rows()) == 40
