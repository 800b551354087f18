"""What the operators and functions of predicates do, with bounds where Python has none. Pure.

Values are those of recorded messages: numbers, text, lists, dicts, None, and NumPy arrays of numbers.
"""

from __future__ import annotations

import ast
import math
import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_BITS = 4096
"""Of the largest integer that comes of a multiplication, a power or a shift."""
_TEXT = 1 << 20
"""Characters of the longest text that comes of an addition."""
_DIGITS = 400
_NUMBERS = (int, float)  # bool is an int
_PAIRS = {(one, other) for one in _NUMBERS for other in _NUMBERS}


class MissingError(Exception):
    """A message lacks a field. Holds its path, as typed."""


def is_array(value: object) -> bool:
    """Whether it is a NumPy array; NumPy is not imported for that."""
    return hasattr(value, "dtype") and hasattr(value, "shape")


def binary(kind: type[ast.operator]) -> Callable[[Any, Any], Any]:
    """What an operator does."""
    return _BINARY[kind]


def unary(kind: type[ast.unaryop]) -> Callable[[Any], Any]:
    """What an operator does with one value."""
    return _UNARY[kind]


def comparison(kind: type[ast.cmpop]) -> Callable[[Any, Any], Any]:
    """What a comparison does."""
    return _COMPARISONS[kind]


def truth(value: Any) -> bool:
    """Whether a value counts as true.

    Raises:
        TypeError: It is an array of several.
    """
    if is_array(value):
        raise TypeError("an array is neither true nor false: any(…) or all(…) of it is")
    return bool(value)


def field_of(value: Any, name: str, path: str) -> Any:
    """The field of a value.

    Raises:
        MissingError: It has none of that name.
    """
    if type(value) is dict and name in value:
        return value[name]
    raise MissingError(path)


def item_of(value: Any, index: Any, path: str) -> Any:
    """An item of a list, a text, an array or a dict.

    Raises:
        MissingError: It is not there.
        TypeError: The value has no items, or the index is none.
    """
    if type(value) is dict:
        if type(index) is str and index in value:
            return value[index]
        raise MissingError(path)
    if value is None:
        raise MissingError(path)
    if not isinstance(value, list | tuple | str) and not is_array(value):
        raise TypeError(f"a {type(value).__name__} has no items")
    if type(index) not in {int, slice}:
        raise TypeError("an item is named by a number, or a field by a text")
    try:
        found = value[index]
    except IndexError:
        raise MissingError(path) from None
    return found.item() if is_array(found) and not found.shape else found


# -- operators ---------------------------------------------------------------------------------------------------------


def _arithmetic(plain: Callable[[Any, Any], Any], sign: str) -> Callable[[Any, Any], Any]:
    def apply(a: Any, b: Any) -> Any:
        if (type(a), type(b)) in _PAIRS or (isinstance(a, _NUMBERS) and isinstance(b, _NUMBERS)):
            return plain(a, b)
        if is_array(a) or is_array(b):
            return _of_arrays(plain, a, b)
        raise _unfit(sign, a, b)

    return apply


