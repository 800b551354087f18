"""One program, from what it waits for to its end for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio
from attrs import define, field

from .files.commands import command_of, environment_of
from .process import Life
from .restarts import Restarts
from .states import State, Status, how_it_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from .files.schema import Program
    from .guard import Guard
    from .states import Reporter
    from .topics import Watch


class Records(Protocol):
    """Where programs are recorded."""

    def begin(self, program: str) -> tuple[Path, str]:
        """The folder and the name of the session for the next process of a program."""

    def ended(self, program: str, code: int | None, why: str) -> None:
        """It has ended: with this code, if it could be started."""

    def log(self, program: str, data: bytes) -> None:
        """It has printed this."""


@define(eq=False)
class Shared:
    """What all programs of a launch have in common."""

    folder: Path
    guard: Guard
    reporter: Reporter
    records: Records | None
    programs: Mapping[str, Supervised]
    watches: Mapping[tuple[str, str], Watch]
    while_not_stopped: Callable[[], AbstractContextManager[trio.CancelScope]]
    """A scope that ends when all are to be stopped."""
    stopping: trio.Event
    kill: trio.Event


@define(eq=False)
class Supervised:
    """One program."""

    name: str
    program: Program
    namespace: str
    notify: str
    """The address of the socket on which it says that it is up."""
    status: Status
    dependents: set[str]
    """The programs that wait for it, or for a topic that it was the one to send: they are stopped before it."""
    up: trio.Event = field(factory=trio.Event)
    """It is, or was, or has ended well."""
    over: trio.Event = field(factory=trio.Event)
    """It has ended for good."""
    pids: set[int] = field(factory=set)
    """Its processes so far."""
    _restarts: Restarts = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._restarts = Restarts(self.program)

    def is_up(self, shared: Shared) -> None:
        """It has said so."""
        self.up.set()
        if self.status.state is State.STARTING:
            self._to(shared, State.UP)

    async def supervise(self, shared: Shared) -> None:
        """Start it when its time has come, start it again as its policy says, and see it end."""
        problem = await self._wait(shared)
        if shared.stopping.is_set():
            self._to(shared, State.STOPPED, "it was not started")
        elif problem:
            self._to(shared, State.FAILED, problem)
        else:
            while await self._once(shared):
                pass
        self.over.set()

    # -- waiting -------------------------------------------------------------------------------------------------------

    async def _wait(self, shared: Shared) -> str:
        """Wait for its time; gives what is wrong if that does not come."""
        problems: list[str] = []
        missing = [*self.program.after, *(f"topic {topic}" for topic in self.program.after_topics)]

        async def one(what: str, wait: Callable[[], object]) -> None:
            with trio.move_on_after(self.program.wait_timeout) as patience:
                problem = await wait()  # type: ignore[misc]
                if problem:
                    problems.append(problem)
                    nursery.cancel_scope.cancel()
            if patience.cancelled_caught:
                problems.append(f"waited {self.program.wait_timeout:g} s for {what} (wait_timeout)")
                nursery.cancel_scope.cancel()
            missing.remove(what)
            if missing and not problems:
                self._to(shared, State.WAITING, f"for {', '.join(missing)}")

        if missing:
            self._to(shared, State.WAITING, f"for {', '.join(missing)}")
        with shared.while_not_stopped():
            async with trio.open_nursery() as nursery:
                for name in self.program.after:
                    nursery.start_soon(one, name, shared.programs[name].wait_until_up)
                for topic in self.program.after_topics:
                    watch = shared.watches[self.namespace, topic]
                    nursery.start_soon(one, f"topic {topic}", lambda watch=watch: self._wait_for(shared, watch))
        return "; ".join(problems)

    async def wait_until_up(self) -> str:
        """Return when it is up; with what is wrong if it ended before."""
        async with trio.open_nursery() as nursery:
            for event in (self.up, self.over):
                nursery.start_soon(_then_cancel, event, nursery.cancel_scope)
        return "" if self.up.is_set() else f"waited for {self.name}, which ended before it was up"

    async def _wait_for(self, shared: Shared, watch: Watch) -> str:
        """Return when there is a message on a topic."""
        await watch.seen.wait()
        for other in shared.programs.values():
            if other is not self and other.pids & watch.pids:
                other.dependents.add(self.name)
        return ""

    # -- running -------------------------------------------------------------------------------------------------------

    async def _once(self, shared: Shared) -> bool:
        """Run it once; whether it is to run again."""
        began = trio.current_time()
        code, why = await self._live(shared)
        failed = code != 0
        if not failed:
            self.up.set()
        if shared.stopping.is_set():
            self._to(shared, State.STOPPED, why)
            return False
        wait = self._restarts.after(failed=failed, now=trio.current_time(), ran=trio.current_time() - began)
        if wait is None:
            if self._restarts.given_up:
                times = f"{self.program.max_restarts} restarts within {self.program.restart_window:g} s"
                self._to(shared, State.GIVEN_UP, f"{why}, after {times}")
            else:
                self._to(shared, State.FAILED if failed else State.ENDED, why)
            return False
        self.status.restarts = self._restarts.count
        self._to(shared, State.RESTARTING, f"{why}; again in {wait:g} s")
        with shared.while_not_stopped():
            await trio.sleep(wait)
        if shared.stopping.is_set():
            self._to(shared, State.STOPPED, why)
            return False
        return True

    async def _live(self, shared: Shared) -> tuple[int | None, str]:
        """One process of it: its exit code, if there was one, and how it ended."""
        record = shared.records.begin(self.name) if shared.records is not None else None
        code: int | None = None

        async def printed(data: bytes, lines: list[str]) -> None:
            if shared.records is not None:
                shared.records.log(self.name, data)
            if lines:
                await shared.reporter.printed(self.name, lines)

        def started(pid: int) -> None:
            self.pids.add(pid)
            self.status.pid = pid
            self._to(shared, State.STARTING)

        life = Life(self.program.grace, shared.guard, printed, lambda text: shared.reporter.note(text, self.name))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._stop_in_its_turn, shared, life)
                command = command_of(self.name, self.program, record=record)
                env = environment_of(self.program, notify=self.notify)
                code = await life.run(command, shared.folder, env, started)
                nursery.cancel_scope.cancel()
            why = how_it_ended(code)
        except* OSError as group:
            why = f"cannot be started: {'; '.join(str(error) for error in group.exceptions)}"
        if life.killed:
            why = f"did not end within its grace of {self.program.grace:g} s, and was killed"
        self.status.pid = None
        if shared.records is not None:
            shared.records.ended(self.name, code, why)
        return code, why

    async def _stop_in_its_turn(self, shared: Shared, life: Life) -> None:
        """When all are to be stopped, stop it after those that depend on it."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pass_on, shared.kill, life.kill)
                await shared.stopping.wait()
                async with trio.open_nursery() as turn:
                    turn.start_soon(_then_cancel, shared.kill, turn.cancel_scope)
                    for name in sorted(self.dependents):
                        await shared.programs[name].over.wait()
                    turn.cancel_scope.cancel()
                self._to(shared, State.STOPPING)
                life.stop.set()
        finally:
            life.stop.set()  # also where all of launch is cancelled

    def _to(self, shared: Shared, state: State, why: str = "") -> None:
        self.status.state, self.status.why = state, why
        shared.reporter.changed(self.status)


async def _then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


async def _pass_on(event: trio.Event, other: trio.Event) -> None:
    await event.wait()
    other.set()
