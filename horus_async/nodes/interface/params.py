"""Parameters: named values of a node that can be set from outside, checked, between two of its ticks."""

from __future__ import annotations

import math
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from horus_async.errors import ConfigurationError, ParamError

from .marks import OFFERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

T = TypeVar("T")

_SCALARS = (bool, int, float, str)
_TEXT_LIMIT = 10_000
"""Characters, and items of a row: a parameter is no message."""


class Param(property, Generic[T]):
    """A parameter of a node: ``gain = Param(0.8, min=0.0, max=2.0, unit="1/s")`` in its class, read as ``self.gain``.

    It has the type of its default: a bool, an int, a float, a str, an enum, or a list or tuple of these. An int is
    taken for a float; NaN and infinities are not.

    Args:
        default: Its value where none is set.
        min: The least value of a number, or of each number of a row.
        max: The greatest.
        choices: All values that it can have; of an enum, its members anyway.
        unit: Shown beside it.
        doc: One line that says what it does.

    Raises:
        ConfigurationError: It cannot be a parameter, or the default is not among what it allows.
    """

    def __init__(
        self,
        default: T,
        *,
        min: float | None = None,  # noqa: A002 - the contract's names
        max: float | None = None,  # noqa: A002
        choices: Iterable[T] | None = None,
        unit: str = "",
        doc: str = "",
    ) -> None:
        super().__init__()
        vars(self)[OFFERS] = True
        self.kind: type = type(default)
        self.item: type | None = _item_kind(default)
        self.min, self.max, self.unit, self.doc = min, max, unit, doc
        self.choices = None if choices is None else tuple(choices)
        self.name = ""
        try:
            self.default: T = self.check(default)
        except ParamError as error:
            raise ConfigurationError(f"Param({default!r:.100}): the default {error}") from None

    if TYPE_CHECKING:

        @overload
        def __get__(self, node: None, owner: type | None = None) -> Self: ...
        @overload
        def __get__(self, node: object, owner: type | None = None) -> T: ...
        def __get__(self, node: object, owner: type | None = None) -> Any:
            """The value, of a node; itself, of a class."""

        def __set__(self, node: object, value: T) -> None:
            """Set it, for a node that does not run."""

    def copy(self) -> Param[T]:
        """Another one that is the same: each belongs to one class."""
        return Param(self.default, min=self.min, max=self.max, choices=self.choices, unit=self.unit, doc=self.doc)

    def __set_name__(self, owner: type, name: str) -> None:
        """Become the attribute of that name. It is read by C alone, so that this costs no more than an attribute."""
        del owner
        self.name = name
        property.__init__(self, attrgetter(key_of(name)), self._set, doc=self.doc or None)

    def _set(self, node: Any, value: Any) -> None:
        if node._ports is not None:  # noqa: SLF001 - its own descriptor
            raise ParamError(
                f"{node.name}.{self.name} is a parameter, and the node is running: set it from outside ('horus-async "
                f"param set {node.name}.{self.name} ...'), or before the run"
            )
        vars(node)[key_of(self.name)] = self.checked(node.name, value)

    def checked(self, node: str, value: Any) -> T:
        """What a value comes to.

        Raises:
            ParamError: It is not allowed; the text names the parameter and what is.
        """
        try:
            return self.check(value)
        except ParamError as error:
            raise ParamError(f"{node}.{self.name} {error}") from None

    def check(self, value: Any) -> T:
        """The same, with an error that names no parameter.

        Raises:
            ParamError: It is not allowed.
        """
        kind: Any = self.kind
        if kind in {list, tuple}:
            if not isinstance(value, (list, tuple)):
                raise ParamError(f"has to be a row such as {self._title()}, not {value!r:.100}")
            if len(value) > _TEXT_LIMIT:
                raise ParamError(f"can have {_TEXT_LIMIT} items, not {len(value)}")
            made: Any = kind(self._check_one(item, self.item) for item in value)
        else:
            made = self._check_one(value, kind)
        if self.choices is not None and made not in self.choices:
            raise ParamError(f"has to be one of {', '.join(map(repr, self.choices))}, not {value!r:.100}")
        result: T = made
        return result

    def _check_one(self, value: Any, kind: Any) -> Any:
        if kind is None:  # an item of a row that began empty
            if not isinstance(value, _SCALARS):
                raise ParamError(f"has to have numbers, texts or booleans, not {value!r:.100}")
            kind = type(value)
        if issubclass(kind, Enum):
            return _member(kind, value)
        if kind is float and type(value) is int:
            value = _as_float(value)
        if type(value) is not kind:
            raise ParamError(f"has to be {self._title()}, not {value!r:.100}")
        if kind is str and len(value) > _TEXT_LIMIT:
            raise ParamError(f"can have {_TEXT_LIMIT} characters, not {len(value)}")
        if kind in {int, float} and not _within(value, self.min, self.max):
            raise ParamError(f"has to be {self._title()}, not {value!r:.100}")
        return value

    def _title(self) -> str:
        item = self.kind.__name__ if self.item is None else f"{self.kind.__name__} of {self.item.__name__}"
        bounds = {
            (False, True): f" of at least {self.min}",
            (True, False): f" of at most {self.max}",
            (False, False): f" from {self.min} to {self.max}",
            (True, True): "",
        }[self.min is None, self.max is None]
        return f"{item}{bounds}{f' {self.unit}' if self.unit and bounds else ''}"

    def described(self, value: T) -> dict[str, Any]:
        """What others are told of it: plain values."""
        said: dict[str, Any] = {"value": plain(value), "default": plain(self.default), "type": self._title()}
        given = {"min": self.min, "max": self.max, "unit": self.unit, "doc": self.doc}
        said.update({name: one for name, one in given.items() if one not in (None, "")})
        choices = self.kind if issubclass(self.kind, Enum) else self.choices
        if choices is not None:
            said["choices"] = [plain(choice) for choice in choices]
        return said


