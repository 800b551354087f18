"""``examples/hardware/mqtt_robot.py``, with paho and a broker of its own (amqtt) on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from .robots import Robot, did, sent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

mqtt: Any = pytest.importorskip("paho.mqtt.client")
broker_module: Any = pytest.importorskip("amqtt.broker", reason="amqtt is not installed: pip install amqtt")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def _free_port() -> int:
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Broker:
    """A broker in a thread, which can be stopped and started again at the same port."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Be there."""
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)))
        self.thread.start()
        assert ready.wait(60)

    def stop(self) -> None:
        """Be gone, and all connections with it."""
        if self.thread is not None and self.loop is not None:
            self.loop.call_soon_threadsafe(self.over.set)
            self.thread.join()
            self.thread = None

    async def _serve(self, ready: threading.Event) -> None:
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        listeners = {"default": {"type": "tcp", "bind": f"127.0.0.1:{self.port}", "max_connections": 10}}
        plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        broker = broker_module.Broker({"listeners": listeners, "plugins": plugins})
        await broker.start()
        ready.set()
        await self.over.wait()
        await broker.shutdown()


class Operator:
    """Another client, in the tests' own process."""

    def __init__(self, port: int) -> None:
        self.heard: list[Any] = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("robot/battery", qos=1)
        self.client.on_message = lambda _client, _data, message: self.heard.append(json.loads(message.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def says(self, *payloads: bytes | str) -> None:
        """Send goals, or what is none."""
        for payload in payloads:
            self.client.publish("robot/goal", payload, qos=1)

    def close(self) -> None:
        """Hang up."""
        self.client.disconnect()
        self.client.loop_stop()
        del self.client  # which closes its pair of sockets


@pytest.fixture
def broker(caplog: pytest.LogCaptureFixture) -> Iterator[Broker]:
    """One that runs."""
    caplog.set_level(logging.CRITICAL, "amqtt")
    caplog.set_level(logging.CRITICAL, "transitions")
    broker = Broker()
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def operator(broker: Broker) -> Iterator[Operator]:
    """A client at it."""
    operator = Operator(broker.port)
    yield operator
    operator.close()


@pytest.fixture
def robot(broker: Broker) -> Iterator[Robot]:
    """The example at it."""
    robot = Robot("mqtt_robot.py", ["127.0.0.1", str(broker.port)], "mqtt")
    yield robot
    del robot.driver.client  # which closes its pair of sockets


def test_it_is_recorded_and_verified_without_a_broker(
    robot: Robot, operator: Operator, broker: Broker, tmp_path: Path, recordings_dir: Path
) -> None:
    """Goals come in, the battery goes out; what is no goal is counted."""
    bad = ("nothing", "{}", b"\xff", "[1]", '{"x": "far", "y": 1}')
    robot.run(
        robot.counted(connected=1),
        lambda: len(operator.heard) > 0,  # subscribed on both sides
        did(operator.says, *(json.dumps({"x": n, "y": 0}) for n in range(5)), *bad),
        robot.counted(goals=5, garbage=len(bad)),
        lambda: operator.heard[-1]["at"] > 0.3,
        name="told",
    )
    assert [goal["x"] for goal in sent("told", "mqtt", "goal", recordings_dir)] == [0.0, 1.0, 2.0, 3.0, 4.0]
    broker.stop()
    robot.verify("told", "base", tmp_path)


def test_the_broker_restarts(robot: Robot, operator: Operator, broker: Broker) -> None:
    """The client connects and subscribes again, and what the robot said meanwhile arrives, in order."""
    robot.run(
        robot.counted(connected=1),
        lambda: len(operator.heard) > 3,
        did(broker.stop),
        robot.counted(sent=20),
        did(broker.start),
        robot.counted(connected=2),
        operator.client.is_connected,
        did(operator.says, '{"x": 1, "y": 1}'),
        robot.counted(goals=1),
    )
    charges = [battery["charge"] for battery in operator.heard]
    assert charges == sorted(charges, reverse=True)


def test_what_finds_no_place_while_there_is_no_broker_is_counted(broker: Broker, robot: Robot) -> None:
    """The queue is bounded; and a run without a broker ends all the same."""
    broker.stop()
    robot.run(robot.counted(not_sent=5))
    assert robot.driver.count["sent"] == 100
    assert robot.driver.count["connected"] == 0
