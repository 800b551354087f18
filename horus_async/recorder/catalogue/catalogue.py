"""The sessions of a folder in short, from its catalogue as far as that is right, else from the sessions."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from horus_async.recorder.read.set_file import is_set

from .facts import Facts, facts_of, unreadable
from .folders import find_folders, look_at
from .store import Store, is_there

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .folders import Found
    from .store import Entry

    Progress = Callable[[int, int], None]
    """Told how many sessions were read, of how many."""

_log = logging.getLogger("horus_async.recorder")
_AT_ONCE = 200
"""Sessions that are read until they are kept: who ends it on the way begins there the next time."""
_WAIT, _WAIT_AT_END = 1.0, 0.1
"""Seconds that others may have the catalogue locked, when sessions are looked for, and when a recording ends."""


@frozen
class Known:
    """A session, and what is in it."""

    name: str
    path: str
    facts: Facts


def known_sessions(
    root: Path, store: Store, progress: Progress | None = None, kept: dict[bytes, Entry] | None = None
) -> Iterator[Known]:
    """Every session below a folder, sets as their parts, by key; those that changed since are read.

    Args:
        root: The folder of recordings.
        store: Its catalogue, which is kept up with it.
        progress: Told of those that have to be read.
        kept: What is in the catalogue, where it was read already.

    Raises:
        RecordingError: the folder cannot be looked into.
    """
    entries = store.read() if kept is None else kept
    folders = sorted(find_folders(root), key=lambda found: found.key)
    there = {found.key for found in folders}
    gone = [key for key in entries if key not in there and not key.startswith(b"/")]
    facts: dict[bytes, Facts] = {}
    for found in folders:
        entry = entries.get(found.key)
        if entry is not None and found.mark and entry[0] == found.mark:
            try:
                facts[found.key] = Facts.from_json(entry[1])
            except (ValueError, TypeError, LookupError):
                continue
    stale = [found for found in folders if found.key not in facts]
    changed: dict[bytes, Entry] = {}
    for number, found in enumerate(stale):
        if progress is not None:
            progress(number, len(stale))
        new = facts[found.key] = _read(found)
        if found.mark and found.settled:
            changed[found.key] = found.mark, new.to_json()
        if len(changed) >= _AT_ONCE:
            store.write(changed)
            changed = {}
    if changed or gone:
        store.write(changed, gone)
    for found in folders:
        yield Known(found.name, found.path, facts[found.key])


def _read(found: Found) -> Facts:
    return unreadable(f"{found.name} {found.problem}") if found.problem else facts_of(Path(found.path))


def open_store(root: Path) -> Store:
    """The catalogue of a folder, made if there is none yet; where that cannot be, one that keeps nothing."""
    if not root.is_dir():
        return Store(None)
    return Store.open(root, wait=_WAIT)


def keep_up(folder: Path) -> None:
    """Enter a session that has been closed, where the folder has a catalogue. Raises nothing."""
    try:
        root = folder.parent.parent if is_set(folder.parent) else folder.parent
        found = look_at(root, folder) if is_there(root) else None
        if found is None or not found.mark:
            return
        facts = facts_of(folder).to_json()
        with Store.open(root, wait=_WAIT_AT_END) as store:
            store.write({found.key: (found.mark, facts)})
    except Exception as error:  # noqa: BLE001 - a recording is worth more than the catalogue, which finds it later
        _log.debug("the catalogue does not have %s yet: %s", folder, error)