def key_of(name: str) -> str:
    """Where among a node's attributes the value of a parameter lies: under a name that no program has."""
    return f"param {name}"


def plain(value: Any) -> Any:
    """A parameter's value as JSON and TOML have it."""
    if isinstance(value, Enum):
        return value.value if isinstance(value.value, _SCALARS) else value.name
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _item_kind(default: Any) -> type | None:
    kind = type(default)
    if kind in {list, tuple}:
        kinds = {type(item) for item in default}
        if kinds == {int, float}:
            kinds = {float}
        if len(kinds) > 1 or not all(one in _SCALARS or issubclass(one, Enum) for one in kinds):
            raise ConfigurationError(f"Param({default!r:.100}): the items of a row have to be of one type")
        return kinds.pop() if kinds else None
    if kind not in _SCALARS and not issubclass(kind, Enum):
        raise ConfigurationError(
            f"Param({default!r:.100}): the default has to be a bool, an int, a float, a str, an enum's member, or a "
            "list or tuple of these: it says what type the parameter has"
        )
    return None


def _member(kind: type[Enum], value: Any) -> Enum:
    if isinstance(value, kind):
        return value
    for member in kind:
        if type(value) is type(member.value) and member.value == value:
            return member
    if isinstance(value, str) and value in kind.__members__:
        return kind.__members__[value]
    raise ParamError(f"has to be one of {', '.join(repr(plain(member)) for member in kind)}, not {value!r:.100}")


def _as_float(value: int) -> Any:
    try:
        return float(value)
    except OverflowError:
        return value


def _within(value: float, least: float | None, greatest: float | None) -> bool:
    return math.isfinite(value) and (least is None or value >= least) and (greatest is None or value <= greatest)


def values_of(node: Any, params: Mapping[str, Param[Any]]) -> dict[str, Any]:
    """The values that a node's parameters have now, as JSON has them."""
    return {name: plain(getattr(node, name)) for name in params}
