"""Where there is no memory: what to say of it."""

from __future__ import annotations

import errno
import os
import resource

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
