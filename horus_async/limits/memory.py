"""Where there is no memory: what to say of it."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from typing import TYPE_CHECKING

from horus_async.errors import HorusError, LimitError

if TYPE_CHECKING:
    from collections.abc import Iterator

_UNMAPPED = "failed to map segment"
"""What the loader says of a module in C that finds no room."""
_OURS = f"{os.path.dirname(os.path.dirname(__file__))}{os.sep}"  # noqa: PTH120 - no more is imported for it

_KINDS = (resource.RLIMIT_AS, resource.RLIMIT_DATA)


def out_of_memory() -> str:
    """That there is none, how much this process may have, and the way out."""
    limits = [limit for kind in _KINDS if (limit := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY]
    if not limits:
        return "there is no memory left"
    return f"there is no memory left: this process may have {min(limits) >> 20} MiB; raise the limit (ulimit -v)"


def memory_error() -> OSError:
    """The error of the system that says so, for what handles these and not a ``MemoryError``."""
    return OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))


def no_memory(error: OSError) -> str | None:
    """What to say of ``error``; None if it is not for want of memory."""
    return out_of_memory() if error.errno == errno.ENOMEM else None


def is_for_want_of_memory(error: BaseException) -> bool:
    """Whether an error, one in its group, or one that it came from says that there is no memory.

    Python's compiler takes want of memory for mistakes in what it compiles, and there are none in our modules.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, MemoryError) or (isinstance(one, OSError) and one.errno == errno.ENOMEM):
            return True
        if isinstance(one, ImportError) and (_UNMAPPED in str(one) or os.strerror(errno.ENOMEM) in str(one)):
            return True
        if isinstance(one, SyntaxError) and (one.filename or "").startswith(_OURS):
            return True
        waiting += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return False


@contextmanager
def named() -> Iterator[None]:
    """Let what fails for want of memory come out as an error of ours.

    Raises:
        LimitError: for such an error, unless it is one of ours already.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, HorusError) or not is_for_want_of_memory(error):
            raise
        raise LimitError(out_of_memory()) from error
