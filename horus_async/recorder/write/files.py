"""The files of a session that is being written, and what its headers, footers and manifest say."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from horus_async.clock.system import iso_utc
from horus_async.limits.open_files import KEPT_BACK, check_files_left, expect_files, too_many_files
from horus_async.observe import NodeInfo
from horus_async.recorder.catalogue.happenings import Happenings
from horus_async.recorder.manifest import sync_folder, write_manifest
from horus_async.recorder.naming import EXTERNAL_STEM, LOG_STEM, SCHEDULER_STEM, file_name, plain_file_name
from horus_async.recorder.options import Fsync
from horus_async.recorder.records import SCHEMA_VERSION

from .frame_file import FrameFile, Rotation
from .lines import footer_line, header_line, run_fields, versions
from .screening import screen_fields

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from horus_async.observe import RunInfo
    from horus_async.recorder.options import RecordingOptions

    from .feed import Feed, LogFeed
    from .screening import Screen


class SessionFiles:
    """The scheduler's file, one per node, and those for external messages and the log once there is one."""

    def __init__(
        self,
        folder: Path,
        run: RunInfo,
        options: RecordingOptions,
        identity: str,
        *,
        screen: Screen | None,
        log: LogFeed,
        thorough: bool,
    ) -> None:
        self.folder = folder
        self.synced = options.fsync is Fsync.INTERVAL
        """Whether the disk itself is to store what is written."""
        self._run = run
        self._identity = identity
        self._screen = screen
        self._thorough = thorough
        window = {} if options.around is None else {"window": True}
        self._choices = {**screen_fields(options), **_log_choice(options), **window}
        self.also: dict[str, Any] = {}
        """What the manifest says besides, until the recording is closed."""
        self._also_announced = self.also
        self._rotation = _rotation(options, run.tick_rate)
        self.happenings = Happenings()
        """What happened, which the manifest says in the end."""
        self._announced: list[str] = []
        """The files that the manifest names."""
        self._making = threading.Lock()
        """A node that nobody announced, or the first external message, may be heard of in either thread."""
        self.scheduler = self._new_file(plain_file_name(SCHEDULER_STEM, identity), "scheduler")
        self.nodes: dict[str, FrameFile] = {}
        self.external: FrameFile | None = None
        # Made now, in memory: whoever logs first may be a signal handler in the middle of anything.
        self._log_feed = log
        self.log = self._new_file(plain_file_name(LOG_STEM, identity), LOG_STEM, feed=log)

    def __iter__(self) -> Iterator[FrameFile]:
        yield self.scheduler
        yield from list(self.nodes.values())
        if self.external is not None:
            yield self.external
        if self._log_feed.begun:
            yield self.log

    def open(self) -> None:
        """Make the files of the scheduler and of all nodes that are known, and the manifest.

        Raises:
            OSError: they cannot be made.
        """
        expect_files(len(self._run.nodes))
        self.scheduler.open()
        for node in self._run.nodes:
            if self._screen is None or self._screen.takes_node(node.name):
                self.add_node(node).open()
        write_manifest(self.folder, self._manifest(None, None), sync=self.synced)
        self._announced = [file.first_name for file in self]
        if self.synced:
            sync_folder(self.folder.parent)
        check_files_left(KEPT_BACK)  # those for what comes later, and the rest of the program

    def announce(self) -> None:
        """Name files that came to be while the recording went on, in the manifest: so none can be gone unnoticed.

        Where that fails it is tried again with the next flush; the files' headers say the same.
        """
        names, also = [file.first_name for file in self if file.begun], self.also
        if names != self._announced or also is not self._also_announced:
            with suppress(OSError):
                write_manifest(self.folder, self._manifest(None, None), sync=self.synced)
                self._announced, self._also_announced = names, also

    def finish(self, ended_ns: int, reason: str) -> None:
        """Write the footers, the indexes and the manifest.

        Raises:
            OSError: the disk refused.
        """
        for file in self:
            try:
                file.finish(self._footer(file, ended_ns))
            except OSError as error:
                if file.begun or too_many_files(error) is None:
                    raise
                continue  # it never came to be for want of a descriptor; its lines are counted as lost
            if self.synced:
                file.sync()
        write_manifest(self.folder, self._manifest(ended_ns, reason), sync=self.synced)

    def paths(self) -> list[Path]:
        """The scheduler's, the nodes', those for external messages and for the log if there were any."""
        return [path for file in self for path in file.paths]

    def add_node(self, node: NodeInfo) -> FrameFile:
        """The file of a node; made, in memory, if it has none."""
        with self._making:
            file = self.nodes.get(node.name)
            if file is None:
                file = self._new_file(file_name(node.name, self._identity), "node", node)
                self.nodes[node.name] = file
        return file

    def node_feed(self, name: str) -> Feed:
        """That of a node by its name, also of one that nobody announced."""
        return (self.nodes.get(name) or self.add_node(NodeInfo(name, None))).feed

    def external_feed(self) -> Feed:
        """That of the external messages."""
        with self._making:
            if self.external is None:
                self.external = self._new_file(plain_file_name(EXTERNAL_STEM, self._identity), "external")
        return self.external.feed

    def let_go(self) -> None:
        """Forget the files in a forked child: they are its parent's."""
        self._making = threading.Lock()
        self._log_feed.closed = True
        for file in self:
            file.let_go()

    def close(self) -> None:
        """Close all of them."""
        for file in self:
            file.close()

    def _new_file(self, name: str, role: str, node: NodeInfo | None = None, feed: LogFeed | None = None) -> FrameFile:
        header = header_line(self._run, self.folder.name, role, node, self._choices)
        has_messages = role not in {SCHEDULER_STEM, LOG_STEM}
        path, thorough, keep = self.folder / name, self._thorough, None if node is None else node.keep
        return FrameFile(
            path, header, self._rotation, has_messages=has_messages, thorough=thorough, feed=feed, keep=keep
        )

    def _footer(self, file: FrameFile, ended_ns: int) -> bytes:
        counts = file.part_counts
        if file is self.scheduler:
            counts.inputs = sum(node.counts.inputs for node in self.nodes.values())
            counts.outputs = sum(node.counts.outputs for node in self.nodes.values())
        return footer_line(
            ended_ns, counts, file.tallies, excluded=self._excluded(file), sends=file.sends, loose=file.loose
        )

    def _told(self) -> dict[str, Any]:
        told = self.happenings.told()
        return {} if told is None else {"happenings": told}

    def _excluded(self, file: FrameFile) -> int | None:
        if self._screen is None:
            return None
        left_out = self._screen.excluded
        if file is self.scheduler:
            return sum(left_out.values())
        if file is self.external:
            return left_out.get("", 0)
        if file is self.log:
            return None
        return next(left_out.get(name, 0) for name, known in self.nodes.items() if known is file)

    def _manifest(self, ended_ns: int | None, reason: str | None) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "session": self.folder.name,
            "name": self._run.name,
            **run_fields(self._run),
            "ended_at": None if ended_ns is None else iso_utc(ended_ns),
            "reason": reason,
            "scheduler": self.scheduler.first_name,
            "nodes": {name: file.first_name for name, file in list(self.nodes.items()) if file.begun},
            "external": None if self.external is None or not self.external.begun else self.external.first_name,
            "log": self.log.first_name if self.log.begun else None,
            **self._choices,
            **self.also,
            **({} if ended_ns is None else self._told()),
            **({} if self._rotation is None or ended_ns is None else {"files": [path.name for path in self.paths()]}),
            **versions(),
        }


def _log_choice(options: RecordingOptions) -> dict[str, Any]:
    """What headers and the manifest say of the log; nothing where it is recorded as usual."""
    if not options.log:
        return {"logged": False}
    return {} if options.log_level is None else {"logged": options.log_level}


def _rotation(options: RecordingOptions, tick_rate: float) -> Rotation | None:
    size, seconds = options.rotate_mb, options.rotate_seconds
    if size is None and seconds is None and options.around is None:
        return None
    return Rotation(
        None if size is None else size * (1 << 20),
        None if seconds is None else seconds * tick_rate,
        options.fsync is Fsync.INTERVAL,
    )
