"""The text of a predicate as a tree that holds nothing but what predicates may. Nothing of it is ever run by Python."""

from __future__ import annotations

import ast
import warnings

from horus_async.errors import PredicateError

LONGEST, DEEPEST, MOST = 2000, 40, 400
"""Characters of a predicate, how deep its tree may be, and how many parts it may have."""

FUNCTIONS = frozenset(
    {
        *("abs", "all", "any", "bool", "float", "int", "len", "max", "min", "round", "str", "sum"),
        *("acos", "asin", "atan", "atan2", "ceil", "copysign", "cos", "degrees", "exp", "fabs", "floor", "fmod"),
        *("hypot", "isfinite", "isinf", "isnan", "log", "log10", "log2", "radians", "sin", "sqrt", "tan", "trunc"),
    }
)
"""All that may be called."""

OVER_ITEMS = frozenset({"all", "any", "max", "min", "sum"})
"""Those that take ``x > 1 for x in xs``."""

_PLAIN = (
    *(ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Attribute, ast.Subscript, ast.Slice),
    *(ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.IfExp, ast.Compare, ast.cmpop),
    *(ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.BitAnd, ast.BitOr),
    *(ast.BitXor, ast.LShift, ast.RShift, ast.List, ast.Tuple, ast.Call, ast.GeneratorExp, ast.comprehension),
    ast.Store,
)
_WORDS = {
    ast.Lambda: "a lambda",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "a format string",
    ast.ListComp: "a comprehension outside of any(…), all(…), sum(…), min(…), max(…)",
    ast.SetComp: "a set",
    ast.DictComp: "a dict",
    ast.Dict: "a dict",
    ast.Set: "a set",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.Starred: "a *",
    ast.MatMult: "@",
    ast.Invert: "~",
}


def parsed(text: str) -> ast.expr:
    """The tree of a predicate.

    Raises:
        PredicateError: It is no expression, is too long or too deep, or holds what predicates may not.
    """
    if len(text) > LONGEST:
        raise PredicateError(f"the predicate has {len(text)} characters; {LONGEST} are the most")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes in its texts
            tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise PredicateError(f"the predicate {text!r} is not a Python expression: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise PredicateError(f"the predicate {text[:80]!r} cannot be read: {str(error) or 'it is too deep'}") from None
    _check_size(tree)
    _Check(text).check(tree)
    return tree


def _check_size(tree: ast.expr) -> None:
    """By hand, as a tree may be deeper than Python's own walk of it may go."""
    waiting: list[tuple[ast.AST, int]] = [(tree, 1)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > DEEPEST:
            raise PredicateError(f"the predicate is nested more than {DEEPEST} deep")
        if count > MOST:
            raise PredicateError(f"the predicate has more than {MOST} parts")
        waiting += [(child, depth + 1) for child in ast.iter_child_nodes(node)]


class _Check:
    def __init__(self, text: str) -> None:
        self._text = text

    def check(self, node: ast.AST, *, in_items: bool = False) -> None:
        if not isinstance(node, _PLAIN):
            what = _WORDS.get(type(node)) or f"a {type(node).__name__}"
            raise self._refusal(f"{what} is not possible")
        if isinstance(node, ast.Constant):
            self._check_constant(node)
        elif isinstance(node, ast.Name):
            self._check_name(node.id)
        elif isinstance(node, ast.Attribute):
            self._check_name(node.attr)
        elif isinstance(node, ast.Compare):
            self._check_identity(node)
        elif isinstance(node, ast.GeneratorExp):
            raise self._refusal("a comprehension is possible only as what any, all, sum, min or max is of")
        elif isinstance(node, ast.Call):
            self._check_call(node, in_items=in_items)
            return
        for child in ast.iter_child_nodes(node):
            self.check(child, in_items=in_items)

    def _check_name(self, name: str) -> None:
        if name.startswith("_"):
            raise self._refusal(f"{name} begins with an underscore")

    def _check_constant(self, node: ast.Constant) -> None:
        value = node.value
        if value is not None and type(value) not in {bool, int, float, str}:
            raise self._refusal(f"{ast.unparse(node)} is no number, text, True, False or None")
        if type(value) is int and value.bit_length() > _INTEGER_BITS:
            raise self._refusal("a number is too large")

    def _check_identity(self, node: ast.Compare) -> None:
        for operator, right in zip(node.ops, node.comparators, strict=True):
            of_one = isinstance(right, ast.Constant) and (right.value is None or type(right.value) is bool)
            if isinstance(operator, ast.Is | ast.IsNot) and not of_one:
                raise self._refusal("'is' is possible with None, True and False only")

    def _check_call(self, node: ast.Call, *, in_items: bool) -> None:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            raise self._refusal(f"{ast.unparse(node.func)} cannot be called; there are {', '.join(sorted(FUNCTIONS))}")
        if node.keywords:
            raise self._refusal(f"{node.func.id} takes no keywords here")
        for argument in node.args:
            if isinstance(argument, ast.GeneratorExp) and len(node.args) == 1 and node.func.id in OVER_ITEMS:
                self._check_items(argument, in_items=in_items)
            else:
                self.check(argument, in_items=in_items)

    def _check_items(self, node: ast.GeneratorExp, *, in_items: bool) -> None:
        loop = node.generators[0]
        if in_items or len(node.generators) > 1:
            raise self._refusal("a comprehension within another would take too long")
        if loop.is_async or not isinstance(loop.target, ast.Name):
            raise self._refusal("a comprehension takes one name: any(x > 1 for x in xs)")
        for part in (loop.target, loop.iter, node.elt, *loop.ifs):
            self.check(part, in_items=True)

    def _refusal(self, why: str) -> PredicateError:
        return PredicateError(f"the predicate {self._text!r}: {why}")


_INTEGER_BITS = 4096
