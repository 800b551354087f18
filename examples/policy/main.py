"""The whole workflow: make a policy, serve and record it, replay the trace through it and its quantised twin.

python main.py [FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from client import run_episodes
from make_policy import make

from horus_async.policy import (
    DiffMode,
    ReplayOptions,
    ReplaySummary,
    Thresholds,
    TraceOptions,
    TraceReader,
    load_policy,
    replay_trace,
)
from horus_async.policy.server import ServerOptions, ServiceOptions, serve_policy

if TYPE_CHECKING:
    from collections.abc import Callable


async def serve_and_record(policy: Path, traces: Path, drive: Callable[[str], list[float]]) -> list[float]:
    """Serve ``policy`` while ``drive`` asks it; returns how far the hand ended from its targets, metres."""
    options = ServerOptions(port=0, service=ServiceOptions(trace=TraceOptions(directory=traces)))
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        url = await nursery.start(partial(serve_policy, str(policy), options, stop=stop))
        await _ready(url)
        distances = await trio.to_thread.run_sync(drive, url)
        stop.set()
    return distances


async def _ready(url: str) -> None:
    """Wait until ``/health`` says that the policy is loaded and warm."""
    import urllib.error
    import urllib.request

    for _ in range(600):
        try:
            await trio.to_thread.run_sync(lambda: urllib.request.urlopen(f"{url}/health").close())  # noqa: S310
            return
        except urllib.error.HTTPError as error:
            error.close()
            await trio.sleep(0.05)
    raise TimeoutError("the policy was not ready within 30 s")


def compare(trace: Path, policy: Path) -> None:
    """Replay ``trace`` through ``policy`` and print how similar the actions are."""
    totals = ReplaySummary(DiffMode.ACTIONS, Thresholds())
    with TraceReader(trace) as reader:
        trio.run(replay_trace, reader, load_policy(policy), ReplayOptions(), totals.add)
    print(f"\nreplayed through {policy.name}:")
    for line in totals.lines():
        print(f"  {line}")
    verdict = totals.fails(DiffMode.ACTIONS)
    print(f"  smallest cosine {totals.min_cosine:.6f}; {verdict or 'acts alike'}")


def main(folder: Path) -> None:
    """Run everything, with its files in ``folder``."""
    whole, small, error = make(folder)
    print(f"trained: off by {error:.4f} rad from the teacher")
    distances = trio.run(serve_and_record, whole, folder / "traces", run_episodes)
    print(f"served and recorded {len(distances)} episodes; the hand ends {1000 * max(distances):.1f} mm off at most")
    (trace,) = (folder / "traces").iterdir()
    compare(trace, whole)
    compare(trace, small)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
