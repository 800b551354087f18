"""Topics that programs wait for: whether a message has been seen on them yet."""

from __future__ import annotations

from attrs import define, field
from trio import Event

from horus_async.errors import TopicError
from horus_async.topics import Topic
from horus_async.topics.inspection import RingInfo, rings


@define(eq=False)
class Watch:
    """One topic of one namespace, listened to from before the first program starts, until its first message."""

    topic: str
    namespace: str
    seen: Event = field(factory=Event)
    pids: frozenset[int] = frozenset()
    """The processes that publish it, once it is seen."""

    async def listen(self) -> None:
        """Return with its first message. One of a program that runs already may have been sent long ago.

        Raises:
            TopicError: The namespace's memory is not ours.
        """
        with Topic(self.topic, namespace=self.namespace) as topic:
            if not self._sent():
                try:
                    await topic.receive()
                except TopicError:  # of a class that is not known here, or damaged: it was sent all the same
                    if not self._sent():
                        raise
            self.pids = frozenset(ring.pid for ring in self._rings())
        self.seen.set()

    def _rings(self) -> list[RingInfo]:
        return [ring for ring in rings(self.namespace) if ring.topic == self.topic and ring.live]

    def _sent(self) -> bool:
        return any(ring.messages for ring in self._rings())
