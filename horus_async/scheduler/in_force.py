"""Which `Overrides` are in force; there are some only where a command line runs a program."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .overrides import Overrides

_overrides: Overrides | None = None


def given_overrides() -> Overrides | None:
    """What is in force now."""
    return _overrides


@contextmanager
def overriding(overrides: Overrides) -> Iterator[None]:
    """Put ``overrides`` in force for what runs meanwhile, in whichever thread."""
    global _overrides  # noqa: PLW0603 - a program's schedulers are made anywhere in it, and there is one program
    before, _overrides = _overrides, overrides
    try:
        yield
    finally:
        _overrides = before
