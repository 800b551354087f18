"""What the programs of a namespace publish, sent on to viewers: only what somebody watches is read."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from foxglove import StatusLevel

from horus_async.errors import TopicError
from horus_async.spelling import printable
from horus_async.topics.bus import Bus

from .outlets import live

if TYPE_CHECKING:
    from horus_async.topics.ring.region import Taken
    from horus_async.topics.subscriber import Subscriber

    from .server import Server

_LOOK_SECONDS = 0.2
"""How often new topics are looked for, and those that are gone."""
_AT_ONCE = 256
"""Messages that are sent on before other topics have their turn."""


class Live:
    """Sends on the topics of a namespace.

    Args:
        namespace: Its name.
        server: Where viewers are.
    """

    def __init__(self, namespace: str, server: Server) -> None:
        self._server = server
        self._bus = Bus(namespace, from_start=False)
        self._quiet: dict[str, Subscriber] = {}
        """Topics without a message as yet: what they are made of is not known."""
        self._tasks: dict[str, trio.CancelScope] = {}
        self._subscribers: dict[str, Subscriber] = {}
        self._nursery: trio.Nursery | None = None
        self.lost: Counter[str] = Counter()
        """Messages that were overwritten before they were read, by topic."""
        self.unread: Counter[str] = Counter()
        """Messages that cannot be read, by topic."""

    def watched(self, name: str, is_watched: bool) -> None:  # noqa: FBT001 - as the listener has it
        """Viewers begin or cease to watch what they call so."""
        outlet = self._server.outlets.named(name)
        if outlet is None:
            return
        if is_watched:
            self._begin(outlet.topic)
        else:
            self._end(outlet.topic)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                while True:
                    self._look()
                    await trio.sleep(_LOOK_SECONDS)
        finally:
            self._nursery = None
            self._bus.close()

    def _look(self) -> None:
        outlets = self._server.outlets
        published = set(self._bus.published())
        for topic in published:
            outlet = outlets.of(topic)
            if outlet.is_open:
                continue
            if topic not in self._quiet:
                self._quiet[topic] = self._bus.subscriber(topic)
            if self._offer(topic, self._quiet[topic]):
                self._quiet.pop(topic).close()
        for topic in [topic for topic in self._quiet if topic not in published]:
            self._quiet.pop(topic).close()

    def _begin(self, topic: str) -> None:
        if topic in self._tasks:
            self._show_newest(topic, self._subscribers[topic])  # to whoever came just now
        elif self._nursery is not None:
            scope, subscriber = trio.CancelScope(), self._bus.subscriber(topic)
            self._tasks[topic], self._subscribers[topic] = scope, subscriber
            if not subscriber.has_message():
                self._show_newest(topic, subscriber)
            self._nursery.start_soon(self._send_on, topic, scope, subscriber)

    def _show_newest(self, topic: str, subscriber: Subscriber) -> None:
        """So that what is sent rarely shows at once."""
        newest = subscriber.latest()
        if newest is not None:
            self._show(topic, newest)

    def _end(self, topic: str) -> None:
        scope = self._tasks.pop(topic, None)
        if scope is not None:
            scope.cancel()

    async def _send_on(self, topic: str, scope: trio.CancelScope, subscriber: Subscriber) -> None:
        lost = 0
        try:
            with scope:
                while True:
                    await subscriber.wait()
                    for _ in range(_AT_ONCE):
                        taken = subscriber.take()
                        if taken is None:
                            break
                        self._show(topic, taken)
                    if subscriber.lost > lost:
                        self._count_lost(topic, subscriber.lost - lost)
                        lost = subscriber.lost
        finally:
            subscriber.close()

    def _offer(self, topic: str, subscriber: Subscriber) -> bool:
        """Have viewers know a topic, by its newest message, or by the first since then that can be read."""
        newest = subscriber.latest()
        if newest is None:
            return False
        with suppress(TopicError):
            self._server.outlets.of(topic).offer(live(topic, newest))
            return True
        for _ in range(_AT_ONCE):
            taken = subscriber.take()
            if taken is None:
                break
            try:
                self._server.outlets.of(topic).offer(live(topic, taken))
            except TopicError as error:
                self._count_unread(topic, error)
            else:
                return True
        return False

    def _show(self, topic: str, taken: Taken) -> None:
        try:
            self._server.outlets.of(topic).show(live(topic, taken))
        except TopicError as error:
            self._count_unread(topic, error)

    def _count_unread(self, topic: str, error: TopicError) -> None:
        self.unread[topic] += 1
        self._say(f"{topic}: {self.unread[topic]} messages cannot be read: {printable(str(error))}", f"unread {topic}")

    def _count_lost(self, topic: str, more: int) -> None:
        self.lost[topic] += more
        self._say(f"{topic}: {self.lost[topic]} messages came too fast", f"lost {topic}")

    def _say(self, text: str, key: str) -> None:
        self._server.sdk.publish_status(text, StatusLevel.Warning, key)
