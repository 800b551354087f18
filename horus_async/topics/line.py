"""One topic of a bus: its ring, the ring's files and publishers, and where it is heard."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from horus_async.clock.system import wall_ns
from horus_async.errors import ConfigurationError

from .ring.layout import DEFAULT_CAPACITY, FIRST_DATA_AT
from .ring.memory import SharedFile
from .ring.turn import Turn
from .ring.writer import RingWriter

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    from .exchange import Channel
    from .publisher import Publisher


class Line:
    """One topic of a bus. Its publishers share one ring, which is made with their first message."""

    __slots__ = ("capacity", "channel", "files", "keep", "public", "publishers", "ring", "stays", "turn")

    def __init__(self, channel: Channel, public: Channel | None = None) -> None:
        """Begin without a ring.

        Args:
            channel: where the bus meets others, or only itself if it is isolated.
            public: where others hear an isolated bus.
        """
        self.channel = channel
        self.public = public
        self.turn = Turn()
        self.stays = True
        """Whether what it keeps for late readers outlives the bus."""
        self.publishers: dict[str, Publisher] = {}
        self.capacity: int | None = None
        """The most bytes that were asked for."""
        self.keep = 0
        """How many messages are kept for late readers."""
        self.ring: RingWriter | None = None
        self.files: list[SharedFile] = []
        """One for each generation of the ring."""

    def want_capacity(self, capacity: int) -> None:
        """Let the ring hold at least this many bytes.

        Raises:
            ConfigurationError: not a capacity.
        """
        if type(capacity) is not int or capacity < 1:
            raise ConfigurationError(f"capacity is a number of bytes, at least 1, not {capacity!r}")
        self.capacity = max(capacity, self.capacity or 0)
        if self.ring is not None:
            self.ring.want_capacity(capacity)

    def want_keep(self, count: int) -> None:
        """Let the ring keep at least its last ``count`` messages for late readers. The caller holds the turn."""
        self.keep = max(count, self.keep)
        if self.ring is not None:
            self.ring.keep(self.keep)

    def new_ring(self, topic: str, namespace: str, file_name: str, pid: int) -> RingWriter:
        """A ring in files ``<file_name>.<generation>`` in the namespace's folder. The caller holds the turn.

        Raises:
            TopicPermissionError: the folder is not ours.
            TopicError: there is no room for it.
        """

        def allocate(generation: int, size: int) -> mmap.mmap:
            while len(self.files) > generation:  # of an attempt that failed later
                self.files.pop().unlink()
            file = SharedFile(namespace, f"{file_name}.{generation}", size, at_first=FIRST_DATA_AT)
            self.files.append(file)
            if file.guarded is not None:
                file.guarded.on_cut = lost
            return file.map

        def lost() -> None:
            writer = made()
            if writer is not None:
                writer.limit = 0  # so that the next message looks

        def back(size: int) -> int:
            return self.files[-1].back(size)

        made: Callable[[], RingWriter | None] = lambda: None  # noqa: E731 - until there is one
        writer = RingWriter(
            allocate,
            topic=topic,
            namespace=namespace,
            capacity=self.capacity or DEFAULT_CAPACITY,
            pid=pid,
            started_ns=wall_ns(),
            back=back,
        )
        made = weakref.ref(writer)  # the guard must not keep what is closed
        if self.keep:
            writer.keep(self.keep)
        return writer

    def give_up_files(self, *, keep: bool) -> None:
        """Remove the files of a closed ring, or leave that to listeners that may not have seen them yet."""
        while self.files:
            file = self.files.pop()
            try:
                if keep:
                    file.leave()
                else:
                    file.unlink()
            except FileNotFoundError:  # somebody else removed it
                continue
