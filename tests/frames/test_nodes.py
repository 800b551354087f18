"""Frames on topics: in order, recorded, replayed and verified; bad ones left out; restarts and clocks that go back."""

from __future__ import annotations

import functools
import gc
import logging
import math
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from horus_async import (
    ConfigurationError,
    Frames,
    FramesError,
    Keep,
    Node,
    Restart,
    Scheduler,
    Topic,
    now,
    now_ns,
    tick,
)
from horus_async.errors import ContextError, NodeFailure, TopicNameError
from horus_async.frames import frames as frames_module
from horus_async.frames import stamped
from horus_async.messages import Header, LaserScan, Time, Transform, TransformStamped
from horus_async.recorder import open_session
from horus_async.testing import run_nodes
from horus_async.topics.codec import decode
from tests.engine.programs import environment

from .robots import Asker, Base, Both
from .trees import SECOND, edge

if TYPE_CHECKING:
    from pathlib import Path


def robot(**options: Any) -> Scheduler:
    """The asker is added first, and ticks after the base all the same."""
    return Scheduler(tick_rate=100, **options).add(Asker()).add(Base())


def alone(**options: Any) -> Scheduler:
    """One node that does both."""
    return Scheduler(tick_rate=100, **options).add(Both())


def test_who_sends_frames_ticks_before_who_asks() -> None:
    """The newest is of this very tick, the first included, and a moment ago lies between two samples."""
    captured = run_nodes(Asker(), Base(), ticks=20)
    values = captured.values("laser")
    assert len(values) == 10
    for number, (newest, before, refused) in enumerate(values):
        at = 3 * number * 0.02
        assert newest.header == Header(Time.from_ns(number * 20_000_000), "odom")
        shift = newest.transform.translation
        lever = math.cos(at + 0.0) * 0.2, math.sin(at) * 0.2
        assert (shift.x, shift.y) == pytest.approx((math.cos(at) + lever[0], math.sin(at) + lever[1]))
        if number < 2:
            assert "begins" in before
        else:
            assert before.header.stamp.ns == number * 20_000_000 - 25_000_000
        assert refused == 0


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("make", [robot, alone])
def test_a_run_is_recorded_replayed_and_verified(make: Any, deterministic: bool) -> None:
    """The transforms are inputs like any other: the recorded ones give the same answers, bit for bit."""
    make(deterministic=deterministic, recording="r").run_sync(0.5)

    report = trio.run(functools.partial(Scheduler.verify, "r", functools.partial(make, deterministic=deterministic)))

    assert report.differences == 0, report.first_difference
    assert report.compared > 50
    heard: list[Any] = []
    listener = Node("listener", rate=100, subs=["laser"], tick=lambda node: heard.extend(node.recv_all("laser")))
    Scheduler.replay_from("r").set_replay_speed(math.inf).add(listener).run_sync()
    sent = [decode(message.payload) for message in messages_on("r", "laser")]
    assert heard == sent
    assert len(sent) >= 20


def messages_on(session: str, topic: str) -> list[Any]:
    """What was recorded of a topic, in the order of sending."""
    opened = open_session(session)
    return [one for node in opened.nodes for one in opened.outputs(node) if one.topic == topic]


def test_a_live_asker_among_recorded_frames_gets_the_same() -> None:
    """A new node on an old recording: what the lookup gives is what it gave."""
    robot(deterministic=True, recording="old").run_sync(0.5)
    expected = [decode(message.payload) for message in messages_on("old", "laser")]

    heard: list[Any] = []
    listener = Node("listener", rate=50, subs=["laser"], tick=lambda node: heard.extend(node.recv_all("laser")))
    Scheduler.replay_from("old").set_replay_speed(math.inf).add(Asker()).add(listener).run_sync()

    assert heard == expected


@pytest.mark.parametrize("pubs", [("frames", "frames.static"), {"frames": None, "frames.static": TransformStamped}])
def test_late_readers_get_static_frames_that_were_sent_once(pubs: Any) -> None:
    """Each of them, whether they travel together or one by one; from a handle, and from a program that has ended."""
    children = [f"sensor{number}" for number in range(20)]

    class Mounts(Node):
        async def init(self) -> None:
            frames = Frames(self)
            for child in children:
                frames.send(stamped("base_link", child), static=True)

        async def tick(self) -> None:
            if tick() == 2:
                found.append(Frames())
                with Topic("frames.static") as late:
                    while (message := late.recv_message()) is not None:
                        found[-1].add_all(message, static=True)

    found: list[Frames] = []
    Scheduler(tick_rate=100, recording="kept").add(Mounts("mounts", pubs=pubs)).run_sync(0.05)
    assert open_session("kept").nodes["mounts"].keep["frames.static"] >= len(children)
    with Topic("frames.static") as later:
        tree = Frames()
        while (message := later.recv_message()) is not None:
            tree.add_all(message, static=True)
    assert [frames.names() for frames in (*found, tree)] == [["base_link", *sorted(children)]] * 2


