"""Nodes of one name in several processes: what comes from outside is told by where it came from, not by its name."""

from __future__ import annotations

import collections
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import trio

from horus_async import Node, Scheduler, tick
from horus_async.clock.system import wall_ns
from horus_async.recorder import ExecutionRecord, open_session
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.scheduler.in_force import overriding
from horus_async.scheduler.overrides import Overrides
from horus_async.topics import Bus
from horus_async.topics.codec import decode
from horus_async.topics.external.leftovers import reclaim

if TYPE_CHECKING:
    from pathlib import Path

    from horus_async import VerifyReport
    from horus_async.recorder import Session

SENSOR = """
import itertools, sys
from horus_async import Node, Scheduler
count = itertools.count()
driver = Node("driver", tick=lambda node: node.send("range", [sys.argv[1], next(count)]), rate=100, pubs=["range"])
Scheduler(name="sensor", tick_rate=100, recording="sensor" + sys.argv[1]).add(driver).run_sync(duration=30)
"""


class Controller(Node):
    """Answers each message of `range` with all that tells it from others; stops when it has enough of each sender."""

    enough: tuple[str, ...] = ("a", "b", "here")

    async def init(self) -> None:
        """Begin to count."""
        self.heard: collections.Counter[str] = collections.Counter()

    def tick(self) -> None:
        """Answer all that came."""
        while (message := self.recv_message("range")) is not None:
            self.send("answer", [message.publisher, message.seq, message.stamp_ns, message.value])
            self.heard[message.value[0]] += 1
        if all(self.heard[name] >= 5 for name in self.enough):
            self.request_stop()


def controller() -> Controller:
    """One that listens to `range`."""
    return Controller("controller", rate=100, subs=["range"], pubs=["answer"])


def driver() -> Node:
    """The node that is called like those of the other processes, and sends on the same topic."""
    return Node("driver", tick=lambda node: node.send("range", ["here", tick()]), rate=100, pubs=["range"])


def record(nodes: list[Node], name: str = "controller") -> list[Any]:
    """Run nodes beside two sensor processes, recorded; gives what the controller answered."""
    sensors = [subprocess.Popen([sys.executable, "-c", SENSOR, which]) for which in "ab"]
    try:
        scheduler = Scheduler(name="controller", tick_rate=100, recording=name)
        for node in nodes:
            scheduler.add(node)
        scheduler.run_sync(duration=60)
    finally:
        for sensor in sensors:
            sensor.terminate()
            sensor.wait(300)
    return answers(open_session(name))


def verify(session: str, *nodes: Node) -> VerifyReport:
    """Compare live nodes with a session."""
    scheduler = Scheduler(tick_rate=100)
    for node in nodes:
        scheduler.add(node)
    return trio.run(Scheduler.verify, session, scheduler, [node.name for node in nodes])


def answers(session: Session) -> list[Any]:
    """What the controller of a session sent, in order."""
    return [decode(sent.payload) for sent in session.outputs("controller")]


def inputs(session: Session) -> list[tuple[str, int, int]]:
    """Publisher, number and source of all that the controller of a session took, in order."""
    lines = [line for line in session.executions("controller") if isinstance(line, ExecutionRecord)]
    return [(taken.publisher, taken.seq, taken.source) for line in lines for taken in line.inputs]


def test_what_comes_from_outside_is_recorded_whatever_its_name(recordings_dir: Path) -> None:
    """Messages of other processes' nodes named like one here lie in ``external``, each input names exactly one."""
    answered = record([driver(), controller()])
    session = open_session("controller")
    outside = {(taken.publisher, taken.seq, taken.source): taken for taken in session.external()}
    own = {sent.seq: sent for sent in session.outputs("driver")}
    took = inputs(session)

    assert {source for _, _, source in outside} == {1, 2}
    assert len(set(took)) == len(took) == len(answered)
    for (publisher, seq, source), answer in zip(took, answered, strict=True):
        message = outside[publisher, seq, source] if source else own[seq]
        assert answer == [publisher, seq, message.stamp_ns, decode(message.payload)]
        assert publisher == "driver"
    assert {answer[3][0] for answer in answered} == {"a", "b", "here"}
    assert check_session(session).verdict is Verdict.WHOLE


def test_sensor_and_controller_replay_and_verify(recordings_dir: Path) -> None:
    """Both recordings replay: a live controller gets the same inputs, and it passes `verify`, several times over."""
    answered = record([driver(), controller()])

    with overriding(Overrides(recording="again")):
        Scheduler.replay_from("controller").add(controller()).set_replay_speed(100).run_sync()
    again = open_session("again")
    before, after = inputs(open_session("controller")), inputs(again)
    for own in (False, True):  # where both publish a topic, those of a tick come by their stamps
        assert [taken for taken in after if (not taken[2]) is own] == [
            taken for taken in before if (not taken[2]) is own
        ]
    assert sorted(answers(again)) == sorted(answered)
    assert [decode(taken.payload) for taken in again.external()] == [
        decode(taken.payload) for taken in open_session("controller").external()
    ]
    for session in ("controller", "again"):
        report = verify(session, controller(), driver())
        assert report.passed, str(report.first_difference)
        assert report.compared >= len(answered)
    heard: list[Any] = []
    listener = Node("listener", tick=lambda node: heard.extend(node.recv_all("range")), subs=["range"])
    Scheduler.replay_from("sensora").add(listener).set_replay_speed(100).run_sync()
    assert heard[:5] == [["a", number] for number in range(5)]


def test_a_process_that_comes_back_is_another_source(namespace: str, recordings_dir: Path) -> None:
    """After kill -9 the numbers begin again; the recording still names each message for good, and verifies."""
    first = subprocess.Popen([sys.executable, "-c", SENSOR, "a"])
    running = [first]

    def restart(node: Node) -> None:
        if len(running) == 1 and live.heard["a"] >= 5:
            first.kill()
            first.wait(300)
            running.append(subprocess.Popen([sys.executable, "-c", SENSOR, "b"]))

    live = controller()
    live.enough = ("a", "b")
    try:
        chaos = Node("chaos", tick=restart)
        Scheduler(name="controller", tick_rate=100, recording="s").add(live).add(chaos).run_sync(duration=60)
    finally:
        for process in running:
            process.kill()
            process.wait(300)
        reclaim(namespace, grace_ns=0)
    took = inputs(open_session("s"))

    assert {source for _, _, source in took} == {0, 1}
    assert len(set(took)) == len(took)
    report = verify("s", controller())
    assert report.passed, str(report.first_difference)


def test_a_handle_of_the_same_process_is_outside_too() -> None:
    """What another scheduler of this very process sends, by a node of the same name, is external as well."""
    with Bus() as bus:
        publisher = bus.publisher("range", "driver")
        nodes = [driver(), Node("other", tick=lambda _: publisher.publish(b'["else",0]', wall_ns()), rate=100)]
        nodes.append(Node("controller", tick=lambda node: node.send("answer", node.recv_all("range")), subs=["range"]))
        Scheduler(tick_rate=100, recording="s").add(nodes[0]).add(nodes[1]).add(nodes[2]).run_sync(duration=0.2)
    session = open_session("s")

    assert {decode(taken.payload)[0] for taken in session.external()} == {"else"}
    assert {taken.source for taken in session.external()} == {1}
