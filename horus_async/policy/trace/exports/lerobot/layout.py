"""Which features a dataset has, and which episodes fit them.

All frames of a dataset have the same features in the same shapes. The actions decide first, by their most frequent
width. Then each field is a feature if at least half of the episodes left have it throughout in one shape; those that do
not are left out.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import frozen

from .pictures import Picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from horus_async.policy.trace.exports.exported import Exported

    from .asked import Episode

ACTION = "action"
_EXACT = 2**24
"""Integers up to here are single floats without loss."""


class FeatureKind(enum.Enum):
    """What a feature holds: the name of its type in ``info.json``."""

    IMAGE = "image"
    TEXT = "string"
    BOOL = "bool"
    INTEGER = "int64"
    FLOAT = "float32"


@frozen
class Feature:
    """A column of a dataset."""

    name: str
    kind: FeatureKind
    shape: tuple[int, ...]
    named: tuple[str, ...] | None = None
    """What its dimensions are called."""


def feature(name: str, kind: FeatureKind) -> Feature:
    """One of a single value."""
    return Feature(name, kind, (1,))


DEFAULTS = (
    feature("timestamp", FeatureKind.FLOAT),
    *(feature(name, FeatureKind.INTEGER) for name in ("frame_index", "episode_index", "index", "task_index")),
)
"""The last columns of every dataset."""


def fitted(episodes: list[Episode], exported: Exported) -> tuple[list[Feature], list[Episode]]:
    """The features of what is asked, actions last, and the episodes that have them."""
    kept = list(_without(episodes, {id(one): f"of episodes {one.odd}" for one in episodes if one.odd}, exported))
    widths = Counter(one.actions.shape[1] for episode in kept for one in episode.asked)
    if not widths:
        return [], []
    width = widths.most_common(1)[0][0]
    wrong = [one for one in kept if any(asked.actions.shape[1] != width for asked in one.asked)]
    reason = f"of episodes with actions that are not of {width} values, as most are"
    kept = list(_without(kept, {id(one): reason for one in wrong}, exported))
    features: list[Feature] = []
    for name in _names(kept):
        shape, fit = _most(kept, name)
        if 2 * len(fit) < len(kept):
            have = sum(name in one.values for episode in kept for one in episode.asked)
            exported.notes.append(f"{name} is left out: {have} requests have it, few episodes throughout in one shape")
            continue
        reason = f"of episodes without {name}{_in_words(shape)} throughout, as most have it"
        ids = {id(one) for one in fit}
        kept = list(_without(kept, {id(one): reason for one in kept if id(one) not in ids}, exported))
        features.append(_feature(name, kept, shape))
    return [*features, Feature(ACTION, FeatureKind.FLOAT, (width,), _numbered(ACTION, (width,)))], kept


def _without(episodes: list[Episode], reasons: dict[int, str], exported: Exported) -> Iterator[Episode]:
    for episode in episodes:
        if id(episode) in reasons:
            exported.left_out[reasons[id(episode)]] += episode.count
        else:
            yield episode


def _names(episodes: list[Episode]) -> list[str]:
    return list(dict.fromkeys(name for episode in episodes for one in episode.asked for name in one.values))


def _most(episodes: list[Episode], name: str) -> tuple[Any, list[Episode]]:
    """The form that most episodes have a field in throughout, and those."""
    forms: dict[Any, list[Episode]] = {}
    for episode in episodes:
        found = {_form(one.values.get(name)) for one in episode.asked}
        if len(found) == 1 and (form := found.pop()) is not None:
            forms.setdefault(form, []).append(episode)
    return max(forms.items(), key=lambda item: len(item[1]), default=(None, []))


def _form(value: Any) -> Any:
    """What has to be the same in all frames; None for what cannot be in one."""
    import numpy

    if value is None or isinstance(value, str):
        return None if value is None else "text"
    if isinstance(value, Picture):
        return ("image", value.height, value.width)
    with numpy.errstate(over="ignore"):
        finite = numpy.isfinite(value.astype(numpy.float32)).all()
    return (value.dtype.kind == "b", *value.shape) if finite else None


def _in_words(form: Any) -> str:
    if form == "text":
        return ""
    return f" of {' × '.join(map(str, form[1:]))}"


def _feature(name: str, episodes: list[Episode], form: Any) -> Feature:
    if form == "text":
        return feature(name, FeatureKind.TEXT)
    if form[0] == "image":
        return Feature(name, FeatureKind.IMAGE, (*form[1:], 3), ("height", "width", "channels"))
    shape = tuple(form[1:])
    names = _numbered(name.rpartition(".")[2], shape)
    if form[0]:
        return Feature(name, FeatureKind.BOOL, shape, names)
    arrays = [one.values[name] for episode in episodes for one in episode.asked]
    whole = all(array.dtype.kind in "iu" for array in arrays)
    ends = [int(end) for array in arrays for end in (array.min(), array.max())] if whole else []
    whole = whole and max(map(abs, ends)) > _EXACT and max(ends) < 2**63
    return Feature(name, FeatureKind.INTEGER if whole else FeatureKind.FLOAT, shape, names)


def _numbered(name: str, shape: tuple[int, ...]) -> tuple[str, ...] | None:
    """Names of a feature's values, which traces have none for."""
    if len(shape) != 1:
        return None
    return (name,) if shape == (1,) else tuple(f"{name}_{number}" for number in range(shape[0]))
