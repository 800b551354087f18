"""Finds the files of traces in folders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from horus_async.errors import TraceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.lz4")


def _place(path: Path) -> tuple[Path, str, int, str]:
    """Where a file comes in a folder: the parts of a session by their numbers, the tenth after the second."""
    name = path.name.partition(".jsonl")[0]
    start, _, number = name.rpartition(".part")
    if start and number.isdecimal():
        return path.parent, start, int(number), path.name
    return path.parent, name, 0, path.name


def find_traces(paths: list[Path]) -> Iterator[Path]:
    """The trace files in ``paths``: files as named, and of folders everything below that is named like a trace.

    Raises:
        TraceError: a path that does not exist.
    """
    for path in paths:
        if path.is_dir():
            files = (found for found in path.rglob("*") if found.name.endswith(SUFFIXES) and found.is_file())
            yield from sorted(files, key=_place)
        elif path.exists():
            yield path
        else:
            raise TraceError(f"no such file or folder: {str(path)!r}")
