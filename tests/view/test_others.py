"""Pages of black boxes, traces, and the differences of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from horus_async import Node, tick
from horus_async.blackbox import DeadlineMiss, NodeTick, open_blackbox
from horus_async.errors import BlackBoxError
from horus_async.policy import ImageMode
from horus_async.view.making import PageMaker
from horus_async.view.reading import box as boxes
from horus_async.view.reading.box import box_source
from tests.policy.traces import exchange, record
from tests.view.runs import crash, recorded, shown

if TYPE_CHECKING:
    from pathlib import Path


def test_a_box_alone_makes_a_page(tmp_path: Path) -> None:
    """Every tick and anomaly that it has."""
    _, path = crash(tmp_path)
    with open_blackbox(path) as box:
        source = box_source(box)
        ticks = box.events(NodeTick)
        misses = box.events(DeadlineMiss)
    assert sum(node["ticks"] for node in source["nodes"]) == len(ticks)
    assert sum(one["kind"] == "DeadlineMiss" for one in source["incidents"]) == len(misses) == 3
    for name, calls in source["calls"].items():
        own = [one for one in ticks if one.name == name]
        assert calls["dur"] == [one.duration_us for one in own]
        assert [source["wall"] + t + dur for t, dur in zip(calls["t"], calls["dur"], strict=True)] == [
            one.time_ns // 1000 for one in own
        ]


def test_of_a_full_box_the_last_ticks_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are worth more than the first."""
    monkeypatch.setattr(boxes, "_MOST_CALLS", 50)
    _, path = crash(tmp_path)
    with open_blackbox(path) as box:
        source = box_source(box)
        last = box.events(NodeTick)[-1]
    assert sum(len(calls["t"]) for calls in source["calls"].values()) == 50
    ((begin, end),) = source["detail"]
    assert begin > 0
    assert end == source["end"]
    assert max(calls["tick"][-1] for calls in source["calls"].values()) == last.tick


def test_an_empty_box_is_refused(tmp_path: Path) -> None:
    """There is nothing to show."""
    from horus_async.blackbox import BlackBox

    with BlackBox.create(tmp_path, name="empty", size_mb=1):
        pass
    with open_blackbox(tmp_path / "empty.hbb") as box, pytest.raises(BlackBoxError, match="no events"):
        box_source(box)


def test_a_trace_makes_a_page(tmp_path: Path) -> None:
    """Requests are ticks; latencies and actions are plots; failures are anomalies."""
    asked = {"instruction": "lift", "state": [0.5, 1.0]}
    path = record(tmp_path, [exchange(asked), exchange(asked, failure="boom")], images=ImageMode.NONE)
    maker = PageMaker()
    maker.trace(str(path))
    (source,) = shown(maker)["sources"]
    assert source["nodes"][0]["ticks"] == 2
    assert source["summary"]["verdict"] == "1 failed request of policy."
    fields = {one["field"] for one in source["series"]}
    assert {"latency_ms", "state[0]", "actions[0][0]"} <= fields
    asked_of = next(one for one in source["channels"] if one["topic"] == "request")
    assert asked_of["value"][0]["instruction"] == "lift"
    calls = source["calls"]["policy"]
    assert calls["in"][0] == [asked_of and source["channels"].index(asked_of), 0]


def _counter(changed_from: int) -> Node:
    return Node("counter", tick=lambda node: node.send("n", {"n": tick() + (tick() >= changed_from)}), rate=100)


def test_the_difference_of_two_sessions(tmp_path: Path) -> None:
    """Counted, the first named, and both messages on the page."""
    a = recorded(tmp_path, "a", _counter(1000))
    b = recorded(tmp_path, "b", _counter(40))
    maker = PageMaker()
    maker.sessions([("a", a), ("b", b)])
    found = shown(maker)["comparison"]
    assert (found["compared"], found["differences"]) == (100, 60)
    first = found["shown"][0]
    assert (first["tick"], first["t"], first["field"], first["a"], first["b"]) == (40, 400_000, "n", "40", "41")
    assert found["topics"] == [{"topic": "n", "compared": 100, "differing": 60, "largest": None}]


def test_a_verification(tmp_path: Path) -> None:
    """What the program sends now stands beside what was recorded; only what differs is kept of it."""
    session = recorded(tmp_path, "a", _counter(1000))
    maker = PageMaker()
    report = maker.verification("a", session, [_counter(90)], "robot.py")
    data = shown(maker)
    found = data["comparison"]
    assert (found["compared"], found["differences"]) == (report.compared, report.differences) == (100, 10)
    assert found["shown"][0]["tick"] == 90
    live = data["sources"][1]
    assert live["channels"][0]["value"] == [{"n": number + 1} for number in range(90, 100)]
    assert len(live["series"][0]["t"]) == 100
    assert live["channels"][0]["seq"] == list(range(90, 100))


def test_a_verification_without_a_difference(tmp_path: Path) -> None:
    """There is nothing beside what was recorded, and it is said how many were compared."""
    session = recorded(tmp_path, "a", _counter(1000))
    maker = PageMaker()
    maker.verification("a", session, [_counter(1000)], "robot.py")
    data = shown(maker)
    assert (data["comparison"]["compared"], data["comparison"]["differences"]) == (100, 0)
    assert not data["sources"][1]["series"]
