"""Replays a trace in several processes, each with the policy loaded. Results come in the order of the trace.

Each process reads the trace itself, from start to end: what passes between the processes is small, and the memory that
is needed does not depend on the length of the trace.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from attrs import define

from horus_async.errors import PolicyError

from .model_facts import ModelFacts
from .units import plan_of
from .worker import Failed, Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.policy.trace.reader import TraceReader

    from .gathered import Gathered
    from .results import Replayed
    from .run import ReplayOptions
    from .units import Unit

_MOST_WAITING = 10_000
"""Results that may wait for one before them, before no further unit is begun."""
_PATIENCE_SECONDS = 5.0
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from horus_async.policy.replay.worker import main; main(int(sys.argv[1]))"
)


def replay_in_jobs(
    trace: TraceReader,
    policy: str,
    options: ReplayOptions,
    jobs: int,
    *,
    loaded: Callable[[ModelFacts, int], None],
    tell: Callable[[Replayed], None],
    gathered: Gathered | None = None,
) -> None:
    """Put the trace's requests to ``policy``, which each of ``jobs`` processes loads, as `replay_trace` does.

    What the requests of a policy with ``reset`` share stays together: an episode is replayed by one process, in order.

    Args:
        trace: Not yet read.
        policy: What `load_policy` takes.
        options: What to compare.
        jobs: Number of processes, at most; there are no more than requests.
        loaded: Is told what the model is, and how many requests there are, before the first result.
        tell: Is told what became of each request.
        gathered: Gets what a page shows.

    Raises:
        TraceError: The trace is damaged.
        PolicyError: The policy does not load or warm up, the image folder cannot be read, or a process died.
    """
    plan = plan_of(trace, options.first)
    job = Job(trace.path.absolute(), policy, options, gathered)
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker(job)) for _ in range(max(1, min(jobs, plan.count)))]
        facts, *_ = [_receive(worker) for worker in workers]
        assert isinstance(facts, ModelFacts)
        loaded(facts, plan.count)
        _follow(workers, plan.units(stateful=facts.stateful, jobs=jobs), tell)
        for worker in workers:
            worker.connection.send(None)
            found = _receive(worker)
            if gathered is not None:
                gathered.merge(found)


@define(eq=False)
class _Worker:
    process: subprocess.Popen[bytes]
    connection: Connection[Any, Any]
    next: int = 0
    last: int = 0


def _follow(workers: list[_Worker], units: Iterator[Unit], tell: Callable[[Replayed], None]) -> None:
    """Give out the units, in order, and pass the results on, in order."""
    idle = list(workers)
    busy: dict[Connection[Any, Any], _Worker] = {}
    waiting: dict[int, Replayed] = {}
    told = 0
    unit = next(units, None)
    while unit is not None or busy:
        while unit is not None and idle and (not busy or len(waiting) < _MOST_WAITING):
            worker = idle.pop()
            worker.next, worker.last = unit.first, unit.last
            worker.connection.send(unit)
            busy[worker.connection] = worker
            unit = next(units, None)
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            waiting[worker.next] = _receive(worker)
            worker.next += 1
            if worker.next == worker.last:
                idle.append(busy.pop(connection))
        while told in waiting:
            tell(waiting.pop(told))
            told += 1


def _receive(worker: _Worker) -> Any:
    try:
        found = worker.connection.recv()
    except (EOFError, ConnectionError):
        code = _ended(worker.process)
        how = "no longer answers" if code is None else f"ended with {f'signal {-code}' if code < 0 else f'code {code}'}"
        raise PolicyError(f"a process that replays the trace {how}; each needs memory for the policy") from None
    if isinstance(found, Failed):
        raise PolicyError(found.reason)
    return found


@contextmanager
def _worker(job: Job) -> Iterator[_Worker]:
    """A process that has been told the job; it is gone in the end."""
    ours, theirs = socket.socketpair()
    with theirs:
        arguments = [_PROGRAM, str(theirs.fileno()), json.dumps(sys.path), job.policy]
        # What a policy prints must not get between our results.
        process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-c", *arguments], stdin=subprocess.DEVNULL, stdout=2, pass_fds=[theirs.fileno()]
        )
    try:
        with Connection(ours.detach()) as connection:
            connection.send(job)
            yield _Worker(process, connection)
        _ended(process)
    finally:
        process.kill()
        process.wait()


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a process that is about to end; None if it goes on."""
    try:
        return process.wait(_PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return None
