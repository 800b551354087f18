"""Options of a node as attributes: a class's, each node's own, checked when set, and fixed while the node runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from horus_async.errors import ContextError

if TYPE_CHECKING:
    from collections.abc import Iterable

_MISSING = object()


class HasOptions(Protocol):
    """What has options: a node."""

    name: str
    _ports: Any

    def _settle(self) -> None: ...


class Option:
    """An option of a node. Its value for the class is the default; a node's own is among the node's attributes."""

    __slots__ = ("_default", "_name")

    def __init__(self, name: str, default: Any) -> None:
        self._name = name
        self._default = default

    def __get__(self, node: HasOptions | None, owner: type | None = None) -> Any:
        """The value for a node, or for a class."""
        return self._default if node is None else node.__dict__.get(self._name, self._default)

    def __set__(self, node: HasOptions, value: Any) -> None:
        """Set it for one node.

        Raises:
            ContextError: The node runs.
            ConfigurationError: No such value is possible; the old one stays.
        """
        self._change(node, value)

    def __delete__(self, node: HasOptions) -> None:
        """Go back to the class's value; raises as setting does."""
        self._change(node, _MISSING)

    def _change(self, node: HasOptions, value: Any) -> None:
        if node._ports is not None:  # noqa: SLF001 - a node's own descriptor
            raise ContextError(
                f"node {node.name!r} is running: its {self._name} cannot be changed before the run has ended"
            )
        values = vars(node)
        before = values.get(self._name, _MISSING)
        _put(values, self._name, value)
        if "_functions" in values:  # it is made already
            try:
                node._settle()  # noqa: SLF001 - as above
            except BaseException:
                _put(values, self._name, before)
                raise


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    if value is _MISSING:
        values.pop(name, None)
    else:
        values[name] = value


def guard_options(kind: type, options: Iterable[str]) -> None:
    """Make options of what a class has under these names as plain values."""
    for option in options:
        value = next((vars(base)[option] for base in kind.__mro__ if option in vars(base)), _MISSING)
        if value is not _MISSING and not hasattr(type(value), "__get__"):
            setattr(kind, option, Option(option, value))
