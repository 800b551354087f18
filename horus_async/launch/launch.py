"""All programs of a file, under one roof: whatever ends launch ends them."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import trio
from attrs import define, field

from horus_async.errors import TopicError
from horus_async.topics import default_namespace

from .guard import Guard
from .ready import Readiness, hear
from .states import State, Status
from .supervising import Shared, Supervised
from .topics import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .files.schema import LaunchFile, Program
    from .states import Reporter
    from .supervising import Records

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@define(eq=False)
class Launch:
    """A run of a launch file."""

    file: LaunchFile
    reporter: Reporter
    records: Records | None = None
    statuses: list[Status] = field(factory=list)
    """Of all programs, in the order of the file."""
    stopping: trio.Event = field(factory=trio.Event)
    _kill: trio.Event = field(factory=trio.Event)
    _scopes: set[trio.CancelScope] = field(factory=set)
    _signal: int | None = None
    stopped_for: str = ""
    """Why all were ended before they had ended by themselves; empty if they were not."""

    async def run(self) -> int:
        """Run all until they have ended for good; the exit code: 0, 1 if one failed, 128 + a signal that ended them.

        Cancelled from outside, it ends them first.
        """
        with ExitStack() as held:
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as by nohup
            signals = held.enter_context(trio.open_signal_receiver(*heard)) if heard else _nothing()
            guard = held.enter_context(Guard())
            readiness = held.enter_context(Readiness())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, signals)
                nursery.start_soon(self._stop_when_cancelled)
                await self._all(guard, readiness, nursery)
                nursery.cancel_scope.cancel()
        if self._signal is not None:
            return 128 + self._signal
        return 1 if any(status.state.is_bad for status in self.statuses) else 0

    def stop(self, why: str) -> None:
        """End all programs, in the reverse of their order."""
        if not self.stopping.is_set():
            self.stopped_for = why
            self.stopping.set()
            for scope in self._scopes:
                scope.cancel()

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if self._signal is None:
                self._signal = number
                self.reporter.note(f"{signal.Signals(number).name}: ending all programs; once more kills them")
                self.stop(signal.Signals(number).name)
            else:
                self.reporter.note(f"{signal.Signals(number).name} again: killing them")
                self._kill.set()

    async def _stop_when_cancelled(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            if not all(status.state.is_final for status in self.statuses):
                self.stop("cancelled")

    async def _all(self, guard: Guard, readiness: Readiness, nursery: trio.Nursery) -> None:
        watches = self._watches()
        programs: dict[str, Supervised] = {}
        shared = Shared(
            folder=self.file.folder,
            guard=guard,
            reporter=self.reporter,
            records=self.records,
            programs=programs,
            watches=watches,
            while_not_stopped=self._while_not_stopped,
            stopping=self.stopping,
            kill=self._kill,
        )
        for number, (name, program) in enumerate(self.file.programs.items()):
            address, socket = await readiness.open(number)
            status = Status(name)
            self.statuses.append(status)
            dependents = set(self.file.dependents(name))
            one = Supervised(name, program, namespace_of(program), address, status, dependents)
            programs[name] = one
            nursery.start_soon(hear, socket, lambda one=one: one.is_up(shared))
        for watch in watches.values():
            nursery.start_soon(self._listen, watch)
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as running:
            for one in programs.values():
                running.start_soon(self._one, one, shared)

    async def _one(self, one: Supervised, shared: Shared) -> None:
        await one.supervise(shared)
        if one.program.required and one.status.state is not State.STOPPED:
            self.reporter.note(f"{one.name} is required and has ended: ending all programs")
            self.stop(f"{one.name} has ended")

    async def _listen(self, watch: Watch) -> None:
        try:
            await watch.listen()
        except TopicError as error:
            self.reporter.note(f"topic {watch.topic} cannot be waited for: {error}")

    def _watches(self) -> dict[tuple[str, str], Watch]:
        found = {}
        for program in self.file.programs.values():
            for topic in program.after_topics:
                namespace = namespace_of(program)
                found[namespace, topic] = Watch(topic, namespace)
        return found

    @contextmanager
    def _while_not_stopped(self) -> Iterator[trio.CancelScope]:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                if self.stopping.is_set():
                    scope.cancel()
                yield scope
            finally:
                self._scopes.discard(scope)


async def _nothing() -> AsyncIterator[int]:
    await trio.sleep_forever()
    yield 0


def namespace_of(program: Program) -> str:
    """The namespace of a program's topics, in which it is run by launch."""
    return program.namespace or program.env.get("HORUS_NAMESPACE") or default_namespace()
