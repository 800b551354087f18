"""Objects of classes in recorded runs: the text does not tell how they travelled, and later versions read it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from horus_async import Node, Scheduler, Topic, tick
from horus_async.errors import SchemaMismatchError
from horus_async.messages import CmdVel, Imu, LaserScan
from horus_async.topics.packed import packed
from tests.recorder.independent import lines
from tests.topics import message_classes
from tests.topics.message_classes import Drive, Gear, Point

from .sessions import file_of, heard, record

if TYPE_CHECKING:
    from collections.abc import Sequence


def sender() -> Node:
    """Sends objects that can travel packed and some that cannot."""

    def send(n: Node) -> None:
        value = math.sin(tick())
        n.send("point", message_classes.Point(value, -value))
        n.send("cmd", CmdVel(value, math.nan if tick() % 3 else -0.0))
        n.send("cmd", CmdVel(tick(), value))
        n.send("drive", Drive(value, tick(), gear=Gear.FIRST, names=["a"], ranges=[value, math.inf], loose=[]))
        n.send("scan", LaserScan(ranges=[value] * 20))

    return Node("sender", tick=send, pubs=["point", "cmd", "drive", "scan"])


def answerer() -> Node:
    """Answers with what it read."""

    def answer(n: Node) -> None:
        point = n.recv("point")
        n.send("answer", (point.x, Point(point.y, 1.0), n.recv_all("cmd"), n.recv("drive"), n.latest("scan")))

    return Node("answerer", tick=answer, subs=["point", "cmd", "drive", "scan"], pubs="answer")


def text_of(files: Sequence[str], name: str) -> list[dict[str, Any]]:
    """The tick lines of a recorded file, but for how long the tick took."""
    found = lines(Path(file_of(files, name)).read_bytes())
    return [{**line, "duration_ns": None} for line in found if line["kind"] == "tick"]


def tallies(files: Sequence[str]) -> Any:
    """What the footers of all files count."""
    found = [lines(Path(file).read_bytes())[-1] for file in sorted(files) if file.endswith(".lz4")]
    return [{**line, "ended_at": None} for line in found if line["kind"] == "footer"]


def test_a_recording_does_not_tell_how_a_message_travelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed or in the general form: the same lines and the same digests."""
    first = record("packed", [sender(), answerer()], duration=0.3)
    assert any(form.pack for form in packed._forms.values())
    monkeypatch.setattr(packed, "_forms", {})
    monkeypatch.setattr("horus_async.topics.packed.accessors.LEAVES_LIMIT", -1)
    second = record("general", [sender(), answerer()], duration=0.3)
    assert not any(form.pack for form in packed._forms.values())

    for name in ("sender", "answerer", "scheduler"):
        assert text_of(first, name) == text_of(second, name)
    assert tallies(first) == tallies(second)
    [line, *_] = text_of(first, "sender")
    assert line["outputs"][0]["data"] == {"$type": "tests.topics.message_classes.Point", "value": {"x": 0.0, "y": -0.0}}


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_run_with_packed_messages_is_verified_and_replayed(deterministic: bool) -> None:
    """Live nodes that get the recorded messages send what they sent then."""
    record("s", [sender(), answerer()], duration=0.3, deterministic=deterministic)

    async def verify() -> None:
        scheduler = Scheduler(deterministic=True).add(sender()).add(answerer())
        report = await Scheduler.verify("s", scheduler)
        assert report.first_difference is None, str(report.first_difference)
        assert report.passed

    trio.run(verify)


def test_messages_of_other_processes_are_recorded_as_text() -> None:
    """What came packed from outside stands in the session as any other message."""
    got: list[Any] = []
    scheduler = Scheduler(tick_rate=100, recording="s")
    with Topic("imu", Imu) as topic:

        def read(n: Node) -> None:
            topic.send(Imu())
            got.extend(n.recv_all("imu"))
            if got:
                n.request_stop()

        scheduler.add(Node("reader", tick=read, subs="imu")).run_sync(5)
    files = scheduler.stop_recording()

    found = lines(Path(file_of(files, "external")).read_bytes())
    message = next(line for line in found if line["kind"] == "message")
    assert got[0] == Imu()
    assert message["data"]["$type"] == "horus_async.messages.Imu"
    assert message["data"]["value"]["orientation"]["value"]["w"] == 1.0


def evolve(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """From now on ``Point`` has these fields."""
    made = attrs.make_class("Point", fields)
    made.__module__ = Point.__module__
    monkeypatch.setattr(message_classes, "Point", made)


def points() -> Node:
    """Sends points of the class that there is."""

    def send(n: Node) -> None:
        n.send("point", message_classes.Point(math.sin(tick()), -1.0))

    return Node("points", tick=send, pubs="point")


def sums() -> Node:
    """Sends what does not depend on the class's fields that were added."""

    def add(n: Node) -> None:
        point = n.recv("point")
        n.send("sum", point.x + point.y)

    return Node("sums", tick=add, subs="point", pubs="sum")


def old_session() -> list[str]:
    """A session recorded with the class as it stands."""
    return record("old", [points(), sums()], duration=0.2)


def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class gets a field."""
    evolve(
        monkeypatch,
        x=attrs.field(type=float),
        y=attrs.field(type=float),
        heading=attrs.field(type=float, default=0.25),
    )


def reader(got: list[Any]) -> Node:
    """Keeps the points it gets."""
    return Node("reader", tick=lambda n: got.extend(n.recv_all("point")), subs="point")


def test_an_old_recording_replays_into_a_class_with_a_new_field(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of a session, and one node of it: the field has its default."""
    files = old_session()
    newer(monkeypatch)

    for scheduler, duration in (
        (Scheduler.replay_from("old").set_replay_speed(math.inf), None),
        (Scheduler(deterministic=True).add_replay(file_of(files, "points")), 0.3),
    ):
        got: list[Any] = []
        scheduler.add(reader(got)).run_sync(duration)
        assert [(point.x, point.y, point.heading) for point in got] == [
            (math.sin(number), -1.0, 0.25) for number in range(20)
        ]
        assert all(type(point) is message_classes.Point for point in got)


def test_an_old_recording_is_heard_through_the_topics(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handle of any process gets the new class, too."""
    old_session()
    newer(monkeypatch)

    messages = heard(Scheduler.replay_from("old").set_replay_speed(math.inf), "point")

    assert len(messages) == 20
    assert "heading=0.25" in repr(messages[1])


def test_an_old_recording_verifies_a_node_that_reads_the_new_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that sends what it sent passes; a sender of the new class differs in the field that was added."""
    old_session()
    newer(monkeypatch)

    async def verify(node: Node) -> Any:
        return await Scheduler.verify("old", Scheduler(deterministic=True).add(node), nodes=[node.name])

    assert trio.run(verify, sums()).passed
    differing = trio.run(verify, points()).first_difference
    assert (differing.tick, differing.topic) == (0, "point")
    assert "heading" in str(differing)


def test_an_old_recording_without_a_needed_field_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field without a default is named when the first message arrives."""
    old_session()
    evolve(monkeypatch, x=attrs.field(type=float), heading=attrs.field(type=float))

    with pytest.raises(ExceptionGroup) as caught:
        Scheduler.replay_from("old").set_replay_speed(math.inf).add(reader([])).run_sync()

    assert isinstance(caught.value.exceptions[0], SchemaMismatchError)
    assert "Point needs a field 'heading', which the message lacks" in str(caught.value.exceptions[0])
