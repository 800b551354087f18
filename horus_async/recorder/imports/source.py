"""What an import reads: a file that others recorded, as a row of messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

from attrs import define, field, frozen

from horus_async.errors import HorusError, MessageTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALL_TOPICS = "\ud800"
"""Stands in `Source.expected` for all topics together, where the file gives only their sum; no topic's name, which is
Unicode in all files, and may be empty."""


@define
class Packed:
    """A value that is a payload of ours already. Not frozen, which takes twice the time: most messages are one."""

    payload: bytes


class SourceMessage(NamedTuple):
    """A message of a file."""

    stamp_ns: int
    topic: str
    publisher: str
    """Empty where the file does not say."""
    value: Any
    """Perhaps `Packed`."""
    raw: bytes | memoryview = b""
    """As it is in the file; imported instead of a value that no topic can carry."""
    seq: int | None = None
    """Its number among those of its publisher on the topic; None where the file does not say."""


class NearestError(Exception):
    """A message holds what no value of ours is equal to; ``value`` has the nearest."""

    def __init__(self, value: Any, reason: str) -> None:
        super().__init__(reason)
        self.value = value


@frozen
class Enclosed:
    """Something that the file carries beside its messages: a calibration, a parameter file."""

    name: str
    media_type: str
    log_time_ns: int
    create_time_ns: int
    load: Callable[[], bytes]


@define
class _Flow:
    """The messages of one topic and publisher."""

    count: int = 0
    first_ns: int = 0
    last_ns: int = 0


@define
class _Fault:
    """What went wrong on a topic, in the same way each time."""

    count: int
    reason: str
    stamp_ns: int


@define
class Faults:
    """Messages that could not be imported as they are, by topic and by what became of them."""

    _found: dict[tuple[str, str], _Fault] = field(factory=dict)

    def add(self, topic: str, stamp_ns: int, fate: str, reason: object) -> None:
        """Count a message; ``reason`` is the first one's if it is the first of its topic with this fate."""
        fault = self._found.get((topic, fate))
        if fault is None:
            is_told = isinstance(reason, str | HorusError)  # by us, in a sentence
            what = str(reason) if is_told else f"{type(reason).__name__}: {reason}"
            self._found[topic, fate] = _Fault(1, " ".join(what.split())[:300], stamp_ns)
        else:
            fault.count += 1

    def count(self, topic: str, fate: str) -> int:
        """How many there are."""
        fault = self._found.get((topic, fate))
        return 0 if fault is None else fault.count

    def notes(self) -> list[str]:
        """One line for each topic and fate: how many, the first one's stamp and the reason."""
        return [
            f"topic {topic}: {fault.count} messages {fate}; the first, at {fault.stamp_ns} ns: {fault.reason}"
            for (topic, fate), fault in self._found.items()
        ]


AS_BYTES = "are bytes"
AS_INFINITY = "have infinity in the place of a number"
LEFT_OUT = "are left out"


class Source(ABC):
    """A file that was opened. A first pass over it calls ``see`` for every message."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        """What is to be said of the file, one line each."""
        self.expected: dict[str, int] = {}
        """The number of messages by topic as the file or its metadata claims it; empty if neither does."""
        self.metadata: list[tuple[str, dict[str, Any]]] = []
        """Names and values that the file keeps beside its messages."""
        self.enclosed: list[Enclosed] = []
        self.named: dict[str, str] = {}
        """What topics are called in the session, where the file says so, by their names in the file."""
        self.start_ns: int | None = None
        """When tick 0 was, if the file says so."""
        self.tick_rate: float | None = None
        """The rate of its ticks, Hz, if the file says so, and ticks follow from it."""
        self.faults = Faults()
        self._flows: dict[tuple[str, str], _Flow] = {}
        self._left_out: dict[str, int] = {}

    @abstractmethod
    def messages(self) -> Iterator[SourceMessage]:
        """The messages in the order of their stamps, without those of topics that are left out."""

    def see(self, stamp_ns: int, topic: str, publisher: str) -> None:
        """Count a message."""
        flow = self._flows.get((topic, publisher))
        if flow is None:
            self._flows[topic, publisher] = _Flow(1, stamp_ns, stamp_ns)
            return
        flow.count += 1
        if stamp_ns > flow.last_ns:
            flow.last_ns = stamp_ns
        elif stamp_ns < flow.first_ns:
            flow.first_ns = stamp_ns

    def see_all(self, topic: str, publisher: str, count: int, first_ns: int, last_ns: int) -> None:
        """Count several messages."""
        self.see(first_ns, topic, publisher)
        self.see(last_ns, topic, publisher)
        self._flows[topic, publisher].count += count - 2

    def see_file(self, other: Source) -> None:
        """Count what another file holds, too."""
        for (topic, publisher), flow in other.flows:
            self.see_all(topic, publisher, flow.count, flow.first_ns, flow.last_ns)

    def choose(self, is_wanted: Callable[[str], bool]) -> None:
        """Leave out the topics that are not wanted: from now on they are not counted, nor are there messages."""
        for topic, publisher in list(self._flows):
            if not is_wanted(topic):
                count = self._flows.pop((topic, publisher)).count
                self._left_out[topic] = self._left_out.get(topic, 0) + count

    def takes(self, topic: str) -> bool:
        """Whether a topic is not left out."""
        return topic not in self._left_out

    def decoded(self, topic: str, stamp_ns: int, decode: Callable[[Any], Any], data: Any) -> Any:
        """The value of a message; its bytes, and a fault that is counted, if it has none."""
        try:
            return decode(data)
        except Exception as error:  # noqa: BLE001 - the decoders of several libraries, on data of anybody's
            return self.undecoded(topic, stamp_ns, data, error)

    def undecoded(self, topic: str, stamp_ns: int, data: bytes, error: Exception) -> Any:
        """What a message is that has no value: its bytes, or the nearest value. It is counted."""
        if isinstance(error, NearestError):
            self.faults.add(topic, stamp_ns, AS_INFINITY, str(error))
            return error.value
        if not isinstance(error, MessageTooLargeError):  # else the bytes are too large as well, which counts there
            self.faults.add(topic, stamp_ns, AS_BYTES, error)
        return bytes(data)

    @property
    def flows(self) -> list[tuple[tuple[str, str], _Flow]]:
        """The messages of each topic and publisher."""
        return [*self._flows.items()]

    @property
    def left_out(self) -> dict[str, int]:
        """The topics that were not chosen, and how many messages they have."""
        return dict(self._left_out)

    @property
    def count(self) -> int:
        """The number of messages."""
        return sum(flow.count for flow in self._flows.values())

    @property
    def first_ns(self) -> int:
        """The lowest stamp; 0 without messages."""
        return min((flow.first_ns for flow in self._flows.values()), default=0)

    @property
    def last_ns(self) -> int:
        """The highest stamp; 0 without messages."""
        return max((flow.last_ns for flow in self._flows.values()), default=0)

    @property
    def topics(self) -> dict[str, int]:
        """Its topics in the order of their first messages, and how many messages they have."""
        counts: dict[str, int] = {}
        for (topic, _), flow in self._flows.items():
            counts[topic] = counts.get(topic, 0) + flow.count
        return counts

    @property
    def publishers(self) -> dict[str, None]:
        """Its publishers in the order of their first messages."""
        return dict.fromkeys(publisher for _, publisher in self._flows)

    def last_stamps(self) -> dict[str, int]:
        """The highest stamp of each topic."""
        stamps: dict[str, int] = {}
        for (topic, _), flow in self._flows.items():
            stamps[topic] = max(stamps.get(topic, flow.last_ns), flow.last_ns)
        return stamps
