"""What readers get, and the parsing of lines into it. Pure: text in, records out.

cattrs makes the records, or the native core where all is as it should be. Wrong types are refused, unknown fields
ignored.
"""

from __future__ import annotations

import json
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

import orjson
from attrs import NOTHING, field, frozen
from attrs import fields as fields_of

from horus_async.errors import DamagedRecordingError, UnsupportedVersionError
from horus_async.native import core
from horus_async.observe import NodeInfo
from horus_async.topics.codec import decode

from .log_lines import LogLine, log_fields
from .tallies import TopicTally  # noqa: TC001 - cattrs looks it up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from attrs import Attribute
    from cattrs import Converter

SCHEMA_VERSION = 1
"""The format version. Adding fields does not change it."""


@frozen(kw_only=True)
class Header:
    """The first line of a file."""

    role: str = "node"
    """``node``, ``scheduler``, ``external`` or ``log``: whose file it is."""
    session: str
    node: str
    """The node's name; in other files the scheduler's."""
    tick_rate: float
    """Hz."""
    seed: int
    started_at: str
    """ISO 8601, UTC."""
    deterministic: bool = False
    start_ns: int = 0
    namespace: str = ""
    info: NodeInfo | None = None
    """What the node declared; None in files that belong to no node."""
    horus_version: str = ""
    part: int = 0
    """Which file of a rotated recording it is, from 0."""
    origin_ns: int | None = None
    """The ``now_ns`` of the run's first tick, in a session that begins later."""
    window: bool = False
    """Whether older files are taken away while it is recorded: the first parts are missing on purpose."""


@frozen
class RecordedInput:
    """Which message a node received."""

    topic: str
    publisher: str
    seq: int
    source: int = 0
    """As in `ExternalMessage`; 0 for a message of this run."""
    empty: int = 0
    """How often the node had found nothing on the topic in the same callback since it last read there."""


@frozen
class RecordedLook:
    """What a callback saw of a topic without taking it."""

    topic: str
    asked: str
    """``latest``, ``has_msg`` or ``lost``."""
    publisher: str = ""
    """Of the message that was the latest, as are ``seq`` and ``source``; empty if there was none."""
    seq: int = 0
    source: int = 0
    value: int = 0
    """What ``has_msg`` (0 or 1) or ``lost`` said."""
    times: int = 1
    """How often in a row."""


class _Message:
    """What all recorded messages give."""

    __slots__ = ()
    data: Any

    @property
    def payload(self) -> bytes:
        """The JSON text, byte for byte as recorded."""
        return orjson.dumps(self.data)

    @property
    def value(self) -> Any:
        """What was sent; a class that the program does not have comes as a dict with its ``$type``."""
        return decode(self.payload)


@frozen
class RecordedOutput(_Message):
    """A message that a node sent."""

    topic: str
    seq: int
    stamp_ns: int
    data: Any
    """As parsed from JSON, with the codec's tags."""
    tick: int
    """The scheduler tick in which it was sent."""


@frozen
class ExecutionRecord:
    """One call of a node's ``tick``, ``init``, ``shutdown`` or ``enter_safe_state``."""

    kind: str
    tick: int
    now_ns: int
    dt_ns: int
    duration_ns: int
    inputs: tuple[RecordedInput, ...]
    outputs: tuple[RecordedOutput, ...]
    """What no `SendsRecord` before it holds."""
    error: str | None
    cut: bool | None = None
    """Whether it was cancelled, as what still waits is when a run ends; None where there is no doubt, and in files from
    before this was written."""
    looks: tuple[RecordedLook, ...] = ()
    after_ns: int = 0
    """In virtual time, how long after the beginning of its scheduler tick it began, on a message."""

    @property
    def was_cut(self) -> bool:
        """Whether it did not end by itself; by the name of its error in files from before ``cut`` was written."""
        if self.cut is not None:
            return self.cut
        return self.error is not None and self.error.partition(":")[0] in {"Cancelled", "CancelledError"}


@frozen
class SendsRecord:
    """What a node sent while a callback was still going on, or in its background tasks and threads."""

    tick: int | None
    """In which the callback began; None for what was sent outside of one."""
    outputs: tuple[RecordedOutput, ...]
    kind: str = field(default="sends", init=False)

    @property
    def first_tick(self) -> int:
        """The first scheduler tick in which something of it was sent."""
        return min((sent.tick for sent in self.outputs), default=self.tick or 0)

    @property
    def last_tick(self) -> int:
        """The last one."""
        return max((sent.tick for sent in self.outputs), default=self.tick or 0)