def test_how_many_static_messages_are_kept_can_be_said() -> None:
    """By the node that sends them, as for any topic; who only reads keeps nothing."""
    for topics, kept in (
        (Node("a", tick=print, pubs={"frames.static": Keep(n=3)}).pubs, {"frames.static": 3}),
        (Node("b", tick=print, pubs=["tf_static", "frames"]).pubs, {"tf_static": 100}),
        (Node("c", tick=print, subs=["frames.static"]).subs, {}),
    ):
        assert getattr(topics, "keeps") == kept  # noqa: B009 - a subclass of what a node says it has


PROGRAM = """
from horus_async import Scheduler
from tests.frames.robots import Base, Asker

class Done(Asker):
    count = 0
    async def tick(self):
        await super().tick()
        self.count += self.frames.can_lookup("odom", "laser")
        if self.count == 25:  # more than are asked for: one may have come between an answer and this look
            self.request_stop()

def build(args):
    node = Base() if args[0] == "base" else Done()
    return Scheduler(name=args[0], tick_rate=100, recording=args[0]).add(node)

if __name__ == "__main__":
    import sys
    build(sys.argv[1:]).run_sync(60)
"""


def test_frames_of_another_process_are_recorded_and_verified(tmp_path: Path) -> None:
    """Broadcaster and asker in two programs; the asker's recording verifies without the other."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    def start(what: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, program, what], env=environment())

    with start("asker") as asker, start("base") as base:
        assert asker.wait(300) == 0
        base.terminate()
        base.wait(300)
    assert len([*open_session("asker").external()]) >= 20

    done = subprocess.run(
        [sys.executable, "-m", "horus_async", "replay", "asker", "--speed", "max", "--verify", program, "--", "asker"],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [decode(message.payload) for message in messages_on("asker", "laser")]
    assert sum(isinstance(newest, TransformStamped) for newest, _, _ in answers) >= 20


BAD: list[Any] = [
    "map",
    None,
    Transform(),
    {"transforms": 3},
    [edge("odom", "base", SECOND), edge("odom", "base", SECOND, (math.nan, 0, 0)), 7],
    edge("base", "odom", SECOND),
    edge("map", "base", SECOND),
    edge("", "base"),
    LaserScan(),
]


def test_a_bad_edge_never_ends_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """Left out, counted, and told once for each edge and sender; the good ones beside it are taken."""
    seen: list[Any] = []

    async def ask(node: Node) -> None:
        frames = Frames(node)
        seen.append((frames.can_lookup("odom", "base"), frames.refused, frames.names()))

    feed = {
        "frames": [
            (0, edge("odom", "base", SECOND // 2)),
            *((1, value) for value in BAD),
            *((2, value) for value in BAD),
        ]
    }
    with caplog.at_level(logging.WARNING):
        run_nodes(Node("asker", tick=ask, subs=["frames"]), ticks=3, feed=feed)

    each = len(BAD) + 1
    assert seen == [(True, count, ["base", "odom"]) for count in (0, each, 2 * each)]
    told = [record.getMessage() for record in caplog.records]
    assert [record.name for record in caplog.records] == ["horus_async.node.asker"] * 3, (
        "nobody sends static ones: fine"
    )
    assert all(text.startswith("frames: on 'frames' from 'feed': ") and "is left out" in text for text in told)
    for said in (
        "str 'map' is no TransformStamped",
        "a loop: odom → base → odom",
        "map → base would be a second parent",
    ):
        assert sum(said in text for text in told) == 1


def test_a_flood_of_messages_holds_no_question_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One takes so many; the next goes on behind them, and nothing is lost."""
    monkeypatch.setattr(frames_module, "MOST_TAKEN", 5)
    seen: list[int] = []

    async def ask(node: Node) -> None:
        frames = Frames(node)
        seen.extend(len(frames.names()) for _ in range(3))

    flood = [(0, stamped("map", f"f{number}")) for number in range(12)]
    run_nodes(Node("asker", tick=ask), ticks=1, feed={"frames": flood})
    assert seen == [6, 11, 13]


def test_nothing_of_a_run_is_kept_when_it_is_over() -> None:
    """What a node has heard goes with its run, however often that is."""
    for _ in range(3):
        run_nodes(Asker(), Base(), ticks=2)
    gc.collect()
    assert not frames_module._intakes


