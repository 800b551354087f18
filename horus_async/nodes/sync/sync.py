"""``Node.sync``: a node's place in several topics, from which it takes messages that belong together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol, Self

from attrs import frozen

from horus_async.clock.system import NANOSECONDS
from horus_async.errors import ConfigurationError
from horus_async.topics import check_topic_name
from horus_async.validators import is_not_negative, is_whole_from

from .matcher import Matcher
from .stamps import SyncBy, stamp_function

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from horus_async.topics import Message


_LEFT_OUT = "a message is left out, and so are further ones, which are only counted"


class Reading(Protocol):
    """A node's topics in one run."""

    syncs: dict[str, Any]
    """Who matches which topic; another dict once ``init`` runs again."""

    def recv_message(self, topic: str) -> Message | None:
        """The next unread message, or None."""

    async def receive_any(self, names: Sequence[str]) -> Message:
        """Wait for the next unread message of any of some topics."""


class Log(Protocol):
    """A node's log."""

    def warning(self, msg: object, *args: object) -> None:
        """Log something."""


class Owner(Protocol):
    """A node."""

    name: str

    @property
    def log(self) -> Log:
        """Where it says what it leaves out."""

    def _running(self) -> Reading: ...


@frozen
class SyncOptions:
    """What a `Sync` was asked for."""

    topics: tuple[str, ...]
    slop: float
    by: SyncBy | Callable[[Any], Any] | None
    wait: float
    queue: int

    @classmethod
    def checked(cls, node: str, topics: tuple[Any, ...], *, slop: Any, by: Any, wait: Any, queue: Any) -> Self:
        """From what a program gives.

        Raises:
            ConfigurationError: One of them is not possible.
        """
        about = f"node {node!r}: sync()"
        if len(topics) < 2 or any(not isinstance(each, str) or topics.count(each) > 1 for each in topics):
            given = ", ".join(map(repr, topics))
            raise ConfigurationError(f"{about} of ({given}): give two or more topics, each once: sync('left', 'right')")
        if not is_not_negative(slop):
            raise ConfigurationError(f"{about}: slop={slop!r}; give seconds, 0 for equal stamps alone")
        if not (by is None or isinstance(by, SyncBy) or callable(by)):
            raise ConfigurationError(f"{about}: by={by!r}; give SyncBy.HEADER, SyncBy.SENT or a function of a value")
        if not (wait is None or is_not_negative(wait) or wait == math.inf):
            raise ConfigurationError(f"{about}: wait={wait!r}; give seconds, or None for twice the slop")
        if not is_whole_from(1)(queue):
            raise ConfigurationError(f"{about}: queue={queue!r}; give how many messages of a topic may wait, 1 or more")
        names = tuple(map(check_topic_name, topics))
        return cls(names, slop, by, 2 * slop if wait is None else wait, queue)