@frozen
class ResumedRecord:
    """A task of the node's own went on, in real time."""

    task: int
    """How many tasks and threads the node had started before."""
    now_ns: int
    tick: int
    cancelled: bool = False
    """Whether with its cancellation: the run ended, or the node began anew."""
    kind: str = field(default="resumed", init=False)


@frozen
class GapRecord:
    """Something is missing here."""

    tick: int
    """The first tick with a missing line."""
    dropped: int
    """Lines missing from this file."""
    reason: str
    kind: str = field(default="gap", init=False)


@frozen
class SchedulerTick:
    """One tick of the scheduler."""

    tick: int
    now_ns: int
    order: tuple[str, ...]
    digest: str
    elapsed_ns: int | None = None
    """Since the first scheduler tick; None where the difference of their ``now_ns`` is the same, and has been so far:
    the wall clock was not set."""
    kind: str = field(default="tick", init=False)


@frozen
class _NamedMessage(_Message):
    """A message that is in the file of another than its publisher, under the tick in which it was first read."""

    tick: int
    topic: str
    publisher: str
    seq: int
    stamp_ns: int
    data: Any
    source: int = 0
    """Tells apart publishers of the same name on a topic; a process that restarts is a new one."""


@frozen
class ExternalMessage(_NamedMessage):
    """An external message."""

    kind: str = field(default="message", init=False)


@frozen
class EarlierMessage(_NamedMessage):
    """In a session that was cut: a message from before it, which is named among the inputs in it. Nothing plays it."""

    kind: str = field(default="earlier", init=False)


@frozen
class Footer:
    """The last line of a file that was closed."""

    ended_at: str
    ticks: int
    inputs: int
    outputs: int
    dropped: int
    topics: tuple[TopicTally, ...] | None = None
    """What it holds of each topic; None where that was not counted and takes reading the file."""
    next: str | None = None
    """The name of the file that continues this one; None for the last."""
    excluded: int = 0
    """Messages left out by the recording's options."""
    sends: int | None = None
    """How many `SendsRecord` lines the file has; None where that takes reading it."""
    lines: int = 0
    """Lines of the log."""
    loose: int | None = None
    """How many of the `SendsRecord` lines belong to no callback; None where that takes reading them."""
    kind: str = field(default="footer", init=False)


SessionLine = (
    Header
    | ExecutionRecord
    | SendsRecord
    | ResumedRecord
    | GapRecord
    | SchedulerTick
    | ExternalMessage
    | EarlierMessage
    | LogLine
    | Footer
)


# -- parsing lines -----------------------------------------------------------------------------------------------------

_KINDS: dict[str, type] = {
    "header": Header,
    "tick": ExecutionRecord,
    "init": ExecutionRecord,
    "shutdown": ExecutionRecord,
    "safe_state": ExecutionRecord,
    "request": ExecutionRecord,
    "sends": SendsRecord,
    "resumed": ResumedRecord,
    "gap": GapRecord,
    "message": ExternalMessage,
    "earlier": EarlierMessage,
    "log": LogLine,
    "footer": Footer,
}


_QUICK = {
    *(ExecutionRecord, RecordedInput, RecordedOutput, RecordedLook),
    *(SchedulerTick, SendsRecord, ExternalMessage, EarlierMessage),
}
"""Of what there are many lines."""
_FORMS = {Any: 0, int: 1, str: 2, bool: 3}
"""As the native core knows them."""


