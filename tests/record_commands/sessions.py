"""Small sessions for these tests, and a way to call the command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from click.testing import CliRunner

from horus_async.cli.record import record
from horus_async.observe import Execution, External, NodeInfo, RunInfo, Sent, TickEnd
from horus_async.recorder import Recorder, RecordingOptions, Session, open_session
from horus_async.recorder.frames import Frame, reader_of, scan
from horus_async.topics.codec import as_bytes, encode

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from click.testing import Result

    Messages = Mapping[int, list[tuple[str, str, Any]]]
    """Tick to (node, topic, value) of what was sent in it, in order."""

PERIOD_NS = 10_000_000
STARTED_NS = 1_795_230_000_000_000_000


def call(*arguments: object, stdin: str | None = None) -> Result:
    """Call ``horus-async record`` in this process."""
    return CliRunner().invoke(record, [str(argument) for argument in arguments], input=stdin)


def call_json(*arguments: object) -> Any:
    """Call it with ``--json``; what it prints."""
    result = call(*arguments, "--json")
    assert result.exit_code in {0, 1}, result.output
    return orjson.loads(result.stdout)


def make(root: Path, name: str, messages: Messages, *, ticks: int, close: bool = True, **options: Any) -> Session:
    """Record a run of ``ticks`` ticks in which the nodes of ``messages`` send these; each node ticks each time."""
    started_ns = options.pop("started_ns", STARTED_NS)
    outside = options.pop("outside", ())
    nodes = options.pop("nodes", None) or sorted({node for sent in messages.values() for node, _, _ in sent})
    recorder = Recorder(RecordingOptions(name=name), root, block=True)
    infos = tuple(NodeInfo(node, 100.0) for node in nodes)
    recorder.run_started(RunInfo("scheduler", 100.0, True, 7, started_ns, 0, "default", infos))
    seqs: dict[tuple[str, str], int] = {}
    for message in outside:
        recorder.received_external(message)
    for tick in range(ticks):
        for node in nodes:
            for sender, topic, value in messages.get(tick, ()):
                if sender == node:
                    seq = seqs[node, topic] = seqs.get((node, topic), -1) + 1
                    recorder.sent(Sent(node, topic, seq, tick * PERIOD_NS, as_bytes(encode(value)), tick, tick))
            recorder.executed(Execution("tick", node, tick, tick * PERIOD_NS, PERIOD_NS, 0, [], None))
        recorder.tick_ended(TickEnd(tick, tick * PERIOD_NS, nodes))
    recorder.run_stopped("duration", ticks)
    if not close:
        for path in recorder.stop():
            cut_off(path)
    return open_session(root / name)


def frames_of(path: Path) -> list[Frame]:
    """The frames of a file that hold lines."""
    data = path.read_bytes()
    return [piece for piece in scan(reader_of(data), 0, len(data)) if isinstance(piece, Frame)]


def cut_off(path: Path) -> None:
    """Cut a file in the middle of its last frame of ticks, as if its writer had been killed."""
    last = [frame for frame in frames_of(path) if not frame.text.startswith(b'{"kind":"footer"')][-1]
    path.write_bytes(path.read_bytes()[: last.offset + last.size // 2])


def damage(path: Path) -> Frame:
    """Flip bits in the second frame of a file, the first behind its header; the frame."""
    frame = frames_of(path)[1]
    data = bytearray(path.read_bytes())
    data[frame.offset + frame.size // 2] ^= 0xFF
    path.write_bytes(data)
    return frame


def robot(root: Path, name: str, *, ticks: int = 50, gain: float = 0.5, **options: Any) -> Session:
    """A sensor that sends in each tick, and a controller that answers."""
    messages = {
        tick: [("sensor", "sensor.reading", {"value": tick * 0.1}), ("controller", "ctrl.cmd", {"output": gain * tick})]
        for tick in range(ticks)
    }
    return make(root, name, messages, ticks=ticks, nodes=["sensor", "controller"], **options)


def bulky(root: Path, name: str, **options: Any) -> Session:
    """Four messages, each so large that it has a frame of its own."""
    messages = {tick: [("camera", "image", {"data": f"{tick}" * 700_000})] for tick in range(4)}
    return make(root, name, messages, ticks=4, **options)


def outsider(tick: int, value: Any) -> External:
    """A message from another process."""
    return External(tick, "operator.cmd", "joystick", tick, tick * PERIOD_NS + 5, as_bytes(encode(value)))
