"""The public front: nodes in, a run out."""

from __future__ import annotations

import functools
import math
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from horus_async.determinism.findings import Guard
from horus_async.engine.pace.choice import in_real_time, in_virtual_time
from horus_async.engine.pace.loop import run_loop
from horus_async.engine.schedule import exact
from horus_async.errors import ConfigurationError, ContextError, EmergencyStop, ReplayError
from horus_async.nodes.node import Node

from .options import SchedulerOptions, checked_duration, given_overrides
from .signals import stopped_by_signals
from .stats import SchedulerStats

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from horus_async.blackbox import BlackBox
    from horus_async.determinism.findings import GuardFinding
    from horus_async.engine.pace.pace import Pace
    from horus_async.engine.runtime import Runtime
    from horus_async.observe import Observer
    from horus_async.recorder import Recorder, RecordingOptions, Session
    from horus_async.replay.comparison import VerifyReport
    from horus_async.replay.options import PlayedFile, ReplayOptions

    from .assembly import Assembly


class Scheduler:
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
        namespace: str | None = None,
        name: str = "scheduler",
    ) -> None:
        self._options = SchedulerOptions(
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
            namespace=namespace or os.environ.get("HORUS_NAMESPACE") or "default",
            name=name,
        )
        self._duration: float | None = None
        overrides = given_overrides()
        if overrides is not None:
            self._options = overrides.apply(self._options)
            self._duration = overrides.duration
            overrides.on_made(self)
        self._nodes: dict[str, Node] = {}
        self._replay: ReplayOptions | None = None
        self._played: list[PlayedFile] = []
        self._parts: Assembly | None = None
        """What takes part in the run that goes on, or took part in the last one."""
        self._blackbox: BlackBox | None = None
        self._observers: list[Observer] = []
        self._running = False
        self._stepping = False
        self._stop_asked = ""

    # Setting up

    def add(self, node: Node) -> Self:
        """Add a node.

        Raises:
            ConfigurationError: It is no node, its name is taken, or its rate is above the scheduler's.
        """
        if not isinstance(node, Node):
            raise ConfigurationError(f"add() takes a Node, not {node!r} ({type(node).__name__})")
        if not hasattr(node, "_functions"):
            raise ConfigurationError(f"{type(node).__name__} was not set up: its __init__ must call super().__init__()")
        if node.name in self._nodes:
            raise ConfigurationError(f"there is a node {node.name!r} already: names are unique in a scheduler")
        if node.rate is not None and exact(node.rate) > exact(self._options.tick_rate):
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

    def add_replay(self, node_file: str | Path, priority: int = 0) -> Self:
        """Let one recorded node play among the live ones; the run goes on until its duration or a stop.

        A live node that has its name, or declares a topic that it sent on, takes its place.

        Args:
            node_file: Its file in a session.
            priority: Its ``order``.

        Raises:
            SessionNotFoundError, DamagedRecordingError, UnsupportedVersionError: It cannot be read.
            ConfigurationError: A recorded node of that name was added already.
            ReplayError: This scheduler replays a whole session.
        """
        from horus_async.replay.options import PlayedFile

        if self._replay is not None:
            raise ReplayError("add_replay() is for a scheduler of live nodes; this one replays a whole session")
        self._play(PlayedFile.open(node_file, priority))
        return self

    def inject(self, session: str | Path | Session, *nodes: str) -> Self:
        """Let recorded nodes of a session play in the place of this scheduler's nodes of those names.

        Unlike with `add_replay` the recorded node wins, and a run without a duration ends with their last tick. A live
        node of another name that sends on the same topics goes on sending.

        Raises:
            SessionNotFoundError, DamagedRecordingError, UnsupportedVersionError: It cannot be read.
            ConfigurationError: A recorded node of that name was added already.
            ReplayError: No such node was recorded, none is named, or this scheduler replays a whole session.
        """
        from horus_async.replay.options import injected

        if self._replay is not None:
            raise ReplayError("inject() is for a scheduler of live nodes; this one replays a whole session")
        for played in injected(session, nodes):
            self._play(played)
        return self

    def _play(self, played: PlayedFile) -> None:
        if any(played.node == other.node for other in self._played):
            raise ConfigurationError(f"a recorded node {played.node!r} was added already: names are unique")
        self._played.append(played)

    def start_at_tick(self, tick: int) -> Self:
        """Replay from this tick on, inclusive."""
        self._replaying("start_at_tick").set_start(tick)
        return self

    def stop_at_tick(self, tick: int) -> Self:
        """Replay up to this tick, inclusive."""
        self._replaying("stop_at_tick").set_stop(tick)
        return self

    def set_replay_speed(self, speed: float) -> Self:
        """1.0 as recorded (default), 0.01 to 100, or ``math.inf`` for as fast as possible."""
        self._replaying("set_replay_speed").set_speed(speed)
        return self

    def loop(self) -> Self:
        """Repeat the range without end; the clock goes back with it."""
        self._replaying("loop").loop = True
        return self

    def only(self, *nodes: str) -> Self:
        """Let only these recorded nodes play."""
        self._replaying("only").set_nodes(nodes)
        return self

    def set_replay_override(self, node: str, topic: str, value: Any) -> Self:
        """Replace what a recorded node sent on a topic: by a value, or by what a function of the `Message` returns.

        Raises:
            ReplayError: It sent nothing there; the message lists what it did send.
        """
        self._replaying("set_replay_override").set_override(node, topic, value)
        return self

    def _replaying(self, method: str) -> ReplayOptions:
        if self._replay is None:
            raise ReplayError(
                f"{method}() is for a replay, and this scheduler replays nothing: make it with Scheduler.replay_from()"
            )
        return self._replay

    @staticmethod
    async def verify(
        session: str | Path,
        scheduler: Scheduler | Callable[[], Scheduler],
        nodes: Iterable[str] | None = None,
    ) -> VerifyReport:
        """Give live nodes the recorded inputs and clock, and compare what they send with what was recorded.

        Every recorded node plays; the live nodes of the same names listen and are listened to, so a difference in one
        does not spread to the others.

        Args:
            session: A session's name, folder or scheduler file.
            scheduler: Has the live nodes; or a function that makes it.
            nodes: Only these; by default all that the session has too.

        Raises:
            ReplayError: A name in ``nodes`` is in neither of them.
            NodeFailure: A live node failed.
        """
        from horus_async.replay.verification import verify

        live = scheduler if isinstance(scheduler, Scheduler) else scheduler()
        return await verify(session, live.nodes, None if nodes is None else tuple(nodes))

    # Running

    async def run(self, duration: float | None = None) -> None:
        """Run until ``duration`` seconds are over, or until it is stopped.

        Under trio in every mode, under anyio and asyncio too. In deterministic mode time is virtual whatever the
        clock outside.

        Raises:
            NodeFailure: A node failed for good. Every ``shutdown`` has run.
            SessionExistsError, RecordingError: The recording cannot begin.
            ContextError: It runs already.
        """
        with self._only_once(), stopped_by_signals(self.stop):
            await self._in_its_time(functools.partial(self._whole_run, duration))

    def run_sync(self, duration: float | None = None) -> None:
        """As `run`, from a program without an event loop."""
        run_loop(self.run, duration, virtual=self._virtual)

    async def tick_once(self) -> None:
        """Run one scheduler tick at once; the first one runs every ``init`` before.

        Call `aclose` (or use ``async with scheduler``) after the last, for ``shutdown`` and the recording's end.

        Raises:
            NodeFailure: A node failed for good.
            EmergencyStop: The run was no longer safe. Every safe state was entered, every ``shutdown`` has run.
        """
        if self._running:
            raise ContextError("the scheduler is running: tick_once() is for one that is not")
        try:
            if not (self._virtual and self._tick_at_once()):
                await self._in_its_time(self._one_tick)
        except EmergencyStop:
            await self.aclose()  # at once: the nodes have to become safe
            raise

    def _tick_at_once(self) -> bool:
        """Run a tick as far as nothing has to wait, without an event loop; whether that was all of it."""
        from horus_async.engine.pace.virtual import StillPace

        pace = StillPace(self._elapsed_ns())
        runtime = self._first_step(pace)
        runtime.attach(pace)
        return runtime.begin_tick()

    async def aclose(self) -> None:
        """End what `tick_once` began: every ``shutdown`` runs, recordings are closed."""
        if self._stepping:
            await self._in_its_time(self._last_step)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def stop(self, reason: str = "stop") -> None:
        """End the run after the current tick; from any thread."""
        self._stop_asked = self._stop_asked or reason
        if self._runtime is not None:
            self._runtime.stop(reason)

    def emergency_stop(self, reason: str) -> None:
        """Every node's ``enter_safe_state``, then every ``shutdown``; `run` raises `EmergencyStop`. From any thread.

        Raises:
            ContextError: It does not run.
        """
        if self._runtime is None or not (self._running or self._stepping):
            raise ContextError("emergency_stop() is for a scheduler that runs, and this one does not")
        self._runtime.emergency_stop(reason)

    # Looking at it

    @property
    def blackbox(self) -> BlackBox | None:
        """The black box: while it runs, and what it held afterwards. None without ``blackbox_mb``.

        Raises:
            BlackBoxError: It cannot be opened.
        """
        if self._blackbox is None and self._options.blackbox_mb:
            from horus_async.blackbox import BlackBox

            self._blackbox = BlackBox.create(
                self._options.blackbox_dir, name=self._options.name, size_mb=self._options.blackbox_mb
            )
        return self._blackbox

    def stats(self) -> SchedulerStats:
        """Figures of the run, also while it goes on."""
        runtime = self._runtime
        return SchedulerStats(
            tick=-1 if runtime is None or not runtime.ticks else runtime.tick,
            nodes={} if runtime is None else {name: run.stats() for name, run in runtime.runs.items()},
            recording=None if self._recorder is None else self._recorder.stats(),
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

    # Inside

    @property
    def _recorder(self) -> Recorder | None:
        return None if self._parts is None else self._parts.recorder

    @property
    def _virtual(self) -> bool:
        return self._options.deterministic or self._replay is not None

    @property
    def _runtime(self) -> Runtime | None:
        """That of the run that goes on, or of the last one."""
        return None if self._parts is None else self._parts.runtime

    @contextmanager
    def _only_once(self) -> Iterator[None]:
        if self._running or self._stepping:
            raise ContextError("this scheduler runs already; end it first (stop(), or aclose() after tick_once())")
        self._running = True
        self._stop_asked = ""
        try:
            yield
        finally:
            self._running = False

    def _elapsed_ns(self) -> int:
        """Where the time of the ticks that are run one by one stands."""
        return self._runtime.elapsed_ns() if self._stepping and self._runtime is not None else 0

    async def _in_its_time(self, work: Callable[[Pace], Awaitable[None]]) -> None:
        """Await ``work(pace)`` where time is as this scheduler needs it."""
        offset_ns = self._elapsed_ns()
        if not self._virtual:
            await in_real_time(work, offset_ns=offset_ns)
            return
        speed = math.inf if self._replay is None else self._replay.speed
        await in_virtual_time(work, speed=speed, offset_ns=offset_ns, on_cancel=lambda: self.stop("cancelled"))

    async def _whole_run(self, duration: float | None, pace: Pace) -> None:
        parts = self._set_up(duration if self._duration is None else self._duration)
        try:
            await parts.runtime.run(pace)
        finally:
            self._take_apart(parts)

    def _first_step(self, pace: Pace) -> Runtime:
        """The runtime of the ticks that are run one by one."""
        if not self._stepping:
            parts = self._set_up(None)
            self._stepping = True
            parts.runtime.start(pace)
        assert self._runtime is not None
        return self._runtime

    async def _one_tick(self, pace: Pace) -> None:
        await self._first_step(pace).finish_tick(pace)

    async def _last_step(self, pace: Pace) -> None:
        assert self._parts is not None
        self._parts.runtime.attach(pace)
        try:
            await self._parts.runtime.shut_down()
        finally:
            self._stepping = False
            self._stop_asked = ""
            self._take_apart(self._parts)

    def _set_up(self, duration: float | None) -> Assembly:
        from .assembly import assemble

        if self._parts is not None:
            self._blackbox = None  # a run has a box of its own
        try:
            self._parts = assemble(
                self._options,
                self.nodes,
                checked_duration(duration),
                replay=self._replay,
                played=self._played,
                blackbox=self.blackbox,
                observers=self._observers,
            )
        except BaseException:
            if self._blackbox is not None:
                self._blackbox.close()
                self._blackbox = None
            raise
        if self._stop_asked:
            self._parts.runtime.stop(self._stop_asked)  # it came while the run was being put together
        self._parts.begin(self._options.watchdog)
        return self._parts

    def _take_apart(self, parts: Assembly) -> None:
        parts.end()
        if self._blackbox is not None:
            self._blackbox.close()


def run(*nodes: Node, duration: float | None = None, **scheduler_options: Any) -> None:
    """Run nodes under a `Scheduler` made with ``scheduler_options``."""
    scheduler = Scheduler(**scheduler_options)
    for node in nodes:
        scheduler.add(node)
    scheduler.run_sync(duration)