def parse_line(line: bytes | memoryview) -> SessionLine | None:
    """The record in a line; None if this release does not know its kind.

    Raises:
        DamagedRecordingError: it is not JSON, or a field is missing or of the wrong type.
        UnsupportedVersionError: the header of another format version.
    """
    try:
        fields = orjson.loads(line)
        if not isinstance(fields, dict):
            raise DamagedRecordingError(f"a line that is not a JSON object: {bytes(line[:60])!r}")
        kind = _KINDS.get(str(fields.get("kind")))
        if kind is None:
            return None
        if kind is LogLine:
            fields = log_fields(fields)
        elif kind is ExecutionRecord and "digest" in fields:
            kind = SchedulerTick
        elif kind is ExecutionRecord or kind is SendsRecord:
            tick = fields["tick"]
            for sent in fields["outputs"]:  # only one that was sent in a later tick has its own
                sent.setdefault("tick", tick)
                _check_number(sent["seq"])
        elif kind is ExternalMessage or kind is EarlierMessage:
            _check_number(fields["seq"])
        elif kind is Header:
            check_version(fields, "recording")
            fields = _header_fields(bytes(line))
        return _record(kind, fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else str(error)
        raise DamagedRecordingError(f"a line that cannot be read ({reason}): {bytes(line[:60])!r}") from error


def _check_number(seq: int) -> None:
    if seq < 0:  # no topic can carry it; one beyond 64 bits is no whole number to orjson
        raise ValueError(f"a message with the number {seq}")


def _header_fields(line: bytes) -> dict[str, Any]:
    # By the standard library: orjson makes floats of integers beyond 64 bits, and a seed may be larger.
    fields: dict[str, Any] = json.loads(line)
    is_node = fields.get("role", "node") == "node"
    return {**fields, "info": {"rate": None, **fields} if is_node else None}


def check_version(fields: Mapping[str, Any], what: str) -> None:
    """Refuse what another format version wrote.

    Raises:
        UnsupportedVersionError: ``schema_version`` is not the one of this release.
    """
    version = fields.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise UnsupportedVersionError(
            f"this {what} has schema_version {version!r}; this release reads {SCHEMA_VERSION}: install a newer one"
        )


def _record(kind: type, fields: Any) -> SessionLine:
    quick = _quick(kind)
    record: SessionLine | None = None if quick is None else quick(fields)
    if record is None:
        record = _structure(kind)(fields, kind)
    return record


@cache
def _quick(kind: type) -> Callable[[Any], Any] | None:
    """The native core's way to make a record of this class, which gives None where cattrs has to look; None without."""
    if core is None or kind not in _QUICK:
        return None
    types = get_type_hints(kind)
    return core.RecordMaker(kind, tuple(_quick_field(kind, one, types[one.name]) for one in fields_of(kind)))  # type: ignore[no-any-return]


def _quick_field(kind: type, one: Attribute[Any], annotated: Any) -> tuple[Any, ...]:
    """A field for the native core: name, slot, form, whether it may be None and whether it is fixed, items, default."""
    items: Any = 0  # it is no tuple
    optional = isinstance(annotated, UnionType)
    if optional:
        (annotated,) = (each for each in get_args(annotated) if each is not NoneType)
    elif get_origin(annotated) is tuple:
        item = get_args(annotated)[0]
        items = None if item is str else _quick(item)
        annotated = Any
    default = () if one.default is NOTHING else (one.default,)
    return one.name, getattr(kind, one.name), _FORMS[annotated], optional, not one.init, items, default


@cache
def _structure(kind: type) -> Callable[[Any, Any], Any]:
    """How to make a record of this class from a dict. Generated for the first one, as not every kind is read."""
    return _converter().get_structure_hook(kind)


@cache
def _converter() -> Converter:
    from cattrs import Converter  # recording does without it
    from cattrs.gen import make_dict_structure_fn, override

    converter = Converter(detailed_validation=False)  # validating in detail takes a third longer
    # By itself, cattrs makes integers of texts, texts of anything, and tuples of texts and dicts.
    converter.register_structure_hook(int, _whole_number)
    converter.register_structure_hook(bool, lambda value, _: bool(value))  # else it counts as an integer
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook_factory(_is_tuple, _structure_tuple)
    node = make_dict_structure_fn(NodeInfo, converter, name=override(rename="node"))
    converter.register_structure_hook(NodeInfo, node)
    return converter


def _whole_number(value: Any, _: Any) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r:.40} is not a whole number")
    return value


def _text(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.40} is not a string")
    return value


def _is_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _structure_tuple(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    item = get_args(kind)[0]
    structure = converter.get_structure_hook(item)

    def structure_tuple(values: Any, _: Any) -> tuple[Any, ...]:
        if type(values) is not list:
            raise TypeError(f"{values!r:.40} is not a list")
        return tuple([structure(value, item) for value in values])

    return structure_tuple
