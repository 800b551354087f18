"""The process of `guard`: run as a script, by itself, with nothing but the standard library, so that it starts at once.

Reads ``+GROUP GRACE`` and ``-GROUP`` a line. At the end of its input every group that is left gets SIGTERM, and SIGKILL
when its grace is over.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

STEP = 0.05
"""Seconds between looks at who is still there."""


def main() -> None:
    """Wait for the end of the input."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(ignored, signal.SIG_IGN)
    groups: dict[int, float] = {}
    for line in sys.stdin:
        group, _, grace = line[1:].strip().partition(" ")
        if line.startswith("+"):
            groups[int(group)] = float(grace)
        else:
            groups.pop(int(group), None)
    if groups:
        with suppress(OSError, ValueError):
            sys.stderr.write(f"horus-async: launch was killed: ending its {len(groups)} programs\n")
        end(groups)


def end(groups: dict[int, float]) -> None:
    """End process groups, each after its grace at the latest."""
    left = {group for group in groups if send(group, signal.SIGTERM)}
    steps = 0
    while left:
        select.select([], [], [], STEP)
        steps += 1
        for group in [group for group in left if steps * STEP >= groups[group]]:
            send(group, signal.SIGKILL)
            left.discard(group)
        left = {group for group in left if send(group, 0)}


def send(group: int, number: int) -> bool:
    """Send a signal to a group; whether there is one."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS: of zombies alone
        return False
    return True


if __name__ == "__main__":
    main()
