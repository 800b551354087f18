"""The topics of a live node that is verified: it gets the recorded inputs, and what it sends goes nowhere."""

from __future__ import annotations

import math
import re
from array import array
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Any

import anyio
from attrs import define

from horus_async.clock.system import NANOSECONDS
from horus_async.engine.ports import Ports
from horus_async.errors import ContextError, TopicError
from horus_async.nodes.context import WorkContext, current
from horus_async.nodes.interface.identity import Request
from horus_async.topics.codec import decode, encode
from horus_async.topics.kinds.finding import is_missing

from .messages import Identity, View

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from horus_async.engine.ports import Run
    from horus_async.recorder import Session
    from horus_async.recorder.records import ExecutionRecord, RecordedLook, RecordedOutput
    from horus_async.topics import Bus
    from horus_async.topics.ring.reader import Loan
    from horus_async.topics.ring.region import Taken

    from .messages import Messages, Moment

_ROUNDED_NS = 1_000
_BEFORE = 1e-6
"""Seconds before it would give up waiting that a node gets a message which came just then."""
_TYPES = re.compile(rb'"\$type":"([^"\\]+)"')


@define
class Due:
    """A message that the recorded node took, and how often it found nothing before."""

    name: Identity
    empty: int
    place: int
    """Among all that it took in the same callback."""


