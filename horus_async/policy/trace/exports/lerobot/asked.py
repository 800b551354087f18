"""The answered requests of traces, by episode: what each frame of a dataset is made of."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import Factory, define

from horus_async.errors import TraceError
from horus_async.policy.trace.exports.exported import some
from horus_async.policy.trace.exports.parts import as_row, parts_of, plain, writable

from .pictures import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy

    from horus_async.policy.trace.exports.exported import Exported
    from horus_async.policy.trace.exports.parts import Parts
    from horus_async.policy.trace.reader import TraceReader
    from horus_async.policy.trace.request import TraceRequest

    from .pictures import Store

STATE = "observation.state"
_IMAGES = "observation.images."
_PREFIXES = ("observation/", "observation.", "obs/", "obs.")
_TOLD = ("executed", "success")


@define
class Asked:
    """One request."""

    seq: int
    at_ns: int | None
    """Wall-clock nanoseconds of its arrival, or of its answer where the trace has only that; None if it has neither."""
    task: str
    actions: numpy.ndarray[Any, Any]
    """Steps × dimensions, float32; without steps if it failed."""
    values: dict[str, Any]
    """By the name of the feature: an array of numbers or booleans, text, or a `Picture`."""
    executed_before: int | None
    """How many steps of the chunk before it, in its episode, the client says it carried out."""
    success: bool | None
    executed: int | None = None
    """How many steps of its own chunk were carried out, as later requests say."""


@define
class Episode:
    """The requests of one episode, in order of arrival."""

    session: str
    name: str | None
    """The client's; None where all of a session's requests without a name are one episode."""
    asked: list[Asked] = Factory(list)
    success: bool | None = None
    """What its last request that says so says."""
    odd: str | None = None
    """Why it cannot be in a dataset."""
    count: int = 0
    """Answered requests, odd ones too."""

    def settle(self) -> None:
        """Bring the requests in order of arrival, and what they say to what it is about; failed ones go."""
        if all(one.at_ns is not None for one in self.asked):
            self.asked.sort(key=lambda one: one.at_ns or 0)
        answered: list[Asked] = []
        for one in self.asked:
            self.success = self.success if one.success is None else one.success
            if one.executed_before is not None and answered:
                answered[-1].executed = max(one.executed_before, answered[-1].executed or 0)
            if len(one.actions):
                answered.append(one)
        self.asked = answered


@define
class _Notes:
    failed: int = 0
    unkept: dict[str, None] = Factory(dict)
    converted: Counter[str] = Factory(Counter)
    unseen: dict[str, list[str]] = Factory(dict)
    """Why images of a camera are left out."""
    untold: Counter[str] = Factory(Counter)

    def tell(self, exported: Exported) -> None:
        if self.failed:
            exported.notes.append(f"{self.failed} requests without actions (failed ones) have no frames")
        if self.unkept:
            exported.notes.append(f"no images: the trace kept none of {some(list(self.unkept))}")
        for camera, count in self.converted.items():
            exported.notes.append(f"{count} images of {camera} are no RGB JPEG or PNG and were converted to PNG")
        for camera, reasons in self.unseen.items():
            exported.notes.append(
                f"{len(reasons)} images of {camera} are left out: {some(list(dict.fromkeys(reasons)))}"
            )
        for name, count in self.untold.items():
            exported.notes.append(f"{count} values of {name!r} are not understood and ignored")


def gather(found: Iterable[tuple[TraceReader, TraceRequest]], store: Store, exported: Exported) -> list[Episode]:
    """The episodes of the answered requests, in order of their beginning.

    An episode goes on in the next file of its session. It ends where the trace says that the policy was reset, even if
    the next one is named alike.
    """
    notes = _Notes()
    current: dict[tuple[str, str | None], Episode] = {}
    episodes: list[Episode] = []
    for trace, request in found:
        key = (str(trace.header.get("session_id") or trace.path), request.episode)
        if key not in current or (request.line.get("reset") is True and current[key].count):
            current[key] = Episode(*key)
            episodes.append(current[key])
        episode = current[key]
        answered = request.ok and bool(request.actions)
        episode.count += answered
        notes.failed += not answered
        asked = _asked(request, store, notes, answered=answered)
        if isinstance(asked, str):
            episode.odd = episode.odd or asked
        else:
            episode.asked.append(asked)
    notes.tell(exported)
    for episode in episodes:
        episode.settle()
    return [episode for episode in episodes if episode.count]


def _asked(request: TraceRequest, store: Store, notes: _Notes, *, answered: bool) -> Asked | str:
    """A request, or why its episode cannot be in a dataset."""
    import numpy

    try:
        parts = parts_of(request)
    except TraceError as error:
        return f"with requests that are damaged ({error})" if answered else _nothing(request)
    with numpy.errstate(over="ignore"):
        actions = numpy.array(parts.actions if answered else [], numpy.float32)
    if answered and not parts.actions:
        return "with actions that are not rows of numbers of one length"
    if not numpy.isfinite(actions).all():
        return "with actions that are not finite"
    told = {name: parts.fields.pop(name, None) for name in _TOLD}
    executed, success = _count(told["executed"]), _yes_or_no(told["success"])
    notes.untold.update(
        name for name, value in zip(_TOLD, (executed, success), strict=True) if value is None and told[name] is not None
    )
    task = request.instruction
    if not task and isinstance(parts.fields.get("prompt"), str):
        task = parts.fields.pop("prompt")
    elif parts.fields.get("prompt") == task:
        parts.fields.pop("prompt")
    values = {}
    if answered:
        notes.unkept |= dict.fromkeys([*parts.lacking, *parts.hashes])
        values = _values(parts, store, notes)
    return Asked(request.seq, _at_ns(request), writable(task), actions, values, executed, success)


def _nothing(request: TraceRequest) -> Asked:
    """A failed request that says nothing."""
    import numpy

    return Asked(request.seq, _at_ns(request), "", numpy.zeros((0, 0), numpy.float32), {}, None, None)


def _at_ns(request: TraceRequest) -> int | None:
    arrival = _count(request.line.get("arrival_ns"))
    return request.timestamp_ns if arrival is None else arrival


def _values(parts: Parts, store: Store, notes: _Notes) -> dict[str, Any]:
    """State, pictures and further fields by the names of features."""
    import numpy

    values: dict[str, Any] = {}
    if parts.state:
        values[STATE] = parts.state
    for camera, image in parts.images.items():
        name = _unique(values, _IMAGES + _bare(camera).removeprefix("images."))
        try:
            values[name] = store.put(image)
        except PictureError as error:
            notes.unseen.setdefault(camera, []).append(str(error))
        else:
            notes.converted.update([camera] if values[name].converted else [])
    for path, value in _leaves("", parts.fields):
        _put(values, path, value)
    if isinstance(values.get(STATE), list):
        values[STATE] = numpy.array(values[STATE])
    return values


def _put(values: dict[str, Any], path: str, value: Any) -> None:
    """A field under the name that LeRobot's users look for: numbers are observations, all else is of the request."""
    import numpy

    if isinstance(value, str):
        values[_unique(values, f"request.{_bare(path)}")] = writable(value)
        return
    row = as_row(value)
    array = numpy.atleast_1d(numpy.asarray(value))
    if row is not None and array.dtype.kind not in "iuf":  # integers beyond 64 bits
        array = numpy.array(row)
    name = f"{'request' if row is None else 'observation'}.{_bare(path)}"
    if name == STATE and isinstance(known := values.get(STATE), list) and row == known:
        return  # Clients' own names for it are recorded beside it.
    values[_unique(values, name)] = array


def _leaves(path: str, value: Any) -> Iterable[tuple[str, Any]]:
    """The fields in nested dicts that a feature can hold; others are JSON text."""
    import numpy

    from horus_async.policy.model.jsontext import encode_read

    if isinstance(value, dict) and (value or not path):
        for key, item in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), item)
        return
    if isinstance(value, str) or as_row(value):
        yield path, value
        return
    try:
        array = numpy.asarray(value)
    except ValueError:  # lists of different lengths
        array = numpy.array("")
    if array.dtype.kind in "biuf" and array.size and array.ndim <= 5:
        yield path, array
    elif value is not None:
        yield path, encode_read(plain(value)).decode()


def _bare(path: str) -> str:
    """A field's path without what every name of an observation begins with; a feature's name has no slash."""
    for prefix in _PREFIXES:
        path = path.removeprefix(prefix)
    return writable(path.replace("/", ".")) or "_"


def _unique(values: dict[str, Any], name: str) -> str:
    while name in values:
        name += "_"
    return name


def _count(value: Any) -> int | None:
    """``value`` as a whole number from 0 on; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return int(value) if value == int(value) else None


def _yes_or_no(value: Any) -> bool | None:
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None
