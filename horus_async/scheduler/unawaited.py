"""Notices coroutines that a node's code made and never awaited, so that what they should have done was not done.

Python says so in a warning, which nobody reads on a robot. It says it by way of a function in ``warnings``, which is
replaced while a run goes on; where a version of Python lacks it, Python's own warning is all there is.
"""

from __future__ import annotations

import gc
import logging
import sys
import threading
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from horus_async.engine.reporting import code_of, line_of
from horus_async.errors import ConfigurationError
from horus_async.nodes.context import current
from horus_async.nodes.node import callback_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from horus_async.engine.node_run import NodeRun
    from horus_async.engine.runtime import Runtime

_HOOK = "_warn_unawaited_coroutine"
_log = logging.getLogger("horus_async")
_lock = threading.Lock()
_watched: list[Runtime] = []
_before: list[Callable[[Any], None]] = []
"""Python's own function, while it is replaced."""
_collecting = False


@contextmanager
def noticed(runtime: Runtime) -> Iterator[None]:
    """Meanwhile a callback of the run's nodes fails if a coroutine that it made was never awaited."""
    with _lock:
        if not _watched and hasattr(warnings, _HOOK):
            _before.append(getattr(warnings, _HOOK))
            setattr(warnings, _HOOK, _notice)
            gc.callbacks.append(_collection)
        _watched.append(runtime)
    try:
        yield
    finally:
        with _lock:
            _watched.remove(runtime)
            if not _watched and _before:
                setattr(warnings, _HOOK, _before.pop())
                gc.callbacks.remove(_collection)


def _collection(phase: str, _: object) -> None:
    global _collecting  # noqa: PLW0603 - there is one collector
    _collecting = phase == "start"


def _notice(coroutine: Any) -> None:
    """A coroutine goes that was never awaited. Called wherever its last reference is dropped."""
    context = current.get(None)
    run = None if context is None else _run_of(context.node)
    if run is None or context is None:
        for python_does in tuple(_before):
            python_does(coroutine)
        return
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    ours = context is run.context and run.busy and not _collecting
    place = _place(sys._getframe(1), coroutine, run) if ours else None  # noqa: SLF001 - there is no other way to ask
    if place is None:
        code = coroutine.cr_code
        place = f"a coroutine of it, defined at {code.co_filename}:{code.co_firstlineno},"
    else:
        place = f"the coroutine that was made at {place}"
    where = run.kind if context.tick is None else f"tick {context.tick}"
    text = f"node {run.name!r}, {where}: {name}() did nothing: {place} was never awaited; "
    text += f"write 'await {_short(name)}(...)'"
    if ours and run.misuse is None:
        run.misuse = ConfigurationError(text)
    else:
        _log.error("%s", text, extra={"node": run.name, "tick": context.tick})


def _run_of(node: str) -> NodeRun | None:
    return next((runtime.runs[node] for runtime in tuple(_watched) if node in runtime.runs), None)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _place(frame: FrameType | None, coroutine: Any, run: NodeRun) -> str | None:
    """The line that made it: the one that is running, or the one in the callback just left that mentions its name."""
    from horus_async.determinism.origins import Origin, origin_of_frame  # late: it asks where Python is installed

    while frame is not None and (origin := origin_of_frame(frame)) is not Origin.ENGINE:
        if origin is Origin.USER:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    callback = callback_of(run.node, "enter_safe_state" if run.kind == "safe_state" else run.kind)
    code = code_of(callback)
    line = None if code is None else line_of(code, _short(coroutine.__name__))
    return None if code is None or line is None else f"{code.co_filename}:{line}"
