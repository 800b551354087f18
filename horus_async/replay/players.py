"""Recorded nodes as nodes: each sends what the original sent, when it did.

They send through the real topics, with the recorded sequence numbers and stamps. So the engine needs no replay
branches, and live nodes, other processes and recorders see recorded messages as they see any.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import ReplayError
from horus_async.nodes.node import Node
from horus_async.observe import Observer
from horus_async.topics import Message
from horus_async.topics.codec import decode, encode

from .lines import Lines
from .options import session_topics

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.rules.schedule import Step
    from horus_async.recorder.records import ExecutionRecord, RecordedOutput
    from horus_async.topics import Bus
    from horus_async.topics.values.payload import Payload

    from .options import ReplayOptions

_PLAYED = ("tick", "safe_state")
"""Kinds of lines that belong to the ticks of a run, not to its beginning or end."""


class Player:
    """A recorded node that plays: it sends what the original sent, when it did."""

    def __init__(self, options: ReplayOptions, node: str, scale: float = 1.0, *, order: int | None = None) -> None:
        self._options = options
        self._deterministic = options.session.deterministic
        info = options.session.nodes[node]
        self.lines = Lines(options, node, scale, _PLAYED)
        self.run: NodeRun
        self._late: deque[RecordedOutput] = deque()
        whole_start = options.start in (None, options.session.first_tick)
        whole_end = options.stop in (None, options.session.last_tick) and not options.loop
        self.node = Node(
            node,
            tick=self._play,
            init=(lambda _: self._play_special("init")) if whole_start else None,
            shutdown=(lambda _: self._play_special("shutdown")) if whole_end else None,
            pubs=session_topics(options.session, node),
            order=info.order if order is None else order,
        )
        self._replacements = {topic: value for (name, topic), value in options.overrides.items() if name == node}

    def _play(self, _: Node) -> Any:
        line = self.lines.current
        assert line is not None
        for index, output in enumerate(line.outputs):
            if self._is_late(line, output):
                return self._play_rest(line, index)
            self._publish(output)
        return None

    async def _play_rest(self, line: ExecutionRecord, index: int) -> None:
        """The original was suspended before it sent the rest: wait as long."""
        began_ns = self.run.began_ns
        late = self._late = deque(line.outputs[index:])
        while late:
            wait_ns = began_ns + late[0].stamp_ns - line.now_ns - self.run.now()
            if wait_ns > 0:
                await anyio.sleep(wait_ns / NANOSECONDS)
            else:
                self._publish(late.popleft())

    def complete(self, tick: int) -> None:
        """Send what the original sent up to the last tick: in real time that may have lasted longer than here."""
        while self._late and self.lines.live_tick(self._late[0].tick) <= tick:
            self._publish(self._late.popleft())

    def _is_late(self, line: ExecutionRecord, output: RecordedOutput) -> bool:
        if self._deterministic:
            return output.stamp_ns > line.now_ns
        return output.tick != line.tick

    def _play_special(self, kind: str) -> None:
        for line in self.lines.special(kind):
            for output in line.outputs:
                self._publish(output)

    def _publish(self, output: RecordedOutput) -> None:
        payload: Payload = output.payload
        if output.topic in self._replacements:
            payload = encode(self._replace(self._replacements[output.topic], output.payload, output))
        self.run.ports.play(output.topic, payload, output.stamp_ns, output.seq)

    def _replace(self, replacement: Any, payload: bytes, output: RecordedOutput) -> Any:
        if not callable(replacement):
            return replacement
        return replacement(Message(decode(payload), output.topic, output.seq, output.stamp_ns, self.node.name))


class PlayersEnd(Observer):
    """Stops a run when recorded nodes have played all that they had.

    Raises:
        ReplayError: They have nothing to play.
    """

    hears_messages = False

    def __init__(self, stop: Callable[[str], None], players: Sequence[Player]) -> None:
        self._stop = stop
        self._playing = {player.node.name: player.lines for player in players if player.lines.next_tick < math.inf}
        if not self._playing:
            names = ", ".join(player.node.name for player in players)
            raise ReplayError(f"{names} never ticked in that session: there is nothing to inject")

    def ticked(self, node: str, tick: int, took_ns: int, *, success: bool) -> None:
        """See whether a recorded node has played all it had."""
        del tick, took_ns, success
        if node in self._playing and self._playing[node].next_tick == math.inf:
            del self._playing[node]
            if not self._playing:
                self._stop("recording ended")


class ExternalPlayer:
    """Plays the external messages of a session, each in the tick in which it was first read."""

    def __init__(self, options: ReplayOptions, bus: Bus, played: Callable[[str, int], None]) -> None:
        self._options = options
        self._bus = bus
        self._played = played
        self.rewind()

    def rewind(self) -> None:
        """Start over."""
        options = self._options
        messages = options.session.external(options.start, options.stop)
        self._source = iter(messages)
        self._next = next(self._source, None)

    def __call__(self, step: Step) -> None:
        """Publish what belongs to the tick that begins."""
        while self._next is not None and self._next.tick <= step.tick:
            message = self._next
            publisher = self._bus.publisher(message.topic, message.publisher, external=True)
            publisher.publish(message.payload, message.stamp_ns, message.seq)
            self._played(message.topic, message.source)
            self._next = next(self._source, None)
