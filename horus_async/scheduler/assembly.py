"""Putting a run together and taking it apart: engine, topics, guard, watchdog, recorder, black box, replay."""

from __future__ import annotations

import logging
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from horus_async.clock.random import system_seed
from horus_async.clock.system import NANOSECONDS, monotonic_ns
from horus_async.clock.wall import wall_shift_ns
from horus_async.determinism.reaction import Guard
from horus_async.engine.ports import check_free
from horus_async.engine.rules.schedule import RateTimeline
from horus_async.engine.runtime import Runtime
from horus_async.engine.watchdog import Watchdog
from horus_async.limits.open_files import hold_reserve
from horus_async.nodes.node import declared, offers_of
from horus_async.observe import RunInfo
from horus_async.topics import Bus

from .options import Gc
from .run_log import logs_heard
from .signals import end_held_up
from .unawaited import noticed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from horus_async.blackbox import BlackBox
    from horus_async.determinism.guard import RunGuard
    from horus_async.nodes.node import Node
    from horus_async.observe import Observer
    from horus_async.realtime.options import Realtime
    from horus_async.recorder import Recorder
    from horus_async.replay.options import PlayedFile, ReplayOptions

    from .options import SchedulerOptions


_log = logging.getLogger("horus_async")


class Assembly:
    """Everything that takes part in one run."""

    def __init__(self, runtime: Runtime, recorder: Recorder | None, guard: RunGuard | None) -> None:
        self.runtime = runtime
        self.recorder = recorder
        self.guard = guard
        self.watchdog: Watchdog | None = None
        self.put_back: Callable[[], object] = lambda: None
        """Undoes what was set for this run alone: parameters."""
        self._meanwhile = ExitStack()

    def begin(self, watchdog: float | None, realtime: Realtime | None, policy: Gc) -> None:
        """Set the guard's traps and let the watchdog loose, in the thread of the event loop."""
        # Also where nobody ends this: who runs tick by tick may forget it.
        self._meanwhile.callback(weakref.finalize(self, hold_reserve()))
        self._meanwhile.enter_context(noticed(self.runtime))
        self._meanwhile.enter_context(logs_heard(self.runtime))
        if self.guard is not None:
            self.guard.begin()
        if realtime is not None:
            self._begin_in_real_time(realtime)
        self._say_when_to_collect(policy, realtime)
        self.watchdog = Watchdog(self.runtime, watchdog, end_held_up)
        self.watchdog.start()

    def _begin_in_real_time(self, realtime: Realtime) -> None:
        from horus_async.realtime.loop import RealtimeLoop

        loop = RealtimeLoop(realtime)
        self._meanwhile.callback(loop.end)
        loop.expect()
        self.runtime.when_ready.append(loop.begin)
        if realtime.cpu is not None:
            self.runtime.at_step.append(loop.at_step)

    def _say_when_to_collect(self, policy: Gc, realtime: Realtime | None) -> None:
        if policy is Gc.AUTO and realtime is None:
            return
        from horus_async.realtime.collector import Collector

        self.runtime.collector = Collector(collects=policy is not Gc.OFF)
        self._meanwhile.callback(self.runtime.collector.end)
        self.runtime.when_ready.insert(0, self.runtime.collector.begin)  # first, as it takes its time

    def ends(self) -> Iterator[Callable[[], object]]:
        """What takes away what a run leaves, threads, traps, topics and open files: to be called in this order."""
        yield self._meanwhile.close
        if self.watchdog is not None:
            yield self.watchdog.stop
        if self.guard is not None:
            yield self.guard.end
        yield self.runtime.close
        if self.recorder is not None:
            yield self.recorder.stop
        yield self.put_back