def _of_arrays(plain: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Element by element: of two arrays of one shape, or of one and a number."""
    import numpy as np

    numbers = (isinstance(a, _NUMBERS) or isinstance(b, _NUMBERS)) and (is_array(a) or is_array(b))
    if not numbers and not (is_array(a) and is_array(b) and a.shape == b.shape):
        raise TypeError("an array goes with a number, or with an array of the same shape")
    with np.errstate(all="ignore"):
        return plain(a, b)


def _unfit(sign: str, a: Any, b: Any) -> TypeError:
    return TypeError(f"{sign} is not possible between {type(a).__name__} and {type(b).__name__}")


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, str) and isinstance(b, str):
        if len(a) + len(b) > _TEXT:
            raise ValueError("a text becomes too long")
        return a + b
    return _plus(a, b)


def _times(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() + b.bit_length() > _BITS:
        raise ValueError("a number becomes too large")
    return a * b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() * abs(b) > _BITS:
        raise ValueError("a number becomes too large")
    found = a**b
    if isinstance(found, complex):
        raise ValueError("a root of a negative number")  # noqa: TRY004 - of this value, not of its type
    return found


def _shift(plain: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(a: Any, b: Any) -> Any:
        if not isinstance(a, int) or not isinstance(b, int):
            raise _unfit("a shift", a, b)
        if b > _BITS or a.bit_length() + b > _BITS:
            raise ValueError("a number becomes too large")
        return plain(a, b)

    return apply


_plus = _arithmetic(operator.add, "+")
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _add,
    ast.Sub: _arithmetic(operator.sub, "-"),
    ast.Mult: _arithmetic(_times, "*"),
    ast.Div: _arithmetic(operator.truediv, "/"),
    ast.FloorDiv: _arithmetic(operator.floordiv, "//"),
    ast.Mod: _arithmetic(operator.mod, "%"),
    ast.Pow: _arithmetic(_power, "**"),
    ast.BitAnd: _arithmetic(operator.and_, "&"),
    ast.BitOr: _arithmetic(operator.or_, "|"),
    ast.BitXor: _arithmetic(operator.xor, "^"),
    ast.LShift: _shift(operator.lshift),
    ast.RShift: _shift(operator.rshift),
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: lambda value: not truth(value),
}


def _compared(plain: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(a: Any, b: Any) -> Any:
        if is_array(a) or is_array(b):
            return _of_arrays(plain, a, b)
        return plain(a, b)

    return apply


def _within(a: Any, b: Any) -> bool:
    if is_array(b):
        if not isinstance(a, _NUMBERS):
            raise TypeError("'in' an array is possible for numbers")
        return bool((b == a).any())
    if is_array(a):
        raise TypeError("an array is in nothing")
    return a in b


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: _compared(operator.eq),
    ast.NotEq: _compared(operator.ne),
    ast.Lt: _compared(operator.lt),
    ast.LtE: _compared(operator.le),
    ast.Gt: _compared(operator.gt),
    ast.GtE: _compared(operator.ge),
    ast.In: _within,
    ast.NotIn: lambda a, b: not _within(a, b),
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
}


# -- functions ---------------------------------------------------------------------------------------------------------


def _of_all(plain: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function of many values, whose method an array has."""

    def apply(*values: Any) -> Any:
        if len(values) == 1 and is_array(values[0]):
            found = getattr(values[0], name)()
            return found.item() if hasattr(found, "item") else found
        if any(map(is_array, values)):
            raise TypeError(f"{name} of several values is not possible with an array among them")
        return plain(*values)

    return apply


def _sum(values: Any) -> Any:
    return sum(values)  # of one value: with a start it could add up lists


def _each(plain: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """A function that an array is given element by element."""

    def apply(value: Any) -> Any:
        if is_array(value):
            import numpy as np

            return getattr(np, name)(value)
        return plain(value)

    return apply


def _of_numbers(plain: Callable[..., Any]) -> Callable[..., Any]:
    def apply(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, _NUMBERS):
                raise TypeError(f"a number is needed, not a {type(value).__name__}")
        return plain(*values)

    return apply


def _round(number: Any, digits: Any = None) -> Any:
    if digits is not None and not -_DIGITS <= digits <= _DIGITS:
        raise ValueError("so many digits")
    return round(number, digits)


def _text(value: Any) -> str:
    if not isinstance(value, (*_NUMBERS, str)):
        raise TypeError("str is possible for numbers")
    return str(value)


def _whole(value: Any) -> int:
    if isinstance(value, str) and len(value) > _DIGITS:
        raise ValueError("so many digits")
    if not isinstance(value, (*_NUMBERS, str)):
        raise TypeError("int is possible for numbers and text")
    return int(value)


def _real(value: Any) -> float:
    if not isinstance(value, (*_NUMBERS, str)):
        raise TypeError("float is possible for numbers and text")
    return float(value)


_MATH = (
    *("acos", "asin", "atan", "atan2", "ceil", "copysign", "cos", "degrees", "exp", "fabs", "floor", "fmod"),
    *("hypot", "log", "log10", "log2", "radians", "sin", "sqrt", "tan", "trunc"),
)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _of_numbers(getattr(math, name)) for name in _MATH},
    **{name: _each(_of_numbers(getattr(math, name)), name) for name in ("isfinite", "isinf", "isnan")},
    "abs": _each(_of_numbers(abs), "abs"),
    "all": _of_all(all, "all"),
    "any": _of_all(any, "any"),
    "bool": truth,
    "float": _real,
    "int": _whole,
    "len": len,
    "max": _of_all(max, "max"),
    "min": _of_all(min, "min"),
    "round": _of_numbers(_round),
    "str": _text,
    "sum": _of_all(_sum, "sum"),
}
"""By name."""

CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau, "inf": math.inf, "nan": math.nan}
"""Names that stand for numbers in messages that have no such field."""
