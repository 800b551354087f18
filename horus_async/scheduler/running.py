"""How a scheduler runs: the part of `Scheduler` that takes a run from its set-up to its end."""

from __future__ import annotations

import functools
import logging
import math
import os
import sys
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import trio
from attrs import evolve

from horus_async.engine.pace.choice import in_real_time, in_virtual_time
from horus_async.engine.pace.loop import run_loop
from horus_async.errors import BlackBoxError, ConfigurationError, ContextError, EmergencyStop, NodeFailure, TopicError
from horus_async.limits.memory import named
from horus_async.limits.open_files import expect_files, limit_and_way_out
from horus_async.undo import undo

from .in_force import given_overrides
from .options import SchedulerOptions, checked_duration
from .playback import Playback
from .signals import prepare, stopped_by_signals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import TracebackType

    from horus_async.blackbox import BlackBox
    from horus_async.engine.pace.nested import NestedRun
    from horus_async.engine.pace.pace import Pace
    from horus_async.engine.runtime import Runtime
    from horus_async.nodes.node import Node
    from horus_async.observe import Observer
    from horus_async.realtime.options import Realtime
    from horus_async.recorder import Recorder

    from .assembly import Assembly
    from .run_box import RunBox
    from .topic_use import TopicUse


_log = logging.getLogger("horus_async")

_FILES_OF_A_RUN = 8
"""Besides those of its topics and nodes."""


