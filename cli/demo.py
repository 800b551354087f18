"""``horus-async demo``."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import click
import trio
from attrs import asdict, frozen

from horus_async import Node, Scheduler
from horus_async.clock.system import NANOSECONDS, iso_utc, perf_ns, wall_ns
from horus_async.hints.installed import command, install
from horus_async.recorder import open_session
from horus_async.recorder.exports.output import writing
from horus_async.topics.codec import decode
from horus_async.view.html import has_plots
from horus_async.view.making import PageMaker

from .support.errors import FOUND
from .support.own_namespace import own_namespace
from .support.render import print_json
from .support.robot import STOP_DISTANCE_M, build
from .terminal.table import print_table
from .terminal.text import tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from horus_async import Difference, Message, VerifyReport
    from horus_async.recorder import Session

SECONDS = 30.0
SEED = 7
CHANGED_STOP_DISTANCE_M = STOP_DISTANCE_M + 0.1


@frozen
class NodeFigures:
    """What the recording holds of one node."""

    ticks: int
    messages: int
    bytes: int


@frozen
class Proof:
    """The result of the demo."""

    session: str
    path: str
    nodes: dict[str, NodeFigures]
    recorded: int
    """Messages in the recording."""
    replayed: int
    """Messages that a replay published, equal to the recorded ones."""
    verified: int
    """Messages that the same program sent again, given the recorded inputs."""
    differences: int
    """How many of them differ."""
    changed_differences: int
    """How many differ once one constant is changed."""
    changed_first: Difference | None
    page: str
    """The file of the page that shows the recording beside the changed program."""
    has_plots: bool
    """Whether the page has plots, which need the extra ``view``."""
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every recorded message came back equal, twice, and the changed program was caught."""
        same = self.replayed == self.verified == self.recorded > 0 and self.differences == 0
        return same and self.changed_differences > 0


class Listener(Node):
    """Keeps every message it hears."""

    def __init__(self, topics: set[str]) -> None:
        super().__init__("demo.listener", subs=sorted(topics))
        self.heard: dict[tuple[str, str, int], Message] = {}

    async def tick(self) -> None:
        """Take all new messages."""
        for topic in self.subs:
            while (message := self.recv_message(topic)) is not None:
                self.heard[message.topic, message.publisher, message.seq] = message


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def demo(*, as_json: bool) -> None:
    """Run a simulated robot, record it, replay it, and verify that the same program does the same again.

    The recording stays in the recordings folder, so you can inspect it. Exit code 1 if the proof fails.

    Example: horus-async demo
    """
    with own_namespace("demo"):
        proof, same = _prove((lambda _: None) if as_json else tell)
    if as_json:
        print_json({**asdict(proof), "holds": proof.holds})
    else:
        _show(proof, same)
    if not proof.holds:
        raise SystemExit(FOUND)


def _prove(say: Callable[[str], object]) -> tuple[Proof, VerifyReport]:
    began_ns = perf_ns()
    say(f"A robot with two wheels and a lidar drives around a room for {SECONDS:g} s of simulated time ...")
    session = _record()
    nodes = _figures(session)
    say("Replaying the recording and comparing each message ...")
    replayed = trio.run(_replay, session)
    say("Running the same program on the recorded inputs ...")
    same = trio.run(_verify, session, STOP_DISTANCE_M)
    say(f"And once more with one constant changed: the guard stops at {CHANGED_STOP_DISTANCE_M:.1f} m ...")
    page, changed = _change(session)
    proof = Proof(
        session=session.name,
        path=str(session.path),
        nodes=nodes,
        recorded=sum(figures.messages for figures in nodes.values()),
        replayed=replayed,
        verified=same.compared,
        differences=same.differences,
        changed_differences=changed.differences,
        changed_first=changed.first_difference,
        page=str(page),
        has_plots=has_plots(),
        seconds=(perf_ns() - began_ns) / NANOSECONDS,
    )
    return proof, same


def _record() -> Session:
    name = f"demo_{iso_utc(wall_ns())}_p{os.getpid()}".replace("-", "").replace(":", "")
    scheduler = build(deterministic=True, seed=SEED, recording=name)
    scheduler.run_sync(SECONDS)
    return open_session(scheduler.stop_recording()[0])


def _figures(session: Session) -> dict[str, NodeFigures]:
    found = {}
    for node, file in session.files.items():
        ticks = messages = 0
        for line in session.executions(node):
            if line.kind == "tick":
                ticks += 1
            messages += len(getattr(line, "outputs", ()))
        found[node] = NodeFigures(ticks, messages, file.path.stat().st_size)
    return found


async def _replay(session: Session) -> int:
    """How many recorded messages a replay publishes with equal value, sequence number, stamp and publisher."""
    listener = Listener(set().union(*(session.output_topics(node) for node in session.nodes)))
    await Scheduler.replay_from(session.path).set_replay_speed(math.inf).add(listener).run()
    equal = 0
    for node in session.nodes:
        for line in session.executions(node):
            for output in getattr(line, "outputs", ()):
                heard = listener.heard.get((output.topic, node, output.seq))
                same = heard is not None and (heard.stamp_ns, heard.value) == (output.stamp_ns, decode(output.payload))
                equal += same
    return equal


async def _verify(session: Session, stop_distance_m: float) -> VerifyReport:
    return await Scheduler.verify(session.path, lambda: build(stop_distance_m=stop_distance_m))


def _change(session: Session) -> tuple[Path, VerifyReport]:
    """Run the changed program on the recorded inputs; the page of that lies beside the recording's files."""
    maker = PageMaker()
    nodes = build(stop_distance_m=CHANGED_STOP_DISTANCE_M).nodes
    said = f"the guard stops at {CHANGED_STOP_DISTANCE_M:.1f} m"
    report = maker.verification(session.name, session, nodes, said)
    page = session.path / "page.html"
    with writing(page) as file:
        file.write(maker.html("horus-async demo", command("").strip()).encode())
    return page, report


def _show(proof: Proof, same: VerifyReport) -> None:
    tell()
    rows = [(name, node.ticks, node.messages, node.bytes) for name, node in proof.nodes.items()]
    print_table(("node", "ticks", "messages", "bytes"), rows)
    tell()
    tell(f"recorded   {proof.recorded} messages: {proof.path}")
    tell(f"replayed   {proof.replayed} of them, each equal in value, order, stamp and publisher")
    tell(f"verified   {proof.verified} sent again by the same program, {proof.differences} differ")
    if same.first_difference is not None:
        tell(f"           first: {same.first_difference}")
    tell(f"changed    {proof.changed_differences} differ with the guard's constant changed")
    tell(f"           first: {proof.changed_first}")
    tell(f"page       {proof.page}: open it in a browser")
    if not proof.has_plots:
        tell(f"           with plots, if you like: {install('view')}")
    verdict = "every message came back bit for bit" if proof.holds else "THE PROOF FAILED"
    tell()
    tell(f"{verdict}, in {proof.seconds:.1f} s. What to try next:")
    tell()
    for line in _next_steps(proof):
        tell(f"  {command(line)}")


def _next_steps(proof: Proof) -> list[str]:
    first: Any = proof.changed_first
    around = f" --start-tick {max(0, first.tick - 100)} --stop-tick {first.tick}" if first is not None else ""
    return [
        f"record info {proof.session}",
        f"view {proof.session}",
        f"replay {proof.session}{around}",
        "run --record NAME YOUR_PROGRAM.py",
    ]
