"""The names of a file's topics and publishers in a session."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_UNUSABLE = re.compile(r"[^A-Za-z0-9_.\-/]")
_LISTED = 20


def topic_names(originals: Iterable[str]) -> dict[str, str]:
    """A valid topic name for each in the file, all different."""
    return dict(_unique(originals, "topic", 240))


def node_names(originals: Iterable[str]) -> dict[str, str]:
    """A valid node name for each publisher in the file, all different; the unnamed one gets one that is free."""
    return dict(_unique(sorted(originals, key=lambda original: not original), "bag", 100))


def _unique(originals: Iterable[str], default: str, limit: int) -> Iterator[tuple[str, str]]:
    taken: set[str] = set()
    for original in originals:
        name = wanted = _UNUSABLE.sub("_", original.lstrip("/"))[:limit].replace("..", "__") or default
        number = 2
        while name in taken:
            name = f"{wanted}_{number}"
            number += 1
        taken.add(name)
        yield original, name


@frozen
class Choice:
    """Which topics are imported: patterns of ``fnmatch`` for their names in the file or in the session."""

    topics: Sequence[str]
    """None: all."""
    exclude: Sequence[str]

    def wanted(self, names: Mapping[str, str]) -> tuple[set[str], list[str]]:
        """The topics that are imported, by their names in the file, and notes.

        Args:
            names: All topics, from the names in the file to those in the session.

        Raises:
            RecordingError: A pattern of ``topics`` fits none, or none is left.
        """
        chosen: set[str] = set() if self.topics else set(names)
        notes = []
        for pattern in self.topics:
            found = _matching(names, pattern)
            if not found:
                raise RecordingError(f"no topic fits {pattern!r}: the file has {_listed(names)}")
            chosen |= found
        for pattern in self.exclude:
            found = _matching(names, pattern)
            if not found:
                notes.append(f"no topic fits --exclude {pattern!r}: the file has {_listed(names)}")
            chosen -= found
        if names and not chosen:
            raise RecordingError(f"no topic is left to import: the file has {_listed(names)}")
        return chosen, notes


def _matching(names: Mapping[str, str], pattern: str) -> set[str]:
    return {
        original for original, name in names.items() if fnmatchcase(original, pattern) or fnmatchcase(name, pattern)
    }


def _listed(names: Iterable[str]) -> str:
    every = [*names]
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return f"{', '.join(every[:_LISTED])}{more}"
