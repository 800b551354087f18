"""What the tests of launch share."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from horus_async.topics.ring import memory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_left(namespace: str) -> Iterator[None]:
    """Takes away the shared memory of programs that were killed, or ended at one moment, each for the others to read.

    It is reclaimed when the next one starts, and here none does.
    """
    yield
    shutil.rmtree(memory.root() / namespace, ignore_errors=True)
