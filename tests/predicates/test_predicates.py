"""Predicates: what Python would say, nothing that reaches outside, and bounded work."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from horus_async.errors import PredicateError
from horus_async.predicates.checking import LONGEST
from horus_async.predicates.predicate import Predicate, Tally, names_of

FIELDS: dict[str, Any] = {
    "volts": 11.5,
    "count": 3,
    "zero": 0,
    "name": "arm",
    "ok": True,
    "nothing": None,
    "xs": [1, 2.5, -3],
    "empty": [],
    "pose": {"x": 1.0, "y": -2.0, "at": {"z": 4}},
}
MATH = {name: getattr(math, name) for name in ("sqrt", "hypot", "isnan", "floor", "sin", "exp", "log", "copysign")}


class _Fields(dict[str, Any]):
    """So that Python's own ``eval`` finds fields as attributes."""

    __getattr__ = dict.__getitem__


def _for_python(value: Any) -> Any:
    return _Fields({name: _for_python(one) for name, one in value.items()}) if isinstance(value, dict) else value


CONSTANTS = ["1.5", "0.1", "'arm'", "''", "True", "None", "[1, 2]", "(1, 'arm')"]
values = st.sampled_from(
    ["volts", "count", "zero", "name", "ok", "nothing", "xs", "empty", "pose.x", "pose.at.z", "pose", 'pose["y"]',
     "xs[0]", "xs[-1]", "xs[1:]", "xs[::2]", "name[0]", "name[:2]", "pi"]
) | st.integers(-20, 20).map(str) | st.sampled_from(CONSTANTS)  # fmt: skip


def _more(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", ">", "in", "not in",
                                 "and", "or", "&", "|", "^", "<<", ">>", "is not None and"])  # fmt: skip
    return st.one_of(
        st.builds(lambda pair, sign: f"({pair[0]} {sign} {pair[1]})", two, operators),
        st.builds(lambda a, b, c: f"({a} < {b} <= {c})", inner, inner, inner),
        st.builds(lambda a, b, c: f"({a} if {b} else {c})", inner, inner, inner),
        st.builds(lambda sign, a: f"({sign} {a})", st.sampled_from(["-", "+", "not"]), inner),
        st.builds(
            lambda name, a: f"{name}({a})",
            st.sampled_from(["abs", "len", "min", "max", "sum", "any", "all", "round", "bool", "int", "float", *MATH]),
            inner,
        ),
        st.builds(lambda name, pair: f"{name}({pair[0]}, {pair[1]})", st.sampled_from(["min", "max", "round"]), two),
        st.builds(lambda name, a: f"{name}(x for x in xs if x < {a})", st.sampled_from(["any", "all", "sum"]), inner),
        st.builds(lambda a: f"any(x * 2 == {a} for x in xs)", inner),
    )


