"""Taking things apart: every step is tried, whatever the others do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def undo(steps: Iterable[Callable[[], object]]) -> None:
    """Call each of them in turn, also after one has failed, and then raise what they raised.

    Raises:
        BaseException: What one step raised, or a group of what several did.
    """
    errors: list[BaseException] = []
    for step in steps:
        try:
            step()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise BaseExceptionGroup("several things could not be taken apart", errors)
