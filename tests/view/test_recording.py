"""The figures of a page are those of its session."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Node, Param, RecordingOptions, Redact, Scheduler, Skip, tick
from horus_async.messages import Image
from horus_async.recorder import ExecutionRecord, open_session
from horus_async.view.making import PageMaker
from horus_async.view.parts.budget import Budget
from horus_async.view.reading.recording import SessionReading
from horus_async.view.reading.session import session_source
from tests.view.runs import crash, recorded, shown

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async.recorder import Session


def page_of(session: Session, *boxes: Path, **options: Any) -> dict[str, Any]:
    """The page's data of one session."""
    maker = PageMaker(**options)
    maker.sessions([("s", session)], boxes)
    source: dict[str, Any] = shown(maker)["sources"][0]
    return source


def test_figures_are_those_of_the_session(tmp_path: Path) -> None:
    """Ticks, messages, times, values, each as the reader gives them."""
    session, _ = crash(tmp_path)
    source = page_of(session)

    for node in source["nodes"]:
        lines = [line for line in session.executions(node["name"]) if isinstance(line, ExecutionRecord)]
        assert node["calls"] == len(lines)
        assert node["ticks"] == sum(line.kind == "tick" for line in lines)
        assert node["longest"] == max(line.duration_ns for line in lines if line.kind == "tick") // 1000
        calls = source["calls"][node["name"]]
        assert calls["t"] == [line.now_ns // 1000 for line in lines]
        assert calls["dur"] == [line.duration_ns // 1000 for line in lines]
    for channel in source["channels"]:
        sent = [one for one in session.outputs(channel["publisher"]) if one.topic == channel["topic"]]
        assert channel["count"] == len(sent)
        assert channel["seq"] == [one.seq for one in sent]
        assert channel["value"] == [one.data for one in sent]
        assert channel["t"] == [one.stamp_ns // 1000 for one in sent]
    (speed,) = [one for one in source["series"] if one["field"] == "speed"]
    assert speed["v"] == [one.data["speed"] for one in session.outputs("planner")]
    assert source["detail"] is None


def test_each_call_names_what_it_read_and_what_it_sent(tmp_path: Path) -> None:
    """These are the branches of a causal tree."""
    session, _ = crash(tmp_path)
    source = page_of(session)
    verdict = next(one for one in source["channels"] if one["topic"] == "verdict")
    calls = source["calls"]["collision_checker"]
    for row, value in enumerate(verdict["value"]):
        channel, seq = calls["in"][verdict["call"][row]]
        plan = source["channels"][channel]
        assert plan["topic"] == "plan"
        assert plan["value"][plan["seq"].index(seq)]["number"] == value["number"]
    saw = [source["channels"][channel]["topic"] for channel in source["calls"]["arm_controller"]["saw"][5][::2]]
    assert set(saw) == {"plan", "verdict"}


def test_the_box_of_the_run_tells_of_misses(tmp_path: Path) -> None:
    """On the session's own time line; a failure that both have is there once, with the box's traceback."""
    session, box = crash(tmp_path)
    without = page_of(session)
    assert [one["kind"] for one in without["incidents"]] == ["NodeError", "SafeState"]
    for source in (page_of(session, box), page_of(session, box_folder=box.parent)):
        kinds = [one["kind"] for one in source["incidents"]]
        assert kinds.count("DeadlineMiss") == 3
        assert kinds.count("NodeError") == 1
        assert kinds[0] == "DeadlineMiss"
        assert source["incidents"][0]["t"] == 504_000
        (failed,) = [one for one in source["incidents"] if one["kind"] == "NodeError"]
        assert "joint limit" in failed["more"]
        assert source["summary"]["verdict"] == (
            "3 deadline misses of collision_checker, 1 failure of arm_controller and 1 emergency stop."
        )
        assert source["box"] == "arm.hbb"


def test_the_box_of_another_run_stands_for_itself(tmp_path: Path) -> None:
    """It is not put on a time line that is not its own."""
    _, box = crash(tmp_path)
    other = recorded(tmp_path, "other", Node("talker", tick=lambda node: node.send("x", 1), rate=10))
    maker = PageMaker()
    maker.sessions([("other", other)], [box])
    assert [source["kind"] for source in maker.sources] == ["session", "blackbox"]


def _talk(node: Node) -> None:
    node.send("words", {"n": tick(), "text": "x" * 200})
    if tick() % 7 == 0:
        node.log.info("at %d", tick())
    if tick() == 500:
        raise ValueError("half way")


def test_a_long_session_is_whole_where_it_says_so(tmp_path: Path) -> None:
    """Around what went wrong every message is there; elsewhere some; counts and plots are of all."""
    session = recorded(tmp_path, "long", Node("talker", tick=_talk, rate=100, failure_policy=Skip()), seconds=10)
    reading = SessionReading(session, budget=Budget(detail_bytes=40_000, samples=10, log_lines=20))
    reading.read()
    source = session_source(reading)
    (channel,) = source["channels"]
    assert channel.get("count") == sum(1 for _ in session.outputs("talker"))
    assert 10 <= len(channel["seq"]) < channel["count"] / 2
    spans = source["detail"]
    assert spans
    assert any(begin <= 5_000_000 < end for begin, end in spans)
    for begin, end in spans:
        sent = [one.seq for one in session.outputs("talker") if begin <= one.stamp_ns // 1000 < end]
        assert set(sent) <= set(channel["seq"])
    (numbers,) = source["series"]
    assert numbers["n"] == channel["count"]
    assert len(source["log"]) == 20
    assert source["log_left_out"] == sum(1 for _ in session.log) - 20
    assert any(line["level"] == "WARNING" for line in source["log"])


def test_a_part_of_a_session(tmp_path: Path) -> None:
    """Its times are those of the run."""
    session, _ = crash(tmp_path)
    source = page_of(session, start=100, stop=199)
    assert (source["begin"], source["end"]) == (200_000, 400_000)
    assert {tick for calls in source["calls"].values() for tick in calls["tick"]} <= set(range(100, 200))
    assert not source["incidents"]


class Tuned(Node):
    """Has a parameter."""

    gain = Param(0.5, doc="how much")

    def tick(self) -> None:
        """Say it."""
        self.send("gain", self.gain)


def test_parameters_and_their_changes(tmp_path: Path) -> None:
    """The values of the start, and each change with its time."""

    def ask(node: Node) -> None:
        if tick() == 30:
            node.send("params/request", {"node": "tuned", "set": {"gain": 0.75}})

    session = recorded(tmp_path, "tuned", Tuned(name="tuned", rate=10), Node("asker", tick=ask, rate=10))
    params = page_of(session)["params"]
    assert [(one["name"], one["value"]) for one in params] == [("gain", 0.5), ("gain", 0.75)]
    assert params[0]["t"] is None
    assert params[1]["t"] > 0


def _see(node: Node) -> None:
    import numpy as np

    shade = np.full((40, 60, 3), tick() % 256, "u1")
    node.send("camera", Image(height=40, width=60, encoding="rgb8", step=180, data=shade.tobytes()))
    node.send("raw", shade)


def test_images_are_spread_over_the_time(tmp_path: Path) -> None:
    """A few of many, of messages and of plain arrays, the first and the last among them."""
    session = recorded(tmp_path, "seen", Node("camera", tick=_see, rate=100))
    reading = SessionReading(session, budget=Budget(images=5))
    reading.read()
    found = session_source(reading)["images"]
    assert len(found) == 2
    for entry in found:
        assert entry["count"] == 100
        assert [image["seq"] for image in entry["images"]] == [0, 25, 50, 74, 99]
        assert all(image["src"].startswith("data:image/png;base64,") for image in entry["images"])


def test_what_was_redacted_stays_so_and_is_told(tmp_path: Path) -> None:
    """Neither the value nor a plot of it is on the page."""
    options = RecordingOptions(name="secret", redact={"pin": Redact.DROP}, exclude_topics=("noise",))
    scheduler = Scheduler(tick_rate=100, deterministic=True, recording=options, recordings_dir=tmp_path)

    def tell(node: Node) -> None:
        node.send("pin", {"number": 4711})
        node.send("noise", 1)

    scheduler.add(Node("talker", tick=tell, rate=10)).run_sync(0.5)
    maker = PageMaker()
    maker.sessions([("secret", open_session(tmp_path / "secret"))])
    source = maker.sources[0]
    assert "4711" not in maker.html()
    assert not source["series"]
    assert any(note.startswith("redacted when it was recorded") and "pin" in note for note in source["notes"])
    assert any("left out" in note for note in source["notes"])


@pytest.mark.parametrize("damage", ["cut", "gone", "scheduler"])
def test_what_is_missing_is_told(damage: str, tmp_path: Path) -> None:
    """A file that is cut off, one that is gone, the scheduler's."""
    session, _ = crash(tmp_path)
    folder = tmp_path / "damaged"
    shutil.copytree(session.path, folder)
    name = "scheduler" if damage == "scheduler" else "planner"
    (path,) = folder.glob(f"{name}@*")
    if damage == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    notes = page_of(open_session(folder))["notes"]
    assert any(name in note for note in notes), notes


def test_gaps_are_on_the_time_line(tmp_path: Path) -> None:
    """A node whose lines could not be written has a gap there."""
    from tests.view.gaps import with_gap

    source = page_of(with_gap(tmp_path))
    (gap,) = [one for one in source["incidents"] if one["kind"] == "Gap"]
    assert "12 messages or lines are missing" in gap["text"]
    assert any("12 messages or lines are missing" in note for note in source["notes"])


def test_a_part_that_was_cut_knows_what_it_read_from_before(tmp_path: Path) -> None:
    """The branches of its trees end in messages, not in nothing."""
    from horus_async.recorder.edit.cut import cut_session

    session, _ = crash(tmp_path)
    cut_session(session, "part", start=103, stop=150, root=tmp_path)
    source = page_of(open_session(tmp_path / "part"))
    saw = source["calls"]["arm_controller"]["saw"][0]
    channel = source["channels"][saw[0]]
    assert channel["topic"] == "plan"
    assert saw[1] in channel["seq"]


def test_publishers_outside_of_a_session_have_lanes(tmp_path: Path) -> None:
    """As in a session that was recorded from outside, which has no nodes."""
    from tests.test_hostile_text import forged_session, frame, header

    forged_session(tmp_path / "heard", "talker")
    message = {"kind": "message", "tick": 0, "topic": "t", "publisher": "p", "seq": 0, "stamp_ns": 5, "data": {"x": 1}}
    content = frame(header("external", "external")) + frame(message, {**message, "seq": 1})
    (tmp_path / "heard" / "external@00000000.jsonl.lz4").write_bytes(content)
    source = page_of(open_session(tmp_path / "heard"))
    (outside,) = [node for node in source["nodes"] if node.get("outside")]
    assert outside["name"] == "p"
    assert sum(count for count in outside["lane"]["count"] if count > 0) == 2
    assert "1 publisher outside of it" in source["summary"]["facts"]
