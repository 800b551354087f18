"""Which classes messages may be made of.

A message that comes from another process, or stands in a file, names its class. Whoever wrote it could name any class
that is imported here, also one whose making opens files or starts what never ends. So objects are made only of

- classes of the program's own modules (``owners``), and of ``horus_async.messages``,
- classes that were declared as the type of a topic, and those that their fields are annotated with,
- classes that were registered,
- enums that the field which holds them is annotated with.

Everything else arrives as a dict with its ``$type``.
"""

from __future__ import annotations

import logging
import sys
import weakref
from enum import Enum
from types import ModuleType
from typing import TYPE_CHECKING, Any

from horus_async.errors import ConfigurationError
from horus_async.live_objects import LiveObjects

from .annotations import parts, types_of
from .message_kinds import is_message_kind
from .owners import attributes, is_own

if TYPE_CHECKING:
    from collections.abc import Iterator

_log = logging.getLogger("horus_async")

_MESSAGES = "horus_async.messages"
_PUBLIC = frozenset(
    {
        "horus_async.engine.stats.NodeStats",
        "horus_async.nodes.failure_policies.Miss",
        "horus_async.recorder.write.writer.RecordingStats",
        "horus_async.recording_state.RecordingState",
        "horus_async.scheduler.stats.SchedulerStats",
    }
)
"""What a program gets from us and may send on, such as ``scheduler.stats()``."""

_MOST_TOLD = 20
"""Of so many classes it is said that a message named them in vain."""

_declared: LiveObjects[type] = LiveObjects()
_registered: set[str] = set()
_reached: weakref.WeakSet[type] | None = None
"""All that the declared classes consist of; None until that is asked for."""
_enums: weakref.WeakKeyDictionary[type, frozenset[type]] = weakref.WeakKeyDictionary()
_told: set[str] = set()


def register_messages(*modules: ModuleType | type) -> None:
    """Let messages be made of the classes of these modules, and of the modules below them.

    That is needed for classes of installed packages, which are not the program's own, where they are not declared as
    the type of a topic. Both ends call it, and whoever reads a recording::

        import acme_messages
        register_messages(acme_messages)

    Args:
        modules: modules, or single classes.

    Raises:
        ConfigurationError: it is neither a module nor a class of messages.
    """
    for one in modules:
        if isinstance(one, ModuleType):
            _registered.add(one.__name__)
            declare(*_given_out(one))
        elif is_message_kind(one):
            declare(one)
        else:
            raise ConfigurationError(
                f"register_messages({one!r:.60}): give a module, as in 'import acme; register_messages(acme)', or an "
                "attrs class, a dataclass, a model, a named tuple or an enum"
            )


def _given_out(module: ModuleType) -> Iterator[type]:
    """Classes that a package gives out from modules elsewhere in it."""
    top = module.__name__.partition(".")[0]
    for found in list(attributes(module).values()):
        if isinstance(found, type) and found.__module__.partition(".")[0] == top and is_message_kind(found):
            yield found


def declare(*kinds: type) -> None:
    """These classes, and those that their fields consist of, may be in messages from now on."""
    global _reached  # noqa: PLW0603 - made anew when it is needed
    new = [kind for kind in kinds if kind not in _declared and kind.__module__ != "builtins"]
    if new:
        _declared.update(new)
        _reached = None


def may_be_made(kind: type) -> bool:
    """Whether messages may have objects of this class made, which is of a kind that they hold."""
    module = kind.__module__
    if is_own(module) or kind in _declared:
        return True
    if module == _MESSAGES or module.startswith(f"{_MESSAGES}.") or f"{module}.{kind.__qualname__}" in _PUBLIC:
        return True
    if any(module == known or module.startswith(f"{known}.") for known in _registered):
        return True
    return bool(_declared) and kind in _all_declared()


def enums_in(kind: type) -> frozenset[type]:
    """The enums of others that a class's fields are annotated with."""
    known = _enums.get(kind)
    if known is None:
        hints = types_of(kind)[0].values()
        enums = (part for hint in hints for part in parts(hint) if issubclass(part, Enum))
        known = frozenset(enum for enum in enums if not may_be_made(enum))
        _enums[kind] = known
    return known


def _all_declared() -> weakref.WeakSet[type]:
    global _reached  # noqa: PLW0603 - as above
    reached = _reached
    if reached is None:
        reached = weakref.WeakSet()
        left: list[Any] = list(_declared)
        while left:
            kind = left.pop()
            if kind not in reached and is_message_kind(kind):
                reached.add(kind)
                left.extend(part for hint in types_of(kind)[0].values() for part in parts(hint))
        _reached = reached
    return reached


def say_not_made(kind: type) -> None:
    """Say once that a message names a class that is imported, and yet is not made."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name in _told or len(_told) >= _MOST_TOLD:
        return
    _told.add(name)
    module = sys.modules.get(kind.__module__)
    top = kind.__module__.partition(".")[0]
    _log.warning(
        "a message holds an object of %s, which arrives as a dict with its '$type': no class of a library is made "
        "because a message names it; if it is one of your messages, call horus_async.register_messages(%s), or open "
        "the topic with it, Topic(name, %s)",
        ascii(name)[1:-1],
        top if module is None else ascii(kind.__module__)[1:-1],
        ascii(kind.__qualname__)[1:-1],
    )
