"""The names of a file's topics and publishers in a session."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.errors import RecordingError
from horus_async.spelling import did_you_mean, free_name
from horus_async.validators import NODE_NAME_LIMIT, is_node_name_character

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_UNUSABLE = re.compile(r"[^A-Za-z0-9_.\-/]")
_LISTED = 20
_NUMBER_LIMIT = 10
"""Characters that tell names apart, as in ``_2``."""


def topic_names(originals: Iterable[str], named: Mapping[str, str] | None = None) -> dict[str, str]:
    """A valid topic name for each in the file, all different; the one in ``named``, where it has one."""
    known = named or {}
    in_order = sorted(originals, key=lambda original: original not in known)
    return dict(_unique(in_order, lambda original: known.get(original) or _topic_name(original)))


def node_names(originals: Iterable[str]) -> dict[str, str]:
    """A valid node name for each publisher in the file, all different; the unnamed one gets one that is free."""
    return dict(_unique(sorted(originals, key=lambda original: not original), _node_name))


def _topic_name(original: str) -> str:
    return _UNUSABLE.sub("_", original.lstrip("/"))[:240].replace("..", "__") or "topic"


def _node_name(original: str) -> str:
    name = "".join(char if is_node_name_character(char) else "_" for char in original.lstrip("/"))
    short = name.encode()[: NODE_NAME_LIMIT - _NUMBER_LIMIT].decode(errors="ignore")
    return (name if len(name.encode()) <= NODE_NAME_LIMIT else short).replace("..", "__") or "bag"


def _unique(originals: Iterable[str], usable: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    taken: set[str] = set()
    for original in originals:
        name = free_name(usable(original), taken)
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
                raise RecordingError(f"no topic fits {pattern!r}: the file has {_listed(names, pattern)}")
            chosen |= found
        for pattern in self.exclude:
            found = _matching(names, pattern)
            if not found:
                notes.append(f"no topic fits --exclude {pattern!r}: the file has {_listed(names, pattern)}")
            chosen -= found
        if names and not chosen:
            raise RecordingError(f"no topic is left to import: the file has {_listed(names)}")
        return chosen, notes


def _matching(names: Mapping[str, str], pattern: str) -> set[str]:
    return {
        original for original, name in names.items() if fnmatchcase(original, pattern) or fnmatchcase(name, pattern)
    }


def _listed(names: Mapping[str, str], pattern: str = "") -> str:
    """The topics of the file, and the one that ``pattern`` is most like."""
    every = [*names]
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    meant = did_you_mean(pattern, [*names, *names.values()]) if pattern else ""
    return f"{', '.join(every[:_LISTED])}{more}{meant}"
