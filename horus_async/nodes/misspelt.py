"""Misspelt names in a node's class: an attribute that was meant to be an option, a method that nothing will ever call.

Nothing a program may well want is refused. An attribute is held to be misspelt only where all of this is true:

- its name is one edit away from a name of ours (a letter too many, missing or wrong, two exchanged, other capitals or
  underscores), or is what other frameworks or plain English call it (`_MEANT`);
- it is not a word of its own that happens to be near: no plural or other ending (``rates``, ``ticks``, ``named``),
  nothing before a short name (``crate``), no number or underscore at an end, no constant (``RATE``), none of `_NEAR`;
- it is what ours would be: a function for a callback; for an option of five letters or less, a value that this takes;
- the class does not have ours as well;
- and no method of the class ever mentions it.
"""

from __future__ import annotations

import functools
import inspect
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

from horus_async.spelling import did_you_mean, is_one_edit
from horus_async.validators import is_number, is_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

CALLBACKS = ("init", "tick", "shutdown", "on_error", "enter_safe_state")
_SHORT = 5
"""Letters. Many English words are one edit away from names as short as this."""


def _is_topics(value: Any) -> bool:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple, set, frozenset, dict)) or not names:
        return False
    return all(isinstance(name, str) for name in names)


_FITS: dict[str, Callable[[Any], bool]] = {
    "name": lambda value: isinstance(value, str),
    "rate": is_number,
    "on": _is_topics,
    "pubs": _is_topics,
    "subs": _is_topics,
    "order": is_whole,
}
"""What the options with short names can be."""

OPTIONS = (*_FITS, "budget", "deadline", "on_miss", "failure_policy", "compute", "watchdog")

_HOOKS = tuple(name for name in CALLBACKS if name != "tick")  # every node has one: see `nearest_tick`
_OURS = frozenset((*OPTIONS, *CALLBACKS))

_MEANT = {
    "pubs": "pub publish publishes published publisher publishers publication publications",
    "subs": "sub subscribe subscribes subscribed subscriber subscribers subscription subscriptions",
    "rate": "hz rate_hz",
    "init": "initialize initialise initialization initialisation on_init on_start on_startup",
    "shutdown": "on_shutdown on_stop on_exit",
    "on_error": "on_exception on_failure",
    "on_miss": "on_deadline_miss",
    "enter_safe_state": "enter_safe_mode go_to_safe_state on_emergency_stop",
    "tick": "on_tick step update loop run spin execute",
}
"""What else these are called."""

_NEAR = {
    "name": "came dame fame game lame same tame nape nave mane na me",
    "rate": "bate date fate gate hate late mate pate race rage rake rape rare rave raze rat rote rite rte",
    "pubs": "bubs cubs dubs hubs nubs rubs tubs puds puns pups",
    "subs": "sobs suds sums suns sups",
    "init": "inst int knit nit unit",
    "order": "border corder odder oder older",
    "budget": "budge",
    "deadline": "headline readline",
    "compute": "commute compete",
    "on_error": "an_error in_error no_error",
    "on_miss": "in_miss no_miss",
}
"""Words of their own that are one edit away from a name of ours."""

_WORDS = frozenset(word for words in _NEAR.values() for word in words.split())
_CALLS = {word: name for name, words in _MEANT.items() for word in words.split()}


def find_misspelt(kind: type, root: type, given: Collection[str] = ()) -> str | None:
    """A sentence about an attribute of ``kind`` that is misspelt; None if none is.

    Args:
        kind: the class.
        root: where its bases begin to be ours.
        given: what was set for this node when it was made.
    """
    bases = [base for base in kind.__mro__ if not issubclass(root, base)]
    own = {name for base in bases for name in vars(base)} | set(given)
    for base in bases:
        for name, value in vars(base).items():
            meant = None if name in _OURS or hasattr(root, name) else _meant(name, value, own)
            if meant is not None and name not in _mentioned(kind, root):
                return f"{base.__qualname__}.{name} means nothing to a node, and nothing uses it; did you mean {meant}?"
    return None


def unknown_option(name: str) -> str:
    """A sentence about an argument that no option has."""
    meant = _CALLS.get(name)
    return f"Node() has no option {name!r}" + (f"; did you mean {meant!r}?" if meant else did_you_mean(name, _OURS))


def nearest_tick(kind: type, root: type) -> str | None:
    """The method of a class without a ``tick`` that may have been meant to be one."""
    for base in kind.__mro__:
        if not issubclass(root, base):
            for name, value in vars(base).items():
                plain = name.lower()
                near = plain == "tick" or _CALLS.get(plain) == "tick" or is_one_edit(plain, "tick")
                if near and _is_function(value):
                    return name
    return None


def _meant(name: str, value: Any, own: Collection[str]) -> str | None:
    """What a name stands for; None if it is a program's own."""
    plain = name.lower()
    if name.startswith("_") or name.endswith("_") or name[-1].isdigit() or name.isupper() or plain in _WORDS:
        return None
    if isinstance(value, type) or (hasattr(value, "__get__") and not _is_function(value)):
        return None
    for ours in _HOOKS if _is_function(value) else OPTIONS:
        fits = _FITS.get(ours)
        if fits is not None and not fits(value):
            continue
        if plain.replace("_", "") == ours.replace("_", ""):  # only its capitals or underscores are wrong
            return ours
        if ours not in own and (_CALLS.get(plain) == ours or (is_one_edit(plain, ours) and not _is_word(plain, ours))):
            return ours
    return None


def _is_word(name: str, ours: str) -> bool:
    """Whether it is ours with an ending, or a short one with a beginning; a last letter typed twice is no ending."""
    if name.startswith(ours):
        return name[-1] != ours[-1]
    return len(ours) <= _SHORT and (name.endswith(ours) or len(ours) < 4)


def _is_function(value: Any) -> bool:
    return inspect.isroutine(value) or isinstance(value, (staticmethod, classmethod, functools.partial))


@functools.lru_cache(64)
def _mentioned(kind: type, root: type) -> frozenset[str]:
    """Every name that the methods of a class and of its bases mention."""
    functions = (value for base in kind.__mro__ if not issubclass(root, base) for value in vars(base).values())
    return frozenset(name for value in functions for code in _codes(value) for name in _names(code))


def _codes(value: Any) -> Iterator[CodeType]:
    if isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            yield from _codes(part)
        return
    value = inspect.unwrap(getattr(value, "__func__", value)) if callable(getattr(value, "__func__", value)) else value
    if isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, FunctionType):
        yield value.__code__


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, str):  # as for getattr
            yield constant
        elif isinstance(constant, CodeType):
            yield from _names(constant)
