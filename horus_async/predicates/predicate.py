"""A predicate, and the count of what it was asked about."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from attrs import define, field

from horus_async.errors import PredicateError
from horus_async.spelling import did_you_mean

from .checking import parsed
from .compiling import compiled
from .operations import MissingError, truth

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REASONS = 20
"""So many different reasons are told apart; a hostile message may give each its own."""
_FIELDS = 200


class Predicate:
    """A condition over the fields of a message.

    It may hold names of fields (``volts``, ``pose.x``, ``ranges[0]``, ``data["a b"]``), numbers, text, lists,
    arithmetic, comparisons, ``in``, ``and``, ``or``, ``not``, ``a if b else c``, and the functions of
    `checking.FUNCTIONS`, among them ``any(x < 1 for x in ranges)``. Nothing in it can reach outside of the message,
    and what it computes is bounded.

    Raises:
        PredicateError: The text is not such a condition.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._value = compiled(parsed(text))

    def __repr__(self) -> str:
        return f"Predicate({self.text!r})"

    def value(self, names: dict[str, Any]) -> Any:
        """What it comes to.

        Args:
            names: The fields of a message, and what else has a name, see `names_of`.

        Raises:
            MissingError: The message lacks a field.
            TypeError, ValueError, ArithmeticError, LookupError, RecursionError: It cannot be computed of this message.
        """
        return self._value(names)

    def matches(self, names: dict[str, Any]) -> bool:
        """Whether a message is as it says; raises as `value` does."""
        return truth(self._value(names))


def names_of(data: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """What a predicate can name: the fields of a message, and where it has none of these names, those in ``more``.

    ``data`` is the whole message, and so is ``value`` where it has no fields.
    """
    if type(data) is dict:
        return {**more, "data": data, **data}
    return {**more, "data": data, "value": data}


@define
class Tally:
    """Asks a predicate about messages, and counts: those that match, lack a field, or are not fit for it."""

    predicate: Predicate
    seen: int = 0
    matched: int = 0
    lacking: Counter[str] = field(factory=Counter)
    """Messages that lack a field, by its path."""
    unfit: Counter[str] = field(factory=Counter)
    """Those of which it could not be computed, by the reason."""
    _known: dict[str, None] = field(factory=dict)

    def test(self, names: dict[str, Any]) -> bool:
        """Whether a message matches."""
        self.seen += 1
        try:
            found = self.predicate.matches(names)
        except MissingError as error:
            self._note(self.lacking, str(error))
            if len(self._known) < _FIELDS:
                self._known.update(dict.fromkeys(_paths(names)))
            return False
        except (TypeError, ValueError, ArithmeticError, LookupError, RecursionError, MemoryError) as error:
            self._note(self.unfit, str(error)[:200] or type(error).__name__)
            return False
        self.matched += found
        return found

    @property
    def answered(self) -> int:
        """Of so many messages it could be said whether they match."""
        return self.seen - self.lacking.total() - self.unfit.total()

    def notes(self) -> list[str]:
        """What could not be answered, one line each."""
        of = f"of {self.seen:,} messages"
        lines = [f"{count:,} {of} have no field {path}" for path, count in self.lacking.most_common()]
        lines += [f"{count:,} {of} could not be tested: {why}" for why, count in self.unfit.most_common()]
        return lines

    def check(self) -> None:
        """See whether it said anything at all.

        Raises:
            PredicateError: There were messages, and of none could it be computed. Names the field that was meant.
        """
        if not self.seen or self.answered:
            return
        if self.lacking:
            path = self.lacking.most_common(1)[0][0]
            known = [name for name in self._known if name != path]
            some = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
            raise PredicateError(
                f"none of {self.seen:,} messages has a field {path}; they have {some or 'none'}"
                f"{did_you_mean(path, known)}"
            )
        why = self.unfit.most_common(1)[0][0]
        raise PredicateError(f"the predicate fits none of {self.seen:,} messages: {why}")

    @staticmethod
    def _note(counts: Counter[str], what: str) -> None:
        counts[what if what in counts or len(counts) < _REASONS else "other reasons"] += 1


def _paths(names: dict[str, Any]) -> Iterator[str]:
    """The fields that there are, with those within them."""
    waiting = [(name, value) for name, value in names.items() if name != "data"]
    count = 0
    while waiting and count < _FIELDS:
        name, value = waiting.pop(0)
        count += 1
        yield name
        if type(value) is dict:
            waiting += [
                (f"{name}.{inner}" if inner.isidentifier() else f"{name}[{inner!r}]", one)
                for inner, one in list(value.items())[:_FIELDS]
            ]
