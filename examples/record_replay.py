"""Record a robot, then replay it in four ways; each step checks its claim and says what it proved.

    python examples/record_replay.py [FOLDER]

The recording goes into FOLDER (set HORUS_RECORDINGS_DIR to it, and ``horus-async record list`` finds it), by default
into a temporary folder.
"""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from horus_async import Node, Scheduler, dt, tick
from horus_async.recorder import open_session

if TYPE_CHECKING:
    from horus_async import Message

SECONDS = 5.0
SETPOINT = 0.0
LIMIT = 10.0
"""Where the sensor saturates in step 5."""

Heard = dict[str, list["Message"]]


class Sensor(Node):
    """A sine wave with a spike every 73 ticks."""

    name = "sensor"
    rate = 100
    pubs = ("sensor.reading",)

    async def tick(self) -> None:
        """Send one reading."""
        spike = 5.0 if tick() % 73 == 0 else 0.0
        if spike:
            self.log.info("a spike of %g", spike, extra={"spike": spike})
        self.send("sensor.reading", {"value": math.sin(tick() * 0.02) * 10.0 + spike, "tick": tick()})


class Controller(Node):
    """A PI controller."""

    name = "controller"
    rate = 100
    subs = ("sensor.reading",)
    pubs = ("ctrl.cmd",)

    async def init(self) -> None:
        """Start with an empty integral."""
        self.integral = 0.0

    async def tick(self) -> None:
        """Answer one reading with one command."""
        reading = self.recv("sensor.reading")
        if reading is None:
            return
        error = SETPOINT - reading["value"]
        self.integral = max(-10.0, min(10.0, self.integral + error * dt()))  # clamped against windup
        self.send("ctrl.cmd", {"output": 0.5 * error + 0.1 * self.integral, "integral": self.integral})


class Listener(Node):
    """Keeps every message it hears, to compare runs."""

    name = "listener"
    subs = ("sensor.reading", "ctrl.cmd")

    async def init(self) -> None:
        """Nothing has been heard yet."""
        self.heard: Heard = {topic: [] for topic in self.subs}

    async def tick(self) -> None:
        """Take all new messages."""
        for topic in self.subs:
            while (message := self.recv_message(topic)) is not None:
                self.heard[topic].append(message)


def check_equal(expected: Heard, heard: Heard) -> int:
    """The number of messages compared, by value, order, sequence number, stamp and publisher.

    Raises:
        SystemExit: Two messages differ, or there was nothing to compare.
    """
    compared = sum(map(len, heard.values()))
    if heard != expected or not compared:
        topic = next((topic for topic in expected if heard[topic] != expected[topic]), "none of the topics")
        raise SystemExit(f"not proved: the messages on {topic} are not as expected")
    return compared


async def record(folder: Path) -> tuple[list[str], Heard]:
    """Step 1: record five seconds of the robot's time."""
    print(f"=== 1. Record {SECONDS:g} seconds ===")
    scheduler = Scheduler(tick_rate=100, deterministic=True, recording=True, recordings_dir=folder)
    listener = Listener()
    scheduler.add(Sensor()).add(Controller()).add(listener)
    await scheduler.run(SECONDS)
    files = scheduler.stop_recording()
    recording = scheduler.stats().recording
    assert recording is not None
    heard = sum(map(len, listener.heard.values()))
    if recording.messages != heard or recording.dropped:
        raise SystemExit(f"not proved: {heard} messages were heard and {recording.messages} recorded")
    print(f"saved to {Path(files[0]).parent}: {', '.join(Path(file).name for file in files)}")
    print(f"sessions there: {', '.join(Scheduler.list_recordings(folder))}")
    print(f"spikes in its log: ticks {', '.join(str(line.tick) for line in open_session(files[0]).log)}")
    print(f"proved: all {heard} messages that were heard are in the recording, none dropped")
    return files, listener.heard


async def replay_all(session: str, original: Heard) -> None:
    """Step 2: replay everything as fast as possible; the live listener replaces the recorded one."""
    print("\n=== 2. Full replay ===")
    listener = Listener()
    await Scheduler.replay_from(session).set_replay_speed(math.inf).add(listener).run()
    compared = check_equal(original, listener.heard)
    print(f"proved: it ended by itself, and {compared} of {compared} messages are equal to the original's")


async def travel_in_time(session: str, original: Heard, first: int = 200, last: int = 400) -> None:
    """Step 3: replay a part of it, at half speed."""
    print(f"\n=== 3. Ticks {first} to {last} at half speed ===")
    listener = Listener()
    replay = Scheduler.replay_from(session).start_at_tick(first).stop_at_tick(last).set_replay_speed(0.5)
    began = trio.current_time()
    await replay.add(listener).run()
    took = trio.current_time() - began
    compared = check_equal({topic: sent[first : last + 1] for topic, sent in original.items()}, listener.heard)
    print(
        f"proved: {compared} messages, exactly those of ticks {first} to {last}; "
        f"{(last - first + 1) / 100:.2f} s of the robot's time took {took:.2f} s"
    )


async def mix(sensor_file: str, original: Heard) -> None:
    """Step 4: the recorded sensor drives the current controller. Unchanged code does what it did: a gate for CI."""
    print("\n=== 4. Recorded sensor, live controller ===")
    listener = Listener()
    scheduler = Scheduler(tick_rate=100, deterministic=True).add_replay(sensor_file, priority=0)
    await scheduler.add(Controller()).add(listener).run(SECONDS)
    check_equal(original, listener.heard)
    commands = len(listener.heard["ctrl.cmd"])
    print(f"proved: the live controller sent {commands} commands, all equal to the recorded ones")


def limited(reading: Message) -> dict[str, float]:
    """What a saturating sensor would have measured."""
    return {**reading.value, "value": max(-LIMIT, min(LIMIT, reading.value["value"]))}


async def what_if(session: str, original: Heard) -> None:
    """Step 5: what if the sensor saturated? Its readings are replaced, and the controller gets the new ones."""
    print(f"\n=== 5. What if the sensor saturated at ±{LIMIT:g}? ===")
    listener = Listener()
    replay = Scheduler.replay_from(session).set_replay_override("sensor", "sensor.reading", limited)
    await replay.set_replay_speed(math.inf).add(Controller()).add(listener).run()
    pairs = list(zip(original["ctrl.cmd"], listener.heard["ctrl.cmd"], strict=True))
    changed = [number for number, (was, now) in enumerate(pairs) if was.value != now.value]
    replaced = sum(abs(reading.value["value"]) > LIMIT for reading in original["sensor.reading"])
    if not changed or any(abs(reading.value["value"]) > LIMIT for reading in listener.heard["sensor.reading"]):
        raise SystemExit("not proved: the override did not reach the controller")
    first = changed[0]
    was, now = (message.value["output"] for message in pairs[first])
    print(
        f"proved: {replaced} readings were replaced, and {len(changed)} of {len(pairs)} commands change; "
        f"the first in tick {first}: output {was:.4f} becomes {now:.4f}"
    )


async def main(folder: Path) -> None:
    """All five steps."""
    files, original = await record(folder)
    scheduler_file = next(file for file in files if "scheduler@" in file)
    sensor_file = next(file for file in files if "sensor@" in file)
    await replay_all(scheduler_file, original)
    await travel_in_time(scheduler_file, original)
    await mix(sensor_file, original)
    await what_if(scheduler_file, original)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        trio.run(main, Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            trio.run(main, Path(temporary))
