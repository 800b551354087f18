"""A namespace of a command's own, so that nothing of what it runs reaches a running robot."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from horus_async.topics.ring import memory
from horus_async.topics.ring.names import path_component

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def own_namespace(command: str) -> Iterator[str]:
    """Make one the default of this process and of those that it starts; gives its name."""
    before = os.environ.get("HORUS_NAMESPACE")
    name = f"{command}-{os.getpid():x}-{secrets.token_hex(4)}"
    os.environ["HORUS_NAMESPACE"] = name
    try:
        yield name
    finally:
        if before is None:
            del os.environ["HORUS_NAMESPACE"]
        else:
            os.environ["HORUS_NAMESPACE"] = before
        # Nobody else is in it: what is left there is of runs that had to be killed.
        shutil.rmtree(memory.root() / path_component(name), ignore_errors=True)
