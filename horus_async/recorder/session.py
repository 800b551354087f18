"""Recorded sessions: finding, opening, listing and deleting them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from horus_async.errors import (
    DamagedRecordingError,
    RecordingError,
    SessionNotFoundError,
    UnsupportedVersionError,
)

from .manifest import read_manifest
from .naming import EXTERNAL_STEM, MANIFEST, SCHEDULER_STEM, SUFFIX, check_session_name, recordings_root
from .reader import RecordedFile
from .records import ExecutionRecord, ExternalMessage, GapRecord, Header, SchedulerTick

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.observe import NodeInfo

    from .frames import Damage


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
        self.outside: RecordedFile | None = None
        """The file of the messages from outside the run; None if there were none."""
        self.nodes: dict[str, NodeInfo] = {}
        """The recorded nodes, in the order in which they were added."""
        self._topics: dict[str, set[str]] = {}
        self.unreadable: dict[str, str] = {}
        """Files of which nothing can be read, and why."""
        headers = self._open_files()
        manifest = self._manifest()
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
        ended = manifest.get("ended_at")
        self.ended_at = ended if isinstance(ended, str) else None
        """ISO 8601, UTC; None if the recording was not closed."""
        self._order_nodes(manifest.get("nodes"))

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
        """What was found damaged so far, by file name. ``RecordedFile.survey`` looks at everything."""
        return {file.path.name: file.damage for file in self.all_files() if file.damage}

    def all_files(self) -> list[RecordedFile]:
        """The files: the scheduler's, the nodes', the one for messages from outside."""
        return [file for file in (self.scheduler, *self.files.values(), self.outside) if file is not None]

    def scheduler_ticks(self, start: int | None = None, stop: int | None = None) -> Iterator[SchedulerTick]:
        """What the scheduler did, tick by tick. Empty if its file is lost."""
        if self.scheduler is not None:
            for record in self.scheduler.records(start, stop):
                if isinstance(record, SchedulerTick):
                    yield record

    def executions(
        self, node: str, start: int | None = None, stop: int | None = None
    ) -> Iterator[ExecutionRecord | GapRecord]:
        """What a node did: its ticks, ``init`` and ``shutdown``, and the gaps.

        Raises:
            RecordingError: no such node was recorded.
        """
        records = self._file_of(node).records(start, stop)
        return (record for record in records if isinstance(record, ExecutionRecord | GapRecord))

    def output_topics(self, node: str) -> set[str]:
        """The topics that a node sent messages on.

        A file that was closed says so in its footer; another is read to its end for it, once.

        Raises:
            RecordingError: no such node was recorded.
        """
        known = self._topics.get(node)
        if known is None:
            footer = self._file_of(node).footer
            if footer is not None and footer.topics is not None:
                known = set(footer.topics)
            else:
                lines = self.executions(node)
                known = {sent.topic for line in lines if isinstance(line, ExecutionRecord) for sent in line.outputs}
            self._topics[node] = known
        return set(known)

    def node_of(self, path: str | os.PathLike[str]) -> str | None:
        """The node whose file this is; None if it is no node's of this session."""
        wanted = Path(path).expanduser()
        return next((node for node, file in self.files.items() if _same_file(file.path, wanted)), None)

    def external(self, start: int | None = None, stop: int | None = None) -> Iterator[ExternalMessage]:
        """The messages from outside the run."""
        if self.outside is not None:
            for record in self.outside.records(start, stop):
                if isinstance(record, ExternalMessage):
                    yield record

    def _file_of(self, node: str) -> RecordedFile:
        file = self.files.get(node)
        if file is None:
            known = ", ".join(sorted(self.files)) or "none"
            raise RecordingError(f"session {self.name!r} has no node {node!r}; it has: {known}")
        return file

    # -- opening -------------------------------------------------------------------------------------------------------

    def _open_files(self) -> list[Header]:
        headers = []
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            try:
                file = RecordedFile(path)
            except UnsupportedVersionError:
                raise
            except RecordingError as error:
                self.unreadable[path.name] = str(error)
                continue
            if file.header is None:
                self.unreadable[path.name] = f"{path} has lost its header, which says whose it is"
                continue
            headers.append(file.header)
            self._place(file, file.header)
        return headers

    def _place(self, file: RecordedFile, header: Header) -> None:
        if header.role == SCHEDULER_STEM:
            self.scheduler = self.scheduler or file
        elif header.role == EXTERNAL_STEM:
            self.outside = self.outside or file
        elif header.info is not None and header.node not in self.files:
            self.files[header.node] = file
            self.nodes[header.node] = header.info

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

    def _with_ticks(self) -> list[RecordedFile]:
        return [self.scheduler] if self.scheduler is not None else list(self.files.values())


