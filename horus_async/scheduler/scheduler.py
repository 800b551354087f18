"""The public front: nodes in, a run out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Never, Self

import attrs

from horus_async.determinism.reaction import Guard
from horus_async.engine.rules.schedule import is_faster
from horus_async.errors import ConfigurationError, ContextError, ReplayError
from horus_async.nodes.node import Node
from horus_async.spelling import did_you_mean

from .in_force import given_overrides
from .options import Gc, SchedulerOptions
from .running import Running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from horus_async.determinism.findings import GuardFinding
    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.runtime import Runtime
    from horus_async.observe import Observer
    from horus_async.realtime.options import Realtime
    from horus_async.recorder import RecordingOptions, Session
    from horus_async.replay.verify.comparison import VerifyReport

    from .stats import SchedulerStats


class Scheduler(Running):
    """Runs nodes: in real time, or deterministically in virtual time.

    Args:
        tick_rate: Hz; no node can be faster.
        deterministic: Virtual time, one node at a time, as fast as the machine allows: the same program and seed give
            the same messages, byte for byte.
        seed: Where the random numbers of a deterministic run come from. In real time they come from the operating
            system, and the seed used is recorded.
        guard: What a deterministic run does when a node calls something that is different in each run, such as
            ``time.time()``: log the line once (and keep it in `guard_findings`), raise, or nothing.
        recording: True, a session name, or `RecordingOptions`.
        recordings_dir: Where sessions are kept; by default ``HORUS_RECORDINGS_DIR``, else the user's data directory.
        blackbox_mb: Size of the black box, MB of 2**20 bytes; 0 for none.
        blackbox_dir: Where it lies; by default ``HORUS_BLACKBOX_DIR``, else the user's state directory.
        watchdog: Seconds after which a running tick is reported; at three times that the run is stopped. In a
            deterministic run it only reports.
        max_deadline_misses: So many of one node in a row are an emergency stop.
        grace: Seconds that a run which ends waits for callbacks and threads that do not; then they are named and left
            behind.
        realtime: True or a `Realtime`: the event loop's thread comes before all others of the machine, and memory is
            locked. For `run` and `run_sync`; refused before a node starts where it is not permitted.
        gc: When Python's garbage collector runs: a `Gc`, or its value (``"between ticks"``).
        params: Values of nodes' parameters by ``node.parameter``, ``{"arm.gain": 0.5}``: they have these as a run
            begins, and what they had before when it is over.
        namespace: Topics are seen within it; by default ``HORUS_NAMESPACE``, else ``default``.
        name: Names the run in recordings and black boxes.

    Raises:
        ConfigurationError: An option cannot work as given.
    """

    def __init__(
        self,
        *,
        tick_rate: float = 100.0,
        deterministic: bool = False,
        seed: int = 0,
        guard: Guard = Guard.WARN,
        recording: bool | str | RecordingOptions = False,
        recordings_dir: str | Path | None = None,
        blackbox_mb: int = 0,
        blackbox_dir: str | Path | None = None,
        watchdog: float | None = None,
        max_deadline_misses: int | None = None,
        grace: float = 2.0,
        realtime: bool | Realtime | None = None,
        gc: Gc | str = Gc.AUTO,
        params: Mapping[str, Any] | None = None,
        namespace: str | None = None,
        name: str = "scheduler",
        **unknown: Never,
    ) -> None:
        for option in unknown:
            meant = did_you_mean(option, attrs.fields_dict(SchedulerOptions).keys() - {"blackbox_wanted"})
            raise ConfigurationError(f"Scheduler() has no option {option!r}{meant}")
        options = SchedulerOptions(
            tick_rate=tick_rate,
            deterministic=deterministic,
            seed=seed,
            guard=guard,
            recording=recording,
            recordings_dir=recordings_dir,
            blackbox_mb=blackbox_mb,
            blackbox_dir=blackbox_dir,
            watchdog=watchdog,
            max_deadline_misses=max_deadline_misses,
            grace=grace,
            realtime=realtime,
            gc=gc,
            params=params,
            namespace=namespace or os.environ.get("HORUS_NAMESPACE") or "default",
            name=name,
        )
        super().__init__(options)
        overrides = given_overrides()
        if overrides is not None:
            overrides.on_made(self)

    # Setting up

    def add(self, node: Node) -> Self:
        """Add a node.

        Raises:
            ConfigurationError: It is no node, its name is taken, or its rate is above the scheduler's.
            ContextError: The scheduler is running.
        """
        if self._running or self._stepping:
            raise ContextError(
                f"the scheduler is running: {node!r} would not take part; add nodes before run(), or before the first "
                "tick_once()"
            )
        if not isinstance(node, Node):
            raise ConfigurationError(f"add() takes a Node, not {node!r} ({type(node).__name__})")
        if not hasattr(node, "_functions"):
            raise ConfigurationError(f"{type(node).__name__} was not set up: its __init__ must call super().__init__()")
        if node.name in self._nodes:
            raise ConfigurationError(f"there is a node {node.name!r} already: names are unique in a scheduler")
        if node.rate is not None and is_faster(node.rate, self._options.tick_rate):
            raise ConfigurationError(
                f"node {node.name!r} has rate={node.rate} Hz, above the scheduler's tick_rate="
                f"{self._options.tick_rate} Hz: raise tick_rate or lower the rate"
            )
        self._nodes[node.name] = node
        return self

    def observe(self, observer: Observer) -> Self:
        """Tell one more `horus_async.observe.Observer` of its runs."""
        self._observers.append(observer)
        return self

    @property
    def name(self) -> str:
        """The name of the run in recordings and black boxes."""
        return self._options.name

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes, as they were added."""
        return tuple(self._nodes.values())

    # Replay

    @classmethod
    def replay_from(cls, session: str | Path | Session, namespace: str | None = None) -> Self:
        """A scheduler that replays a session: all its nodes, on its clock, to its end.

        Add live nodes to it: one that has a recorded node's name, or declares a topic that a recorded node sent on,
        takes its place.

        Args:
            session: A session's name or folder, or its scheduler file, or one that is open.
            namespace: Where the messages are published; by default as for any scheduler.

        Raises:
            SessionNotFoundError, DamagedRecordingError, UnsupportedVersionError: It cannot be read.
        """
        from horus_async.recorder import open_session
        from horus_async.replay.options import ReplayOptions

        opened = open_session(session)
        scheduler = cls(
            tick_rate=opened.tick_rate, deterministic=opened.deterministic, seed=opened.seed, namespace=namespace
        )
        scheduler._replay = ReplayOptions(session=opened)
        return scheduler

    @staticmethod
    async def verify(
        session: str | Path,
        scheduler: Scheduler | Callable[[], Scheduler] | Callable[[list[str]], Scheduler],
        nodes: Iterable[str] | None = None,
        *,
        tolerance: float = 0.0,
    ) -> VerifyReport:
        """Give live nodes the recorded inputs and clock, and compare what they send with what was recorded.

        Each live node gets what the recorded one of its name got, so a difference in one does not spread to the others.
        A recorded node that is not live is a difference, unless ``nodes`` leaves it out.

        Args:
            session: A session's name, folder or scheduler file.
            scheduler: Has the live nodes; or a function that makes it: ``build(args)`` (it gets an empty list), or one
                without parameters.
            nodes: Only these; by default all that were recorded.
            tolerance: Numbers this far apart, absolute, count as equal; 0 for bit by bit.

        Raises:
            ReplayError: A name in ``nodes`` is not in both of them, or a recorded node's file cannot be read.
            NodeFailure: A live node failed, and the recorded one did not.
        """
        from horus_async.replay.program import made_by
        from horus_async.replay.verify.run import verify

        live = scheduler if isinstance(scheduler, Scheduler) else made_by(scheduler)
        if not isinstance(live, Scheduler):
            raise ConfigurationError(f"verify() takes a Scheduler or a function that makes one, not {live!r:.60}")
        chosen = (nodes,) if isinstance(nodes, str) else None if nodes is None else tuple(nodes)
        try:
            return await verify(session, live.nodes, chosen, tolerance=tolerance)
        except SystemExit as error:  # else the program would end here, and with sys.exit(0) as if all were well
            raise ReplayError(
                f"a live node ended the program with sys.exit({error.code!r}), so there is no result; a node ends its "
                "run with request_stop()"
            ) from error

    # While it runs

    def pause(self, node: str) -> bool:
        """Have a node enter its safe state and tick no more until `resume`; False if it was paused. From any thread.

        Its tasks and threads go on, and it still answers requests.

        Raises:
            ConfigurationError: There is no such node.
            ContextError: The scheduler does not run.
        """
        runtime, run = self._running_node("pause", node)
        return runtime.pause(run)

    def resume(self, node: str) -> bool:
        """Let a paused node tick again; False if it was not paused. From any thread; raises as `pause`."""
        runtime, run = self._running_node("resume", node)
        return runtime.resume(run)

    def _running_node(self, what: str, node: str) -> tuple[Runtime, NodeRun]:
        runtime = self._runtime
        if runtime is None or not (self._running or self._stepping):
            raise ContextError(f"{what}({node!r}) is for a scheduler that runs, and this one does not")
        if node not in runtime.runs:
            raise ConfigurationError(f"{what}({node!r}): no such node{did_you_mean(node, runtime.runs)}")
        return runtime, runtime.runs[node]

    # Looking at it

    def stats(self) -> SchedulerStats:
        """Figures of the run, also while it goes on."""
        from .stats import SchedulerStats

        runtime = self._runtime
        return SchedulerStats(
            tick=-1 if runtime is None or not runtime.ticks else runtime.tick,
            nodes={} if runtime is None else {name: run.stats() for name, run in runtime.runs.items()},
            recording=None if self._recorder is None else self._recorder.stats(),
            gc=None if runtime is None or runtime.collector is None else runtime.collector.stats(),
        )

    @property
    def guard_findings(self) -> tuple[GuardFinding, ...]:
        """The lines that break determinism, as far as this run or the last one met them; in the order of finding."""
        guard = None if self._parts is None else self._parts.guard
        return () if guard is None else guard.findings

    # Recordings

    def stop_recording(self) -> list[str]:
        """End the recording and return its files: the scheduler's first, then the nodes'.

        Before or after the run has ended, as often as you like. An empty list when nothing was recorded.
        """
        return [] if self._recorder is None else [str(path) for path in self._recorder.stop()]

    def trigger(self, reason: str = "") -> None:
        """Have a session made of what is around now, if the run is recorded with ``around``; else this does nothing.

        From any thread, callback and signal handler.
        """
        if self._recorder is not None and (self._running or self._stepping):
            self._recorder.trigger(reason)

    @staticmethod
    def list_recordings(recordings_dir: str | Path | None = None) -> list[str]:
        """The names of all sessions, oldest first."""
        from horus_async.recorder import list_sessions

        return [session.name for session in list_sessions(recordings_dir)]

    @staticmethod
    def delete_recording(name: str, recordings_dir: str | Path | None = None) -> bool:
        """Delete a session; False when there is none of that name."""
        from horus_async.recorder import delete_session

        return delete_session(name, recordings_dir)


def run(*nodes: Node, duration: float | None = None, **scheduler_options: Any) -> None:
    """Run nodes under a `Scheduler` made with ``scheduler_options``."""
    scheduler = Scheduler(**scheduler_options)
    for node in nodes:
        scheduler.add(node)
    scheduler.run_sync(duration)