class Running(Playback):
    """Runs nodes: to the end, or tick by tick."""

    def __init__(self, options: SchedulerOptions) -> None:
        super().__init__()
        self._options = options
        self._nodes: dict[str, Node] = {}
        self._observers: list[Observer] = []
        self._duration: float | None = None
        """What a command line says in place of the duration that `run` is given."""
        self._parts: Assembly | None = None
        """What takes part in the run that goes on, or took part in the last one."""
        self._blackbox: RunBox | None = None
        self._recording = options.recording
        """What the program said of it; see `_obey`."""
        self._running = False
        self._stepping = False
        self._nested: NestedRun | None = None
        """Where the ticks that are run one by one go on, since one of them has suspended."""
        self._left_open: weakref.finalize[..., Running] | None = None
        """Says so if nobody ends what was run tick by tick."""
        self._stop_asked = ""
        expect_files()
        prepare()

    @property
    def blackbox(self) -> RunBox | None:
        """The black box: while it runs, and what it held afterwards. None without ``blackbox_mb``.

        Before the run it is opened by the first event that is recorded.
        """
        if self._blackbox is None and self._options.blackbox_mb:
            from .run_box import RunBox

            options = self._options
            self._blackbox = RunBox(
                options.blackbox_dir, name=options.name, size_mb=options.blackbox_mb, wanted=options.blackbox_wanted
            )
        return self._blackbox

    async def run(self, duration: float | None = None) -> None:
        """Run until ``duration`` seconds are over, or until it is stopped.

        Under trio in every mode, under anyio and asyncio too. In deterministic mode time is virtual whatever the
        clock outside.

        Raises:
            NodeFailure: A node failed for good. Every ``shutdown`` has run.
            SessionExistsError, RecordingError: The recording cannot begin.
            ContextError: It runs already.
        """
        self._obey()
        with self._only_once(), named():
            async with stopped_by_signals(self.stop, self._hurry, self._options.grace):
                await self._in_its_time(functools.partial(self._whole_run, duration))

    def run_sync(self, duration: float | None = None) -> None:
        """As `run`, from a program without an event loop.

        Raises:
            ContextError: Called inside a trio run; and whatever `run` raises.
        """
        self._check_loop()
        self._obey()
        try:
            with named():
                self._expect_files()  # an event loop takes some, too
                run_loop(self.run, duration, virtual=self._virtual)
        except NodeFailure as failure:
            failure.__traceback__ = None  # what is between here and the node is no news to anybody
            raise

    async def tick_once(self) -> None:
        """Run one scheduler tick; the first one runs every ``init`` before.

        In virtual time (deterministic, or a replay) this is a tick of `run`: the clock moves to its end, and ticks that
        are suspended there go on with the next one. In real time a step does not wait for the time between ticks, and
        is over when all that it began is.

        Call `aclose` (or use ``async with scheduler``) after the last, for ``shutdown`` and the recording's end.

        Raises:
            NodeFailure: A node failed for good.
            EmergencyStop: The run was no longer safe. Every safe state was entered, every ``shutdown`` has run.
        """
        if self._running:
            raise ContextError("the scheduler is running: tick_once() is for one that is not")
        self._obey()
        try:
            if not self._virtual:
                await self._in_its_time(self._one_tick)
            elif self._nested is not None or not self._step_at_once():
                await self._step_there()
        except EmergencyStop:
            await self.aclose()  # at once: the nodes have to become safe
            raise

    def _step_at_once(self) -> bool:
        """Run a tick as far as nothing has to wait, without an event loop; whether that was all of it."""
        from horus_async.engine.pace.virtual import StillPace

        pace = StillPace(self._elapsed_ns())
        runtime = self._first_step(pace)
        runtime.attach(pace)
        return runtime.step()

    async def _step_there(self) -> None:
        """Run a tick in an event loop of the run's own: a suspended one is at home there from step to step."""
        from horus_async.engine.pace.nested import NestedRun

        if self._nested is None:
            self._nested = NestedRun(
                functools.partial(self._in_its_time, self._in_steps), on_cancel=lambda: self.stop("cancelled")
            )
        await self._go_on(self._nested)
        if self._runtime is not None:
            self._runtime.raise_failures()

    async def _go_on(self, nested: NestedRun, *, to_the_end: bool = False) -> None:
        try:
            await nested.go_on(to_the_end=to_the_end)
        finally:
            if nested.ended:
                self._nested = None

    async def aclose(self) -> None:
        """End what `tick_once` began: every ``shutdown`` runs, recordings are closed.

        Also where it is cancelled already, or is meanwhile: that is raised after it.
        """
        if self._nested is not None:
            await self._go_on(self._nested, to_the_end=True)
        elif self._stepping:
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

    def _hurry(self) -> None:
        if self._runtime is not None:
            self._runtime.hurry()

    def emergency_stop(self, reason: str) -> None:
        """Every node's ``enter_safe_state``, then every ``shutdown``; `run` raises `EmergencyStop`. From any thread.

        Raises:
            ContextError: It does not run.
        """
        if self._runtime is None or not (self._running or self._stepping):
            raise ContextError("emergency_stop() is for a scheduler that runs, and this one does not")
        self._runtime.emergency_stop(reason)

    def topics(self) -> dict[str, TopicUse]:
        """Who sends on each topic and who reads it, in the run that goes on or in the last one."""
        from .topic_use import uses

        return {} if self._runtime is None else uses(self._runtime.topics)

    # Inside

    def _check_loop(self) -> None:
        if trio.lowlevel.in_trio_run():
            raise ContextError(
                "run_sync() was called inside a trio run: write 'await scheduler.run(...)' there (with the kit, 'await "
                "run_nodes_async(...)')"
            )
        if not self._virtual and _in_asyncio():
            _log.warning(
                "run_sync() holds up the asyncio loop that it was called in until the run has ended: write 'await "
                "scheduler.run(...)' there"
            )

    def _obey(self) -> None:
        """Take on what the command line says, if this is the scheduler that it says it to."""
        overrides = given_overrides()
        if overrides is None or self._running or self._stepping:
            return
        options = overrides.apply(self, self._options, self._options.name)
        if options is None:
            return
        self._duration = overrides.duration
        if self._parts is not None and overrides.recording is not None:
            options = evolve(options, recording=self._recording)  # the session holds the first run
        if self._blackbox is not None and options.blackbox_mb != self._options.blackbox_mb:
            self._blackbox.close()
            self._blackbox = None
        self._options = options

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
        if not self._virtual:
            so_far = self._runtime.pace if self._stepping and self._runtime is not None else None
            await in_real_time(work, after=so_far)
            return
        offset_ns = self._elapsed_ns()
        speed = math.inf if self._replay is None else self._replay.speed
        await in_virtual_time(work, speed=speed, offset_ns=offset_ns, on_cancel=lambda: self.stop("cancelled"))

    async def _whole_run(self, duration: float | None, pace: Pace) -> None:
        if self._options.realtime is not None:
            self._check_real_time(self._options.realtime)
        parts = self._set_up(duration if self._duration is None else self._duration)
        try:
            await parts.runtime.run(pace)
        finally:
            self._take_apart(parts)

    def _first_step(self, pace: Pace) -> Runtime:
        """The runtime of the ticks that are run one by one."""
        if not self._stepping:
            if self._options.realtime is not None:
                _log.warning(
                    "realtime=%s has no effect on tick_once(), whose ticks come when they are called for: it is for "
                    "run()",
                    self._options.realtime,
                )
            parts = self._set_up(None)
            self._stepping = True
            self._left_open = weakref.finalize(self, _say_left_open, self._options.name, os.getpid())
            parts.runtime.start(pace)
        assert self._runtime is not None
        return self._runtime

    async def _one_tick(self, pace: Pace) -> None:
        await self._first_step(pace).one_tick(pace)

    async def _in_steps(self, pace: Pace) -> None:
        assert self._runtime is not None
        assert self._nested is not None
        with self._last_steps():
            await self._runtime.run_in_steps(pace, self._nested.stand_still)

    async def _last_step(self, pace: Pace) -> None:
        from horus_async.engine.ending import to_the_end

        assert self._runtime is not None
        self._runtime.attach(pace)
        with self._last_steps():
            await to_the_end(self._runtime.shut_down)

    @contextmanager
    def _last_steps(self) -> Iterator[None]:
        assert self._parts is not None
        try:
            yield
        finally:
            if self._left_open is not None:
                self._left_open.detach()
            self._stepping = False
            self._stop_asked = ""
            self._take_apart(self._parts)

    def _check_real_time(self, wanted: Realtime) -> None:
        from horus_async.realtime.permission import check_permitted

        if self._virtual:
            raise ConfigurationError(f"realtime={wanted}: a replay has no use for it, as its time is virtual")
        check_permitted(wanted)

    def _set_up(self, duration: float | None) -> Assembly:
        from .assembly import assemble

        if self._parts is not None:
            self._blackbox = None  # a run has a box of its own
        self._expect_files()
        try:
            self._parts = assemble(
                self._options,
                tuple(self._nodes.values()),
                checked_duration(duration),
                replay=self._replay,
                played=self._played,
                blackbox=self._open_box(),
                observers=self._observers,
            )
        except BaseException:
            if self._blackbox is not None:
                self._blackbox.close()
                self._blackbox = None
            raise
        if self._stop_asked:
            self._parts.runtime.stop(self._stop_asked)  # it came while the run was being put together
        try:
            realtime = self._options.realtime if self._running else None  # not for ticks one by one
            self._parts.begin(self._options.watchdog, realtime, self._options.gc)
        except BaseException:
            self._take_apart(self._parts)
            raise
        return self._parts

    def _expect_files(self) -> None:
        """Raise the limit of open files to what the run needs.

        Raises:
            TopicError: It is too low, and cannot be raised.
        """
        topics = len({topic for node in self._nodes.values() for topic in node.pubs})
        files = topics + (len(self._nodes) if self._options.recording is not False else 0) + _FILES_OF_A_RUN
        if expect_files(files):
            what = f"{topics} topics" if topics else "its event loop"
            raise TopicError(
                f"too many open files: this run needs {files} more for {what}"
                f"{' and the recording of each node' if files > topics + _FILES_OF_A_RUN else ''}, and "
                f"{limit_and_way_out()}, or use fewer"
            )

    def _open_box(self) -> BlackBox | None:
        box = self.blackbox
        try:
            return None if box is None else box.open()
        except BlackBoxError as error:
            if self._options.blackbox_wanted or not error.no_place:
                raise
            _log.warning("running without a black box: %s", error)
            self._blackbox = None
            self._options = evolve(self._options, blackbox_mb=0)
            return None

    def _take_apart(self, parts: Assembly) -> None:
        box = self._blackbox
        failure = sys.exception()
        try:
            undo((*parts.ends(), *(() if box is None else (box.close,))))
        except BaseException as error:
            if failure is None:
                raise
            # what ended the run is what its caller has to hear of
            _log.error("a part of the run could not be taken apart", exc_info=error)
        if self._options.deterministic and self._replay is None:
            from .topic_use import warn_of_unsent

            warn_of_unsent(parts.runtime.topics, parts.runtime.unordered)


def _say_left_open(name: str, process: int) -> None:
    if os.getpid() == process:
        _log.error(
            "scheduler %r was run tick by tick and never ended, so that no shutdown ran, and a recording counts as "
            "interrupted: await its aclose(), or write 'async with scheduler:'",
            name,
        )


def _in_asyncio() -> bool:
    asyncio = sys.modules.get("asyncio")  # not imported for the question
    try:
        return asyncio is not None and asyncio.get_running_loop() is not None
    except RuntimeError:
        return False