def open_session(ref: str | os.PathLike[str], root: str | os.PathLike[str] | None = None) -> Session:
    """Open a session by its name, its folder, or the path of one of its files. ``~`` is expanded.

    Raises:
        SessionNotFoundError: there is none; the message lists what there is.
        DamagedRecordingError: nothing of it can be read.
        UnsupportedVersionError: another format version wrote it.
    """
    home = recordings_root(root)
    text = os.fspath(ref)
    # A bare name is a session's first, and a path only if there is no such session.
    if os.sep not in text and text not in {"", ".", ".."} and _is_session(home / text):
        return Session(home / text)
    path = Path(text).expanduser()
    try:
        if path.is_file() and (path.name == MANIFEST or path.name.endswith(SUFFIX)):
            return Session(path.parent)
        if _is_session(path):
            return Session(path)
    except (OSError, ValueError) as error:
        raise SessionNotFoundError(f"no session {text!r}: {error}") from error
    there = ", ".join(summary.name for summary in list_sessions(home)) or "none"
    raise SessionNotFoundError(f"no session {text!r}; in {home} there are: {there}")


@frozen
class SessionSummary:
    """What a list of sessions shows."""

    name: str
    path: Path
    started_at: str
    """ISO 8601, UTC; empty if it is lost."""
    ended_at: str | None
    """None if the recording was not closed, or is still running."""
    tick_rate: float
    deterministic: bool
    nodes: tuple[str, ...] = field(factory=tuple)
    bytes: int = 0
    problem: str | None = None
    """Why it cannot be read."""


def list_sessions(root: str | os.PathLike[str] | None = None) -> list[SessionSummary]:
    """Every session under the root, oldest first; those that cannot be read, too."""
    home = recordings_root(root)
    try:
        folders = [folder for folder in home.iterdir() if _is_session(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RecordingError(f"cannot look into {home}: {error.strerror or error}") from error
    return sorted((_summary(folder) for folder in folders), key=lambda summary: (summary.started_at, summary.name))


def delete_session(name: str, root: str | os.PathLike[str] | None = None) -> bool:
    """Delete a session; False if there is none of that name.

    Raises:
        SessionNameError: the name cannot be a session's, so it cannot lead out of the root either.
        RecordingError: what has that name is no session, or cannot be deleted.
    """
    folder = recordings_root(root) / check_session_name(name)
    if folder.is_symlink():
        raise RecordingError(f"{folder} is a symbolic link, not a session: delete it by hand")
    if not folder.exists():
        return False
    if not _is_session(folder):
        raise RecordingError(f"{folder} is not a session: delete it by hand")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise RecordingError(f"cannot delete {folder}: {error.strerror or error}") from error
    return True


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _is_session(folder: Path) -> bool:
    try:
        return (folder / MANIFEST).is_file() or next(folder.glob(f"*{SUFFIX}"), None) is not None
    except (OSError, ValueError):
        return False


def _summary(folder: Path) -> SessionSummary:
    size = sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}"))
    try:
        manifest = read_manifest(folder)
        if manifest is not None:
            ended = manifest.get("ended_at")
            return SessionSummary(
                folder.name,
                folder,
                str(manifest["started_at"]),
                ended if isinstance(ended, str) else None,
                float(manifest["tick_rate"]),
                bool(manifest["deterministic"]),
                tuple(str(node) for node in manifest["nodes"]),
                size,
            )
    except UnsupportedVersionError as error:
        return SessionSummary(folder.name, folder, "", None, 0.0, deterministic=False, bytes=size, problem=str(error))
    except (RecordingError, KeyError, TypeError, ValueError):
        pass  # the headers say the same
    try:
        found = Session(folder)
    except RecordingError as error:
        return SessionSummary(folder.name, folder, "", None, 0.0, deterministic=False, bytes=size, problem=str(error))
    nodes = tuple(found.nodes)
    return SessionSummary(
        folder.name, folder, found.started_at, None, found.tick_rate, found.deterministic, nodes, size
    )
