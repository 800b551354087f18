"""A checked tree as functions within functions: quick to call, and no code is made of a text."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, TypeAlias

from .operations import (
    CONSTANTS,
    FUNCTIONS,
    MissingError,
    binary,
    comparison,
    field_of,
    item_of,
    truth,
    unary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Names: TypeAlias = dict[str, Any]
    Part: TypeAlias = Callable[[Names], Any]

_NONE = object()


def compiled(node: ast.expr) -> Part:
    """What gives the value of a tree that `checking.parsed` made, from the names that it is about."""
    return _MAKERS[type(node)](node)


def _constant(node: ast.Constant) -> Part:
    value = node.value
    return lambda _: value


def _name(node: ast.Name) -> Part:
    name, otherwise = node.id, CONSTANTS.get(node.id, _NONE)

    def get(names: Names) -> Any:
        value = names.get(name, otherwise)
        if value is _NONE:
            raise MissingError(name)
        return value

    return get


def _attribute(node: ast.Attribute) -> Part:
    value, name, path = compiled(node.value), node.attr, ast.unparse(node)
    return lambda names: field_of(value(names), name, path)


def _subscript(node: ast.Subscript) -> Part:
    value, path = compiled(node.value), ast.unparse(node)
    if not isinstance(node.slice, ast.Slice):
        index = compiled(node.slice)
        return lambda names: item_of(value(names), index(names), path)
    ends = [None if end is None else compiled(end) for end in (node.slice.lower, node.slice.upper, node.slice.step)]

    def get(names: Names) -> Any:
        numbers = [None if end is None else end(names) for end in ends]
        if not all(number is None or isinstance(number, int) for number in numbers):
            raise TypeError("items are named by numbers")
        return item_of(value(names), slice(*numbers), path)

    return get


def _binary(node: ast.BinOp) -> Part:
    apply, left, right = binary(type(node.op)), compiled(node.left), compiled(node.right)
    return lambda names: apply(left(names), right(names))


def _unary(node: ast.UnaryOp) -> Part:
    apply, value = unary(type(node.op)), compiled(node.operand)
    return lambda names: apply(value(names))


def _boolean(node: ast.BoolOp) -> Part:
    *first, last = map(compiled, node.values)
    ends = isinstance(node.op, ast.Or)

    def get(names: Names) -> Any:
        for part in first:
            value = part(names)
            if truth(value) is ends:
                return value
        return last(names)

    return get


def _compare(node: ast.Compare) -> Part:
    left, right = compiled(node.left), compiled(node.comparators[0])
    apply = comparison(type(node.ops[0]))
    if len(node.ops) == 1:
        return lambda names: apply(left(names), right(names))
    steps = [(comparison(type(kind)), compiled(one)) for kind, one in zip(node.ops, node.comparators, strict=True)]

    def get(names: Names) -> Any:
        before, found = left(names), True
        for step, part in steps:
            value = part(names)
            found = step(before, value)
            if not truth(found):
                return found
            before = value
        return found

    return get


def _choice(node: ast.IfExp) -> Part:
    test, then, otherwise = compiled(node.test), compiled(node.body), compiled(node.orelse)
    return lambda names: then(names) if truth(test(names)) else otherwise(names)


def _list(node: ast.List | ast.Tuple) -> Part:
    parts = [compiled(one) for one in node.elts]
    make: Callable[[Any], Any] = list if isinstance(node, ast.List) else tuple
    return lambda names: make([part(names) for part in parts])


def _call(node: ast.Call) -> Part:
    assert isinstance(node.func, ast.Name)
    apply = FUNCTIONS[node.func.id]
    if len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
        items = _items(node.args[0])
        return lambda names: apply(items(names))
    parts = [compiled(one) for one in node.args]
    if len(parts) == 1:
        part = parts[0]
        return lambda names: apply(part(names))
    return lambda names: apply(*[part(names) for part in parts])


def _items(node: ast.GeneratorExp) -> Callable[[Names], Iterator[Any]]:
    loop = node.generators[0]
    assert isinstance(loop.target, ast.Name)
    name, source, element = loop.target.id, compiled(loop.iter), compiled(node.elt)
    tests = [compiled(test) for test in loop.ifs]

    def get(names: Names) -> Iterator[Any]:
        values = source(names)
        inner = dict(names)  # its name is not one outside
        for value in values.tolist() if hasattr(values, "tolist") else values:
            inner[name] = value
            if all(truth(test(inner)) for test in tests):
                yield element(inner)

    return get


_MAKERS: dict[type[ast.expr], Callable[[Any], Part]] = {
    ast.Constant: _constant,
    ast.Name: _name,
    ast.Attribute: _attribute,
    ast.Subscript: _subscript,
    ast.BinOp: _binary,
    ast.UnaryOp: _unary,
    ast.BoolOp: _boolean,
    ast.Compare: _compare,
    ast.IfExp: _choice,
    ast.List: _list,
    ast.Tuple: _list,
    ast.Call: _call,
}
