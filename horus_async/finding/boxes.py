"""The runs in black boxes, in short. Boxes are kept in the catalogue of the recordings, too, by their paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import orjson
from attrs import asdict, define, field, frozen

from horus_async.blackbox import KINDS, open_blackbox
from horus_async.blackbox.events import LOG as LOG_CATEGORY
from horus_async.blackbox.events import Custom, SchedulerStart, SchedulerStop
from horus_async.blackbox.reader import Filter, box_mark, node_of
from horus_async.errors import BlackBoxError
from horus_async.recorder.catalogue.happenings import CUSTOM, LOG, Happening, Happenings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from horus_async.blackbox import Record
    from horus_async.recorder.catalogue.store import Store

    Entry = tuple[bytes, bytes]

_COUNTED = frozenset(KINDS) - {"NodeTick", "NodeAdded", "SchedulerStart"}


@frozen
class BoxRun:
    """A run that a black box tells of."""

    path: str
    program: str
    """The scheduler's name."""
    started_ns: int | None
    """None where its beginning was overwritten."""
    ended_ns: int
    """When its last event was."""
    rate: float
    nodes: tuple[str, ...]
    reason: str
    """Empty if it did not end, or has not yet."""
    last_tick: int
    happenings: tuple[Happening, ...]
    lost: int
    """Events of the box that were overwritten."""


@frozen
class BoxFacts:
    """A box in short."""

    runs: tuple[BoxRun, ...] = ()
    problems: tuple[str, ...] = ()


def known_boxes(
    folder: Path, store: Store, kept: dict[bytes, Entry], progress: Callable[[int, int], None] | None = None
) -> BoxFacts:
    """The runs of all boxes in a folder; those that changed since are read."""
    paths = sorted(folder.glob("*.hbb"))
    runs: list[BoxRun] = []
    problems: list[str] = []
    changed: dict[bytes, Entry] = {}
    there = set()
    for number, path in enumerate(paths):
        key = os.fsencode(path.absolute())
        there.add(key)
        try:
            mark = box_mark(path)
        except BlackBoxError as error:
            problems.append(str(error))
            continue
        facts = _kept(kept.get(key), mark)
        if facts is None:
            if progress is not None:
                progress(number, len(paths))
            facts = _read(path)
            changed[key] = mark, _to_json(facts)
        runs += facts.runs
        problems += facts.problems
    gone = [key for key in kept if key.startswith(b"/") and key not in there]
    if changed or gone:
        store.write(changed, gone)
    return BoxFacts(tuple(runs), tuple(problems))


def _kept(entry: Entry | None, mark: bytes) -> BoxFacts | None:
    if entry is None or entry[0] != mark:
        return None
    try:
        fields = orjson.loads(entry[1])
        runs = [
            BoxRun(
                **{
                    **run,
                    "happenings": tuple(Happening(*row) for row in run["happenings"]),
                    "nodes": tuple(run["nodes"]),
                }
            )
            for run in fields["runs"]
        ]
        return BoxFacts(tuple(runs), tuple(fields["problems"]))
    except (ValueError, TypeError, LookupError):
        return None


def _to_json(facts: BoxFacts) -> bytes:
    runs = [{**asdict(run, recurse=False), "happenings": [tuple(row) for row in run.happenings]} for run in facts.runs]
    return orjson.dumps({"runs": runs, "problems": facts.problems})


@define
class _Run:
    started_ns: int | None = None
    ended_ns: int = 0
    rate: float = 0.0
    nodes: tuple[str, ...] = ()
    reason: str = ""
    last_tick: int = 0
    counts: Happenings = field(factory=Happenings)


def _read(path: Path) -> BoxFacts:
    try:
        with open_blackbox(path) as box:
            runs = _runs(box.iterate(Filter(_COUNTED | {"SchedulerStart"})))
            found = tuple(_finished(run, path, box.header.name, box.lost) for run in runs)
            return BoxFacts(found, tuple(f"{path}: {_plain(note)}" for note in box.damage[:3]))
    except BlackBoxError as error:
        return BoxFacts((), (_plain(str(error)),))


def _runs(records: Iterator[Record]) -> list[_Run]:
    runs = [_Run()]
    for record in records:
        event = record.event
        if isinstance(event, SchedulerStart):
            runs.append(_Run(record.time_ns, rate=_number(event.rate), nodes=tuple(map(_plain, event.names))))
        run = runs[-1]
        run.ended_ns = record.time_ns
        run.last_tick = max(run.last_tick, record.tick)
        if isinstance(event, SchedulerStop):
            run.reason = _plain(str(event.reason))
        if record.kind in _COUNTED and record.kind != "SchedulerStop":
            run.counts.see(_plain(_kind_of(record)), _plain(str(node_of(event) or "")), record.tick)
    return [run for run in runs if run.ended_ns]


def _kind_of(record: Record) -> str:
    event = record.event
    if not isinstance(event, Custom):
        return record.kind
    if event.category != LOG_CATEGORY:
        return f"{CUSTOM}{event.category}"
    return f"{LOG}{event.data.get('level') if type(event.data) is dict else ''}"


def _finished(run: _Run, path: Path, name: str, lost: int) -> BoxRun:
    if run.reason.startswith("fatal: "):
        run.counts.see("Fatal", run.reason.removeprefix("fatal: ").partition(":")[0], run.last_tick)
    return BoxRun(
        path=_plain(os.fspath(path)),
        program=_plain(name),
        started_ns=run.started_ns,
        ended_ns=run.ended_ns,
        rate=run.rate,
        nodes=run.nodes,
        reason=run.reason,
        last_tick=run.last_tick,
        happenings=tuple(run.counts.rows() or ()),
        lost=lost,
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _plain(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()
