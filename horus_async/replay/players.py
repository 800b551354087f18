"""Recorded nodes as nodes: each sends what the original sent, when it did.

They send through the real topics, with the recorded sequence numbers and stamps. So the engine needs no replay
branches, and live nodes, other processes and recorders see recorded messages as they see any.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from typing import TYPE_CHECKING, Any

from horus_async.errors import ReplayError
from horus_async.nodes.node import Node
from horus_async.observe import Observer
from horus_async.topics import Message
from horus_async.topics.codec import decode, encode
from horus_async.topics.codec.compact import fitting
from horus_async.topics.keeping.keep import KEEP_LIMIT, Keep
from horus_async.topics.values.payload import MESSAGE_LIMIT

from .choosing.kept import kept_external, kept_outputs
from .late import LateOutputs
from .lines import Lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.rules.schedule import Step
    from horus_async.engine.runtime import Runtime
    from horus_async.recorder.records import ExecutionRecord, ExternalMessage, RecordedOutput
    from horus_async.topics import Bus
    from horus_async.topics.values.payload import Payload

    from .options import ReplayOptions

_PLAYED = ("tick", "safe_state", "init", "request")
"""Kinds of lines that are played at their ticks; the ``init`` with which the run began is played before the first."""


def _pubs(options: ReplayOptions, node: str) -> dict[str, Keep | None]:
    """The topics that a recorded node is to send on, with what it keeps there."""
    found: dict[str, Keep | None] = dict.fromkeys(sorted(options.played_topics(node)))
    for topic, count in options.session.nodes[node].keep.items():
        name = options.choice.played_as(topic)
        if name in found:
            found[name] = Keep(n=min(max(count, 1), KEEP_LIMIT))
    return found


class Player:
    """A recorded node that plays: it sends what the original sent, when it did."""

    def __init__(self, options: ReplayOptions, node: str, scale: float = 1.0, *, order: int | None = None) -> None:
        self._options = options
        session = options.session
        self._deterministic = session.deterministic
        info = session.nodes[node]
        self.lines = Lines(options, node, scale, _PLAYED)
        self.run: NodeRun
        self._late: LateOutputs
        self._clock = session.clock
        self._shift_ns: int | None = None
        """From the session's own time to the run's; None before the first tick."""
        self._kept = kept_outputs(session, node, options.start)
        self.rewind()
        whole_start = options.start in (None, session.first_tick)
        whole_end = (options.stop is None or options.stop == session.last_tick) and not options.loop
        self.node = Node(
            node,
            tick=self._play,
            init=(lambda _: self._play_special("init")) if whole_start else None,
            shutdown=(lambda _: self._play_special("shutdown")) if whole_end else None,
            pubs=_pubs(options, node),
            order=info.order if order is None else order,
        )
        self._replacements = {topic: value for (name, topic), value in options.overrides.items() if name == node}

    def join(self, runtime: Runtime, *, recorded_clock: bool) -> None:
        """Take part in a run, on the clock of the session or on the run's own."""
        self.run = runtime.add(self.node)
        self.run.schedule = self.lines
        by_seq = self._options.session.has_sends(self.node.name)
        self._late = LateOutputs(runtime, self.run, self.lines.live_tick, self._publish, by_seq=by_seq)
        self._recorded_clock = recorded_clock
        runtime.before_step.append(self._tick_ends)
        runtime.at_step.append(self._tick_begins)
        runtime.at_end.append(self._late.complete)

    def rewind(self) -> None:
        """Start over."""
        self._sent_kept = False
        self.lines.rewind()
        self._held: deque[RecordedOutput] = deque()
        """Of this tick: what callbacks sent that begin in it, until they do, and what came later."""
        sends = self._read_sends(background=False), self._read_sends(background=True)
        self._sends = heapq.merge(*sends, key=lambda one: (one[1].tick, one[1].stamp_ns))
        self._next = next(self._sends, None)
        if self._shift_ns is not None:
            self._late.rewind()

    def _read_sends(self, *, background: bool) -> Iterator[tuple[int | None, RecordedOutput]]:
        """What lines of their own hold, by its ticks, and the tick in which the callback began that sent it.

        A thread may be told of late: what it sent can stand behind what was sent in a later tick, in the next line too.
        """
        start, stop = self._options.start, self._options.stop
        waiting: list[tuple[int | None, RecordedOutput]] = []
        for line in self._options.session.sends_lines(self.lines.node, start):
            if (line.tick is None) is background:
                before = len(waiting)
                waiting += [
                    (line.tick, sent)
                    for sent in line.outputs
                    if (start is None or sent.tick >= start) and (stop is None or sent.tick <= stop)
                ]
                waiting.sort(key=lambda one: one[1].tick)
                yield from waiting[:before]
                del waiting[:before]
        yield from waiting

    def _tick_ends(self, step: Step) -> None:
        """What was sent in the ticks before this one still goes out in them."""
        self._release()
        self._late.complete(step.tick - 1)

    def _tick_begins(self, step: Step) -> None:
        """What was sent besides the node's lines in this tick."""
        self._late.tick_begins()
        if self._recorded_clock:
            self._shift_ns = step.at_ns - (step.now_ns - step.origin_ns)
        if not self._sent_kept:
            self._sent_kept = True
            self._send_kept()
        while self._next is not None and self.lines.live_tick(self._next[1].tick) <= step.tick:
            began, sent = self._next
            # in virtual time a task that a message has woken comes after the node's callbacks of that instant
            after_callback = began == sent.tick or (began is None and self._deterministic)
            if self._held or (after_callback and self.lines.next_tick <= step.tick):
                self._held.append(sent)  # and what its tasks sent after that
            else:
                self._add_late(sent)
            self._next = next(self._sends, None)

    def _add_late(self, sent: RecordedOutput) -> None:
        self._late.add(sent, 0 if self._shift_ns is None else self._sent_ns(sent) + self._shift_ns)

    def _sent_ns(self, sent: RecordedOutput) -> int:
        return self._clock.sent_ns(sent.stamp_ns, sent.tick)

    def _release(self) -> None:
        while self._held:
            self._add_late(self._held.popleft())

    def _play(self, _: Node) -> None:
        line = self.lines.current
        assert line is not None
        if not self._recorded_clock or self._shift_ns is None:
            self._shift_ns = self.run.began_ns - self._clock.sent_ns(line.now_ns, line.tick)
        self._release()
        late = self._late.any_waiting  # what was sent before goes first
        for output in line.outputs:
            late = late or self._is_late(line, output)
            if late:
                self._late.add(output, self._sent_ns(output) + self._shift_ns)
            else:
                self._publish(output)

    def _is_late(self, line: ExecutionRecord, output: RecordedOutput) -> bool:
        if self._deterministic:
            return output.stamp_ns > line.now_ns
        return output.tick != line.tick

    def _play_special(self, kind: str) -> None:
        for line in self.lines.special(kind):
            for output in line.outputs:
                self._publish(output)

    def _send_kept(self) -> None:
        """What was sent once, before the start."""
        for output in self._kept:
            name = self._options.choice.played_as(output.topic)
            if name is not None:
                self._options.kept[name] = self._options.kept.get(name, 0) + 1
                self._publish(output)

    def _publish(self, output: RecordedOutput) -> None:
        name = self._options.choice.played_as(output.topic)
        if name is None:
            self._options.choice.left_out[output.topic] += 1
            return
        text = output.payload
        payload: Payload = text
        if output.topic in self._replacements:
            payload = encode(self._replace(self._replacements[output.topic], text, output))
        elif len(text) > MESSAGE_LIMIT:
            payload = fitting(text, self.run.ports.publisher(name).forms)
        self.run.ports.play(name, payload, self._options.stamp_of(output), output.seq)

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
        self._kept = kept_external(options.session, options.start)
        self._open()
        self.rewind()

    def _open(self) -> None:
        """Make the rings before the run begins, so that it does not start where there is no room for them."""
        file = self._options.session.external_file
        footer = None if file is None else file.footer
        for tally in () if footer is None else footer.topics or ():
            name = self._options.choice.played_as(tally.topic)
            if name is not None and tally.publisher:
                self._bus.publisher(name, tally.publisher, external=True).open()

    def rewind(self) -> None:
        """Start over."""
        options = self._options
        self._sent_kept = False
        messages = options.session.external(options.start, options.stop)
        self._source = iter(messages)
        self._next = next(self._source, None)

    def __call__(self, step: Step) -> None:
        """Publish what belongs to the tick that begins: by the stamps, but each publisher's in the order of sending."""
        if not self._sent_kept:
            self._sent_kept = True
            for message in self._kept:
                if (name := self._options.choice.played_as(message.topic)) is not None:
                    self._options.kept[name] = self._options.kept.get(name, 0) + 1
                    self._publish(message, name)
        of_tick = []
        while self._next is not None and self._next.tick <= step.tick:
            of_tick.append(self._next)
            self._next = next(self._source, None)
        for message in _in_order(of_tick):
            if (name := self._options.choice.played_as(message.topic)) is None:
                self._options.choice.left_out[message.topic] += 1
            else:
                self._publish(message, name)

    def _publish(self, message: ExternalMessage, name: str) -> None:
        publisher = self._bus.publisher(name, message.publisher, external=True)
        text = message.payload
        payload: Payload = text if len(text) <= MESSAGE_LIMIT else fitting(text, publisher.forms)
        publisher.publish(payload, self._options.stamp_of(message), message.seq)
        self._played(name, message.source)
        self._options.outside += 1


def _in_order(messages: list[ExternalMessage]) -> list[ExternalMessage]:
    """By their stamps, and those of one publisher by their numbers: its wall clock may have been set meanwhile.

    One that was seen before older ones were taken stands before those in the file.
    """
    if len(messages) < 2:
        return messages
    streams: dict[tuple[str, str, int], list[ExternalMessage]] = {}
    for message in messages:
        streams.setdefault((message.topic, message.publisher, message.source), []).append(message)
    for stream in streams.values():
        stream.sort(key=lambda message: message.seq)
    return list(heapq.merge(*streams.values(), key=lambda message: message.stamp_ns))
