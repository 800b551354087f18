"""A process that replays parts of a trace for `jobs`: it loads the policy itself, and reads the trace itself."""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from horus_async.errors import HorusError
from horus_async.policy.model.loading import load_policy
from horus_async.policy.trace.reader import TraceReader

from .model_facts import facts_of
from .run import Replayer

if TYPE_CHECKING:
    from pathlib import Path

    from .gathered import Gathered
    from .run import ReplayOptions


@frozen
class Job:
    """The trace, the policy's name, and how to compare; ``gathered`` collects what a page shows, if there is one."""

    trace: Path
    policy: str
    options: ReplayOptions
    gathered: Gathered | None


@frozen
class Failed:
    """Why the process cannot go on."""

    reason: str


def main(descriptor: int) -> None:
    """Take a `Job`, then `Unit` after `Unit`; answer with the model's facts, results, and what was gathered."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one gets it too, and ends it
    parent = Connection(descriptor)
    try:
        job = parent.recv()
        try:
            _work(parent, job)
        except HorusError as error:
            parent.send(Failed(str(error)))
    except (EOFError, ConnectionError):
        pass  # the parent is gone


def _work(parent: Connection[Any, Any], job: Job) -> None:
    policy = load_policy(job.policy)

    async def replay() -> None:
        replayer = Replayer(policy, job.options, job.gathered)
        await replayer.warm_up()
        parent.send(facts_of(policy))
        with TraceReader(job.trace) as trace:
            requests = enumerate(trace.requests())
            while (unit := await trio.to_thread.run_sync(parent.recv)) is not None:
                for number, request in requests:
                    if number >= unit.first:
                        parent.send(await replayer.replay(request))
                    if number + 1 == unit.last:
                        break
                else:
                    parent.send(Failed(f"{job.trace} has become shorter"))
        parent.send(job.gathered)

    trio.run(replay)