class Sync:
    """Gives tuples of values that belong together, one of each topic, in the order of the topics. See `Node.sync`.

    ``for left, right in pairs`` goes over those that are there now, `recv` gives the next of them, `receive` and
    ``async for`` wait for it. Whatever it takes are inputs of the node, as if the node had taken them itself.
    """

    def __init__(self, node: Owner, options: SyncOptions, tick_ns: Callable[[], int | None]) -> None:
        self._node = node
        self.options = options
        self._tick_ns = tick_ns
        """The time of the running tick; None outside of ticks."""
        self._stamp_of = stamp_function(options.by)
        self._begin({})

    def _begin(self, syncs: dict[str, Any]) -> None:
        """Begin anew: a run begins, or the node's ``init`` runs again."""
        options = self.options
        for topic in options.topics:
            if topic in syncs:
                raise ConfigurationError(
                    f"node {self._node.name!r}: topic {topic!r} is matched by another sync() already, which takes its "
                    "messages; make it once, in init, and keep it"
                )
        syncs.update(dict.fromkeys(options.topics, self))
        self._syncs = syncs
        self._unstamped = dict.fromkeys(options.topics, 0)
        self._told: set[tuple[str, str]] = set()
        self._matcher = Matcher(
            len(options.topics),
            slop=round(options.slop * NANOSECONDS),
            wait=options.wait if options.wait == math.inf else round(options.wait * NANOSECONDS),
            queue=options.queue,
        )

    def join(self, reading: Reading) -> None:
        """Match messages of a run, beginning anew where it has not yet.

        Raises:
            ConfigurationError: One of the topics is taken.
        """
        if reading.syncs is not self._syncs:
            self._begin(reading.syncs)

    def _reading(self) -> Reading:
        reading = self._node._running()  # noqa: SLF001 - a node's own
        self.join(reading)
        return reading

    # What a node uses

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The values of all matches that are settled now."""
        self._take(self._reading())
        found = self._matcher.found
        while found:
            yield _values(found.popleft())

    def recv(self, default: Any = None) -> Any:
        """The values of the next match, or ``default``."""
        messages = self.recv_messages()
        return default if messages is None else _values(messages)

    def recv_all(self) -> list[tuple[Any, ...]]:
        """The values of all matches that are settled now, oldest first."""
        return list(self)

    def recv_messages(self) -> tuple[Message, ...] | None:
        """The next match as `Message`s, with stamps, sequence numbers and publishers; None if none is settled."""
        reading, found = self._reading(), self._matcher.found
        if not found:
            self._take(reading)
        return found.popleft() if found else None

    async def receive(self) -> tuple[Any, ...]:
        """Wait for the next match and return its values."""
        return _values(await self.receive_messages())

    async def receive_messages(self) -> tuple[Message, ...]:
        """Wait for the next match and return it as `Message`s."""
        while (messages := self.recv_messages()) is None:
            self._push(await self._reading().receive_any(self.options.topics))
        return messages

    def __aiter__(self) -> AsyncIterator[tuple[Any, ...]]:
        """Go over the values of matches as they come, for ever."""
        return _Matches(self)

    @property
    def unmatched(self) -> dict[str, int]:
        """How many messages of each topic were left out so far: without partners, or without a stamp."""
        topics = zip(self.options.topics, self._matcher.topics, strict=True)
        return {topic: waiting.unmatched + self._unstamped[topic] for topic, waiting in topics}

    @property
    def unmatched_in_all(self) -> int:
        """The same of all topics."""
        return sum(self.unmatched.values())

    @property
    def waiting(self) -> dict[str, int]:
        """How many messages of each topic wait for partners, or for whether better ones come."""
        topics = zip(self.options.topics, self._matcher.topics, strict=True)
        return {topic: len(waiting.stamps) for topic, waiting in topics}

    # How it goes on

    def _take(self, reading: Reading) -> None:
        """Take all that is there, and match it."""
        taken: list[list[Message]] = []
        try:
            for topic in self.options.topics:
                taken.append([])
                while (message := reading.recv_message(topic)) is not None:
                    taken[-1].append(message)
        finally:  # what was taken stays taken, also if one cannot be read
            self._push_merged([messages for messages in taken if messages])
        now = self._tick_ns()
        self._matcher.settle(-math.inf if now is None else now)

    def _push_merged(self, taken: list[list[Message]]) -> None:
        """Push messages of several topics as they were sent: where the first fill the queue, their partners are there.

        In each topic in their own order: in a replay that begins again, stamps go back.
        """
        places = [0] * len(taken)
        rest = list(range(len(taken)))
        while rest:
            first = min(rest, key=lambda topic: taken[topic][places[topic]].stamp_ns)
            self._push(taken[first][places[first]])
            places[first] += 1
            if places[first] == len(taken[first]):
                rest.remove(first)

    def _push(self, message: Message) -> None:
        topic = message.topic
        try:
            stamp, why = self._stamp_of(message), "it has no stamp to match by"
        except (AttributeError, LookupError, TypeError, ValueError) as error:  # of the function given for ``by``
            stamp, why = None, f"by= finds no stamp in it ({type(error).__name__}: {error})"
        if stamp is None:
            self._unstamped[topic] += 1
            if self._is_new(topic, "stamp"):
                self._tell(topic, f"{_LEFT_OUT}: {why}; set header.stamp, or give by=, such as by=SyncBy.SENT")
            return
        number = self.options.topics.index(topic)
        waiting = self._matcher.topics[number]
        before = waiting.fell_out, waiting.went_back, waiting.given_up
        self._matcher.push(number, stamp, message.stamp_ns, message)
        if (waiting.fell_out, waiting.went_back, waiting.given_up) == before:
            return
        if waiting.fell_out > before[0] and self._is_new(topic, "full"):
            self._tell(topic, f"{_LEFT_OUT}: no room is left, and it has no partners: {self._standing()}")
        if waiting.went_back > before[1] and self._is_new(topic, "back"):
            lost = waiting.given_up - before[2]
            at = f"{stamp / NANOSECONDS:.9g} s"
            self._tell(
                topic, f"its stamps went back to {at}; it begins anew, and {lost} messages that waited are left out"
            )

    def _standing(self) -> str:
        topics = zip(self.options.topics, self._matcher.topics, strict=True)
        at = {topic: waiting.newest / NANOSECONDS for topic, waiting in topics}
        newest = (
            f"{topic} " + ("sent nothing" if ns == -math.inf else f"is at {ns:.9g} s") for topic, ns in at.items()
        )
        return f"{', '.join(newest)} (slop={self.options.slop:g}, queue={self.options.queue})"

    def _is_new(self, topic: str, reason: str) -> bool:
        """Whether this was not said of the topic yet: each is said once, the rest is counted."""
        if (topic, reason) in self._told:
            return False
        self._told.add((topic, reason))
        return True

    def _tell(self, topic: str, text: str) -> None:
        self._node.log.warning("sync of %r: %s", topic, text)

    def __repr__(self) -> str:
        return f"<Sync {', '.join(self.options.topics)} of {self._node.name!r}>"


class _Matches:
    """What ``async for`` goes over. Not a generator, because one that is left early would have to be closed."""

    def __init__(self, sync: Sync) -> None:
        self._sync = sync

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        return await self._sync.receive()


def _values(messages: tuple[Message, ...]) -> tuple[Any, ...]:
    return tuple([message.value for message in messages])
