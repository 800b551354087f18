"""Finds the class that a message names, among those that are imported and may be made."""

from __future__ import annotations

import sys
import weakref
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .admission import declare, enums_in, may_be_made, say_not_made
from .message_kinds import is_message_kind
from .owners import attributes

if TYPE_CHECKING:
    from collections.abc import Iterable

_local: weakref.WeakValueDictionary[str, type] = weakref.WeakValueDictionary()
"""Classes that cannot be looked up in a module, such as those made inside a function, once sent from here."""

_program: dict[str, None] = {}
"""Modules of the program that was loaded last, by name: a script's classes may be found there under another name."""

_recent: dict[str, tuple[type, ModuleType]] = {}
"""Classes that were found, by name, each with its module: whether it is still there is seen at once."""

_LONGEST = 1000
"""No class has a longer name; looking for one takes time that grows with its square."""

_MOVED = {
    "horus_async.policies.Miss": "horus_async.nodes.failure_policies.Miss",
    "horus_async.stats.NodeStats": "horus_async.engine.stats.NodeStats",
    "horus_async.stats.SchedulerStats": "horus_async.scheduler.stats.SchedulerStats",
}
"""Classes of ours that stand in recordings under the modules where they were."""


def find(name: Any) -> type | None:
    """The class of that name, if it is imported, of a kind that messages may hold, and may be made."""
    if type(name) is not str:
        return None
    recent = _recent.get(name)
    if recent is not None:
        known, module = recent
        if sys.modules.get(known.__module__) is module and attributes(module).get(known.__qualname__) is known:
            return recent[0]
    kind = _search(name)
    if kind is None:
        return None
    if may_be_made(kind):
        if name == f"{kind.__module__}.{kind.__qualname__}" and kind.__module__ in sys.modules:
            _recent[name] = kind, sys.modules[kind.__module__]
        return kind
    say_not_made(kind)
    return None


def find_inside(name: Any, outer: type | None) -> type | None:
    """The same in a field of an object of ``outer``: also an enum of others that the field is annotated with."""
    allowed = () if outer is None else enums_in(outer)
    return next((kind for kind in allowed if name_of(kind) == name), None) or find(name)


def is_missing(name: str) -> bool:
    """Whether messages of that class come as dicts. An enum that is imported may come in the fields of others."""
    kind = _search(name)
    return kind is None or not (may_be_made(kind) or issubclass(kind, Enum))


def is_imported(name: str) -> bool:
    """Whether there is such a class here, whoever's it is."""
    return _search(name) is not None


def _search(name: str) -> type | None:
    if len(name) > _LONGEST:
        return None
    name = _MOVED.get(name, name)
    kind = look_up(name) or _local.get(name) or _in_program(name)
    return kind if is_message_kind(kind) else None


def name_of(kind: type) -> str:
    """The name of a class in messages.

    A class of the program itself belongs to ``__main__``, also where the program is imported instead of run: there
    multiprocessing, and loading a script without running it, call its module ``__mp_main__``.
    """
    module = "__main__" if kind.__module__ == "__mp_main__" else kind.__module__
    return f"{module}.{kind.__qualname__}"


def look_up(name: str) -> type | None:
    """The class of that name among the imported ones."""
    found = _follow(name)
    if found is None and name.startswith("__main__."):
        found = _follow(name.replace("__main__", "__mp_main__", 1))
    return found if found is not None and name_of(found) == name else None


def look_up_local(name: str) -> type | None:
    """The class of that name which no module holds, and which was sent from here."""
    return _local.get(name)


def keep_local(name: str, kind: type) -> None:
    """Remember a class that no module holds, as long as it lives."""
    _local[name] = kind
    if kind.__module__ not in sys.modules:  # that was made by code without a module
        declare(kind)


def use_program(modules: Iterable[str]) -> None:
    """From here on, look in these modules too for classes that a recording knows as those of a script.

    What is ``__main__.Pose`` in a run of ``robot.py`` is ``robot.Pose`` where that is imported, and the other way
    round. The modules have to be imported already.
    """
    for module in modules:
        _program.pop(module, None)
        _program[module] = None


def _in_program(name: str) -> type | None:
    """A class of the program itself, which was loaded under another name when the message was sent."""
    for module_name in reversed(_program):
        module = sys.modules.get(module_name)
        if module is None:
            continue
        stem = Path(getattr(module, "__file__", None) or "").stem
        was_script = name.startswith("__main__.")
        is_script = module_name in {"__main__", "__mp_main__"}
        inside = name.removeprefix("__main__.") if was_script else name.rpartition(f"{stem}.")[2] if is_script else ""
        if not inside or (not was_script and not f".{name}".endswith(f".{stem}.{inside}")):
            continue
        found = _walk(module, inside.split("."))
        if found is not None:
            return found
    return None


def _follow(name: str) -> type | None:
    """Follow a dotted name from the longest module that is imported."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:end]))
        found = None if module is None else _walk(module, parts[end:])
        if found is not None:
            return found
    return None


def _walk(found: Any, steps: list[str]) -> type | None:
    """What is found by these steps, if it is a class; no code of a module or a class runs."""
    for step in steps:
        found = attributes(found).get(step) if issubclass(type(found), (type, ModuleType)) else None
    return found if issubclass(type(found), type) else None