@settings(max_examples=500)
@given(text=st.recursive(values, _more, max_leaves=8))
def test_it_says_what_python_says(text: str) -> None:
    """The value of every expression is Python's own; and where Python has none, it has none either."""
    known = {"__builtins__": {}, **MATH, "pi": math.pi}
    functions = {one.__name__: one for one in (abs, len, min, max, sum, any, all, round, bool, int, float)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = eval(text, {**known, **functions, **_for_python(FIELDS)})
        except (TypeError, ValueError, ArithmeticError, LookupError):
            expected = None, "raises"
    if text.count(" for ") > 1:  # one within another may be refused
        return
    predicate = Predicate(text)
    try:
        found = predicate.value(names_of(FIELDS, {}))
    except Exception as error:  # noqa: BLE001
        # Python adds and repeats lists, repeats and formats texts, and has complex roots: predicates do not.
        more = ("possible between", "a root of", "too large", "a number is needed", "so many digits", "for numbers")
        assert expected == (None, "raises") or any(one in str(error) for one in more), text  # noqa: PT017
        return
    assert expected != (None, "raises"), (text, found)
    assert repr(found) == repr(expected), text


ESCAPES = [
    "().__class__", "''.__class__.__mro__", "data.__class__", "volts.__add__(1)", "__import__('os')", "_x", "x._y",
    "lambda: 1", "(lambda: 1)()", "(x := 1)", "f'{volts}'", "f'{volts.__class__}'", "'{0.__class__}'.format(volts)",
    "getattr(data, '__class__')", "eval('1')", "exec('1')", "open('/etc/passwd')", "globals()", "vars()", "dir()",
    "[x for x in xs]", "{x for x in xs}", "{x: x for x in xs}", "(x for x in xs)", "any(x for x in xs for y in xs)",
    "any(any(y for y in xs) for x in xs)", "sum((x for x in xs), 1)",
    "any(_ for _ in xs)", "any((x, y) for x, y in xs)",
    "any(x for pose.x in xs)", "len(x for x in xs)", "max(xs, key=abs)", "max(*xs)", "min(**pose)", "[*xs]",
    "await x", "(yield)", "x @ y", "~count", "{1: 2}", "{1, 2}", "1j", "...", "b'x'", "name.upper()", "xs.append(1)",
    "abs.__self__", "abs", "print(1)", "type(volts)", "isinstance(volts, float)", "volts is 11.5", "import os", "x = 1",
    "volts; count", "del x", "", " ", "\0", "(" * 300, "-" * 1900 + "1", "9" * 5000, "a" * (LONGEST + 1),
    "[" * 190 + "]" * 190,
    "1+" * 900 + "1", "not " * 400 + "x", ".".join("x" * 900), "name.__len__", "(1).real.__class__", "[].__class__",
    "breakpoint()", "input()", "compile('1', '', 'eval')", "(abs)(__import__('os'))", "pose['x'].__class__",
    "any(x.__class__ for x in xs)", "any(x for x in xs.__class__)", "any(x for x in xs if x._y)", "factorial(100000)",
]  # fmt: skip


@pytest.mark.parametrize("text", ESCAPES)
def test_what_is_refused(text: str) -> None:
    """Everything that could reach outside of a message is refused before any message is looked at; or is no field."""
    try:
        predicate = Predicate(text)
    except PredicateError:
        return
    tally = Tally(predicate)
    assert not tally.test(names_of(FIELDS, {}))
    with pytest.raises(PredicateError):
        tally.check()


BOMBS = [
    "9 ** 9 ** 9", "2 ** 10000000", "(10 ** 1000) * (10 ** 1000)", "1 << 10000000", "count << 99999", "'a' * 10 ** 9",
    "name * 1000000000", "[1] * 1000000000", "xs * 1000000000", "(1,) * 10 ** 9", "'%1000000000d' % 5", "name % 5",
    "round(5, -1000000000)", "round(1.5, 10 ** 300)", "int('9' + '9')" + " ** 2000000", "str(xs)", "exp(10000)",
    "0 ** -1",
]  # fmt: skip


@pytest.mark.parametrize("text", BOMBS)
def test_bombs_are_bounded(text: str) -> None:
    """What would take all memory or all time is an error of that message, at once."""
    tally = Tally(Predicate(text))
    assert not tally.test(names_of(FIELDS, {}))
    assert tally.unfit.total() == 1
    with pytest.raises(PredicateError, match="fits none of 1 messages"):
        tally.check()


@given(text=st.text(max_size=60))
def test_any_text_is_a_predicate_or_refused(text: str) -> None:
    """No other error."""
    try:
        predicate = Predicate(text)
    except PredicateError:
        return
    Tally(predicate).test(names_of(FIELDS, {}))


def test_fields_come_before_other_names() -> None:
    """A message's own fields, then ``data``, ``value``, ``tick`` and constants."""
    more = {"tick": 7, "time": 0.5}
    assert Predicate("tick == 7 and time == 0.5 and data.x == x == 1").matches(names_of({"x": 1}, more))
    assert Predicate("tick == 1 and e == 2 and value == 3").matches(names_of({"tick": 1, "e": 2, "value": 3}, more))
    assert Predicate("value > 2 and data > 2").matches(names_of(2.5, more))
    assert Predicate('data["a b"] == 1 and "c" not in data').matches(names_of({"a b": 1}, more))


def test_missing_fields_are_counted_and_the_nearest_is_named() -> None:
    """What lacks the field does not match; if all do, it is an error."""
    tally = Tally(Predicate("battery.volts < 11"))
    for volts in (10, 12):
        tally.test(names_of({"battery": {"volts": volts}}, {}))
    tally.test(names_of({"battery": None}, {}))
    tally.test(names_of({"battery": {"volts": "low"}}, {}))
    tally.check()
    assert (tally.seen, tally.matched, tally.answered) == (4, 1, 2)
    assert tally.notes()[0] == "1 of 4 messages have no field battery.volts"
    assert "could not be tested: '<' not supported" in tally.notes()[1]

    tally = Tally(Predicate("battery.vots < 11"))
    tally.test(names_of({"battery": {"volts": 1}}, {"tick": 1}))
    with pytest.raises(PredicateError, match=r"no.* field battery.vots.*did you mean 'battery.volts'"):
        tally.check()


def test_arrays() -> None:
    """Element by element, and any, all, min and the like of them."""
    names = names_of({"ranges": np.array([0.2, 5.0, np.nan], "f4"), "n": 2, "grid": np.eye(3, dtype="u1")}, {})
    for text in (
        "any(ranges < 0.3)", "not all(ranges < 0.3)", "any(isnan(ranges))", "len(ranges) == 3", "sum(grid) == 3",
        "ranges[1] == 5.0", "max(grid) == 1", "any(r < 0.3 for r in ranges)", "grid[1][1] == 1", "1 in grid",
        "any((ranges > 4) & (ranges < 6))", "max(ranges[:2]) == 5", "min(abs(0 - ranges[:2])) < 0.3",
    ):  # fmt: skip
        assert Predicate(text).matches(names), text
    for text in ("ranges < 0.3", "ranges and n", "ranges == grid", "'x' in ranges", "ranges in [1]", "sqrt(ranges)"):
        tally = Tally(Predicate(text))
        assert not tally.test(names)
        assert tally.unfit.total() == 1, text
