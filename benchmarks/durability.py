"""Kills recordings and reads what they left: a lap for ``python -m benchmarks.soak durability --minutes N``.

Each lap is a process that records at full speed, messages of 0 bytes to 2 MB, in one file or several. Through a pipe it
reports what it gave to the recorder (tick, digest, time) and what is known to be written: what it had given before a
completed flush began. It is ended at a random moment, by ``SIGKILL`` (also while stopped), ``SIGSEGV`` or ``os._exit``.
What is left must open without repair, be a prefix without a gap, have every acknowledged digest, hold everything known
to be written, and be judged whole or cut, never damaged.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from attrs import frozen

from horus_async.clock.system import monotonic_ns
from horus_async.observe import Execution, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder import GapRecord, Recorder, RecordingOptions, open_session, tick_digest
from horus_async.recorder.read.check import Verdict, check_session
from horus_async.recorder.records import SendsRecord

if TYPE_CHECKING:
    from horus_async.recorder.records import RecordedOutput

SESSION = "lap"
ENDINGS = ("kill", "stop and kill", "segv", "exit")
_PERIOD_NS = 10_000_000
_BACKLOG = 16 << 20
"""Bytes that may wait to be written: far fewer than a recorder keeps before it drops any."""


class DurabilityError(AssertionError):
    """A recording does not hold what it must."""


@frozen
class Lap:
    """What one killed recording left."""

    ending: str
    acknowledged: int
    """Ticks that the process gave to the recorder."""
    durable: int
    """Ticks that were known to be written."""
    read: int
    """Ticks that were read."""
    lost_ms: float
    """Milliseconds from the first lost tick to the last one, as given to the recorder."""
    verdict: Verdict


def kill_a_recording(root: Path, seed: int) -> dict[str, float]:
    """Run a lap; its figures."""
    lap = run_lap(root, seed)
    return {"ticks": lap.read, "cut": lap.verdict is Verdict.CUT, "lost_ms": lap.lost_ms}


def run_lap(root: Path, seed: int) -> Lap:
    """Start a recording process, end it, and judge what it left under ``root``.

    Raises:
        DurabilityError: something is missing or wrong.
    """
    noise = random.Random(seed)
    ending = ENDINGS[seed % len(ENDINGS)]
    here = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.durability", "--child", str(root), "--seed", str(seed)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=here)
    assert child.stdout is not None
    assert child.stdin is not None
    told: list[bytes] = []
    while not told or told[-1] != b"ready\n":  # sent once the first tick was given
        told.append(child.stdout.readline())
        if not told[-1]:
            raise DurabilityError(f"lap {seed} did not begin")
    timer = threading.Timer(noise.uniform(0.05, 0.5), _end, (child, ending))
    timer.start()
    told += child.stdout.read().split(b"\n")[:-1]  # a pipe outlives its writer; its last line may be torn
    child.stdout.close()
    child.wait()
    timer.join()
    child.stdin.close()
    return _judge(root, ending, [line.split() for line in told])


def _end(child: subprocess.Popen[bytes], ending: str) -> None:
    if ending == "exit":
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        return
    if ending == "stop and kill":
        child.send_signal(signal.SIGSTOP)
    child.send_signal(signal.SIGSEGV if ending == "segv" else signal.SIGKILL)


def _judge(root: Path, ending: str, told: list[list[bytes]]) -> Lap:
    given = {int(words[1]): (words[2].decode(), int(words[3])) for words in told if words[0] == b"given"}
    durable = max((int(words[1]) + 1 for words in told if words[0] == b"written"), default=0)
    session = open_session(SESSION, root)
    read = 0
    outputs: list[RecordedOutput] = []
    for line in session.executions("sensor"):
        if isinstance(line, GapRecord) or line.tick != read:
            raise DurabilityError(f"a gap: {line} where tick {read} should be")
        outputs += line.outputs
        if isinstance(line, SendsRecord):
            continue  # written before the callback's own line
        sent = [Sent("sensor", out.topic, out.seq, out.stamp_ns, out.payload, out.tick, read) for out in outputs]
        outputs = []
        # The last ticks may have been written before they were reported.
        if read in given and tick_digest(sent) != given[read][0]:
            raise DurabilityError(f"tick {read} is not what was given to the recorder")
        read += 1
    for number, tick in enumerate(session.scheduler_ticks()):
        if tick.tick != number or (number in given and tick.digest != given[number][0]):
            raise DurabilityError(f"the scheduler's line {number} is wrong: {tick}")
    if read < durable:
        raise DurabilityError(f"{durable} ticks were known to be written, {read} are there")
    verdict = check_session(session).verdict
    if verdict is Verdict.DAMAGED:
        raise DurabilityError(f"judged damaged: {check_session(session)}")
    lost_ms = (max(at_ns for _, at_ns in given.values()) - given[read][1]) / 1e6 if read in given else 0.0
    return Lap(ending, len(given), durable, read, lost_ms, verdict)


# -- the process that is ended -----------------------------------------------------------------------------------------


def record_until_killed(root: Path, seed: int) -> None:
    """Record, report what was given and written, and never return."""
    noise = random.Random(seed)
    options = RecordingOptions(
        name=SESSION, rotate_mb=noise.choice([None, None, 0.2]), rotate_seconds=noise.choice([None, None, 1.0])
    )
    recorder = Recorder(options, root, block=bool(seed & 4))
    run = RunInfo("durability", 100.0, bool(seed & 4), seed, 0, 0, "default", (NodeInfo("sensor", 100.0),))
    recorder.run_started(run)
    given = [0]
    _tell_flushes(recorder, given)
    threading.Thread(target=_exit_when_told, daemon=True).start()
    for tick in range(1 << 60):
        if tick % 20 == 0:
            _wait_for_room(recorder)  # on a busy machine lines would be dropped, which has nothing to do with the kill
        size = noise.choice([0, 0, 10, 50, 200, 1000]) if tick % 97 else noise.choice([20_000, 200_000, 2_000_000])
        payload = orjson.dumps({"tick": tick, "noise": noise.randbytes(size // 2).hex()})
        sent = Sent("sensor", "sensor.reading", tick, tick * _PERIOD_NS, payload, tick, tick)
        recorder.sent(sent)
        recorder.executed(Execution("tick", "sensor", tick, tick * _PERIOD_NS, _PERIOD_NS, 0, [], None))
        recorder.tick_ended(TickEnd(tick, tick * _PERIOD_NS, ["sensor"]))
        given[0] = tick + 1
        os.write(1, b"given %d %b %d\n" % (tick, tick_digest([sent]).encode(), monotonic_ns()))
        if tick == 0:
            os.write(1, b"ready\n")


def _wait_for_room(recorder: Recorder) -> None:
    room = recorder._writer.intake.room  # type: ignore[union-attr]
    threading.Event().wait(0.001)
    while room.waiting() > _BACKLOG:
        threading.Event().wait(0.001)


def _tell_flushes(recorder: Recorder, given: list[int]) -> None:
    """Let each completed flush report what had been given when it began: that much is written, on any machine."""
    writer = recorder._writer
    assert writer is not None
    flush = writer.flush

    def telling() -> None:
        before = given[0]
        flush()
        if before:
            os.write(1, b"written %d\n" % (before - 1))

    writer.flush = telling  # type: ignore[method-assign]


def _exit_when_told() -> None:
    if os.read(0, 1):
        os._exit(3)


def main() -> None:
    """Run the process that is killed."""
    parser = argparse.ArgumentParser(description="Records until it is killed; benchmarks.soak starts and kills it.")
    parser.add_argument("--child", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    arguments = parser.parse_args()
    record_until_killed(arguments.child, arguments.seed)


if __name__ == "__main__":
    main()