def test_frames_survive_a_restart_of_the_node() -> None:
    """`init` runs again, and what the node had taken before, static frames among it, is still there."""
    seen: list[Any] = []

    class Fragile(Asker):
        failure_policy = Restart(backoff=0.01)

        async def tick(self) -> None:
            seen.append(self.frames.can_lookup("odom", "laser"))
            if len(seen) == 3:
                raise ValueError

    run_nodes(Fragile(), Base(), ticks=20)

    assert len(seen) >= 5
    assert all(seen)


def test_two_trees_of_one_node_are_one() -> None:
    """They would take each other's messages. With other options it is an error; on other topics it is another tree."""
    seen: list[Any] = []

    class Twice(Asker):
        async def tick(self) -> None:
            other = Frames(self)
            seen.append(other.can_lookup("odom", "laser") and self.frames.can_lookup("odom", "laser"))
            assert Frames(self, moving="elsewhere").names() == []
            with pytest.raises(ConfigurationError, match="node 'asker' has Frames on 'frames' already"):
                Frames(self, history=3.0)

    run_nodes(Twice(), Base(), ticks=4)
    assert seen == [True, True]


def test_a_new_run_begins_with_an_empty_tree() -> None:
    """A node object that runs again knows nothing of the run before."""
    seen: list[Any] = []

    class Listing(Asker):
        async def tick(self) -> None:
            seen.append(self.frames.names())

    node = Listing()
    run_nodes(node, Base(), ticks=2)
    run_nodes(node, ticks=2)
    assert seen == [["base_link", "laser", "odom"], []]


