"""Who waits for whom."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .schema import LaunchFile


def circles(file: LaunchFile) -> Iterator[list[str]]:
    """Programs that wait for each other, each circle once, from one of them round to it again."""
    waits = {name: {other for other in program.after if other != name} for name, program in file.programs.items()}
    while True:
        try:
            TopologicalSorter(waits).prepare()
        except CycleError as error:
            circle = error.args[1][::-1]
            yield circle
            waits[circle[0]].discard(circle[1])
        else:
            return


def in_order(file: LaunchFile) -> list[str]:
    """The programs, each after those that it waits for, else as in the file."""
    waits = {name: set(program.after) for name, program in file.programs.items()}
    sorter = TopologicalSorter(waits)
    sorter.prepare()
    order: list[str] = []
    places = list(waits)
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=places.index)
        order += ready
        sorter.done(*ready)
    return order