class ShadowPorts(Ports):
    """What a live node sees of the topics while it is verified: what the recorded one saw.

    Where that did not look, the node sees what had been sent by then.

    Args:
        node: Its name.
        bus: Unused: nothing is published.
        run: The run it belongs to.
        session: The recording.
        messages: Finds the recorded inputs.
        moment: Says where the verification is.
        wait_ns: Says how long it is until a moment of the session's own time.
        start: The first tick that is verified; None for the first.
        place: A message is sent: gives its place among all of the verification.
        sent_live: Gives the places of the messages that a live node has sent on a topic.
        tell_tasks: Has tasks of all nodes that wait for messages look whether this was theirs.
        counterpart: Gives the recorded message with which the last one on a topic was compared.
        end_after_tick: The node asks for the end of the run.
    """

    def __init__(
        self,
        node: str,
        bus: Bus,
        run: Run,
        *,
        session: Session,
        messages: Messages,
        moment: Callable[[], Moment],
        wait_ns: Callable[[int], int],
        start: int | None,
        place: Callable[[], int],
        sent_live: Callable[[str, str], Sequence[int]],
        tell_tasks: Callable[[], None],
        counterpart: Callable[[str], RecordedOutput | None],
        end_after_tick: Callable[[], None],
    ) -> None:
        super().__init__(node, bus, run)
        self._session = session
        self._messages = messages
        self._moment = moment
        self._wait_ns = wait_ns
        self._start = start
        self._place = place
        self._sent_live = sent_live
        self._tell_tasks = tell_tasks
        self._counterpart = counterpart
        self._end_after_tick = end_after_tick
        info = session.nodes[node]
        self._known = {*info.subs, *info.on}
        self._read_everywhere: set[str] | None = None
        self._due: dict[str, deque[Due]] = {}
        self._seen: dict[tuple[str, str], deque[list[Any]]] = {}
        self._views: dict[str, View] = {}
        self._positions: dict[str, int] = {}
        self._apart_positions: dict[str, int] = {}
        self._used: set[str] = set()
        """Topics that this node has read here."""
        self._places: dict[str, array[int]] = {}
        """By topic, those of the messages that this node has sent here."""
        self._more = anyio.Event()
        self.waiting = 0
        """Of its tasks, how many wait for a message that the recorded node did not get."""
        self.tasks_waiting = 0
        """How many tasks that it has started wait for a message."""
        self.unknown: dict[str, int] = {}
        """Recorded inputs that are not in the recording, by topic."""
        self.thread_topics: set[str] = set()
        """Topics on which threads send that no callback waits for."""
        self.own_threads: set[str] = set()
        """Those of them that are of threads which the runtime does not know."""
        self.unknown_classes: dict[str, str] = {}
        """Classes of recorded inputs that the program does not have, with a topic on which they came."""

    def expect(self, line: ExecutionRecord | None) -> None:
        """A callback begins, for which ``line`` says what the recorded one took and saw."""
        self._seen = {}
        if line is None:
            return
        for place, taken in enumerate(line.inputs):
            self._known.add(taken.topic)
            name = Identity(taken.topic, taken.publisher, taken.seq, taken.source)
            self._due.setdefault(taken.topic, deque()).append(Due(name, taken.empty, place))
        for look in line.looks:
            self._seen.setdefault((look.asked, look.topic), deque()).append([look, look.times])

    def stir(self) -> None:
        """A scheduler tick begins: there may be more to receive."""
        if not (self.waiting or self.tasks_waiting):
            return
        more, self._more = self._more, anyio.Event()
        more.set()

    # What is asked of it

    def publisher(self, topic: str) -> Any:
        """A verified node publishes nothing."""
        raise AssertionError(f"{topic}: send() of a verified node does not get here")

    def subscriber(self, topic: str) -> Any:
        """It reads no ring either."""
        self._known.add(topic)
        self._reads(topic)

    def _reads(self, topic: str) -> None:
        if topic not in self._used:
            self._used.add(topic)
            self._run.topic_used(self._node, topic, writes=False)

    def send(self, topic: str, value: Any) -> None:
        """Note what would have been sent."""
        if self._has_work and self._is_over():
            raise ContextError(
                f"send({topic!r}) from a thread or task of node {self._node!r} that was to end: the verification has "
                "ended, or the node was started again"
            )
        payload = encode(value)
        here = get_ident() == self._audience.thread
        if not here and not self._in_callback():
            self.thread_topics.add(topic)
            if type(current.get(None)) is not WorkContext:
                self.own_threads.add(topic)
        places = self._places.get(topic)
        if places is None:
            places = self._places[topic] = array("q")
            self._run.topic_used(self._node, topic, writes=True)
        seq = len(places)
        places.append(self._place())
        self.tell(topic, seq, self._run.stamp_ns(), payload)
        if here:
            self._tell_tasks()

    def take(self, topic: str) -> Taken | None:
        """The message that the recorded node took at this point."""
        self._reads(topic)
        if self._in_task():
            return self._take_seen(topic)
        due = self._due.get(topic)
        if due and due[0].empty > 0:
            due[0].empty -= 1
            return None
        return self._take(topic)

    def _first(self, topic: str) -> Taken | None:
        return self.take(topic)

    def _note(self, topic: str, taken: Taken | None) -> None:
        """The recording has it."""

    def _refuse(self, topic: str, taken: Taken, error: TopicError, **_: bool) -> None:  # noqa: ARG002
        """What the recorded node could not read is in no file.

        Raises:
            TopicError: always.
        """
        raise error

    def _take(self, topic: str) -> Taken | None:
        due = self._due.get(topic)
        while due:
            name = due.popleft().name
            self._positions[topic] = self._positions.get(topic, 0) + 1
            taken = self._find(name)
            if taken is not None:
                return taken
            self.unknown[topic] = self.unknown.get(topic, 0) + 1
        return None if self._was_read(topic) else self._take_seen(topic)

    def _in_task(self) -> bool:
        """Whether this is a task of the node's own: what it takes is in no file, so it gets what was sent by then."""
        return self._has_work and type(current.get(None)) is WorkContext

    def _take_seen(self, topic: str, positions: dict[str, int] | None = None) -> Taken | None:
        positions = self._positions if positions is None else positions
        found = self._view(topic).get(positions.get(topic, 0))
        if found is None:
            return None
        positions[topic] = found[0] + 1
        return found[1]

    def take_loan(self, topic: str) -> Loan | None:
        """The same as something borrowed that nobody overwrites."""
        taken = self.take(topic)
        return None if taken is None else (taken, None)

    async def receive_loan(self, topic: str) -> Loan:
        """The same, when the recorded node got it."""
        return (await self._receive((topic,)))[2], None

    def _note_loan(self, topic: str, loan: Loan) -> None:
        """The recording has it."""

    def latest(self, topic: str) -> Any:
        """What was the newest to the recorded node at this point."""
        self._reads(topic)
        look = self._next_look("latest", topic)
        if look is not None:
            newest = None
            if look.publisher:
                newest = self._find(Identity(topic, look.publisher, look.seq, look.source))
        else:
            newest = self._view(topic).newest()
        return None if newest is None else decode(newest[0])

    def has_msg(self, topic: str) -> bool:
        """Whether the recorded node had an unread message at this point."""
        self._reads(topic)
        look = self._next_look("has_msg", topic)
        if look is not None:
            return bool(look.value)
        due = self._due.get(topic)
        if due and not due[0].empty:
            return True
        if not self._session.deterministic and self._was_read(topic):
            return False
        return self._view(topic).count > self._positions.get(topic, 0)

    def lost(self, topic: str) -> int:
        """How many messages the recorded node had lost at this point."""
        self._reads(topic)
        look = self._next_look("lost", topic)
        return 0 if look is None else look.value

    def lost_in_all(self) -> int:
        """Nothing is lost here."""
        return 0

    def request_stop(self) -> None:
        """The verification ends where the recorded run did, or after this tick."""
        self._end_after_tick()

    def ask(self, topic: str, value: Any, answers: str) -> Request:
        """Send a request; what comes back was recorded, and names the recorded one."""
        self._run.unordered.update((topic, answers))
        self.send(topic, value)
        recorded = self._counterpart(topic)
        if recorded is None:  # one more than there was: nothing comes back
            return Request(self._node, -1, None)
        return Request(self._node, recorded.seq, None if self._session.deterministic else recorded.stamp_ns)

    async def _receive(self, names: Sequence[str]) -> tuple[str, Any, Taken]:
        """Wait for the message that the recorded node received first, until it was sent."""
        for topic in names:
            self._reads(topic)
        if self._in_task():
            return await self._receive_in_task(names, self._positions)
        while True:
            due = {topic: self._due[topic][0] for topic in names if self._due.get(topic)}
            ready = [topic for topic in due if due[topic].empty <= 0]
            if ready:
                there: Sequence[str] = (min(ready, key=lambda topic: due[topic].place),)
                await self._until_sent(due[there[0]].name)
            else:
                there = () if due else names
            for topic in there:
                taken = self._take(topic)
                if taken is not None:
                    return topic, decode(taken[0]), taken
            self.waiting += 1
            try:
                await self._more.wait()
            except BaseException:
                for one in due.values():
                    one.empty -= one.empty > 0  # here the recorded node gave up
                raise
            finally:
                self.waiting -= 1

    async def _next_answer(self, topic: str) -> Taken:
        """Wait for the answer that the recorded node took next, until it was sent; several may wait at once."""
        self._reads(topic)
        if type(current.get(None)) is WorkContext:
            return (await self._receive_in_task((topic,), self._apart_positions))[2]
        while True:
            due = self._due.get(topic)
            if due and due[0].empty <= 0:
                name = due[0].name
                await self._until_sent(name)
                taken = self._take(topic) if due and due[0].name is name and due[0].empty <= 0 else None
                if taken is not None:
                    return taken
                continue
            self.waiting += 1
            try:
                await self._more.wait()
            finally:
                self.waiting -= 1

    def gave_up(self, topic: str) -> None:
        """Somebody has waited in vain, as was recorded: others who wait may be given what came then."""
        due = self._due.get(topic)
        if due and type(current.get(None)) is not WorkContext:
            due[0].empty -= 1
            more, self._more = self._more, anyio.Event()
            more.set()

    async def _receive_in_task(self, names: Sequence[str], positions: dict[str, int]) -> tuple[str, Any, Taken]:
        while True:
            for topic in names:
                taken = self._take_seen(topic, positions)
                if taken is not None:
                    return topic, decode(taken[0]), taken
            stamps = [stamp_ns for topic in names if (stamp_ns := self._view(topic).next_ns()) is not None]
            wait_ns = self._wait_ns(min(stamps)) if stamps else 0
            if wait_ns > 0 and not self._session.deterministic:
                # not a moment too early, nor for a tick that begins: it would go on later then, for nothing
                await anyio.sleep((wait_ns + _ROUNDED_NS) / NANOSECONDS)
                continue
            more = self._more
            with anyio.move_on_after(wait_ns / NANOSECONDS if wait_ns > 0 else math.inf):
                self.tasks_waiting += 1
                try:
                    await more.wait()
                finally:
                    self.tasks_waiting -= 1

    async def _until_sent(self, name: Identity) -> None:
        """Wait until a message was sent; not so long that the node would give up, as the recorded one did not."""
        sent_ns = self._messages.sent_ns(name)
        wait = 0.0 if sent_ns is None else self._wait_ns(sent_ns) / NANOSECONDS
        left = anyio.current_effective_deadline() - anyio.current_time()
        wait = min(wait, left - _BEFORE)
        if wait > 0:
            await anyio.sleep(wait)

    def _find(self, name: Identity) -> Taken | None:
        """A recorded message; classes of it that the program does not have are noted."""
        taken = self._messages.find(name)
        if taken is not None and b'"$type"' in taken[0]:
            for kind in set(_TYPES.findall(taken[0])):
                text = kind.decode()
                if text not in self.unknown_classes and is_missing(text):
                    self.unknown_classes[text] = name.topic
        return taken

    def close(self) -> None:
        """Let go of the files."""
        self._views.clear()
        self._messages.close()

    # Where the recorded node did not look

    def _next_look(self, asked: str, topic: str) -> RecordedLook | None:
        """What the recorded node saw at this point; once there is no more, what it saw last."""
        seen = self._seen.get((asked, topic))
        if not seen:
            return None
        look: RecordedLook = seen[0][0]
        seen[0][1] -= 1
        if not seen[0][1] and len(seen) > 1:
            seen.popleft()
        return look

    def _was_read(self, topic: str) -> bool:
        """Whether the recorded node ever took anything there, or said it would."""
        if topic in self._known:
            return True
        if self._read_everywhere is None:
            self._read_everywhere = self._session.input_topics(self._node)
        return topic in self._read_everywhere

    def sent_live(self, topic: str) -> Sequence[int]:
        """The places of the messages that this node has sent here, among all of the verification."""
        return self._places.get(topic, ())

    def sent_so_far(self, topic: str) -> int:
        """How many messages had been sent by now."""
        return self._view(topic).count

    def _view(self, topic: str) -> View:
        view = self._views.get(topic)
        if view is None:
            view = self._views[topic] = View(self._session, topic, self._start, self._sent_live, self._node)
        view.come_to(self._moment())
        return view
