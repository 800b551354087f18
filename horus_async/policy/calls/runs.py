"""One call of a policy's function, and where it runs: in a worker thread, or as a task of an event loop.

A run ends when its function has returned or raised. Nobody can force that: a thread cannot be stopped, and a coroutine
that blocks, or that shields itself, does not hear that it is cancelled. Who waits for a run may go away; the run goes
on, and ``ended`` and ``then`` still tell of its end.
"""

from __future__ import annotations

import contextvars
import inspect
import math
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import trio
from attrs import define, field

from horus_async.clock.system import perf_ns
from horus_async.errors import PolicyError
from horus_async.limits.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

NEVER = math.inf
"""The time of what does not come."""

_UNWINDING_S = 0.25
_BEAT_S = 0.25
_LEAVING_S = 1.0


class PolicyCallError(PolicyError):
    """What a policy raised where it cannot propagate as it is; the message has its type."""


@define(eq=False)
class Run:
    """One call of one function. ``started_ns`` and ``finished_ns`` (``perf_ns``) are None until then.

    ``finish`` makes the result of what the function returned, where that ran, but not within its time.
    """

    finish: Callable[[Any], Any] | None = None
    started_ns: int | None = None
    finished_ns: int | None = None
    result: Any = None
    error: BaseException | None = None
    succeeded: bool = False
    ended: trio.Event = field(factory=trio.Event)
    submitted: bool = False
    _then: list[Callable[[], None]] = field(factory=list)

    def then(self, act: Callable[[], None]) -> None:
        """Do that at the end, or now if that has come."""
        if self.ended.is_set():
            act()
        else:
            self._then.append(act)

    def end(self) -> None:
        """It has ended. Called in the event loop that asked for it."""
        if not self.ended.is_set():
            self.ended.set()
            for act in self._then:
                act()

    def returned(self, value: Any) -> None:
        """The function has returned that. Called where it ran."""
        self.finished_ns = perf_ns()
        self.result = value if self.finish is None else self.finish(value)
        self.succeeded = True

    def raised(self, error: BaseException) -> None:
        """The function has raised that. Called where it ran."""
        self.finished_ns = self.finished_ns or perf_ns()
        self.error = error

    def outcome(self) -> Any:
        """What the function returned.

        Raises:
            PolicyCallError: it raised what is no Exception, or what a coroutine must not raise.
            Exception: what it raised.
        """
        error = self.error
        if self.succeeded:
            return self.result
        if error is None:
            raise PolicyCallError("the policy's event loop ended before it had answered")
        # SystemExit and its like would end the server, StopIteration would be taken for the end of a coroutine.
        if not isinstance(error, Exception) or isinstance(error, StopIteration | StopAsyncIteration):
            raise PolicyCallError(failure_text(error)) from error
        raise error

    # trio tells a thread's limiter of the thread's end, also where nobody waits for the thread any more.

    async def acquire_on_behalf_of(self, _: object) -> None:
        """The thread starts."""
        self.submitted = True

    def release_on_behalf_of(self, _: object) -> None:
        """The thread has ended."""
        self.end()


def failure_text(error: BaseException) -> str:
    """An exception in words: its type, and what it says, if it can be shown: its text is a user's code, too."""
    try:
        said = str(error)
    except Exception:  # noqa: BLE001 - see above
        said = ""
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


class Runner(Protocol):
    """Where a policy's functions run."""

    unwinding_s: float
    """How long a run may need to end after it was cancelled, until it counts as stuck."""

    async def run(self, run: Run, function: Callable[..., Any], *arguments: Any) -> None:
        """Run it to its end. When cancelled, this returns nevertheless, and the run ends when it does."""


class InThreads:
    """Runs plain functions in worker threads. Where they return an awaitable, the event loop of ``token`` awaits it."""

    unwinding_s = 0.0

    def __init__(self, token: Callable[[], trio.lowlevel.TrioToken]) -> None:
        self._token = token

    async def run(self, run: Run, function: Callable[..., Any], *arguments: Any) -> None:
        """Run it to its end; when cancelled, the thread goes on alone."""
        try:
            await trio.to_thread.run_sync(
                self._in_thread,
                run,
                function,
                arguments,
                limiter=run,  # type: ignore[arg-type]
                abandon_on_cancel=True,
            )
        finally:
            if not run.submitted:  # Cancelled before there was a thread.
                run.end()

    def _in_thread(self, run: Run, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        run.started_ns = perf_ns()
        try:
            result = function(*arguments)
            if inspect.isawaitable(result):
                result = trio.from_thread.run(_await, result, trio_token=self._token())
            run.returned(result)
        # A policy may raise anything, SystemExit too; what it raised is kept for who waits for it.
        except BaseException as error:  # noqa: BLE001
            run.raised(error)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class InLoop:
    """Runs coroutine functions as tasks of the event loop of ``token``."""

    unwinding_s = _UNWINDING_S

    def __init__(self, token: Callable[[], trio.lowlevel.TrioToken]) -> None:
        self._token = token

    async def run(self, run: Run, function: Callable[..., Any], *arguments: Any) -> None:
        """Run it to its end. When cancelled it is cancelled too, and has a moment to unwind."""
        await trio.lowlevel.checkpoint_if_cancelled()
        home, there = trio.lowlevel.current_trio_token(), self._token()
        scope, context = trio.CancelScope(), contextvars.copy_context()

        async def task() -> None:
            try:
                with scope:
                    await _to_its_end(run, function, arguments)
            finally:
                with suppress(trio.RunFinishedError):
                    home.run_sync_soon(run.end)

        def begin() -> None:
            trio.lowlevel.spawn_system_task(task, context=context)

        try:
            there.run_sync_soon(begin)
        except trio.RunFinishedError:
            run.end()
        try:
            await run.ended.wait()
        except trio.Cancelled:
            with suppress(trio.RunFinishedError):
                there.run_sync_soon(scope.cancel)
            with trio.move_on_after(self.unwinding_s) as moment:
                moment.shield = True
                await run.ended.wait()
            raise


async def _to_its_end(run: Run, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    await trio.lowlevel.checkpoint_if_cancelled()
    run.started_ns = perf_ns()
    try:
        result = function(*arguments)
        run.returned(await result if inspect.isawaitable(result) else result)
    except trio.Cancelled:
        raise
    except BaseException as error:  # noqa: BLE001 - as in a thread
        run.raised(error)
    finally:
        run.finished_ns = run.finished_ns or perf_ns()


class PolicyLoop:
    """A policy's own event loop, in a thread of its own: what blocks it blocks nothing else.

    The thread is a daemon: a policy that never gives control back does not keep the process from ending.
    """

    def __init__(self) -> None:
        self._beat_ns = perf_ns()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=trio.run, args=(self._live,), name="horus-policy-loop", daemon=True)
        start_thread(self._thread)
        self._begun.wait()

    @property
    def token(self) -> trio.lowlevel.TrioToken:
        """Stands for the loop."""
        return self._token

    @property
    def silent_s(self) -> float:
        """Seconds since the loop last gave a sign of life; it gives one about every quarter of a second."""
        return (perf_ns() - self._beat_ns) / 1e9

    async def close(self) -> None:
        """Cancel what runs in the loop and end it; a loop that is blocked is left alone."""
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._left.set)
        patience = _LEAVING_S if self.silent_s < _LEAVING_S else 0.0
        await trio.to_thread.run_sync(self._thread.join, patience, abandon_on_cancel=True)

    async def _live(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._left = trio.Event()
        self._begun.set()
        while not self._left.is_set():
            self._beat_ns = perf_ns()
            with trio.move_on_after(_BEAT_S):
                await self._left.wait()