def test_waiting_takes_the_time_of_the_run() -> None:
    """Until the edge comes, or the time-out with the reason; virtual time costs nothing."""

    class Late(Node):
        name, rate, pubs = "late", 10, ("frames",)

        async def tick(self) -> None:
            if tick() >= 50:
                Frames(self).send(stamped("map", "odom"))

    class Waiting(Node):
        name, rate, subs, pubs = "waiting", 1, ("frames", "frames.static"), ("found",)

        async def tick(self) -> None:
            frames = Frames(self)
            if tick() == 0:
                found = await frames.wait("map", "odom", timeout=3600)
                self.send("found", found.stamp_ns)
            with pytest.raises(FramesError, match=r"no frame 'lidar'; known: map, odom \(after 0.2 s\)"):
                await frames.wait("map", "lidar", timeout=0.2)
            with pytest.raises(FramesError, match="is no time"):
                await frames.wait("map", "odom", "soon", timeout=3600)  # type: ignore[arg-type]
            with pytest.raises(ConfigurationError, match="timeout=-1"):
                await frames.wait("map", "odom", timeout=-1)
            self.send("found", "done")

    captured = run_nodes(Waiting(), Late(), duration=1.0)
    found = captured["found"]
    assert [message.value for message in found] == [SECOND // 2, "done"]
    assert 50 <= found[0].tick <= 51
    assert 70 <= found[1].tick <= 72


def test_time_that_goes_back_forgets_what_has_not_happened_yet(caplog: pytest.LogCaptureFixture) -> None:
    """A replay that loops: its second round sees nothing of the first one's end."""
    robot(deterministic=True, recording="round").run_sync(0.4)
    seen: list[Any] = []

    class Round(Asker):
        name = "round"

        async def tick(self) -> None:
            found = self.frames.lookup("odom", "laser")
            seen.append((tick(), found.stamp_ns, now_ns(), self.frames.went_back))
            if len(seen) == 45:
                self.request_stop()

    replay = Scheduler.replay_from("round").set_replay_speed(math.inf).loop()
    with caplog.at_level(logging.WARNING):
        replay.add(Round()).run_sync()

    assert [now - stamp for _, stamp, now, _ in seen] == [0] * 45
    assert seen[-1][3] == 2
    assert sum("the time of the run went back" in record.getMessage() for record in caplog.records) == 1


def test_static_frames_of_a_node_travel_together() -> None:
    """The last message of a node has all of them, so one kept message is enough for who comes late."""

    class Mounts(Node):
        name, rate, pubs = "mounts", 100, ("frames.static", "frames")

        async def tick(self) -> None:
            frames = Frames(self)
            frames.send(stamped("base", f"part{tick()}"), static=True)
            frames.send([stamped("odom", "base"), stamped("odom", "ghost")])
            frames.send([])
            with pytest.raises(FramesError, match="edge odom → base: translation"):
                frames.send([stamped("odom", "arm"), edge("odom", "base", 0, (math.inf, 0, 0))])

    captured = run_nodes(Mounts(), ticks=3)
    sent = captured.values("frames.static")
    assert isinstance(sent[0], TransformStamped)
    assert [one.child_frame_id for one in sent[2]] == ["part0", "part1", "part2"]
    assert [one.child_frame_id for one in captured.values("frames")] == ["base", "ghost"] * 3


def test_on_typed_topics_each_edge_is_a_message() -> None:
    """Whoever declares `TransformStamped` gets just that, on either side."""
    seen: list[Any] = []
    typed = {"frames": TransformStamped, "frames.static": TransformStamped}

    class Mounts(Node):
        name, rate, pubs = "mounts", 100, typed

        async def tick(self) -> None:
            frames = Frames(self)
            frames.send([stamped("base", "laser"), stamped("base", "camera")], static=True)
            frames.send([stamped("odom", "base"), stamped("odom", "ghost")])

    class Typed(Node):
        name, rate, subs = "typed", 100, typed

        async def tick(self) -> None:
            seen.append(Frames(self).names())

    captured = run_nodes(Typed(), Mounts(), ticks=2)
    assert seen == [["base", "camera", "ghost", "laser", "odom"]] * 2
    assert {type(value) for topic in typed for value in captured.values(topic)} == {TransformStamped}


def test_a_background_task_asks_in_its_own_time() -> None:
    """Time of a task goes on beyond that of a tick that lasts; nothing is forgotten because of it."""
    seen: list[Any] = []

    class Tasked(Asker):
        async def init(self) -> None:
            await super().init()
            self.background(self.look)

        async def look(self) -> None:
            while True:
                await trio.sleep(0.005)
                seen.append(self.frames.can_lookup("odom", "laser", now() - 0.011))

        async def tick(self) -> None:
            await trio.sleep(0.05)
            self.frames.names()

    run_nodes(node := Tasked(), Base(), ticks=30)
    assert all(seen[6:])
    assert len(seen) > 20
    assert node.frames.went_back == 0


def test_frames_without_a_running_node_say_what_to_do() -> None:
    """Sending needs a node, and asking one that runs."""
    with pytest.raises(ContextError, match="make them in its init"):
        Frames().send(stamped("odom", "base"))
    with pytest.raises(ContextError, match="is not running"):
        Frames(Asker()).lookup("odom", "base")
    with pytest.raises(ContextError, match="is not running"):
        Frames(Base()).send(stamped("odom", "base"))
    with pytest.raises(TopicNameError, match="'a b'"):
        Frames(moving="a b")


def test_other_topics_may_carry_the_frames() -> None:
    """A bag of ROS has `tf` and `tf_static`, with dicts."""
    message = {
        "transforms": [
            {
                "header": {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": "odom"},
                "child_frame_id": "base",
                "transform": {
                    "translation": {"x": 1.0, "y": 0.0, "z": 0.0},
                    "rotation": {"x": 0.0, "y": 0.0, "z": 0.0, "w": 1.0},
                },
            }
        ]
    }
    seen: list[Any] = []

    async def ask(node: Node) -> None:
        frames = Frames(node, moving="tf", static="tf_static")
        seen.append(frames.lookup("odom", "base").translation.x)

    run_nodes(Node("asker", tick=ask), ticks=1, feed={"tf": [(0, message)], "tf_static": [(0, {"transforms": []})]})
    assert seen == [1.0]


def test_an_error_that_nobody_catches_is_the_nodes() -> None:
    """As any other: the run fails with the edge and the gap in the message."""

    class Careless(Asker):
        async def tick(self) -> None:
            self.frames.lookup("odom", "laser", now() + 1)

    with pytest.raises(NodeFailure) as found:
        run_nodes(Careless(), Base(), ticks=3)
    assert "edge odom → base_link is 1000.000 ms behind" in str(found.value.exceptions[0])


def test_messages_that_anybody_sends_are_taken(namespace: str) -> None:
    """Another program needs no Frames: a topic and a message are enough."""
    seen: list[Any] = []

    class Outside(Node):
        name, rate, subs = "outside", 100, ("frames", "frames.static")

        async def init(self) -> None:
            self.topic = Topic("frames", namespace=namespace)

        async def tick(self) -> None:
            self.topic.send(stamped("odom", "base", at=now()))
            seen.append(Frames(self).can_lookup("odom", "base"))

        async def shutdown(self) -> None:
            self.topic.close()

    Scheduler(tick_rate=100, namespace=namespace).add(Outside()).run_sync(0.1)
    assert any(seen)
