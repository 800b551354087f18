"""Which costs are followed over which sizes, beside whom, and how fast their work justifies that they grow."""

from __future__ import annotations

from attrs import frozen

from benchmarks.figures import Side

_NODES = (1, 3, 10, 30, 100, 300, 1000)
_TOPICS = (1, 5, 20, 100, 500, 1500, 5000)
_SIZES = (1 << 4, 1 << 8, 1 << 12, 1 << 16, 1 << 20, 1 << 23, 1 << 26)
_SUBSCRIBERS = (1, 2, 4, 8, 16, 32, 64)
_TENTHS = (1, 3, 10, 30, 100)
_HORUS, _ZMQ, _ZENOH, _ICEORYX = "HORUS 0.4.1", "pyzmq inproc", "zenoh, one session", "iceoryx2"


@frozen
class Curve:
    """A cost over a size. Less is always better."""

    name: str
    title: str
    of: str
    """What the size counts."""
    unit: str
    sizes: tuple[int, ...]
    sides: tuple[Side, ...]
    """Ours first. Their functions take the size and the scale."""
    work: float
    """The exponent that the work justifies: 1 for what is done once for each, 0 for what should not depend on it."""
    quick: int
    """Sizes beyond this are left out where one only wants to see that it runs."""

    def some(self, *, quick: bool) -> tuple[int, ...]:
        """The sizes to measure."""
        return tuple(size for size in self.sizes if not quick or size <= self.quick)


def _curve(  # noqa: PLR0917 - a row of a table
    name: str,
    title: str,
    of: str,
    unit: str,
    sizes: tuple[int, ...],
    quick: int,
    *peers: tuple[str, str],
    work: float = 1.0,
    module: str = "ours",
    function: str = "",
) -> Curve:
    ours = Side("horus-async", f"benchmarks.curves.{module}", function or name)
    sides = (ours, *(Side(label, "benchmarks.curves.peers", its) for label, its in peers))
    return Curve(name, title, of, unit, sizes, sides, work, quick)


CURVES = (
    _curve("start", "a run of one tick, from start to end", "nodes", "ms", _NODES, 10, (_HORUS, "horus_start")),
    _curve("ticks", "a tick of the scheduler", "nodes", "µs", _NODES, 10, (_HORUS, "horus_ticks")),
    _curve(
        "topics",
        "open topics, send and receive on each, close them",
        "topics",
        "ms",
        _TOPICS,
        20,
        (_HORUS, "horus_topics"),
        (_ZENOH, "zenoh_topics"),
        (_ICEORYX, "iceoryx_topics"),
    ),
    _curve(
        "topics_in_turn",
        "open topics, each with its first message before the next: each opening lists the folder",
        "topics",
        "ms",
        _TOPICS,
        20,
        work=2.0,  # a ring of another process may be in it; one name of the list takes 0.5 µs
    ),
    _curve("topics_found", "find the topics of another process", "topics", "ms", _TOPICS, 20),
    _curve("topics_ended", "notice that another process closed its topics", "topics", "ms", _TOPICS, 20),
    _curve("topics_listed", "list the topics of another process", "topics", "ms", _TOPICS, 20),
    _curve(
        "beside_topics", "send and receive on one topic, beside others", "other topics", "µs", _TOPICS, 20, work=0.0
    ),
    _curve(
        "sizes",
        "send and receive a message, one process",
        "bytes",
        "µs",
        _SIZES,
        1 << 16,
        (_HORUS, "horus_sizes"),
        (_ZMQ, "zmq_sizes"),
        (_ZENOH, "zenoh_sizes"),
        (_ICEORYX, "iceoryx_sizes"),
    ),
    _curve(
        "subscribers",
        "send a message, and receive it with each subscriber",
        "subscribers",
        "µs",
        _SUBSCRIBERS,
        4,
        (_HORUS, "horus_subscribers"),
        (_ZMQ, "zmq_subscribers"),
        (_ZENOH, "zenoh_subscribers"),
        (_ICEORYX, "iceoryx_subscribers"),
    ),
    _curve(
        "publishers",
        "a message from each participant, received in the order of sending: each is chosen among all",
        "participants",
        "µs",
        _SUBSCRIBERS,
        4,
        work=2.0,
    ),
    _curve("recording", "record two nodes at 100 Hz", "tenths of an hour", "s", _TENTHS, 10, module="hours"),
    _curve(
        "recorded_size",
        "the same: what it takes of the disk",
        "tenths of an hour",
        "MB",
        _TENTHS,
        10,
        module="hours",
        function="size",
    ),
    _curve("info", "record info", "tenths of an hour", "ms", _TENTHS, 10, work=0.0, module="hours"),
    _curve(
        "seek", "open it and read a tick of each node", "tenths of an hour", "ms", _TENTHS, 10, work=0.0, module="hours"
    ),
    _curve("replay", "replay its last five seconds", "tenths of an hour", "ms", _TENTHS, 10, work=0.0, module="hours"),
    _curve(
        "memory", "the same: memory of the process", "tenths of an hour", "MB", _TENTHS, 10, work=0.0, module="hours"
    ),
)
