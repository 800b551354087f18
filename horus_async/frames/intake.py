"""What arrives on a node's topics, taken into its tree or left out, counted and told once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.errors import FramesError

from .edge import seconds
from .reading import all_in, read
from .tree import FrameTree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from horus_async.topics import Message

    from .reading import Read

MOST_TOLD = 100
"""Of so many different edges the log tells."""


class Intake:
    """A tree, and what became of the edges that came for it."""

    def __init__(self, history_ns: int, reparent: bool, tell: Callable[[str], None]) -> None:  # noqa: FBT001 - the two of `options`
        self.options = history_ns, reparent
        self.tree = FrameTree(history_ns, reparent=reparent)
        self.sent_static: dict[str, Any] = {}
        """The static edges that the node has sent itself, by child."""
        self.refused = 0
        self.went_back = 0
        self._say = tell
        self._told: set[tuple[str, ...]] = set()
        self._now_ns: int | None = None

    def add(self, edge: Read, *, static: bool) -> None:
        """Add an edge.

        Raises:
            FramesError: See `FrameTree.add`.
        """
        moved = self.tree.moved
        if self.tree.add(edge, static=static):
            self.went_back += 1
            self._tell(
                ("back", edge.child),
                f"frames: the time of edge {edge.parent} → {edge.child} went back to {seconds(edge.ns)}: its history "
                "begins anew",
            )
        if self.tree.moved != moved:
            self._tell(("moved", edge.child), f"frames: {edge.child!r} is under {edge.parent!r} now")

    def take(self, message: Message, *, static: bool, end_ns: int | None = None) -> None:
        """Take a message's edges; what makes no sense is left out, as other programs must not end a run.

        Those later than ``end_ns`` are of before the time of the run went back, and are forgotten at once.
        """
        for child, reason in self.add_all(message, static=static, end_ns=end_ns):
            self._tell(
                (message.topic, message.publisher, child),
                f"frames: {reason}; it is left out, and so are further ones of it that make no sense",
            )

    def add_all(self, message: Message, *, static: bool, end_ns: int | None = None) -> Iterator[tuple[str, str]]:
        """Add a message's edges; gives those that are left out, by their child as far as it has one, and why."""
        for one in all_in(message.value):
            child = ""
            try:
                edge = read(one)
                child = edge.child
                if end_ns is None or edge.ns <= end_ns:
                    self.add(edge, static=static)
            except FramesError as error:
                self.refused += 1
                yield child, f"on {message.topic!r} from {message.publisher!a}: {error}"

    def clock(self, now_ns: int) -> int | None:
        """A tick has begun; where its time is before that of the last one, what is later has not happened yet.

        Returns:
            That time, if it has gone back: what waits on the topics and is later has not happened yet, either.
        """
        before, self._now_ns = self._now_ns, now_ns
        if before is None or now_ns >= before:
            return None
        self.went_back += 1
        forgotten = self.tree.forget_after(now_ns)
        self._tell(
            ("clock",),
            f"frames: the time of the run went back from {seconds(before)} to {seconds(now_ns)}: {forgotten} samples "
            "of moving edges that are later are forgotten",
        )
        return now_ns

    def _tell(self, about: tuple[str, ...], text: str) -> None:
        if about not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(about)
            self._say(text)
