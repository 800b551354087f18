# ruff: noqa: D102 - Event says once what to_dict, shown, own_json and from_dict return
"""What a black box holds: frozen events, and the flat JSON object that each is in the file.

An event knows only its own fields. ``Record`` adds when and where it happened: ``seq`` counts the events of a box from
0 without gaps, ``run`` names the run, ``tick`` is the scheduler's tick, ``time_ns`` wall-clock nanoseconds since 1970.
In JSON the two are one flat object, ``{"seq","run","tick","time_ns","event":"DeadlineMiss",...}``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Self

import orjson
from attrs import fields, frozen

from horus_async.json_text import untagged

from .values import to_json_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEYS = {"from_": "from"}

LOG = "log"
"""The category of what nodes log; ``data`` has ``node`` and ``level``, and ``extra`` and ``exception`` if given."""


class Unquoted(str):
    """A text that is printed as it is, such as a number with its unit."""

    __slots__ = ()


class Event:
    """Base of all events.

    ``to_dict`` is written out in each class: the event loop calls it, and a generic one would double the cost of an
    event.
    """

    __slots__ = ()
    HEAD: ClassVar[bytes]

    def __init_subclass__(cls) -> None:
        cls.HEAD = b'"event":"%b",' % cls.__name__.encode()

    def own_json(self) -> bytes:
        """Its JSON without its place in the run: from ``"event"`` to the closing brace."""
        return self.HEAD + to_json_bytes(self.to_dict())[1:]

    def to_dict(self) -> dict[str, Any]:
        """The fields under their JSON names."""
        raise NotImplementedError

    def shown(self) -> dict[str, Any]:
        """The fields as they are printed for people: values as in JSON, but for `Unquoted` texts."""
        return self.to_dict()

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """An event from its JSON fields. Fields of later versions are ignored; missing ones are None."""
        return cls(**{field.name: data.get(_KEYS.get(field.name, field.name)) for field in fields(cls)})  # type: ignore[arg-type]


@frozen
class SchedulerStart(Event):
    """A run began. ``nodes`` is the number of its nodes, ``rate`` its tick rate in Hz."""

    nodes: int
    names: tuple[str, ...]
    rate: float

    @classmethod
    def of(cls, names: Iterable[str], rate: float) -> Self:
        """The start of a run of the nodes with these names."""
        known = tuple(names)
        return cls(len(known), known, rate)

    def to_dict(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "names": self.names, "rate": self.rate}

    def shown(self) -> dict[str, Any]:
        return {"nodes": self.nodes, "rate": Unquoted(f"{self.rate or 0:.10g}Hz")}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        nodes = data.get("nodes")
        names = data.get("names") or (nodes if isinstance(nodes, list) else ())  # the names, in boxes of before 0.2
        return cls(len(names) if isinstance(nodes, list) else nodes, tuple(names), data.get("rate"))  # type: ignore[arg-type]


@frozen
class SchedulerStop(Event):
    """A run ended. ``reason`` is the actual cause."""

    reason: str
    total_ticks: int

    def to_dict(self) -> dict[str, Any]:
        return {"reason": self.reason, "total_ticks": self.total_ticks}


@frozen
class NodeAdded(Event):
    """A node joined the run."""

    name: str

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}


@frozen
class NodeTick(Event):
    """A node's tick ended after ``duration_us`` microseconds."""

    name: str
    duration_us: int
    success: bool

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "duration_us": self.duration_us, "success": self.success}


@frozen
class NodeError(Event):
    """A node's callback raised. ``error`` is ``Type: message``."""

    name: str
    error: str
    traceback: str

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "error": self.error, "traceback": self.traceback}


@frozen
class DeadlineMiss(Event):
    """A node missed its deadline. Both times in microseconds."""

    name: str
    deadline_us: int
    actual_us: int

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "deadline_us": self.deadline_us, "actual_us": self.actual_us}


@frozen
class BudgetViolation(Event):
    """A node's tick took longer than its budget. Both times in microseconds."""

    name: str
    budget_us: int
    actual_us: int

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "budget_us": self.budget_us, "actual_us": self.actual_us}


@frozen
class FailurePolicy(Event):
    """A node's failure policy went from one state to another."""

    name: str
    policy: str
    from_: str
    to: str

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "policy": self.policy, "from": self.from_, "to": self.to}


@frozen
class Watchdog(Event):
    """A node has been in one tick for too long. ``stage`` is ``warn``, ``unhealthy`` or ``emergency_stop``."""

    name: str
    stage: str
    stack: str | None = None
    """The Python stack of the blocked thread, if there is one."""

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "stage": self.stage, "stack": self.stack}


@frozen
class EmergencyStop(Event):
    """The run was stopped because it was no longer safe."""

    reason: str

    def to_dict(self) -> dict[str, Any]:
        return {"reason": self.reason}


@frozen
class Custom(Event):
    """An event of the user's own."""

    category: str
    message: str
    data: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {"category": self.category, "message": self.message, "data": self.data}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls(data.get("category"), data.get("message"), untagged(data.get("data"), integers=True))  # type: ignore[arg-type]


@frozen
class Unknown(Event):
    """An event written by a later version: its kind, and its fields unchanged."""

    kind: str
    fields: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return self.fields


KINDS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        SchedulerStart,
        SchedulerStop,
        NodeAdded,
        NodeTick,
        NodeError,
        DeadlineMiss,
        BudgetViolation,
        FailurePolicy,
        Watchdog,
        EmergencyStop,
        Custom,
    )
}
"""The kinds of event, by name."""

ANOMALIES: frozenset[type[Event]] = frozenset(
    {NodeError, DeadlineMiss, BudgetViolation, FailurePolicy, Watchdog, EmergencyStop}
)
"""The kinds of event that mean something went wrong."""


@frozen
class Record:
    """One event with its place in the run. The event's own fields are attributes too: ``record.name``."""

    seq: int
    run: str
    tick: int
    time_ns: int
    event: Event

    PLACE: ClassVar[frozenset[str]] = frozenset({"seq", "run", "tick", "time_ns", "event"})

    @property
    def kind(self) -> str:
        """The name of the event's kind, such as ``DeadlineMiss``."""
        return self.event.kind if isinstance(self.event, Unknown) else type(self.event).__name__

    @property
    def is_anomaly(self) -> bool:
        """True for the kinds in ``ANOMALIES``."""
        return type(self.event) in ANOMALIES

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "event":
            raise AttributeError(name)
        return getattr(self.event, name)

    def to_json(self) -> bytes:
        """The flat JSON object, without a trailing newline."""
        return to_json_bytes(
            {
                "seq": self.seq,
                "run": self.run,
                "tick": self.tick,
                "time_ns": self.time_ns,
                "event": self.kind,
                **self.event.to_dict(),
            }
        )

    @classmethod
    def from_json(cls, line: bytes) -> Record:
        """The record on one line.

        Raises:
            ValueError: the line is not a JSON object with the fields that every event has.
        """
        data = orjson.loads(line)
        if not isinstance(data, dict) or not data.keys() >= cls.PLACE:
            raise ValueError("a JSON object with " + ", ".join(sorted(cls.PLACE)) + " was expected")
        kind = data["event"]
        own = {key: value for key, value in data.items() if key not in cls.PLACE}
        known = KINDS.get(kind) if isinstance(kind, str) else None
        event = known.from_dict(own) if known else Unknown(str(kind), own)
        return cls(data["seq"], data["run"], data["tick"], data["time_ns"], event)
