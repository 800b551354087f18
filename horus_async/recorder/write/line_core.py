"""What a recorder is told on its way into lines: the native core, or the same in Python.

These classes hold what the most frequent lines need: a tick of a node without an error, its messages, and the end of a
scheduler tick. The native maker makes these lines, and leaves whatever is rare to the classes that derive from them, as
the Python form does with everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.native import core

from .lines import quoted

if TYPE_CHECKING:
    from collections.abc import Callable

    from horus_async.observe import Execution, Sent, TickEnd

    from .lines import Gap


class TallyCore:
    """How many messages there were, how large, and in which ticks."""

    __slots__ = ("bytes", "count", "first_tick", "last_tick")

    def __init__(self) -> None:
        self.count = self.bytes = 0
        self.first_tick = self.last_tick = 0
        """Meaningless without messages."""

    def see(self, tick: int, size: int, /) -> None:
        """Count a message."""
        if not self.count:
            self.first_tick = self.last_tick = tick
        elif tick > self.last_tick:
            self.last_tick = tick
        elif tick < self.first_tick:
            self.first_tick = tick
        self.count += 1
        self.bytes += size


class RoomCore:
    """Room that is granted in advance."""

    __slots__ = ("left",)

    left: int
    """Bytes that may be put without asking."""


class FeedCore:
    """Lines for one file, and what they hold."""

    __slots__ = ("gap", "inputs", "loose", "outputs", "pending", "pending_bytes", "text", "ticks", "topics")

    text: bytearray
    """The lines that wait."""
    pending: list[Sent]
    """What a node's running callback has sent and no line holds yet, as text."""
    loose: list[Sent]
    """The same of what it sent outside its callbacks."""
    pending_bytes: int
    """Of both."""
    ticks: int
    inputs: int
    outputs: int
    topics: dict[str, TallyCore]
    """What the lines of a node hold of each topic."""
    gap: Gap | None
    """What is missing and no gap line tells of yet."""


class LineMakerCore:
    """Puts lines into feeds, and keeps the digest of the tick that goes on."""

    __slots__ = ("digest", "feeds", "last_tick", "longest", "room", "scheduler", "waiting")

    waiting: int
    """Messages that no line holds yet."""
    digest: int
    """Of the tick that goes on."""
    last_tick: int
    longest: int
    """Bytes of a line; what a longer one holds has to be counted."""

    if TYPE_CHECKING:

        def sent(self, message: Sent, /) -> None:
            """See ``LineMaker.sent_slowly``, which is the same."""

        def executed(self, execution: Execution, /) -> None:
            """See ``LineMaker.executed_slowly``, which is the same."""

        def tick_ended(self, end: TickEnd, /) -> None:
            """See ``LineMaker.tick_ended_slowly``, which is the same."""

        def lone(  # noqa: PLR0917 - called for each message of an import: names take a tenth longer
            self,
            node: str,
            topic: str,
            seq: int,
            stamp_ns: int,
            payload: bytes,
            tick: int,
            now_ns: int,
            dt_ns: int,
            /,
        ) -> bool:
            """See ``LineMaker.lone_slowly``, which is the same."""


class IntakeCore:
    """Takes records for another thread."""

    __slots__ = ("append", "last_tick", "room")

    append: Callable[[Any], None]
    """Puts a record into the queue."""
    last_tick: int

    if TYPE_CHECKING:

        def sent(self, message: Sent, /) -> None:
            """See ``Intake.sent_slowly``, which is the same."""

        def executed(self, execution: Execution, /) -> None:
            """See ``Intake.executed_slowly``, which is the same."""

        def tick_ended(self, end: TickEnd, /) -> None:
            """See ``Intake.tick_ended_slowly``, which is the same."""


if not TYPE_CHECKING and core is not None:
    core.connect_lines(quoted)
    TallyCore, RoomCore = core.TallyCore, core.RoomCore
    FeedCore, LineMakerCore, IntakeCore = core.FeedCore, core.LineMakerCore, core.IntakeCore
