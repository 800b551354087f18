"""Names of a package that are loaded on first use, so that importing it costs next to nothing."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def loader(package: str, names: Iterable[str], homes: Mapping[str, str], other: str = "") -> Callable[[str], object]:
    """The ``__getattr__`` of a package.

    Args:
        package: Its name.
        names: Those that it gives out.
        homes: The module that each is in, within the package.
        other: Where those are that ``homes`` leaves out.
    """
    known = frozenset(names)

    def load(name: str) -> object:
        if name not in known:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes.get(name, other)}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load
