"""One recorded session, as a whole."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from horus_async.errors import (
    DamagedRecordingError,
    RecordingError,
    SessionNotFoundError,
    UnsupportedVersionError,
)
from horus_async.recorder.manifest import read_manifest
from horus_async.recorder.naming import (
    EXTERNAL_STEM,
    KEPT_STEM,
    LOG_STEM,
    MANIFEST,
    SCHEDULER_STEM,
    SUFFIX,
    missing_part_name,
)
from horus_async.recorder.records import (
    EarlierMessage,
    ExecutionRecord,
    ExternalMessage,
    GapRecord,
    Header,
    RecordedOutput,
    ResumedRecord,
    SchedulerTick,
    SendsRecord,
)
from horus_async.recorder.view.view import SessionView
from horus_async.spelling import did_you_mean

from .clock import RecordedClock
from .parts import RecordedParts
from .reader import RecordedFile

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from horus_async.observe import NodeInfo
    from horus_async.recorder.frames import Damage
    from horus_async.recorder.tables.topic import TopicMessages
    from horus_async.recorder.view.log import RecordedLog
    from horus_async.recorder.view.moments import Moment
    from horus_async.recorder.view.params import RecordedParams


class Session:
    """A recorded session, also one whose process was killed or whose manifest is gone.

    ``start`` and ``stop`` of its methods are scheduler ticks, both included; None for no limit.

    Raises:
        DamagedRecordingError: nothing of it can be read.
        UnsupportedVersionError: another format version wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder
        self.scheduler: RecordedFile | None = None
        """The scheduler's file; None if it is lost."""
        self.files: dict[str, RecordedFile] = {}
        """The files of the nodes."""
        self.external_file: RecordedFile | None = None
        """The file of the external messages; None if there were none."""
        self.log_file: RecordedFile | None = None
        """The file of what was logged; None if there was nothing."""
        self.kept_file: RecordedFile | None = None
        """Of a window: the file of earlier messages that may still be read."""
        self.nodes: dict[str, NodeInfo] = {}
        """The recorded nodes, in the order in which they were added."""
        self._topics: dict[str, set[str]] = {}
        self.unreadable: dict[str, str] = {}
        """Files of which nothing can be read, and why."""
        self._parts: dict[tuple[str, str], dict[int, RecordedFile]] = {}
        headers = self._open_files()
        manifest = self._manifest()
        self._note_missing(manifest.get("files"))
        if not headers:
            why = "; ".join(self.unreadable.values()) or "it has no files of lines"
            raise DamagedRecordingError(f"session {folder} cannot be read: {why}")
        header = headers[0]
        self.name = header.session
        self.scheduler_name = next((line.node for line in headers if line.role == SCHEDULER_STEM), "scheduler")
        self.tick_rate = header.tick_rate
        """Hz."""
        self.deterministic = header.deterministic
        self.seed = header.seed
        self.start_ns = header.start_ns
        """What ``now_ns()`` said in tick 0."""
        self.started_at = header.started_at
        """ISO 8601, UTC."""
        self.namespace = header.namespace
        self.filtered = isinstance(manifest.get("filter"), dict)
        """Whether something was left out on purpose."""
        ended = manifest.get("ended_at")
        self.ended_at = ended if isinstance(ended, str) else None
        """ISO 8601, UTC; None if the recording was not closed."""
        notes = manifest.get("notes")
        self.notes = [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []
        """What was missing when it was made of others."""
        self._trigger = manifest.get("trigger")
        self._order_nodes(manifest.get("nodes"))
        self.missing_nodes = self._find_missing(manifest)
        """Recorded nodes of whose file nothing can be read, and why."""
        self.clock = RecordedClock(None if self.deterministic else self.scheduler)
        """What time it was since the run began, whatever the wall clock was set to."""

    @property
    def window(self) -> bool:
        """Whether its oldest files were taken away, again and again, while it was recorded."""
        return any(file.header is not None and file.header.window for file in self.all_files())

    @property
    def trigger(self) -> dict[str, Any] | None:
        """What it was made around, as its manifest says; None if it was not."""
        return self._trigger if isinstance(self._trigger, dict) else None

    @property
    def first_tick(self) -> int | None:
        """The first tick recorded; None if there is none."""
        ticks = [file.first_tick for file in self._with_ticks()]
        return min((tick for tick in ticks if tick is not None), default=None)

    @property
    def last_tick(self) -> int | None:
        """The last tick recorded; None if there is none."""
        ticks = [file.last_tick for file in self._with_ticks()]
        return max((tick for tick in ticks if tick is not None), default=None)

    @property
    def cuts(self) -> dict[str, Damage]:
        """The files that end in the middle of a frame, as after ``kill -9``, by file name."""
        return {file.path.name: file.cut for file in self.all_files() if file.cut is not None}

    @property
    def damage(self) -> dict[str, list[Damage]]:
        """The damage found so far, by file name; ``RecordedFile.survey`` looks for all of it."""
        return {file.path.name: file.damage for file in self.all_files() if file.damage}

    def all_files(self) -> list[RecordedFile]:
        """All files: the scheduler's, the nodes', those for external messages and the log; all parts of each."""
        files = (self.scheduler, *self.files.values(), self.external_file, self.log_file, self.kept_file)
        whole = [file for file in files if file is not None]
        return [part for file in whole for part in (file.parts if isinstance(file, RecordedParts) else [file])]

    def scheduler_ticks(self, start: int | None = None, stop: int | None = None) -> Iterator[SchedulerTick]:
        """What the scheduler did, tick by tick; nothing if its file is lost."""
        if self.scheduler is not None:
            for record in self.scheduler.records(start, stop):
                if isinstance(record, SchedulerTick):
                    yield record

    def executions(
        self, node: str, start: int | None = None, stop: int | None = None
    ) -> Iterator[ExecutionRecord | SendsRecord | GapRecord]:
        """What a node did: its ticks, ``init`` and ``shutdown``, what it sent besides, and the gaps.

        Raises:
            RecordingError: no such node was recorded.
        """
        records = self._file_of(node).records(start, stop)
        return (record for record in records if isinstance(record, ExecutionRecord | SendsRecord | GapRecord))

    def outputs(self, node: str, start: int | None = None, stop: int | None = None) -> Iterator[RecordedOutput]:
        """What a node sent in a range of ticks, in that order, whatever lines hold it.

        Raises:
            RecordingError: no such node was recorded.
        """
        lines = self.executions(node, start, stop)
        in_callbacks = (sent for line in lines if _is_of_callback(line) for sent in line.outputs)
        if not self.has_loose(node):
            return in_callbacks
        in_background = self.sends(node, start, stop, background=True)
        return _by_number(heapq.merge(in_callbacks, in_background, key=_when))

    def sends(
        self, node: str, start: int | None = None, stop: int | None = None, *, background: bool
    ) -> Iterator[RecordedOutput]:
        """What the `SendsRecord` lines of a node hold of a range of ticks, in order.

        Args:
            node: its name.
            start: by the tick in which something was sent, as is ``stop``.
            stop: see there.
            background: what was sent outside of callbacks; else what was sent while one was going on.

        Raises:
            RecordingError: no such node was recorded.
        """
        for record in self.sends_lines(node, start):
            if (record.tick is None) is background:
                for sent in record.outputs:
                    if (start is None or sent.tick >= start) and (stop is None or sent.tick <= stop):
                        yield sent

    def sends_lines(self, node: str, start: int | None = None) -> Iterator[SendsRecord]:
        """The lines of a node that hold what it sent besides its callbacks' lines, from those of a tick on.

        Raises:
            RecordingError: no such node was recorded.
        """
        return self._file_of(node).sends(start)

    def resumed(self, node: str, start: int | None = None) -> Iterator[ResumedRecord]:
        """When tasks of a node's own went on, from a tick on; of a run in real time.

        Raises:
            RecordingError: no such node was recorded.
        """
        return self._file_of(node).resumed(start)

    def output_topics(self, node: str) -> set[str]:
        """The topics that a node sent messages on.

        A closed file lists them in its footer; any other is read to its end, once.

        Raises:
            RecordingError: no such node was recorded.
        """
        known = self._topics.get(node)
        if known is None:
            footer = self._file_of(node).footer
            if footer is not None and footer.topics is not None:
                known = {tally.topic for tally in footer.topics}
            else:
                lines = self.executions(node)
                known = {sent.topic for line in lines if not isinstance(line, GapRecord) for sent in line.outputs}
            self._topics[node] = known
        return set(known)

    def input_topics(self, node: str) -> set[str]:
        """The topics that a node took messages from. Reads its file to the end.

        Raises:
            RecordingError: no such node was recorded.
        """
        lines = self.executions(node)
        return {taken.topic for line in lines if isinstance(line, ExecutionRecord) for taken in line.inputs}

    def has_sends(self, node: str) -> bool:
        """Whether some of what a node sent is in lines of its own, apart from its callbacks'.

        Raises:
            RecordingError: no such node was recorded.
        """
        return next(self._file_of(node).sends(), None) is not None

    def has_loose(self, node: str) -> bool:
        """Whether it may have sent something outside of callbacks, for which its file has to be read twice.

        Raises:
            RecordingError: no such node was recorded.
        """
        footer = self._file_of(node).footer
        if footer is None or footer.sends is None or footer.loose is None:
            return self.has_sends(node)
        return footer.loose > 0

    def node_of(self, path: str | os.PathLike[str]) -> str | None:
        """The node whose file this is; None if it is not a node's file of this session."""
        wanted = Path(path).expanduser()
        files = ((node, path) for node, file in self.files.items() for path in file.paths)
        return next((node for node, path in files if _same_file(path, wanted)), None)

    def external(self, start: int | None = None, stop: int | None = None) -> Iterator[ExternalMessage]:
        """The external messages."""
        if self.external_file is not None:
            for record in self.external_file.records(start, stop):
                if isinstance(record, ExternalMessage):
                    yield record

    def earlier(self) -> Iterator[EarlierMessage]:
        """Of a session that was cut: the messages from before it that were read in it; of a window, that may be."""
        for file in (self.kept_file, self.external_file):
            for record in () if file is None else file.records():
                if not isinstance(record, EarlierMessage):
                    break  # they come first
                yield record

    # -- as notebooks look at it ---------------------------------------------------------------------------------------

    def __getitem__(self, topic: str) -> TopicMessages:
        """The messages of a topic, as a sequence that is read as it is used.

        Raises:
            RecordingError: no such topic was recorded; the message names the nearest.
        """
        return SessionView(self)[topic]

    def __contains__(self, topic: object) -> bool:
        return topic in SessionView(self)

    def __iter__(self) -> Iterator[str]:
        """The names of the topics, in order."""
        return iter(self.topics)

    @property
    def topics(self) -> dict[str, int]:
        """How many messages each topic has; 0 for one that a node declares and was silent on."""
        return SessionView(self).topics

    @property
    def log(self) -> RecordedLog:
        """What was logged, line by line, oldest first; empty if there was nothing, or nothing of it was recorded."""
        return SessionView(self).log

    @property
    def params(self) -> RecordedParams:
        """The nodes' parameters as the session begins, and every change, with its tick."""
        return SessionView(self).params

    def between(self, begin: Moment | None = None, end: Moment | None = None) -> SessionView:
        """The part from one moment up to another, with the same topics, log and parameters; whole ticks.

        Args:
            begin: seconds since the first tick, or a `datetime`, UTC if it has no zone; None for the beginning.
            end: the same; it is not in it. None for the end.

        Raises:
            RecordingError: the session's times are not known, or these are none.
        """
        return SessionView(self).between(begin, end)

    def _repr_html_(self) -> str:
        return SessionView(self)._repr_html_()

    def _file_of(self, node: str) -> RecordedFile:
        file = self.files.get(node)
        if file is None:
            known = f"{', '.join(sorted(self.files)) or 'none'}{did_you_mean(node, self.files)}"
            raise RecordingError(f"session {self.name!r} has no node {node!r}; it has: {known}")
        return file

    # -- opening -------------------------------------------------------------------------------------------------------

    def _files_with_headers(self) -> Iterator[tuple[RecordedFile, Header]]:
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            try:
                file = RecordedFile(path)
            except UnsupportedVersionError:
                raise
            except SessionNotFoundError:  # a window has gone on meanwhile; others miss it where they name it
                continue
            except RecordingError as error:
                self.unreadable[path.name] = str(error)
                continue
            if file.header is None:
                self.unreadable[path.name] = f"{path} has lost its header, which says whose it is"
                continue
            yield file, file.header

    def _open_files(self) -> list[Header]:
        files = list(self._files_with_headers())
        runs = Counter(_run_of(header) for _, header in files)
        headers = []
        for file, header in files:
            parts = self._parts.setdefault((header.role, header.node), {})
            if _run_of(header) != runs.most_common(1)[0][0]:
                self.unreadable[file.path.name] = (
                    f"{file.path} is a file of another session: of {header.session!r}, started {header.started_at}"
                )
            elif header.part in parts:
                other = parts[header.part].path.name
                self.unreadable[file.path.name] = f"{file.path} is the same part of the same recording as {other}"
            else:
                parts[header.part] = file
                headers.append(header)
        for found in self._parts.values():
            if found:
                self._place_parts([found[number] for number in sorted(found)])
        return headers

    def _place_parts(self, parts: list[RecordedFile]) -> None:
        file = parts[0] if len(parts) == 1 else RecordedParts(parts)
        header = file.header
        assert header is not None
        last = parts[-1].header
        assert last is not None
        first = header.part if header.window else 0
        if len(parts) <= last.part - first:
            here = {part.header.part for part in parts if part.header is not None}
            for number in sorted(set(range(first, last.part)) - here):
                self._miss(missing_part_name(parts[0].path, number))
        following = parts[-1].following
        if following is not None and not (self.path / following).exists():
            self._miss(following)
        if header.role == SCHEDULER_STEM:
            self.scheduler = self.scheduler or file
        elif header.role == EXTERNAL_STEM:
            self.external_file = self.external_file or file
        elif header.role == LOG_STEM:
            self.log_file = self.log_file or file
        elif header.role == KEPT_STEM:
            self.kept_file = self.kept_file or file
        elif header.info is not None and header.node not in self.files:
            self.files[header.node] = file
            self.nodes[header.node] = header.info

    def _miss(self, name: str) -> None:
        self.unreadable.setdefault(name, f"{self.path / name} is missing")

    def _note_missing(self, names: Any) -> None:
        """Note the files that the manifest of a closed, rotated recording names and that are gone."""
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str) and "/" not in name and not (self.path / name).exists():
                self.unreadable[name] = f"{self.path / name} is missing"

    def _manifest(self) -> dict[str, Any]:
        try:
            return read_manifest(self.path) or {}
        except DamagedRecordingError as error:
            self.unreadable[MANIFEST] = str(error)
            return {}

    def _order_nodes(self, named: Any) -> None:
        order = list(named) if isinstance(named, dict) else []
        names = [name for name in order if name in self.files]
        names += [name for name in self.files if name not in names]
        self.files = {name: self.files[name] for name in names}
        self.nodes = {name: self.nodes[name] for name in names}

    def _find_missing(self, manifest: dict[str, Any]) -> dict[str, str]:
        named = manifest.get("nodes")
        missing = {}
        for node, name in named.items() if isinstance(named, dict) else ():
            if node not in self.files and isinstance(name, str):
                missing[node] = self.unreadable.setdefault(name, f"{self.path / name} is missing")
        for file, where in ((self.scheduler, "scheduler"), (self.external_file, "external"), (self.log_file, "log")):
            name = manifest.get(where)
            if file is None and isinstance(name, str):
                self.unreadable.setdefault(name, f"{self.path / name} is missing")
        return missing

    def gaps(self) -> dict[str, list[GapRecord]]:
        """Where something is missing that could not be written, by file name."""
        found = {file.path.name: list(file.gaps()) for file in self.all_files()}
        return {name: gaps for name, gaps in found.items() if gaps}

    def _with_ticks(self) -> list[RecordedFile]:
        return [self.scheduler] if self.scheduler is not None else list(self.files.values())


def _run_of(header: Header) -> tuple[object, ...]:
    """What all files of a session say alike."""
    return header.session, header.started_at, header.seed, header.tick_rate, header.start_ns, header.deterministic


def _is_of_callback(line: ExecutionRecord | SendsRecord | GapRecord) -> TypeGuard[ExecutionRecord | SendsRecord]:
    return isinstance(line, ExecutionRecord) or (isinstance(line, SendsRecord) and line.tick is not None)


def _when(sent: RecordedOutput) -> tuple[int, int]:
    return sent.tick, sent.stamp_ns


def _by_number(outputs: Iterable[RecordedOutput]) -> Iterator[RecordedOutput]:
    """What was sent at one moment from callbacks and beside them: on each topic in the order of its numbers."""
    for _, group in itertools.groupby(outputs, key=_when):
        together = list(group)
        if len(together) == 1:
            yield together[0]
            continue
        numbered = sorted(together, key=lambda sent: sent.seq)
        of_topic = {topic: iter([s for s in numbered if s.topic == topic]) for topic in {s.topic for s in together}}
        for sent in together:
            yield next(of_topic[sent.topic])


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False
