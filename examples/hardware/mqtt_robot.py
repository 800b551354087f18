"""A robot at an MQTT broker: goals come in, its battery goes out. The client's loop runs in a thread of the node.

    horus-async run --record drive examples/hardware/mqtt_robot.py -- 192.168.0.10 1883
    horus-async replay drive --speed max --verify examples/hardware/mqtt_robot.py --nodes base

Needs more: ``pip install '.[hardware]'``.
"""

import json
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from horus_async import Node, Scheduler, now_ns

QUEUED = 100
"""How many messages may wait for the broker."""


class Mqtt(Node):
    """The client connects again by itself, after 1 to 8 s; meanwhile what is sent waits in its queue."""

    name, rate, subs, pubs = "mqtt", 10, ["battery"], ["goal", "mqtt.health"]

    def __init__(self, host: str, port: str) -> None:
        super().__init__()
        self.host, self.port = host, int(port)
        self.count = {"connected": 0, "goals": 0, "garbage": 0, "sent": 0, "not_sent": 0}

    def init(self) -> None:
        """Start the client; it does not matter whether the broker is there."""
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self.client.connect_timeout = 1.0
        self.client.reconnect_delay_set(1, 8)
        self.client.max_queued_messages_set(QUEUED)
        self.client.on_connect = self.on_connect
        self.client.on_message = self.on_message
        self.client.connect_async(self.host, self.port, keepalive=5)
        self.in_thread(self.client.loop_forever, 1.0, True)  # tries the first time, too

    def on_connect(self, client: mqtt.Client, *_: Any) -> None:
        """In the thread: subscribe, each time anew."""
        self.count["connected"] += 1
        client.subscribe("robot/goal", qos=1)

    def on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        """In the thread: what others send is not to be trusted."""
        stamp_ns = now_ns()
        try:
            goal = json.loads(message.payload)
            x, y = float(goal["x"]), float(goal["y"])
        except (ValueError, TypeError, KeyError):
            self.count["garbage"] += 1
            return
        self.count["goals"] += 1
        self.send("goal", {"x": x, "y": y, "stamp_ns": stamp_ns})

    def tick(self) -> None:
        """Pass on what the robot says. Never waits: what finds no place in the queue is counted."""
        while (battery := self.recv("battery")) is not None:
            sent = self.client.publish("robot/battery", json.dumps(battery), qos=1)
            lost = sent.rc == mqtt.MQTT_ERR_QUEUE_SIZE
            self.count["not_sent" if lost else "sent"] += 1
        self.send("mqtt.health", dict(self.count))

    def shutdown(self) -> None:
        """End the loop, and with it the thread."""
        self.client.disconnect()


class Base(Node):
    """Goes where it is told to, at 0.1 m a tick, and gets tired of it."""

    name, rate, subs, pubs = "base", 10, ["goal"], ["battery"]

    def init(self) -> None:
        """At home."""
        self.at, self.to, self.charge = 0.0, 0.0, 1.0

    def tick(self) -> None:
        """One step."""
        while (goal := self.recv("goal")) is not None:
            self.to = goal["x"]
        step = max(-0.1, min(0.1, self.to - self.at))
        self.at, self.charge = self.at + step, self.charge - 0.001 * abs(step)
        self.send("battery", {"at": self.at, "charge": self.charge})


def build(args: list[str]) -> Scheduler:
    """With the broker's host and port. A verification connects to none."""
    return Scheduler(tick_rate=100).add(Mqtt(*args or ["localhost", "1883"])).add(Base())
