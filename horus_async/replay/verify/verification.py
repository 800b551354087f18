"""The run of a verification: its nodes and topics, which failures count, and what is to be said of it."""

from __future__ import annotations

import itertools
import os
import secrets
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import wall_ns
from horus_async.engine.node_run import BACKGROUND
from horus_async.engine.reporting import describe
from horus_async.nodes.context import WorkContext, current
from horus_async.nodes.failure_policies import Fatal
from horus_async.nodes.node import declared
from horus_async.observe import RunInfo
from horus_async.recorder.records import GapRecord
from horus_async.replay.timeline import RecordedTimeline
from horus_async.topics import Bus
from horus_async.topics.kinds.finding import is_imported

from .callbacks import Callbacks
from .following import Following
from .messages import Messages, Moment
from .shadow import ShadowPorts
from .tasks import TaskMoments
from .verified import VerifiedRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.pace.pace import Turn
    from horus_async.engine.work import Work
    from horus_async.nodes.node import Node
    from horus_async.replay.options import ReplayOptions

    from .comparison import Comparison


class Verification(Following):
    """The run of a verification: its nodes, and what is to be said of them."""

    def __init__(self, replay: ReplayOptions, comparison: Comparison, *arguments: Any) -> None:
        super().__init__(replay, comparison, *arguments)
        self._places = itertools.count()
        """Of what the live nodes send, in the order in which they do."""
        self._task_moments: dict[str, TaskMoments] = {}
        self._failed_here: list[str] = []
        """Failures after which the live nodes' policies go on, in words."""

    @classmethod
    def of(cls, replay: ReplayOptions, live: list[Node], comparison: Comparison) -> Verification:
        """A verification, ready to start."""
        session = replay.session
        info = RunInfo(
            name="verification",
            tick_rate=session.tick_rate,
            deterministic=session.deterministic,
            seed=session.seed,
            started_at_ns=wall_ns(),
            start_ns=session.start_ns,
            namespace=f"verification-{os.getpid():x}-{secrets.token_hex(4)}",  # nothing reaches a running robot
            nodes=tuple(declared(node) for node in live),
        )
        timeline = RecordedTimeline(replay, duration=None, on_rewind=lambda: None)
        runtime = cls(replay, comparison, info, Bus(info.namespace, isolated=True), timeline, [comparison])
        infos = [session.nodes[node.name] for node in live]
        messages = Messages(session, replay.start, (topic for info in infos for topic in (*info.subs, *info.on)))
        with runtime.closed_on_failure():
            for node in live:
                runtime._verify(node, messages)
        return runtime

    def _verify(self, node: Node, messages: Messages) -> None:
        replay, session = self._replay, self._replay.session
        callbacks = Callbacks(session, node.name, replay.start, replay.stop)
        ports = ShadowPorts(
            node.name,
            self.bus,
            self,
            session=session,
            messages=messages,
            moment=lambda: self._moment(run),
            wait_ns=lambda sent_ns: sent_ns - self._elapsed_ns(),
            start=replay.start,
            place=self._places.__next__,
            sent_live=lambda name, topic: self._verified[name].ports.sent_live(topic) if name in self._verified else (),
            tell_tasks=self._stir_tasks,
            end_after_tick=self.end_after_tick,
            counterpart=lambda topic: self._comparison.counterparts.get((node.name, topic)),
        )
        run = VerifiedRun(node, ports, session, callbacks)
        self.add(node, lambda _node, _ports: run, ports)
        if run.own_schedule is not None:
            run.own_schedule.rewind(replay.start or 0)
        self._verified[node.name] = run
        self._task_moments[node.name] = TaskMoments(session, node.name, replay.start)
        self._comparison.listen(node.name, replay.start, replay.stop)
        self._comparison.ends[node.name].threads = ports.thread_topics

    def verified(self) -> list[VerifiedRun]:
        """The nodes."""
        return list(self._verified.values())

    def notes(self) -> tuple[str, ...]:
        """What the nodes could not be given."""
        unknown = {n: topic for run in self._order for n, topic in run.ports.unknown_classes.items()}
        notes = [unknown_class(name, topic) for name, topic in unknown.items()]
        notes += self._failed_here
        for name, run in self._verified.items():
            notes += (
                f"node {name} read {count} messages on {topic} that are not in the recording"
                for topic, count in sorted(run.ports.unknown.items())
            )
            notes += self._not_compared(name, run)
        return tuple(notes)

    def _not_compared(self, name: str, run: VerifiedRun) -> Iterator[str]:
        end = self._comparison.ends[name]
        if end.uncompared:
            messages = "1 message" if end.uncompared == 1 else f"{end.uncompared} messages"
            why = " after the recorded end" if end.whole else ", whose recording leaves some out"
            yield f"not compared: {messages} of node {name}{why}"
        if run.ports.own_threads:
            topics = ", ".join(sorted(run.ports.own_threads))
            yield (
                f"node {name} sends on {topics} from a thread of its own, which nothing waits for: what is compared is "
                "left to chance; start it with in_thread()"
            )
        lasting = sum(1 for _ in self._left_out_before(name))
        if lasting:
            yield (f"not compared: {lasting} messages of node {name} in callbacks that began before tick {self._begin}")

    @property
    def _begin(self) -> int:
        """The first tick; above 0 also in a session that was cut."""
        start = self._replay.start
        return (self._replay.session.first_tick or 0) if start is None else start

    def _left_out_before(self, name: str) -> Iterator[object]:
        """What was sent in the verified ticks by a callback that began before them."""
        start, stop = self._begin, self._replay.stop
        session = self._replay.session
        if not start or not session.has_sends(name):
            return
        for line in session.executions(name):
            if not isinstance(line, GapRecord) and line.tick is not None and line.tick < start:
                yield from (o for o in line.outputs if o.tick >= start and (stop is None or o.tick <= stop))

    def close(self) -> None:
        """Take the topics back from the nodes, and let go of the files."""
        super().close()
        for run in self._verified.values():
            run.recorded.close()
            run.ports.close()

    # Where it is

    def _moment(self, run: VerifiedRun) -> Moment:
        if self._replay.session.deterministic or run.line is None:
            return Moment(self.tick, self.stamp_ns(), self._begun, self._step.now_ns, self._ended)
        clock = self._replay.session.clock
        if type(current.get(None)) is WorkContext:
            return Moment(self.tick, self._elapsed_ns() + clock.origin_ns(self.tick), self._begun)
        elapsed_ns = clock.sent_ns(run.line.now_ns, run.line.tick) + run.now() - run.began_ns
        return Moment(self.tick, elapsed_ns + clock.origin_ns(self.tick), self._begun)

    def turn_of(self, work: Work, turn: Turn) -> Turn:
        """A task of a live node goes on when the recorded one did."""
        return self._task_moments[work.run.name].turn(work, turn, self._elapsed_ns)

    def _elapsed_ns(self) -> int:
        """How long it is since the first scheduler tick, in the session's own time."""
        if not self.ticks:
            return 0  # before the first tick nothing takes time
        return self.stamp_ns() - self._replay.session.clock.origin_ns(self.tick)

    # Failing

    def _failed(self, run: NodeRun, kind: str, error: BaseException) -> None:
        """A task or thread of a node has raised: did the recorded one?"""
        if isinstance(error, Exception) and self._was_logged(run.name, kind, describe(error)):
            return
        self._goes_wrong(run, kind, error)

    def _was_logged(self, node: str, kind: str, what: str) -> bool:
        # What failed in a thread was said to have failed in background, once.
        said = tuple(f"node {node!r} failed in {where}: {what.partition(':')[0]}" for where in {kind, BACKGROUND})
        return any(line.message.startswith(said) for line in self._replay.session.log.select(node=node))

    def _goes_wrong(self, run: NodeRun, kind: str, error: BaseException) -> None:
        if isinstance(error, Exception) and not isinstance(run.failure.policy, Fatal):
            text = f"node {run.name} failed in {kind}, as the recorded one did not: {describe(error)}"
            self._failed_here.append(text)
            return
        self.failures.append((run, error))
        self.abort(f"fatal: {run.name}: {describe(error)}")

    def _failed_or_recovered(
        self, run: NodeRun, kind: str, error: BaseException | None, failure: BaseException | None
    ) -> None:
        """What follows a failure is in the recording, where the recorded node failed too."""
        del error
        if failure is None:
            return
        assert isinstance(run, VerifiedRun)
        recorded = "" if run.line is None else run.line.error or ""
        if isinstance(failure, Exception) and recorded.partition(":")[0] == describe(failure).partition(":")[0]:
            return
        self._goes_wrong(run, kind, failure)


def unknown_class(name: str, topic: str) -> str:
    """A sentence about messages whose class the program lacks, or has and does not let in."""
    if is_imported(name):
        return (
            f"messages on {topic} are of {name}, a class of a library, and so came as dicts: call "
            f"register_messages({name.rpartition('.')[0]}) in the program"
        )
    return (
        f"messages on {topic} are of a class {name!r} that the program does not have and so came as dicts: "
        f"import the module it was in, or where it was moved, keep its name there ({name.rpartition('.')[2]} = ...)"
    )
