"""Running robots in a viewer: topics, the graph, parameters and services."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from horus_async import Topic
from horus_async.messages import CmdVel, LaserScan
from tests.engine.programs import environment

pytest.importorskip("foxglove")

from rosbags.typesys import Stores, get_typestore

from .viewer import PATIENCE, server, viewer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .viewer import Viewer

ROBOT = """
from horus_async import Node, Param, Scheduler, ServiceError, service
from horus_async.messages import LaserScan

class Lidar(Node):
    name, rate, pubs = "lidar", 50, ["lidar.scan", "status"]
    gain = Param(0.8, min=0.0, max=2.0)
    number = 0

    async def tick(self):
        self.send("lidar.scan", LaserScan(ranges=[self.gain, 2.0]))
        self.send("status", {"number": self.number, "ok": True})
        self.number += 1

    @service("lidar.sees", request=LaserScan)
    async def sees(self, request):
        return {"ranges": len(request.ranges)}

    @service("lidar.home")
    async def home(self, request):
        if request == {"value": "fail"}:
            raise ServiceError("no power")
        return {"asked": request}

brake = Node(name="brake", tick=lambda node: node.recv("status"), rate=10, subs=["status"])
Scheduler().add(Lidar()).add(brake).run_sync()
"""


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[None]:
    """A robot, in the namespace of the test."""
    (tmp_path / "robot.py").write_text(ROBOT)
    with subprocess.Popen([sys.executable, "robot.py"], cwd=tmp_path, env=environment()) as process:
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=PATIENCE)


def test_topics_come_as_they_are_sent(robot: None) -> None:
    """Common messages as ROS 2 has them, all others as JSON; with the times at which they were sent."""
    del robot
    with server(ends_with=signal.SIGINT) as (url, summary):
        with viewer(url) as seen:
            seen.until(lambda seen: len(seen.heard["/lidar/scan"]) > 5 and len(seen.heard["/status"]) > 5)
        scan, status = seen.channels["/lidar/scan"], seen.channels["/status"]
        assert (scan["encoding"], scan["schemaName"]) == ("cdr", "sensor_msgs/msg/LaserScan")
        assert (status["encoding"], status["schemaEncoding"]) == ("json", "jsonschema")
        read = get_typestore(Stores.ROS2_HUMBLE).deserialize_cdr(
            seen.heard["/lidar/scan"][-1].data, "sensor_msgs/msg/LaserScan"
        )
        assert [round(float(one), 3) for one in read.ranges] == [0.8, 2.0]  # type: ignore[attr-defined]
        numbers = [json.loads(message.data)["number"] for message in seen.heard["/status"]]
        assert numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        times = [message.time_ns for message in seen.heard["/status"]]
        assert times == sorted(times)
    assert summary["shown"] >= sum(map(len, seen.heard.values()))
    assert summary["lost"] == summary["unread"] == {}


def test_parameters_and_services(robot: None) -> None:
    """They can be read, set and called; what is refused is said."""
    del robot
    with server(ends_with=signal.SIGTERM) as (url, _), viewer(url, lambda _: False) as seen:

        def gains(seen: Viewer) -> list[Any]:
            found = [parameter for said in seen.of("parameterValues") for parameter in said["parameters"]]
            return [parameter["value"] for parameter in found if parameter["name"] == "lidar.gain"]

        def insist(ask: Callable[[], None], done: Callable[[], object]) -> None:
            """Ask again until it is so: on a busy machine a node may answer too late."""
            while not done():
                count = heard(seen)
                ask()
                seen.until(lambda seen: heard(seen) > count)  # noqa: B023 - called at once

        def set_gain(value: float) -> None:
            seen.send(op="setParameters", parameters=[{"name": "lidar.gain", "value": value}], id="set")

        insist(lambda: seen.send(op="getParameters", parameterNames=[], id="all"), lambda: gains(seen))
        assert gains(seen) == [0.8]
        insist(lambda: set_gain(1.5), lambda: gains(seen)[-1] == 1.5)
        refused = "lidar.gain has to be float from 0.0 to 2.0, not 7.0"
        insist(lambda: set_gain(7.0), lambda: any(refused in said["message"] for said in seen.of("status")))
        assert gains(seen)[-1] == 1.5
        seen.until(lambda seen: seen.of("advertiseServices"))
        home, sees = sorted(seen.of("advertiseServices")[0]["services"], key=lambda one: str(one["name"]))
        assert (home["name"], sees["name"]) == ("lidar.home", "lidar.sees")
        insist(lambda: seen.call(home["id"], {"fast": True}), lambda: {"asked": {"fast": True}} in seen.replies)
        # made into an object
        insist(lambda: seen.call(sees["id"], {"ranges": [1.0, 2.0]}), lambda: {"ranges": 2} in seen.replies)
        insist(
            lambda: seen.call(home["id"], {"value": "fail"}),
            lambda: any("no power" in said["message"] for said in seen.of("serviceCallFailure")),
        )


def heard(seen: Viewer) -> int:
    """How much has come that answers something."""
    return len(seen.said) + len(seen.replies)


def test_the_graph_names_who_publishes_and_who_reads(robot: None) -> None:
    """And which services there are; only while somebody looks."""
    del robot

    def is_drawn(seen: Viewer) -> bool:
        updates = seen.of("connectionGraphUpdate")
        topics = {one["name"]: one["publisherIds"] for said in updates for one in said["publishedTopics"]}
        read = {one["name"]: one["subscriberIds"] for said in updates for one in said["subscribedTopics"]}
        services = [one for said in updates for one in said["advertisedServices"]]
        lidar = ["lidar"]
        return (
            read.get("/status") == ["brake"]
            and topics.get("/lidar/scan") == topics.get("/status") == lidar
            and {"name": "lidar.home", "providerIds": lidar} in services
        )

    with server(ends_with=signal.SIGINT) as (url, _), viewer(url, lambda _: False) as seen:
        seen.send(op="subscribeConnectionGraph")
        seen.until(is_drawn)


def test_a_topic_that_changes_its_kind_is_shown_all_the_same() -> None:
    """A class, another class, a number, a dict: the viewer is told of each change, and no message is left out."""
    with Topic("odd") as odd, server(ends_with=signal.SIGINT) as (url, summary), viewer(url) as seen:
        kinds = [LaserScan(ranges=[1.0]), CmdVel(linear=1.0), 5, {"a": 1}]
        for number, value in enumerate(kinds):
            odd.send(value)
            # what is newest is sent to whoever begins to watch
            seen.until(lambda seen: len(seen.heard["/odd"]) > number)  # noqa: B023 - called at once
            while seen.heard["/odd"][-1].time_ns != odd_stamp(odd):
                odd.send(value)
                count = len(seen.heard["/odd"])
                seen.until(lambda seen: len(seen.heard["/odd"]) > count)  # noqa: B023 - called at once
        assert json.loads(seen.heard["/odd"][-1].data) == {"value": {"a": 1}}
        assert seen.channels["/odd"]["encoding"] == "json"
    assert summary["unread"] == {}


def odd_stamp(topic: Topic) -> int:
    """When the newest message was sent."""
    newest = topic._subscriber.latest()
    assert newest is not None
    return newest[3]


def test_what_cannot_be_read_is_counted(namespace: str) -> None:
    """And said to viewers, while all else goes on."""
    from horus_async.topics import Bus

    over = threading.Event()

    def talk() -> None:
        with Bus(namespace) as bus:
            publisher = bus.publisher("words", "somebody")
            while not over.wait(0.01):
                publisher.publish(b'{"a":1}', 1)
                publisher.publish(b"{", 1)

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        with server(ends_with=signal.SIGINT) as (url, summary):
            with viewer(url) as seen:
                seen.until(lambda seen: seen.of("status") and len(seen.heard["/words"]) > 3)
            assert "cannot be read" in seen.of("status")[0]["message"]
    finally:
        over.set()
        thread.join()
    assert summary["unread"]["words"] > 0


def test_nothing_is_read_that_nobody_watches() -> None:
    """A robot that no viewer looks at sends as if there were no server."""
    with Topic("quiet") as quiet, server(ends_with=signal.SIGINT) as (url, summary):
        quiet.send({"a": 0})
        with viewer(url, lambda _: False) as seen:
            seen.until(lambda seen: "/quiet" in seen.channels)
            for number in range(100):
                quiet.send({"a": number})
    assert summary["shown"] == 0


def test_a_port_that_is_taken_is_one_line() -> None:
    """It names the port, and the way out."""
    with server(ends_with=signal.SIGINT) as (url, _):
        port = url.rpartition(":")[2]
        done = subprocess.run(
            [sys.executable, "-m", "horus_async", "foxglove", "--port", port],
            env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert port in done.stderr
    assert "--port 0" in done.stderr
    assert len(done.stderr.splitlines()) == 1
