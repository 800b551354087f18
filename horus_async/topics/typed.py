"""Whether values are what a topic was declared to carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from horus_async.errors import TopicTypeError

from .kinds.admission import declare
from .kinds.checks import first_wrong
from .values.classes import is_outdated

if TYPE_CHECKING:
    from collections.abc import Callable


def check_type(topic: str, kind: Any) -> None:
    """See whether a topic can be declared to carry this, and let messages be made of it.

    Raises:
        TopicTypeError: It is no class.
    """
    if not isinstance(kind, type):
        raise TopicTypeError(f"topic {topic!r}: its type has to be a class, not {kind!r}")
    declare(kind)


def check_kind(topic: str, wanted: type, value: Any) -> None:
    """See whether a value that is to be sent is of the topic's class.

    Raises:
        TopicTypeError: It is not.
    """
    if not isinstance(value, wanted):
        raise TopicTypeError(
            f"topic {topic!r} carries {_title(wanted)}, not {_title(type(value))}{_redefined(wanted, type(value))}"
        )


def check_fields(topic: str, value: Any) -> None:
    """See whether the fields of a value that is to be sent are what its class annotates.

    Raises:
        TopicTypeError: One is not.
    """
    wrong = first_wrong(value)
    if wrong is not None:
        raise TopicTypeError(f"topic {topic!r} carries {_title(type(value))}, {wrong}")


def check_sent(topic: str, wanted: type | None, value: Any) -> None:
    """See whether a value that is to be sent is all that the topic's class says; None takes anything.

    Raises:
        TopicTypeError: It is not.
    """
    if wanted is not None:
        check_kind(topic, wanted, value)
        check_fields(topic, value)


def check_received(topic: str, wanted: type, value: Any, sender: Callable[[], str]) -> None:
    """See whether a value that came is what this reader declared the topic to carry.

    Args:
        topic: Its name.
        wanted: The class.
        value: What came.
        sender: Says by whom it was sent, where that is asked.

    Raises:
        TopicTypeError: It is of another class, or a field of it is not what the class annotates.
    """
    if not isinstance(value, wanted):
        raise TopicTypeError(
            f"topic {topic!r} was opened for {_title(wanted)}, but holds {_title_of(value)}, "
            f"{sender()}{_redefined(wanted, type(value))}"
        )
    wrong = first_wrong(value)
    if wrong is not None:
        raise TopicTypeError(
            f"topic {topic!r} was opened for {_title(wanted)}, but holds a {_title(type(value))} {wrong}, {sender()}"
        )


def _title_of(value: Any) -> str:
    """The name of a value's class, which this process need not know."""
    named = value.get("$type") if isinstance(value, dict) else None
    return named if isinstance(named, str) else _title(type(value))


def _redefined(wanted: type, given: type) -> str:
    """What to do where two classes have one name, as after a notebook's cell was run again; empty for others."""
    if _title(wanted) != _title(given):
        return ""
    if is_outdated(given):
        return ": the value is of an older definition of that class; make it anew"
    return ": the topic was opened with an older definition of that class; open it again"


def _title(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
