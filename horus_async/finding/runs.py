"""All runs that are known: sessions, each with what its black box tells of it, and runs that only a box knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from horus_async.blackbox import default_blackbox_dir
from horus_async.clock.system import NANOSECONDS, iso_utc
from horus_async.errors import BlackBoxError
from horus_async.recorder.catalogue.catalogue import known_sessions, open_store
from horus_async.recorder.catalogue.facts import Facts
from horus_async.recorder.catalogue.happenings import Happening, merged
from horus_async.recorder.catalogue.store import Store
from horus_async.recorder.locking import is_being_recorded
from horus_async.recorder.naming import recordings_root

from .boxes import BoxFacts, BoxRun, known_boxes

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.recorder.catalogue.catalogue import Known

    Progress = Callable[[int, int], None]

_APART_NS = 2 * NANOSECONDS
"""So far may the start of a session and that of its box's run be apart: a disk may have kept one of them waiting."""


@frozen
class Run:
    """A run that was recorded, or that a black box tells of."""

    name: str
    """Of the session, ``SET/PROGRAM`` in a set; of the box's file where there is no session."""
    path: str
    """Of the session, or of the box."""
    facts: Facts
    box: str = ""
    """The path of the box that tells of it."""
    state: str = "closed"
    """``closed``, ``recording``, ``killed``, ``unreadable``, or ``box`` where there is no session."""

    lost: int = 0
    """Events of the box that were overwritten, where the box alone can tell what happened."""

    @property
    def is_session(self) -> bool:
        """Whether there is a session."""
        return self.state != "box"


@frozen
class Runs:
    """All of them, and what could not be read."""

    runs: tuple[Run, ...]
    problems: tuple[str, ...]
    """Of boxes; those of sessions are with them."""
    notes: tuple[str, ...] = field(factory=tuple)
    """What makes it take longer."""


def all_runs(
    root: Path | None = None, boxes: Path | None = None, *, catalogue: bool = True, progress: Progress | None = None
) -> Runs:
    """All runs of a folder of recordings and a folder of black boxes, oldest first.

    Args:
        root: The recordings; None for the usual folder.
        boxes: The black boxes; None for the usual folder.
        catalogue: Whether to use and keep up the catalogue; else everything is read.
        progress: Told of those that have to be read.

    Raises:
        RecordingError: the recordings cannot be looked into.
    """
    root = recordings_root(root)
    problems: tuple[str, ...] = ()
    with open_store(root) if catalogue else Store(None) as store:
        kept = store.read()
        sessions = list(known_sessions(root, store, progress, kept))
        try:
            told = known_boxes(default_blackbox_dir() if boxes is None else boxes, store, kept, progress)
        except (BlackBoxError, OSError) as error:
            told = BoxFacts((), (str(error),))
        note = store.problem
    problems += told.problems
    runs = _joined(sessions, list(told.runs))
    runs.sort(key=lambda run: (run.facts.started_ns or 0, run.name))
    return Runs(tuple(runs), problems, (f"{note}; this takes longer",) if note else ())


def _joined(sessions: list[Known], boxes: list[BoxRun]) -> list[Run]:
    runs = [_session_run(known) for known in sessions]
    by_names: dict[tuple[frozenset[str], str], list[int]] = {}
    for place, run in enumerate(runs):
        by_names.setdefault((frozenset(run.facts.nodes), run.facts.program), []).append(place)
    for told in boxes:
        nearest = _nearest(told, runs, by_names.get((frozenset(told.nodes), told.program), []))
        if nearest is None:
            runs.append(_box_run(told))
            continue
        facts = runs[nearest].facts
        together = tuple(merged(facts.happenings, told.happenings))
        lost = told.lost if runs[nearest].state == "killed" else 0
        runs[nearest] = evolve(runs[nearest], box=told.path, lost=lost, facts=evolve(facts, happenings=together))
    return runs


def _session_run(known: Known) -> Run:
    facts, state = known.facts, "closed"
    if not facts.readable:
        state = "unreadable"
    elif facts.ended_at is None:
        state = "recording" if is_being_recorded(Path(known.path)) else "killed"
    if state == "killed":
        died = Happening("Killed", "", 1, facts.last_tick, facts.last_tick)
        facts = evolve(facts, happenings=tuple(merged(facts.happenings, [died])))
    return Run(known.name, known.path, facts, state=state)


def _nearest(told: BoxRun, runs: list[Run], places: list[int]) -> int | None:
    """The session of a box's run: of the same scheduler and nodes, begun at the same time."""
    if told.started_ns is None:
        return None
    apart = {
        place: abs(runs[place].facts.started_ns - told.started_ns)  # type: ignore[operator]
        for place in places
        if runs[place].facts.started_ns is not None and not runs[place].box
    }
    place = min(apart, key=apart.__getitem__, default=None)
    return place if place is not None and apart[place] <= _APART_NS else None


def _box_run(told: BoxRun) -> Run:
    facts = Facts(
        program=told.program,
        started_at="" if told.started_ns is None else _iso(told.started_ns),
        started_ns=told.started_ns,
        ended_at=_iso(told.ended_ns) if told.reason else None,
        reason=told.reason,
        tick_rate=told.rate,
        first_tick=0,
        last_tick=told.last_tick,
        nodes=told.nodes,
        happenings=told.happenings,
    )
    name = told.path.rpartition("/")[2]
    return Run(name, told.path, facts, told.path, "box", told.lost)


def _iso(ns: int) -> str:
    try:
        return iso_utc(ns)
    except (OverflowError, ValueError):
        return ""