def assemble(
    options: SchedulerOptions,
    nodes: Sequence[Node],
    duration: float | None,
    *,
    replay: ReplayOptions | None,
    played: Sequence[PlayedFile],
    blackbox: BlackBox | None,
    observers: Sequence[Observer],
) -> Assembly:
    """Everything for a run, ready to start.

    Raises:
        ReplayError: The replay options cannot be met.
        ContextError: A node takes part in another run.
        ParamError: A parameter is to be set that there is not, or that cannot have such a value.
    """
    taken = {file.node for file in played if file.wins}
    nodes = [node for node in nodes if node.name not in taken]
    for node in nodes:
        check_free(node)
    if replay is not None:
        replay.check()
    with ExitStack() as on_failure:
        on_failure.callback(_set_params(options, nodes, replay))
        recorder = _make_recorder(options)
        guard = _make_guard(options)
        shift_ns = wall_shift_ns()
        info = _run_info(options, nodes, monotonic_ns() + shift_ns)
        audience = [*_box_observer(blackbox), *([] if recorder is None else [recorder]), *observers]
        bus = Bus(options.namespace, isolated=options.deterministic or replay is not None)
        if replay is not None:
            from horus_async.replay.runtime import replay_runtime

            runtime: Runtime = replay_runtime(
                info, bus, nodes, duration=duration, replay=replay, observers=audience, guard=guard
            )
        else:
            timeline = RateTimeline(options.tick_rate, start_ns=info.start_ns, duration=duration)
            runtime = Runtime(info, bus, timeline, audience, guard)
            _add_all(runtime, options, nodes, played, shift_ns, ends_run=duration is None)
        if blackbox is not None:
            blackbox.tick_now = lambda: runtime.tick
        assembly = Assembly(runtime, recorder, guard)
        assembly.put_back = on_failure.pop_all().close
        return assembly


def _add_all(
    runtime: Runtime,
    options: SchedulerOptions,
    nodes: Sequence[Node],
    played: Sequence[PlayedFile],
    shift_ns: int,
    *,
    ends_run: bool,
) -> None:
    """What takes part in a run that is no replay."""
    runtime.max_deadline_misses = options.max_deadline_misses
    if not options.deterministic:
        runtime.time_of_day.follow_wall(shift_ns)
    runtime.grace_ns = round(options.grace * NANOSECONDS)
    with runtime.closed_on_failure():
        if played:
            from horus_async.replay.runtime import add_played

            add_played(runtime, played, nodes, ends_run=ends_run)
        for node in nodes:
            runtime.keep(node)
        for node in nodes:
            runtime.add(node)
        if not options.deterministic:
            from horus_async.remote.control import Control  # late: nobody asks anything of other runs

            Control(runtime)


def _set_params(options: SchedulerOptions, nodes: Sequence[Node], replay: ReplayOptions | None) -> Callable[[], None]:
    """Set parameters: as recorded, for nodes that take a recorded one's place, and as asked for."""
    if not options.params and all(offers_of(node) is None for node in nodes):
        return lambda: None
    from horus_async.nodes.interface.settings import recorded_for, set_for_run  # late, as most runs do without

    recorded: dict[str, Any] = {}
    if replay is not None:
        recorded, notes = recorded_for(nodes, replay.session.nodes)
        for note in notes:
            _log.warning("%s", note)
    return set_for_run(nodes, {**recorded, **options.params})


def _run_info(options: SchedulerOptions, nodes: Sequence[Node], started_ns: int) -> RunInfo:
    return RunInfo(
        name=options.name,
        tick_rate=options.tick_rate,
        deterministic=options.deterministic,
        seed=options.seed if options.deterministic else system_seed(),
        started_at_ns=started_ns,
        start_ns=0 if options.deterministic else started_ns,
        namespace=options.namespace,
        nodes=tuple(declared(node) for node in nodes),
    )


def _make_guard(options: SchedulerOptions) -> RunGuard | None:
    if not options.deterministic or options.guard is Guard.OFF:
        return None
    from horus_async.determinism.guard import RunGuard

    return RunGuard(options.guard)


def _make_recorder(options: SchedulerOptions) -> Recorder | None:
    asked = options.recording
    if asked is False:
        return None
    from horus_async.recorder import Recorder, RecordingOptions

    if asked is True:
        asked = RecordingOptions()
    elif isinstance(asked, str):
        asked = RecordingOptions(name=asked)
    if asked.around is not None:
        from horus_async.recorder.around.keeper import AroundRecorder

        return AroundRecorder(asked, options.recordings_dir, block=options.deterministic)
    return Recorder(asked, options.recordings_dir, block=options.deterministic)


def _box_observer(blackbox: BlackBox | None) -> list[Observer]:
    """The black box comes before the recorder, so that it can say why a recording cannot begin."""
    if blackbox is None:
        return []
    from horus_async.blackbox.watch import BlackBoxObserver

    return [BlackBoxObserver(blackbox)]
