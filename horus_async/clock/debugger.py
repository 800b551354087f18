"""How long a debugger held a thread: a breakpoint is no reason for an emergency stop.

Measured where debuggers wait: in ``bdb`` (pdb and all that are made of it) and in ``pydevd`` (debugpy, PyCharm), if
that is there when a run begins. While no debugger traces, nothing is measured, and nothing costs.
"""

from __future__ import annotations

import functools
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .system import perf_ns

if TYPE_CHECKING:
    from collections.abc import Callable

_holding: dict[int, int] = {}
"""By thread: when the debugger took it, for threads that it holds now."""
_held: dict[int, int] = {}
"""By thread: nanoseconds for which it was held before."""
_last_end_ns = 0
_HOLDERS = (("bdb", "Bdb", "trace_dispatch"), ("pydevd", "PyDB", "do_wait_suspend"))


def notice_debuggers() -> None:
    """Measure from now on."""
    import bdb  # noqa: F401 - so that a breakpoint set later is noticed

    for module, owner, method in _HOLDERS:
        kind = getattr(sys.modules.get(module), owner, None)
        function = getattr(kind, method, None)
        if function is not None and not hasattr(function, "horus_measured"):
            with suppress(TypeError, AttributeError):  # a class that is compiled
                setattr(kind, method, _measured(function))


def _measured(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        global _last_end_ns  # noqa: PLW0603 - one for the process
        thread = threading.get_ident()
        if thread in _holding:  # it is the debugger's own business
            return function(*arguments, **options)
        _holding[thread] = perf_ns()
        try:
            return function(*arguments, **options)
        finally:
            _last_end_ns = perf_ns()
            _held[thread] = _held.get(thread, 0) + _last_end_ns - _holding.pop(thread)

    call.horus_measured = True  # type: ignore[attr-defined]
    return call


def held_ns(thread: int) -> int:
    """Nanoseconds for which debuggers have held a thread so far."""
    since = _holding.get(thread)
    return _held.get(thread, 0) + (0 if since is None else perf_ns() - since)


def held_before_ns(thread: int) -> int:
    """The same without the time since it was taken, if it is held now."""
    return _held.get(thread, 0)


def held_within(past_ns: int) -> bool:
    """Whether a debugger holds any thread, or held one in the last so many nanoseconds."""
    return bool(_holding) or (_last_end_ns > 0 and _last_end_ns > perf_ns() - past_ns)
