"""One run of ``horus-async check``, which starts it as ``python -m horus_async.cli.support.check_worker JSON``.

JSON is an object: ``app``, ``args``, ``duration``, ``seed``, ``variant`` (the fields of a `Variant`) and ``frames``,
the file descriptor that the frames go to.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from horus_async import EmergencyStop, Guard, NodeFailure
from horus_async.determinism.frames import TickDigests
from horus_async.determinism.variants import Variant, shuffled
from horus_async.topics.bus import default_namespace

from .errors import clear_errors, in_a_line, place_of
from .load import load_scheduler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from horus_async import Scheduler

_NOISE = 3000
"""Number of objects allocated to shift later ones in memory."""


def main() -> None:
    """Run the program once."""
    job = json.loads(sys.argv[1])
    variant = Variant(**job["variant"])
    with clear_errors(), _allocator_noise(variant), _cpu_load(variant):
        scheduler = load_scheduler(job["app"], job["args"])
        with os.fdopen(job["frames"], "wb") as frames:

            def write(frame: bytes) -> None:
                try:
                    frames.write(frame)
                except BrokenPipeError:  # the check is gone, killed perhaps: nobody would end this run
                    scheduler.stop()
                    raise

            digests = TickDigests(write, lambda: scheduler.guard_findings)
            _run(scheduler, variant, digests, job)


def _run(scheduler: Scheduler, variant: Variant, digests: TickDigests, job: dict[str, Any]) -> None:
    own = scheduler._options  # noqa: SLF001
    scheduler._options = attrs.evolve(  # noqa: SLF001 - the check decides, whatever the program wants
        own,
        deterministic=True,
        seed=own.seed if job["seed"] is None else job["seed"],
        blackbox_mb=0,
        recording=False,
        realtime=None,
        guard=Guard.WARN,
        namespace=default_namespace(),
    )
    scheduler.observe(digests)
    if variant.shuffled:
        scheduler._nodes = {node.name: node for node in shuffled(scheduler.nodes, variant.number)}  # noqa: SLF001
    failure = ""
    try:
        scheduler.run_sync(job["duration"])
    except NodeFailure as error:
        first = error.exceptions[0]
        place = place_of(first)
        failure = f"{error.message}: {in_a_line(first)}{place and f' ({place})'}"
    except EmergencyStop as error:
        failure = f"emergency stop: {error}"
    digests.finish(failure)


@contextmanager
def _allocator_noise(variant: Variant) -> Iterator[None]:
    if not variant.allocator_noise:
        yield
        return
    kept: Sequence[object] = [bytearray(size % 700) for size in range(_NOISE)][::2]
    gc.set_threshold(50, 5, 5)
    yield
    del kept


@contextmanager
def _cpu_load(variant: Variant) -> Iterator[None]:
    if not variant.cpu_load:
        yield
        return
    done = threading.Event()

    def burn() -> None:
        while not done.is_set():
            sum(range(1000))

    sys.setswitchinterval(0.0005)
    threading.Thread(target=burn, daemon=True).start()
    try:
        yield
    finally:
        done.set()


if __name__ == "__main__":
    main()
